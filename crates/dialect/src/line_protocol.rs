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

mod careful;
mod error;
mod head;
mod names;
mod number;
mod quick;
mod split;
mod value;

#[cfg(test)]
mod tests;

use memchr::memrchr;
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

/// One good line. It lives until the next one is read.
#[derive(Clone, Debug)]
pub struct Line<'a, S> {
    /// Where it begins: lines of the body are counted from 1.
    pub number: usize,
    /// What stands for its measurement and tags, from [`Heads`].
    pub series: S,
    /// Its time, or `None` where the line has none.
    pub time: Option<Timestamp>,
    /// 1 to `FIELDS_MAX` fields in the order of the line, each name once: 1 to `NAME_BYTES_MAX` bytes without NUL. Floats are
    /// finite; strings have at most `STRING_VALUE_BYTES_MAX` bytes, NUL is allowed in them.
    pub fields: &'a [(&'a str, ValueRef<'a>)],
    /// Lines of one body with the same shape name the same fields, in the same order and of the same types; 0 where nobody
    /// looked.
    pub shape: u64,
}

/// What stands behind the head of a good line.
#[derive(Debug)]
struct Rest<'a> {
    fields: &'a [(&'a str, ValueRef<'a>)],
    time: Option<Timestamp>,
    shape: u64,
}

impl<'a> Rest<'a> {
    fn line<S>(self, number: usize, series: S) -> Line<'a, S> {
        let Self { fields, time, shape } = self;
        Line { number, series, time, fields, shape }
    }
}

/// What the reader of a body remembers of heads. A head is a line's raw text before its fields: measurement and tags, escapes
/// and all, as written. Equal heads always mean the same series; one series may be written as many heads.
pub trait Heads {
    /// What stands for a measurement and tags.
    type Series;

    /// What stands for this head, if it was learned before. Such a head is not parsed again.
    fn known(&mut self, head: &str) -> Option<Self::Series>;

    /// What stands for a head from now on that was not known: what it says is checked, and the rest of its line is good. The
    /// measurement has 1 to `NAME_BYTES_MAX` bytes without NUL.
    fn learn(&mut self, head: &str, measurement: &str, key: SeriesKey) -> Self::Series;
}

/// Remembers nothing: parses the head of each line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forgetful;

/// What a head says, in full.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Series {
    /// 1 to `NAME_BYTES_MAX` bytes without NUL.
    pub measurement: String,
    /// Its tags.
    pub key: SeriesKey,
}

impl Heads for Forgetful {
    type Series = Series;

    fn known(&mut self, _head: &str) -> Option<Series> {
        None
    }

    fn learn(&mut self, _head: &str, measurement: &str, key: SeriesKey) -> Series {
        Series { measurement: measurement.to_owned(), key }
    }
}

/// What a head says. Never an error for one that [`Heads::learn`] was given.
pub fn series(head: &str) -> Result<Series, LineError> {
    let (measurement, key) = head::parse(head)?;
    Ok(Series { measurement: measurement.into_owned(), key })
}

/// Reads a body line by line: each line that is neither blank nor a comment gets exactly one verdict, in the body's order.
/// An error of `sink` ends the reading. Time is linear in the body, whatever is in it.
pub fn read<H: Heads, E>(
    body: &[u8],
    precision: Precision,
    heads: &mut H,
    mut sink: impl FnMut(Result<Line<'_, H::Series>, BadLine>) -> Result<(), E>,
) -> Result<(), E> {
    let mut rest = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut text = whole_lines(rest);
    let mut quick = quick::Quick::new(precision);
    let mut number = 1;
    while !rest.is_empty() {
        let (bytes, newlines) = if let Some(line) = quick.line(text) {
            let quick::Plain { head, rest, bytes } = line;
            tell(number, head, Ok(rest), heads, &mut sink)?;
            (bytes, 1)
        } else {
            let (line, newlines, behind) = split::first_line(rest);
            read_carefully(number, line, precision, heads, &mut sink)?;
            (rest.len() - behind.len(), newlines)
        };
        number += newlines;
        rest = &rest[bytes..];
        text = if bytes < text.len() { &text[bytes..] } else { whole_lines(rest) };
    }
    Ok(())
}

/// Reads one line, cut from the body, of any kind.
fn read_carefully<H: Heads, E>(
    number: usize,
    line: &[u8],
    precision: Precision,
    heads: &mut H,
    sink: &mut impl FnMut(Result<Line<'_, H::Series>, BadLine>) -> Result<(), E>,
) -> Result<(), E> {
    let text = split::without_blanks(line);
    if text.is_empty() || text[0] == b'#' {
        return Ok(());
    }
    match cut(line.len(), text) {
        Err(reason) => sink(Err(BadLine { number, reason })),
        Ok((head, tail)) => {
            let tail = careful::Tail::parse(tail, precision);
            let fields = tail.as_ref().map(careful::Tail::fields).unwrap_or_default();
            let rest = tail.as_ref().map(|tail| Rest { fields: &fields, time: tail.time, shape: 0 });
            tell(number, head, rest.map_err(Clone::clone), heads, sink)
        }
    }
}

/// Cuts a line of that many bytes, with this text between its blanks, behind its head.
fn cut(bytes: usize, text: &[u8]) -> Result<(&str, &str), LineError> {
    if bytes > limits::LINE_BYTES_MAX {
        return Err(LineError::TooLong(bytes));
    }
    let text = std::str::from_utf8(text).map_err(|e| LineError::NotUtf8(e.valid_up_to() + 1))?;
    Ok(text.split_at(head::end(text.as_bytes()).unwrap_or(text.len())))
}

/// Gives `sink` one line, or the first thing that is wrong with it. Only the head of a good line is learnt.
fn tell<H: Heads, E>(
    number: usize,
    head: &str,
    rest: Result<Rest<'_>, LineError>,
    heads: &mut H,
    sink: &mut impl FnMut(Result<Line<'_, H::Series>, BadLine>) -> Result<(), E>,
) -> Result<(), E> {
    let bad = |reason| BadLine { number, reason };
    if let Some(series) = heads.known(head) {
        return sink(rest.map(|rest| rest.line(number, series)).map_err(bad));
    }
    match head::parse(head).and_then(|parsed| Ok((parsed, rest?))) {
        Ok(((measurement, key), rest)) => sink(Ok(rest.line(number, heads.learn(head, &measurement, key)))),
        Err(reason) => sink(Err(bad(reason))),
    }
}

/// The lines at the front of `body` that are UTF-8, nearly always all. Never called twice for one of them, and so linear.
fn whole_lines(body: &[u8]) -> &str {
    std::str::from_utf8(body).unwrap_or_else(|error| {
        let valid = &body[..error.valid_up_to()];
        let end = memrchr(b'\n', valid).map_or(0, |newline| newline + 1);
        std::str::from_utf8(&valid[..end]).unwrap_or_default()
    })
}

const _: () =
    assert!(limits::LINE_BYTES_MAX - " f=1".len() <= limits::NAME_BYTES_MAX, "a name in a line is in its limit");
const _: () = assert!(limits::LINE_BYTES_MAX <= limits::STRING_VALUE_BYTES_MAX, "a string in a line is in its limit");
