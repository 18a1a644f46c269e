//! Conditions on tags. A pattern is compiled under limits, and must never cost more than its size and the tag's allow.

use meridian_types::{SeriesKey, limits, name_is_valid};
use regex::{Regex, RegexBuilder};

use crate::PlanError;

/// A pattern as users write it, in bytes.
const PATTERN_BYTES_MAX: usize = limits::TAG_VALUE_BYTES_MAX;
/// A compiled pattern, and the cache that one match of it may fill, in bytes each.
const PATTERN_COMPILED_BYTES_MAX: usize = 1 << 20;

/// How a tag is compared. Numbers are sent: never renumber.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum MatchOp {
    /// `=`: the same text.
    Eq = 1,
    /// `!=`: another text.
    NotEq = 2,
    /// `=~`: the whole text matches the pattern.
    Re = 3,
    /// `!~`: the whole text does not match the pattern.
    NotRe = 4,
}

impl MatchOp {
    /// All comparisons in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Eq, Self::NotEq, Self::Re, Self::NotRe];

    /// The sign users write.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Eq => "=",
            Self::NotEq => "!=",
            Self::Re => "=~",
            Self::NotRe => "!~",
        }
    }

    pub(crate) fn from_stored(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|op| *op as u8 == number)
    }
}

impl std::fmt::Display for MatchOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.sign())
    }
}

/// One condition on one tag; a series without the tag has the empty string there.
#[derive(Clone, Debug)]
pub struct Matcher {
    tag: String,
    op: MatchOp,
    value: String,
    test: Test,
}

/// What a value of the tag is held against.
#[derive(Clone, Debug)]
enum Test {
    /// The text itself.
    Same,
    /// Each of some texts, in order: what most patterns list, and what takes no compiling.
    OneOf(Vec<String>),
    Pattern(Regex),
}

impl Matcher {
    /// A condition. Patterns match the whole value, as if written between `^` and `$`. Refuses an invalid tag name, and
    /// a pattern that is malformed, longer than 4 KiB or larger than 1 MiB once compiled.
    pub fn new(tag: impl Into<String>, op: MatchOp, value: impl Into<String>) -> Result<Self, PlanError> {
        let (tag, value) = (tag.into(), value.into());
        if !name_is_valid(&tag) {
            return Err(PlanError::BadName { what: "tags", name: tag });
        }
        let test = match op {
            MatchOp::Eq | MatchOp::NotEq => Test::Same,
            MatchOp::Re | MatchOp::NotRe => Test::of(&tag, &value)?,
        };
        Ok(Self { tag, op, value, test })
    }

    /// Whether it takes long to make one of these, because a pattern must be compiled.
    pub fn is_compiled(op: MatchOp, value: &str) -> bool {
        matches!(op, MatchOp::Re | MatchOp::NotRe) && !is_list(value)
    }

    /// The tag's name.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// How it is compared.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// The text or the pattern it is compared with, as given.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The texts that it lists, if it is more than a pattern: with one of them it holds, or, where it is negated, it does not, and
    /// with every other text it is the other way round.
    pub fn texts(&self) -> Option<&[String]> {
        match &self.test {
            Test::Same => Some(std::slice::from_ref(&self.value)),
            Test::OneOf(texts) => Some(texts),
            Test::Pattern(_) => None,
        }
    }

    /// Whether the series fulfils the condition.
    pub fn matches(&self, key: &SeriesKey) -> bool {
        self.matches_value(key.tag(&self.tag))
    }

    /// Whether a series with this value of the tag fulfils the condition; a missing tag is the empty string.
    pub fn matches_value(&self, value: &str) -> bool {
        let holds = match &self.test {
            Test::Same => self.value == value,
            Test::OneOf(texts) => texts.binary_search_by(|text| text.as_str().cmp(value)).is_ok(),
            Test::Pattern(regex) => regex.is_match(value),
        };
        holds == matches!(self.op, MatchOp::Eq | MatchOp::Re)
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.tag, self.op, &self.value) == (&other.tag, other.op, &other.value)
    }
}

impl Eq for Matcher {}

