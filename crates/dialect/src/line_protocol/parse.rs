//! One line, already cut from the body and known to be UTF-8, into its parts. It allocates the key and the list of fields,
//! and nothing else unless something is escaped or wrong.

use std::borrow::Cow;
use std::collections::BTreeSet;

use memchr::{memchr, memchr_iter};
use meridian_types::{SeriesKey, limits};

use super::error::{clip, clip_key};
use super::{FieldValue, Line, LineError, Precision, split, value};

type Fields<'a> = Vec<(Cow<'a, str>, FieldValue<'a>)>;

/// Reads lines of one body one by one. Keeps nothing of a line for the next but memory.
#[derive(Clone, Debug)]
pub(super) struct Parser<'a> {
    precision: Precision,
    /// Tags of the line in hand, as written.
    tags: Vec<(&'a str, &'a str)>,
    /// How many fields the line before had: most lines of a body look alike.
    fields_expected: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(precision: Precision) -> Self {
        Self { precision, tags: Vec::new(), fields_expected: 1 }
    }

    /// Reads `text`, which is not empty and has no blanks at its ends.
    pub(super) fn line(&mut self, number: usize, text: &'a str) -> Result<Line<'a>, LineError> {
        let has_escapes = memchr(b'\\', text.as_bytes()).is_some();
        let mut rest = text;
        let (measurement, stop) = take(&mut rest, |b| matches!(b, b',' | b' '));
        if measurement.is_empty() {
            return Err(LineError::NoMeasurement);
        }
        let measurement = name(measurement, has_escapes, |b| matches!(b, b',' | b' '))?;
        self.take_tags(&mut rest, stop)?;
        let key = self.key(has_escapes)?;
        let fields = take_fields(&mut rest, has_escapes, self.fields_expected)?;
        self.fields_expected = fields.len();
        let time = match rest.trim_start_matches(' ').split_once(' ') {
            Some((_, behind)) => return Err(LineError::AfterTime(clip(behind.trim_start_matches(' ')))),
            None => rest.trim_start_matches(' '),
        };
        let time = if time.is_empty() { None } else { Some(value::time(time, self.precision)?) };
        Ok(Line { number, measurement, key, time, fields })
    }

    /// Reads tags for as long as a comma follows.
    fn take_tags(&mut self, rest: &mut &'a str, mut stop: Option<u8>) -> Result<(), LineError> {
        self.tags.clear();
        while stop == Some(b',') {
            let (name, end_of_name) = take(rest, ends_part);
            if end_of_name != Some(b'=') {
                return Err(match name {
                    "" => LineError::NoTag,
                    name => LineError::TagWithoutValue(clip(name)),
                });
            }
            let (value, end_of_value) = take(rest, ends_part);
            if end_of_value == Some(b'=') {
                return Err(LineError::EqualsInTagValue(clip(name)));
            }
            self.tags.push((name, value));
            stop = end_of_value;
        }
        Ok(())
    }

    fn key(&mut self, has_escapes: bool) -> Result<SeriesKey, LineError> {
        if !has_escapes {
            return SeriesKey::from_tags(&mut self.tags).map_err(clip_key);
        }
        let tags = self.tags.iter().map(|(name, value)| (unescape(name, ends_part), unescape(value, ends_part)));
        let tags: Vec<_> = tags.collect();
        let mut tags: Vec<_> = tags.iter().map(|(name, value)| (&**name, &**value)).collect();
        SeriesKey::from_tags(&mut tags).map_err(clip_key)
    }
}

fn take_fields<'a>(rest: &mut &'a str, has_escapes: bool, expected: usize) -> Result<Fields<'a>, LineError> {
    *rest = rest.trim_start_matches(' ');
    if rest.is_empty() {
        return Err(LineError::NoField);
    }
    let mut fields = Vec::with_capacity(expected);
    loop {
        let (raw, stop) = take(rest, ends_part);
        match (raw, stop) {
            ("", Some(b'=')) => return Err(LineError::EmptyFieldName),
            (_, Some(b'=')) => {}
            ("", _) => return Err(LineError::NoFieldAfterComma),
            _ => return Err(LineError::FieldWithoutValue(clip(raw))),
        }
        let name = name(raw, has_escapes, ends_part)?;
        let (value, stop) = if rest.starts_with('"') { take_string(rest, &name)? } else { take_unquoted(rest, &name)? };
        fields.push((name, value));
        if stop != Some(b',') {
            break;
        }
    }
    if fields.len() > limits::FIELDS_MAX {
        return Err(LineError::TooManyFields(fields.len()));
    }
    match duplicate(&fields) {
        Some(name) => Err(LineError::DuplicateField(clip(name))),
        None => Ok(fields),
    }
}

