//! InfluxDB 2's predicate of a delete: `_measurement="cpu" AND host="a"`.
//!
//! - Conditions are `name=value`, joined by `AND` in any case; all must hold. None at all covers everything.
//! - `_measurement` names the measurement, every other name a tag. An empty value is a tag that is missing.
//! - Names and values stand in double or single quotes, where `\"`, `\'`, `\\` and `\n` are escapes; those of letters, digits
//!   and `_ . - :` may stand without.
//! - What else InfluxDB has words for (`!=`, patterns, `OR`, brackets, `_field`) is refused by name, and so is all that it
//!   does not have: nothing of a predicate is ever passed over, because less said would delete more.

use std::borrow::Cow;

use meridian_types::Code;

/// What a predicate says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Predicate {
    /// The measurement; all if there is none.
    pub measurement: Option<String>,
    /// Tags and the values that they must have.
    pub tags: Vec<(String, String)>,
}

/// Why a text is no predicate of a delete. Quotes at most the start of what a client sent. Bytes are counted from 1.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PredicateError {
    /// Nothing, or something else, where a condition should begin.
    #[error("a condition is missing at byte {0} of the predicate: write name=\"value\"")]
    NoCondition(usize),
    /// A name without a comparison.
    #[error("{0:?} has no condition: write name=\"value\"")]
    NoOperator(String),
    /// A comparison other than `=`.
    #[error(
        "the condition on {name:?} has {operator}: a delete takes = only; name what is to go, one delete for each value"
    )]
    Operator {
        /// Of which condition.
        name: String,
        /// As it stands there.
        operator: String,
    },
    /// A condition without its value.
    #[error("the condition on {0:?} has no value: write name=\"value\"")]
    NoValue(String),
    /// A text without its closing quote.
    #[error("the quote at byte {0} of the predicate is not closed: end it with the same, and write one inside as \\\"")]
    OpenQuote(usize),
    /// A backslash before something else.
    #[error(
        "the backslash at byte {0} of the predicate escapes nothing: write a backslash as \\\\ and a quote as \\\""
    )]
    Escape(usize),
    /// `OR`.
    #[error("OR at byte {0} of the predicate: conditions are joined by AND only; send a delete for each side")]
    Or(usize),
    /// Brackets.
    #[error("the bracket at byte {0} of the predicate: leave brackets out; all conditions must hold anyway")]
    Bracket(usize),
    /// Something else behind a condition.
    #[error("{text:?} follows a condition at byte {at} of the predicate: join conditions with AND")]
    NotJoined {
        /// Where.
        at: usize,
        /// How it begins.
        text: String,
    },
    /// `_field` and others that are no tags.
    #[error("{0} is not taken: a delete covers rows with all of their fields, and start and stop give its time")]
    NoTag(String),
    /// `_measurement` given twice.
    #[error("_measurement is given twice, and no row has two: send a delete for each")]
    TwoMeasurements,
}

impl PredicateError {
    /// The public code of this refusal.
    pub fn code(&self) -> Code {
        Code::BadRequest
    }
}

/// Names that InfluxDB gives to what is no tag.
const NO_TAGS: [&str; 3] = ["_field", "_time", "_value"];
const MEASUREMENT: &str = "_measurement";

