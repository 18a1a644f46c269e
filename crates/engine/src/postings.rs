//! Which series of a measurement have which tags: for each tag its distinct values, and for each value the numbers of the series
//! that have it. What matchers ask is answered from it by sets of numbers, so that a series which is not asked for costs no look.
//!
//! It must never answer otherwise than each key by itself would, show the order of a hash table, or keep the text of a value that
//! few series have: a million series may have a million values of one tag, and their keys have the texts already.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash};
use std::num::NonZeroU32;

use hashbrown::HashTable;
use meridian_query::Matcher;
use meridian_types::{MapHasher, SeriesKey, SeriesNumber};
use roaring::RoaringBitmap;

/// Series that a value lists; of more it keeps a bitmap, which takes less only once they stand close together.
const LISTED_MAX: usize = if cfg!(test) { 3 } else { 64 };

/// A hash as tables keep it beside what it is of: a table that grows then reads no keys, for which whoever writes would wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ShortHash(u32);

impl ShortHash {
    pub(crate) fn of(hasher: MapHasher, hashed: &(impl Hash + ?Sized)) -> Self {
        Self(hasher.hash_one(hashed) as u32) // its lower half
    }

    /// As long as tables want it: they look at both of its ends.
    pub(crate) fn whole(self) -> u64 {
        u64::from(self.0) << 32 | u64::from(self.0)
    }
}

/// The index of one measurement.
#[derive(Debug)]
pub(crate) struct Postings {
    hasher: MapHasher,
    all: RoaringBitmap,
    tags: BTreeMap<Box<str>, Values>,
}

/// The values of one tag.
#[derive(Debug, Default)]
struct Values {
    table: HashTable<Value>,
    lists: Vec<List>,
}

/// One value of one tag.
#[derive(Debug)]
struct Value {
    hash: ShortHash,
    /// The first series that has it.
    first: u32,
    /// All that have it, as a place in `lists` from 1 on; none while that one is alone, as with a tag that names each series.
    list: Option<NonZeroU32>,
}

/// Series with the same value, by number.
#[derive(Debug)]
enum List {
    Few(Vec<u32>),
    Many(Box<Many>),
}

#[derive(Debug)]
struct Many {
    /// Most series that come have values that many have: to find these takes no key.
    text: Box<str>,
    numbers: RoaringBitmap,
}

/// The same, to be read.
#[derive(Clone, Copy)]
enum Numbers<'p> {
    Few(&'p [u32]),
    Many(&'p RoaringBitmap),
}

impl Postings {
    pub(crate) fn new(hasher: MapHasher) -> Self {
        Self { hasher, all: RoaringBitmap::new(), tags: BTreeMap::new() }
    }

    /// Takes in a series; `key_of` gives the keys of those that were taken in before. Returns how many bytes that takes, about.
    pub(crate) fn insert<'k>(
        &mut self,
        number: SeriesNumber,
        key: &SeriesKey,
        key_of: &impl Fn(SeriesNumber) -> &'k SeriesKey,
    ) -> usize {
        self.all.insert(number.0);
        let mut bytes = 0;
        for (tag, text) in key.tags() {
            let hash = ShortHash::of(self.hasher, text);
            let text_of = |first| key_of(SeriesNumber(first)).tag(tag);
            bytes += match self.tags.get_mut(tag) {
                Some(values) => values.insert((hash, text), number.0, text_of),
                None => self.tags.entry(tag.into()).or_default().insert((hash, text), number.0, text_of),
            };
        }
        bytes
    }

    /// All series, by number.
    pub(crate) fn series(&self) -> impl Iterator<Item = SeriesNumber> {
        self.all.iter().map(SeriesNumber)
    }

    /// The series that fulfil all of the matchers, by number.
    pub(crate) fn matching<'k>(
        &self,
        matchers: &[Matcher],
        key_of: &impl Fn(SeriesNumber) -> &'k SeriesKey,
    ) -> Vec<SeriesNumber> {
        let mut asked = self.asked(matchers, key_of);
        asked.sort_by_key(Asked::order);
        let mut found = Cow::Borrowed(&self.all);
        for one in asked {
            found = Cow::Owned(one.narrow(&found, key_of));
        }
        found.iter().map(SeriesNumber).collect()
    }

    /// Whether that looks at no more than so many texts, values and series.
    pub(crate) fn takes_at_most<'k>(
        &self,
        looks: usize,
        matchers: &[Matcher],
        key_of: &impl Fn(SeriesNumber) -> &'k SeriesKey,
    ) -> bool {
        let texts: usize = matchers.iter().filter_map(Matcher::texts).map(<[String]>::len).sum();
        if texts > looks {
            return false;
        }
        let asked = self.asked(matchers, key_of);
        let taken = asked.iter().filter(|one| !one.excludes && matches!(one.seek, Seek::Found(_)));
        let found = taken.map(Asked::size).min().unwrap_or(self.all.len());
        let tested = asked.iter().filter(|one| matches!(one.seek, Seek::Among(_))).map(|one| one.size().min(found));
        texts as u64 + found + tested.sum::<u64>() <= looks as u64
    }

    fn asked<'a, 'k>(
        &'a self,
        matchers: &'a [Matcher],
        key_of: &impl Fn(SeriesNumber) -> &'k SeriesKey,
    ) -> Vec<Asked<'a>> {
        let seek = |matcher: &'a Matcher| {
            let Some(values) = self.tags.get(matcher.tag()) else { return Seek::Found(Vec::new()) };
            match matcher.texts().filter(|texts| !texts.iter().any(String::is_empty)) {
                Some(texts) => {
                    let find = |text: &String| {
                        let text_of = |first| key_of(SeriesNumber(first)).tag(matcher.tag());
                        values.find(ShortHash::of(self.hasher, text.as_str()), text, text_of)
                    };
                    Seek::Found(texts.iter().filter_map(find).collect())
                }
                None => Seek::Among(values),
            }
        };
        let asked = matchers.iter().map(|matcher| {
            let excludes = matcher.matches_value("");
            Asked { matcher, excludes, seek: seek(matcher) }
        });
        asked.collect()
    }
}

