//! What statements are made of besides fixed words: names, numbers, times and lists. What is shown reads back as
//! the same.

use std::time::Duration;

use super::words::Words;

/// Ten years: the time of every row is one that a database can hold.
const SPAN_MS_MAX: i64 = 3_650 * 86_400_000;
const NANOS_A_MS: i64 = 1_000_000;
const UNITS: [(&str, i64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
/// What nothing can be called, because it means something where a name may stand.
const RESERVED: [&str; 9] = ["a", "all", "count", "every", "everything", "metric", "sum", "that", "the"];

/// A part of a statement.
pub(super) trait Piece: Sized {
    /// What stands for it in the forms of statements.
    const NAME: &str;

    /// How it can be written.
    fn forms() -> Vec<String> {
        vec![Self::NAME.to_owned()]
    }

    /// Takes it, or nothing.
    fn read(words: &mut Words<'_>) -> Option<Self>;

    /// As it is read.
    fn show(&self) -> String;
}

/// A piece that is one word: what stands for it, what a mistake calls it, what the word means, how it is shown.
macro_rules! one_word {
    ($($(#[$doc:meta])* $type:ident($inner:ty): $name:literal, $expected:literal, $read:expr, $show:expr;)+) => { $(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub(crate) struct $type(pub(crate) $inner);

        impl Piece for $type {
            const NAME: &str = $name;

            fn read(words: &mut Words<'_>) -> Option<Self> {
                words.take($expected, $read).map(Self)
            }

            fn show(&self) -> String {
                let show: fn(&$inner) -> String = $show;
                show(&self.0)
            }
        }
    )+ };
}

one_word! {
    Measurement(String): "MEASUREMENT", "a measurement", name, String::clone;
    /// What a request, a writer or a metric is called.
    Name(String): "NAME", "a name", name, String::clone;
    Tag((String, String)): "TAG=VALUE", "a tag", tag, |(key, value)| format!("{key}={value}");
    /// What is written.
    Value(i64): "value=N", "a value such as value=1", |word| integer(word.strip_prefix("value=")?),
        |n| format!("value={n}");
    /// What is read.
    Number(i64): "N", "a number", integer, i64::to_string;
    Count(u64): "N", "a number", digits, u64::to_string;
    /// How many rows one request has.
    Rows(u32): "N", "a number from 1 to 5000",
        |word| digits(word)?.try_into().ok().filter(|rows| (1..=5_000).contains(rows)), u32::to_string;
    /// The number of `E0019`.
    RefusalCode(u16): "CODE", "a code such as E0019",
        |word| word.strip_prefix('E').filter(|n| n.len() == 4 && n.bytes().all(|b| b.is_ascii_digit()))?.parse().ok(),
        |code| format!("E{code:04}");
    Span(Duration): "SPAN", "a span such as 500ms or 2s",
        |word| span_ms(word).filter(|ms| *ms > 0).map(|ms| Duration::from_millis(ms.unsigned_abs())),
        |span| shown_ms(i64::try_from(span.as_millis()).unwrap_or(i64::MAX));
    /// The time of a row, in nanoseconds from the moment at which the story begins.
    DataTime(i64): "TIME", "a time such as 10s or -1h", time_nanos, |nanos| shown_ms(nanos / NANOS_A_MS);
}

/// Something that cannot be taken for a host, a shard or a number.
fn name(word: &str) -> Option<String> {
    let plain = word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let stem = word.trim_end_matches(|c: char| c.is_ascii_digit());
    let is_taken = RESERVED.contains(&word) || (stem != word && ["n", "r", "s"].contains(&stem));
    (plain && !is_taken && stem.starts_with(|c: char| c.is_ascii_lowercase())).then(|| word.to_owned())
}

fn tag(word: &str) -> Option<(String, String)> {
    let (key, value) = word.split_once('=').filter(|(key, value)| *key != "value" && !value.is_empty())?;
    let plain = value.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    name(key).filter(|_| plain).map(|key| (key, value.to_owned()))
}

fn integer(word: &str) -> Option<i64> {
    digits(word.strip_prefix('-').unwrap_or(word)).filter(|_| word != "-0").and(word.parse().ok())
}

/// A number as it is written, without zeros in front.
fn digits(word: &str) -> Option<u64> {
    let plain = word.bytes().all(|b| b.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    if plain { word.parse().ok() } else { None }
}

fn time_nanos(word: &str) -> Option<i64> {
    let ms = span_ms(word.strip_prefix('-').unwrap_or(word))?;
    Some(if word.starts_with('-') { -ms } else { ms } * NANOS_A_MS)
}

fn span_ms(word: &str) -> Option<i64> {
    let (number, unit) = word.split_at(word.find(|c: char| !c.is_ascii_digit())?);
    let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit)?;
    integer(number)?.checked_mul(*unit_ms).filter(|ms| *ms <= SPAN_MS_MAX)
}

/// In the largest unit of which it is a whole number.
fn shown_ms(ms: i64) -> String {
    let (unit, unit_ms) = UNITS.iter().find(|(_, unit_ms)| ms != 0 && ms % unit_ms == 0).unwrap_or(&("s", 1_000));
    format!("{}{unit}", ms / unit_ms)
}

/// The number of a node (`n`), a shard (`s`) or a router (`r`) that the cluster has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Numbered<const LETTER: char>(pub(crate) u32);

impl<const LETTER: char> Piece for Numbered<LETTER> {
    const NAME: &str = match LETTER {
        'n' => "n1",
        's' => "s1",
        _ => "r1",
    };

    fn read(words: &mut Words<'_>) -> Option<Self> {
        let Cluster { nodes, shards, routers } = words.cluster;
        let most = match LETTER {
            'n' => nodes,
            's' => shards,
            _ => routers,
        };
        let expected = if most == 1 { format!("{LETTER}1") } else { format!("{LETTER}1 to {LETTER}{most}") };
        let number = |word: &str| digits(word.strip_prefix(LETTER)?)?.try_into().ok();
        words.take(&expected, |word| number(word).filter(|number| (1..=most).contains(number)).map(Self))
    }

    fn show(&self) -> String {
        format!("{LETTER}{}", self.0)
    }
}

/// What is formed before the first step: every shard has a leader then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cluster {
    pub(crate) nodes: u32,
    pub(crate) shards: u32,
    pub(crate) routers: u32,
}

impl Piece for Cluster {
    const NAME: &str = "cluster of N nodes, N shards, N routers";

    fn read(words: &mut Words<'_>) -> Option<Self> {
        let counts: Vec<u32> = words.line.split_whitespace().filter_map(|word| digits(word)?.try_into().ok()).collect();
        words.phrase("cluster of")?;
        match counts[..] {
            [nodes @ 1..=9, shards @ 1..=64, routers @ 1..=9] => {
                let cluster = Self { nodes, shards, routers };
                words.phrase(&cluster.show()["cluster of ".len()..]).map(|()| cluster)
            }
            _ => words.take("1 to 9 nodes, 1 to 64 shards and 1 to 9 routers", |_| None),
        }
    }

    fn show(&self) -> String {
        let of = |count: u32, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
        let [nodes, shards] = [of(self.nodes, "node"), of(self.shards, "shard")];
        format!("cluster of {nodes}, {shards}, {}", of(self.routers, "router"))
    }
}

/// Pieces, each once and at least so many. Between them stands `or`, or nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct List<T, const MIN: usize, const OR: bool>(pub(crate) Vec<T>);

/// One of what is listed.
pub(crate) type OneOf<T> = List<T, 1, true>;

impl<T: Piece + PartialEq, const MIN: usize, const OR: bool> Piece for List<T, MIN, OR> {
    const NAME: &str = T::NAME;

    fn read(words: &mut Words<'_>) -> Option<Self> {
        let mut all = Vec::new();
        while all.is_empty() || !OR || words.phrase("or").is_some() {
            match T::read(words) {
                Some(next) if all.contains(&next) => return words.refuse("one that is not there yet"),
                Some(next) => all.push(next),
                None if OR => return None,
                None => break,
            }
        }
        (all.len() >= MIN).then_some(Self(all))
    }

    fn show(&self) -> String {
        self.0.iter().map(T::show).collect::<Vec<_>>().join(if OR { " or " } else { " " })
    }
}

/// Pieces behind one another, without those that are empty.
pub(super) fn joined(pieces: &[String]) -> String {
    pieces.iter().filter(|piece| !piece.is_empty()).map(String::as_str).collect::<Vec<_>>().join(" ")
}