/// Reads a predicate. Time is linear in the text, whatever is in it.
pub fn parse(text: &str) -> Result<Predicate, PredicateError> {
    let mut scanner = Scanner { text, at: 0 };
    let mut predicate = Predicate::default();
    if scanner.at_end() {
        return Ok(predicate);
    }
    loop {
        let (name, value) = scanner.condition()?;
        if NO_TAGS.contains(&&*name) {
            return Err(PredicateError::NoTag(name.into_owned()));
        } else if name != MEASUREMENT {
            predicate.tags.push((name.into_owned(), value.into_owned()));
        } else if predicate.measurement.replace(value.into_owned()).is_some() {
            return Err(PredicateError::TwoMeasurements);
        }
        if scanner.at_end() {
            return Ok(predicate);
        }
        scanner.and()?;
    }
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Skips blanks; whether nothing follows.
    fn at_end(&mut self) -> bool {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches(is_blank).len();
        self.rest().is_empty()
    }

    /// Takes `name = value`.
    fn condition(&mut self) -> Result<(Cow<'a, str>, Cow<'a, str>), PredicateError> {
        self.at_end();
        let begin = self.at;
        self.refuse_bracket()?;
        let is_quoted = self.is_quoted();
        let name = self.word()?.ok_or(PredicateError::NoCondition(begin + 1))?;
        if !is_quoted && (is_and(&name) || is_or(&name)) {
            return Err(PredicateError::NoCondition(begin + 1));
        }
        self.at_end();
        let rest = self.rest();
        let operator = &rest[..rest.find(|c| !"=!~<>".contains(c)).unwrap_or(rest.len())];
        match operator {
            "" => return Err(PredicateError::NoOperator(clip(&name))),
            "=" => self.at += 1,
            _ => return Err(PredicateError::Operator { name: clip(&name), operator: clip(operator) }),
        }
        self.at_end();
        let is_quoted = self.is_quoted();
        let value = self.word()?.filter(|word| is_quoted || !(is_and(word) || is_or(word)));
        let value = value.ok_or_else(|| PredicateError::NoValue(clip(&name)))?;
        Ok((name, value))
    }

    /// Takes `AND`.
    fn and(&mut self) -> Result<(), PredicateError> {
        let begin = self.at;
        self.refuse_bracket()?;
        let word = if self.is_quoted() { None } else { self.word()? };
        match word {
            Some(word) if is_and(&word) => Ok(()),
            Some(word) if is_or(&word) => Err(PredicateError::Or(begin + 1)),
            _ => Err(PredicateError::NotJoined { at: begin + 1, text: clip(&self.text[begin..]) }),
        }
    }

    fn is_quoted(&self) -> bool {
        self.rest().starts_with(['"', '\''])
    }

    fn refuse_bracket(&self) -> Result<(), PredicateError> {
        if self.rest().starts_with(['(', ')']) { Err(PredicateError::Bracket(self.at + 1)) } else { Ok(()) }
    }

    /// Takes a text in quotes, or one that needs none; nothing if neither is there.
    fn word(&mut self) -> Result<Option<Cow<'a, str>>, PredicateError> {
        let rest = self.rest();
        if let Some(quote) = rest.chars().next().filter(|c| matches!(c, '"' | '\'')) {
            return self.quoted(quote).map(Some);
        }
        let end = rest.find(|c: char| !(c.is_alphanumeric() || "_.-:".contains(c))).unwrap_or(rest.len());
        self.at += end;
        Ok((end > 0).then(|| Cow::Borrowed(&rest[..end])))
    }

    fn quoted(&mut self, quote: char) -> Result<Cow<'a, str>, PredicateError> {
        let begin = self.at;
        self.at += 1;
        let mut word = Cow::Borrowed("");
        loop {
            let rest = self.rest();
            let end = rest.find([quote, '\\']).ok_or(PredicateError::OpenQuote(begin + 1))?;
            word += &rest[..end];
            self.at += end + 1;
            if rest[end..].starts_with(quote) {
                return Ok(word);
            }
            let escaped = match rest[end + 1..].chars().next() {
                Some('n') => "\n",
                Some('"') => "\"",
                Some('\'') => "'",
                Some('\\') => "\\",
                _ => return Err(PredicateError::Escape(self.at)),
            };
            word += escaped;
            self.at += 1;
        }
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

fn is_and(word: &str) -> bool {
    word.eq_ignore_ascii_case("and")
}

fn is_or(word: &str) -> bool {
    word.eq_ignore_ascii_case("or")
}

/// The start of a text, short enough for a message.
fn clip(text: &str) -> String {
    match text.char_indices().nth(64) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verdict(text: &str) -> String {
        match parse(text) {
            Err(error) => format!("{}: {error}", error.code()),
            Ok(Predicate { measurement, tags }) => {
                let tags: String = tags.iter().map(|(name, value)| format!(" {name:?}={value:?}")).collect();
                measurement.map_or("all".into(), |name| format!("{name:?}")) + &tags
            }
        }
    }

    /// Each case of the file: a predicate behind `> `, and below it what it says or why it is refused.
    #[test]
    fn golden() {
        let expected = include_str!("../testdata/delete_predicate.txt");
        let head = expected.lines().take_while(|line| line.starts_with('#'));
        let cases = expected.lines().filter_map(|line| line.strip_prefix('>'));
        let case = |text: &str| format!("\n>{text}\n{}\n", verdict(text.trim_start_matches(' ')));
        let found: String = head.map(|line| format!("{line}\n")).chain(cases.map(case)).collect();
        assert_eq!(found, expected, "found instead:\n{found}");
    }

    #[test]
    fn blanks_of_all_kinds_and_long_texts() {
        assert_eq!(verdict("\t\r\n a\n=\tb \r\n"), r#"all "a"="b""#);
        let long = format!("\"{}\"", "ü".repeat(10_000));
        assert!(parse(&format!("a={long}")).is_ok());
        for bad in [format!("{long} b"), format!("a=b {long}"), format!("{long}>1"), format!("a{}1", "!".repeat(9_000))]
        {
            let error = parse(&bad).expect_err("refused").to_string();
            assert!(error.len() < 400, "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_predicate_or_an_error(text in r#"(?s)([a"'\\=()! ]|AND|or|.){0,40}"#) {
            drop(parse(&text));
        }

        #[test]
        fn what_is_quoted_is_read_back(name in any::<String>(), value in any::<String>(), single: bool) {
            prop_assume!(name != MEASUREMENT && !NO_TAGS.contains(&&*name));
            let quote = if single { '\'' } else { '"' };
            let quoted = |text: &str| {
                let text = text.replace('\\', "\\\\").replace(quote, &format!("\\{quote}"));
                format!("{quote}{text}{quote}")
            };
            let text = format!("_measurement={} AND {}={}", quoted(&value), quoted(&name), quoted(&value));
            let expected = Predicate { measurement: Some(value.clone()), tags: vec![(name, value)] };
            prop_assert_eq!(parse(&text), Ok(expected));
        }
    }
}