/// What a matcher asks of its tag: the values with which a series is answered otherwise than without the tag.
struct Asked<'a> {
    matcher: &'a Matcher,
    /// Whether a series without the tag fulfils the matcher: those with the values do not then, and else those alone do.
    excludes: bool,
    seek: Seek<'a>,
}

enum Seek<'a> {
    /// The values are these.
    Found(Vec<Numbers<'a>>),
    /// They are some of these: each must be tested.
    Among(&'a Values),
}

impl Asked<'_> {
    fn size(&self) -> u64 {
        match &self.seek {
            Seek::Found(values) => values.iter().map(|numbers| numbers.len()).sum(),
            Seek::Among(values) => values.table.len() as u64,
        }
    }

    /// Where it stands among the matchers of a plan: what leaves the fewest series for the least work comes first.
    fn order(&self) -> (bool, bool, u64) {
        (self.excludes, matches!(self.seek, Seek::Among(_)), self.size())
    }

    /// Those of the series that fulfil it.
    fn narrow<'k>(&self, series: &RoaringBitmap, key_of: &impl Fn(SeriesNumber) -> &'k SeriesKey) -> RoaringBitmap {
        let sought = match &self.seek {
            Seek::Found(values) => common(series, values.iter().copied()),
            // No more series are left than there are values: they are tested themselves, in the order in which they lie in memory.
            Seek::Among(values) if series.len() <= values.table.len() as u64 => {
                return series.iter().filter(|n| self.matcher.matches(key_of(SeriesNumber(*n)))).collect();
            }
            Seek::Among(values) => {
                let text_of = |first| key_of(SeriesNumber(first)).tag(self.matcher.tag());
                let is_sought =
                    |value: &&Value| self.matcher.matches_value(value.text(&values.lists, text_of)) != self.excludes;
                common(series, values.table.iter().filter(is_sought).map(|value| value.numbers(&values.lists)))
            }
        };
        if self.excludes { series - &sought } else { sought }
    }
}

/// Those of the series that are in one of the sets, which come in any order.
fn common<'p>(series: &RoaringBitmap, sets: impl Iterator<Item = Numbers<'p>>) -> RoaringBitmap {
    let (mut few, mut common) = (Vec::new(), RoaringBitmap::new());
    for numbers in sets {
        match numbers {
            Numbers::Few(numbers) => few.extend(numbers.iter().copied().filter(|number| series.contains(*number))),
            Numbers::Many(numbers) => common |= series & numbers,
        }
    }
    few.sort_unstable();
    common.extend(few);
    common
}