fn take_unquoted<'a>(rest: &mut &'a str, field: &str) -> Result<(FieldValue<'a>, Option<u8>), LineError> {
    let (text, stop) = take(rest, |b| matches!(b, b',' | b' '));
    if text.is_empty() {
        return Err(LineError::FieldWithoutValue(clip(field)));
    }
    let bad = |problem| LineError::Value { field: clip(field), value: clip(text), problem };
    Ok((value::unquoted(text).map_err(bad)?, stop))
}

/// Reads a string from its opening quote to behind the comma or space that follows it.
fn take_string<'a>(rest: &mut &'a str, field: &str) -> Result<(FieldValue<'a>, Option<u8>), LineError> {
    let close = split::closing_quote(rest.as_bytes(), 1).ok_or_else(|| LineError::OpenString(clip(field)))?;
    let text = unescape(&rest[1..close], |b| matches!(b, b'"' | b'\\'));
    let stop = rest.as_bytes().get(close + 1).copied();
    if !matches!(stop, None | Some(b',' | b' ')) {
        return Err(LineError::AfterString(clip(field)));
    }
    *rest = rest.get(close + 2..).unwrap_or_default();
    Ok((FieldValue::Str(text), stop))
}

/// A name that comes twice. Lines with few fields, nearly all, compare them pairwise and allocate nothing.
fn duplicate<'f>(fields: &'f Fields<'_>) -> Option<&'f str> {
    const FEW: usize = 16;
    let mut names = fields.iter().map(|(name, _)| &**name);
    if fields.len() > FEW {
        let mut seen = BTreeSet::new();
        return names.find(|name| !seen.insert(*name));
    }
    names.enumerate().find(|(i, name)| fields[..*i].iter().any(|(n, _)| n == name)).map(|(_, name)| name)
}

/// What ends a tag's name or value and a field's name, and what a backslash escapes in them.
fn ends_part(byte: u8) -> bool {
    matches!(byte, b',' | b'=' | b' ')
}

/// Moves `rest` behind the first stop that no backslash escapes; gives what stands before that stop, and the stop.
fn take<'a>(rest: &mut &'a str, is_stop: impl Fn(u8) -> bool) -> (&'a str, Option<u8>) {
    let bytes = rest.as_bytes();
    match (0..bytes.len()).find(|&i| is_stop(bytes[i]) && (i == 0 || bytes[i - 1] != b'\\')) {
        Some(at) => {
            let (before, stop) = (&rest[..at], bytes[at]);
            *rest = &rest[at + 1..];
            (before, Some(stop))
        }
        None => (std::mem::take(rest), None),
    }
}

/// The name of a measurement or a field.
fn name(raw: &str, has_escapes: bool, is_escapable: impl Fn(u8) -> bool) -> Result<Cow<'_, str>, LineError> {
    if memchr(0, raw.as_bytes()).is_some() {
        return Err(LineError::NulInName(clip(raw)));
    }
    Ok(if has_escapes { unescape(raw, is_escapable) } else { Cow::Borrowed(raw) })
}

/// Drops each backslash that escapes; borrows where there is none.
fn unescape(raw: &str, is_escapable: impl Fn(u8) -> bool) -> Cow<'_, str> {
    let bytes = raw.as_bytes();
    let mut text = String::new();
    let mut copied = 0;
    for at in memchr_iter(b'\\', bytes) {
        // A backslash right at `copied` is one that the backslash before it escapes.
        let is_escaped = copied > 0 && at == copied;
        if !is_escaped && bytes.get(at + 1).is_some_and(|b| is_escapable(*b)) {
            text.push_str(&raw[copied..at]);
            copied = at + 1;
        }
    }
    if copied == 0 {
        return Cow::Borrowed(raw);
    }
    text.push_str(&raw[copied..]);
    Cow::Owned(text)
}
