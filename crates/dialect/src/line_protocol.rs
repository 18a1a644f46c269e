//! InfluxDB line protocol: `measurement[,tag=value...] field=value[,field=value...] [timestamp]`.
//!
//! The rules are InfluxDB 2.x's as documented, and stricter where it is silent. `testdata/line_protocol.txt` pins them case
//! by case.
//!
//! Lines
//! - A line ends at a newline outside of a string. One `\r` before it is dropped, and so are spaces and tabs at both ends.
//!   Blank lines and lines that start with `#` are skipped, and so is a BOM at the very start of the body.
//! - A line is valid UTF-8 of at most `LINE_BYTES_MAX`. What is wrong with one line is told once and harms no other line.
//! - A string value may contain newlines; the number of such a line is that of its first one. A quote closes a string across
//!   a newline only if `,`, a timestamp or the end of the line follows it. A string that nothing closes is refused and ends,
//!   with its line, at its first newline, so that one forgotten quote does not swallow the good lines behind it. A line that
//!   is refused for another reason is skipped to its true end: text inside a closed string is never taken for lines.
//!
//! Names
//! - Sections are separated by one or more spaces. A backslash escapes `,` and space in a measurement, and `,`, `=` and
//!   space in tags and field names; before any other byte it stands for itself. A name that ends in a backslash can not be
//!   written.
//! - Names and tag values are not empty and have no NUL. Tags come in any order; a tag or field given twice is refused.
//!
//! Values
//! - `1`, `1.`, `.5`, `-1.5e3` float; `1i` integer; `1u` unsigned; `t T true True TRUE f F false False FALSE` boolean;
//!   `"text"` string, where `\"` is a quote and `\\` a backslash. NaN, infinities and what is over the type's range are
//!   refused; a float too small for its type becomes zero. There is no `+1`, no hexadecimal and no digit separator.
//! - A timestamp is a whole number in the request's precision, from 1678-01-01 to 2262-01-01.

mod error;
mod parse;
mod split;
mod value;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use meridian_types::{SeriesKey, Timestamp, ValueRef, limits};

pub use error::{BadLine, LineError, ValueError};

/// Unit of the timestamps of one request.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 1 ns, where nothing else is said.
    Nanos,
    /// 1,000 ns.
    Micros,
    /// 1,000,000 ns.
    Millis,
    /// 10^9 ns.
    Seconds,
    /// 60 * 10^9 ns.
    Minutes,
    /// 3,600 * 10^9 ns.
    Hours,
}

impl Precision {
    /// Reads `precision=` of `/api/v2/write`: `ns us ms s`.
    pub fn from_v2(text: &str) -> Option<Self> {
        match text {
            "ns" => Some(Self::Nanos),
            "us" => Some(Self::Micros),
            "ms" => Some(Self::Millis),
            "s" => Some(Self::Seconds),
            _ => None,
        }
    }

    /// Reads `precision=` of `/write`: `n u ms s m h`, and `ns us`, which clients of both send.
    pub fn from_v1(text: &str) -> Option<Self> {
        match text {
            "n" => Some(Self::Nanos),
            "u" => Some(Self::Micros),
            "m" => Some(Self::Minutes),
            "h" => Some(Self::Hours),
            _ => Self::from_v2(text),
        }
    }

    /// Nanoseconds of one unit.
    fn nanos(self) -> i64 {
        match self {
            Self::Nanos => 1,
            Self::Micros => 1_000,
            Self::Millis => 1_000_000,
            Self::Seconds => 1_000_000_000,
            Self::Minutes => 60_000_000_000,
            Self::Hours => 3_600_000_000_000,
        }
    }
}

impl std::fmt::Display for Precision {
    /// `ns`, `us`, `ms`, `s`, `m` or `h`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nanos => "ns",
            Self::Micros => "us",
            Self::Millis => "ms",
            Self::Seconds => "s",
            Self::Minutes => "m",
            Self::Hours => "h",
        })
    }
}

/// One good line, borrowing from the body where no escape forced a copy.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    /// Where it begins: lines of the body are counted from 1.
    pub number: usize,
    /// Its measurement: 1 to `NAME_BYTES_MAX` bytes without NUL.
    pub measurement: Cow<'a, str>,
    /// Its tags.
    pub key: SeriesKey,
    /// Its time, or `None` where the line has none.
    pub time: Option<Timestamp>,
    /// 1 to `FIELDS_MAX` fields in the order of the line, each name once.
    pub fields: Vec<(Cow<'a, str>, FieldValue<'a>)>,
}

/// One value of a line.
#[derive(Clone, Debug)]
pub enum FieldValue<'a> {
    /// IEEE 754 double, always finite.
    F64(f64),
    /// Signed integer.
    I64(i64),
    /// Unsigned integer.
    U64(u64),
    /// Truth value.
    Bool(bool),
    /// UTF-8 text of at most `STRING_VALUE_BYTES_MAX` bytes; NUL is allowed.
    Str(Cow<'a, str>),
}

impl FieldValue<'_> {
    /// A borrowed form.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::F64(v) => ValueRef::F64(*v),
            Self::I64(v) => ValueRef::I64(*v),
            Self::U64(v) => ValueRef::U64(*v),
            Self::Bool(v) => ValueRef::Bool(*v),
            Self::Str(v) => ValueRef::Str(v),
        }
    }
}

/// Reads a body line by line: each line that is neither blank nor a comment gets exactly one verdict, in the body's order.
/// Time is linear in the body, whatever is in it.
pub fn lines(body: &[u8], precision: Precision) -> Lines<'_> {
    let rest = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    Lines { rest, number: 1, parser: parse::Parser::new(precision) }
}

/// The lines of one body; see [`lines`].
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    rest: &'a [u8],
    number: usize,
    parser: parse::Parser<'a>,
}

impl<'a> Iterator for Lines<'a> {
    type Item = Result<Line<'a>, BadLine>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let (line, newlines, rest) = split::first_line(self.rest);
            let number = self.number;
            self.rest = rest;
            self.number += newlines;
            let text = split::without_blanks(line);
            if text.is_empty() || text[0] == b'#' {
                continue;
            }
            return Some(self.parse(number, line.len(), text).map_err(|reason| BadLine { number, reason }));
        }
        None
    }
}

impl<'a> Lines<'a> {
    fn parse(&mut self, number: usize, bytes: usize, text: &'a [u8]) -> Result<Line<'a>, LineError> {
        if bytes > limits::LINE_BYTES_MAX {
            return Err(LineError::TooLong(bytes));
        }
        let text = std::str::from_utf8(text).map_err(|e| LineError::NotUtf8(e.valid_up_to() + 1))?;
        self.parser.line(number, text)
    }
}

const _: () =
    assert!(limits::LINE_BYTES_MAX - " f=1".len() <= limits::NAME_BYTES_MAX, "a name in a line is in its limit");
const _: () = assert!(limits::LINE_BYTES_MAX <= limits::STRING_VALUE_BYTES_MAX, "a string in a line is in its limit");