impl Values {
    /// Takes in a series with this value; `text_of` reads the texts of those that came before. Returns how many bytes that takes,
    /// about.
    fn insert<'k>(
        &mut self,
        (hash, text): (ShortHash, &str),
        number: u32,
        text_of: impl Fn(u32) -> &'k str + Copy,
    ) -> usize {
        let Self { table, lists } = self;
        let is_it = |value: &Value| value.hash == hash && value.text(lists, text_of) == text;
        let Some(value) = table.find_mut(hash.whole(), is_it) else {
            let value = Value { hash, first: number, list: None };
            table.insert_unique(hash.whole(), value, |value| value.hash.whole());
            return 2 * size_of::<Value>(); // tables are half full, or a little more
        };
        match value.list {
            Some(place) => {
                lists[place.get() as usize - 1].push(number, text);
                size_of::<u32>()
            }
            None => {
                lists.push(List::Few(vec![value.first, number]));
                value.list = NonZeroU32::new(lists.len() as u32); // no more than series
                2 * size_of::<List>() // itself, and what it has allocated
            }
        }
    }

    fn find<'k>(&self, hash: ShortHash, text: &str, text_of: impl Fn(u32) -> &'k str + Copy) -> Option<Numbers<'_>> {
        let is_it = |value: &Value| value.hash == hash && value.text(&self.lists, text_of) == text;
        Some(self.table.find(hash.whole(), is_it)?.numbers(&self.lists))
    }
}

impl Value {
    fn text<'t, 'k: 't>(&self, lists: &'t [List], text_of: impl Fn(u32) -> &'k str) -> &'t str {
        match self.list(lists) {
            Some(List::Many(many)) => &many.text,
            _ => text_of(self.first),
        }
    }

    fn numbers<'p>(&'p self, lists: &'p [List]) -> Numbers<'p> {
        match self.list(lists) {
            None => Numbers::Few(std::slice::from_ref(&self.first)),
            Some(List::Few(numbers)) => Numbers::Few(numbers),
            Some(List::Many(many)) => Numbers::Many(&many.numbers),
        }
    }

    fn list<'p>(&self, lists: &'p [List]) -> Option<&'p List> {
        self.list.map(|place| &lists[place.get() as usize - 1])
    }
}

impl List {
    fn push(&mut self, number: u32, text: &str) {
        match self {
            Self::Few(numbers) if numbers.len() < LISTED_MAX => numbers.push(number),
            Self::Few(numbers) => {
                let numbers = numbers.iter().copied().chain([number]).collect();
                *self = Self::Many(Box::new(Many { text: text.into(), numbers }));
            }
            Self::Many(many) => {
                many.numbers.insert(number);
            }
        }
    }
}