impl Test {
    fn of(tag: &str, pattern: &str) -> Result<Self, PlanError> {
        if pattern.len() > PATTERN_BYTES_MAX {
            let (tag, bytes) = (tag.to_owned(), pattern.len());
            return Err(PlanError::PatternTooLong { tag, bytes, limit: PATTERN_BYTES_MAX });
        }
        if !is_list(pattern) {
            return compile(tag, pattern).map(Self::Pattern);
        }
        let mut texts: Vec<String> = pattern.split('|').map(str::to_owned).collect();
        texts.sort_unstable();
        Ok(Self::OneOf(texts))
    }
}

/// Whether a pattern does no more than list texts: it has no character with a meaning but `|`.
fn is_list(pattern: &str) -> bool {
    !pattern.contains(['\\', '.', '+', '*', '?', '(', ')', '[', ']', '{', '}', '^', '$'])
}

fn compile(tag: &str, pattern: &str) -> Result<Regex, PlanError> {
    let build = |text: &str| {
        RegexBuilder::new(text)
            .size_limit(PATTERN_COMPILED_BYTES_MAX)
            .dfa_size_limit(PATTERN_COMPILED_BYTES_MAX)
            .build()
            .map_err(|reason| PlanError::BadPattern { tag: tag.to_owned(), reason: Box::new(reason) })
    };
    // Alone first: `a)(b` is no pattern, though it becomes one between our own parentheses.
    build(pattern)?;
    build(&format!(r"\A(?:{pattern})\z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(tags: &mut [(&str, &str)]) -> SeriesKey {
        SeriesKey::from_tags(tags).expect("valid")
    }

    #[test]
    fn every_comparison_with_a_tag_and_without() {
        let (a, none) = (key(&mut [("host", "web-a")]), key(&mut []));
        for (op, value, with, without) in [
            (MatchOp::Eq, "web-a", true, false),
            (MatchOp::Eq, "", false, true),
            (MatchOp::NotEq, "web-a", false, true),
            (MatchOp::NotEq, "", true, false),
            (MatchOp::Re, "web-.", true, false),
            (MatchOp::Re, "web|x", false, false),
            (MatchOp::Re, "(?m)a$|^web-a", true, false),
            (MatchOp::Re, ".*", true, true),
            (MatchOp::NotRe, "eb", true, true),
            (MatchOp::NotRe, "web-a|", false, false),
            (MatchOp::Re, "x|web-a|web-a", true, false),
            (MatchOp::Re, "web-a|x.*", true, false),
            (MatchOp::Re, "|", false, true),
        ] {
            let matcher = Matcher::new("host", op, value).expect("valid");
            assert_eq!((matcher.matches(&a), matcher.matches(&none)), (with, without), "host{op}{value:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_list_is_what_it_would_be_compiled_to(pattern in "[a-c|#&~ -]{0,8}", value in "[a-c#&~ -]{0,3}") {
            proptest::prop_assert!(is_list(&pattern));
            let (list, regex) = (Matcher::new("host", MatchOp::Re, &*pattern), compile("host", &pattern));
            let (list, regex) = (list.expect("valid"), regex.expect("valid"));
            proptest::prop_assert_eq!(list.matches_value(&value), regex.is_match(&value));
        }
    }

    #[test]
    fn patterns_are_whole_and_bounded() {
        for bad in ["(", "a)(b", "[z-a]", "(?x)a # open", r"(\w{1000}){1000}"] {
            let error = Matcher::new("host", MatchOp::Re, bad).expect_err(bad);
            assert_eq!(error.code(), meridian_types::Code::BadQuery, "{error}");
        }
        let error = Matcher::new("host", MatchOp::Re, "a".repeat(PATTERN_BYTES_MAX + 1)).expect_err("too long");
        assert_eq!(error.code(), meridian_types::Code::OverLimit, "{error}");
        // Exponential in a backtracking engine.
        let slow = Matcher::new("host", MatchOp::Re, "(a*)*b").expect("valid");
        assert!(!slow.matches_value(&"a".repeat(4 << 10)));
        assert!(Matcher::new("", MatchOp::Eq, "a").is_err());
    }
}