impl Numbers<'_> {
    fn len(self) -> u64 {
        match self {
            Self::Few(numbers) => numbers.len() as u64,
            Self::Many(numbers) => numbers.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use meridian_query::MatchOp;
    use proptest::prelude::*;

    use super::*;

    /// Numbers and keys, and the index of them.
    struct Indexed {
        keys: BTreeMap<u32, SeriesKey>,
        postings: Postings,
    }

    impl Indexed {
        fn new(seed: u64, keys: BTreeMap<u32, SeriesKey>) -> Self {
            let mut postings = Postings::new(MapHasher::seeded(seed));
            for (number, key) in &keys {
                postings.insert(SeriesNumber(*number), key, &|n| &keys[&n.0]);
            }
            Self { keys, postings }
        }

        fn matching(&self, matchers: &[Matcher]) -> Vec<SeriesNumber> {
            self.postings.matching(matchers, &|n| &self.keys[&n.0])
        }

        fn takes_at_most(&self, looks: usize, matchers: &[Matcher]) -> bool {
            self.postings.takes_at_most(looks, matchers, &|n| &self.keys[&n.0])
        }

        /// Each key asked by itself.
        fn one_by_one(&self, matchers: &[Matcher]) -> Vec<SeriesNumber> {
            let matching = self.keys.iter().filter(|(_, key)| matchers.iter().all(|matcher| matcher.matches(key)));
            matching.map(|(number, _)| SeriesNumber(*number)).collect()
        }
    }

    fn matcher(tag: &str, op: MatchOp, value: &str) -> Matcher {
        Matcher::new(tag, op, value).expect("valid")
    }

    const TAGS: [&str; 4] = ["host", "region", "é", "z"];

    /// Few tags and values, so that they meet.
    fn keys() -> impl Strategy<Value = BTreeMap<u32, SeriesKey>> {
        let text = prop_oneof![6 => "[ab]{1,2}", 2 => "[aéß世]{1,2}", 1 => "[a-c]{3}"];
        let tags = proptest::collection::btree_map(proptest::sample::select(&TAGS[..3]), text, 0..4);
        let key = tags.prop_map(|tags| {
            let mut tags: Vec<(&str, &str)> = tags.iter().map(|(tag, text)| (*tag, text.as_str())).collect();
            SeriesKey::from_tags(&mut tags).expect("valid")
        });
        // Far apart now and then, as numbers of several measurements are.
        let number = prop_oneof![0_u32..40, 65_520_u32..65_560, u32::MAX - 20..u32::MAX];
        proptest::collection::btree_map(number, key, 0..50)
    }

    fn matchers() -> impl Strategy<Value = Vec<Matcher>> {
        let text = prop_oneof![Just(String::new()), "[ab]{1,2}", "[aéß世]{1,2}"];
        let list = proptest::collection::vec(text.clone(), 1..4).prop_map(|texts| texts.join("|"));
        let pattern = proptest::sample::select(vec![".*", ".+", "a.", "[^a]*", "(?i)A|ß", "..", ".?世?", "x.*"]);
        let one =
            (proptest::sample::select(&TAGS[..]), proptest::sample::select(&MatchOp::ALL[..]), text, list, pattern)
                .prop_flat_map(|(tag, op, text, list, pattern)| {
                    let value = match op {
                        MatchOp::Eq | MatchOp::NotEq => Just(text).boxed(),
                        MatchOp::Re | MatchOp::NotRe => prop_oneof![Just(list), Just(pattern.to_owned())].boxed(),
                    };
                    value.prop_map(move |value| matcher(tag, op, &value))
                });
        proptest::collection::vec(one, 0..4)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_024))]

        #[test]
        fn the_answer_is_that_of_each_key_by_itself(keys in keys(), asked in matchers(), seed: u64) {
            let indexed = Indexed::new(seed, keys);
            let matching = indexed.matching(&asked);
            prop_assert_eq!(&matching, &indexed.one_by_one(&asked));
            prop_assert!(matching.is_empty() || !indexed.takes_at_most(matching.len() - 1, &asked));
        }
    }

    #[test]
    fn one_host_of_many_is_found_without_a_look_at_the_others() {
        let key = |number: u32| {
            let host = format!("host_{number}");
            SeriesKey::from_tags(&mut [("host", &host), ("os", ["a", "b"][number as usize % 2])]).expect("valid")
        };
        let indexed = Indexed::new(1, (0..1_000).map(|number| (number, key(number))).collect());
        let looked_at = std::cell::RefCell::new(Vec::new());
        let key_of = |number: SeriesNumber| {
            looked_at.borrow_mut().push(number);
            &indexed.keys[&number.0]
        };
        let is_77 = || matcher("host", MatchOp::Eq, "host_77");
        for others in [vec![], vec![matcher("os", MatchOp::Re, "[bc]"), matcher("host", MatchOp::NotRe, "host_8.*")]] {
            let all: Vec<Matcher> = others.into_iter().chain([is_77()]).collect();
            assert_eq!(indexed.postings.matching(&all, &key_of), [SeriesNumber(77)]);
            assert!(looked_at.take().iter().all(|number| *number == SeriesNumber(77)));
        }
    }

    #[test]
    fn what_a_look_costs_is_known_before() {
        let key = |number: u32| {
            let host = format!("host_{number}");
            SeriesKey::from_tags(&mut [("host", &host), ("os", ["a", "b"][number as usize % 2])]).expect("valid")
        };
        let indexed = Indexed::new(1, (0..100).map(|number| (number, key(number))).collect());
        for (matchers, looks) in [
            (vec![], 100),
            (vec![matcher("host", MatchOp::Eq, "host_7")], 2),
            (vec![matcher("host", MatchOp::Eq, "nowhere")], 1),
            (vec![matcher("host", MatchOp::Re, "host_7|host_8|nowhere")], 5),
            (vec![matcher("host", MatchOp::Eq, "host_7"), matcher("host", MatchOp::Re, ".*7")], 3),
            (vec![matcher("os", MatchOp::Re, "[a]")], 102),
            (vec![matcher("os", MatchOp::Eq, "a"), matcher("host", MatchOp::NotRe, ".*7")], 101),
            (vec![matcher("os", MatchOp::NotEq, "a")], 101),
        ] {
            assert!(indexed.takes_at_most(looks, &matchers), "{matchers:?}");
            assert!(!indexed.takes_at_most(looks - 1, &matchers), "{matchers:?}");
        }
    }
}
