//! Lines as nearly all are: nothing escaped outside of the head, nothing wrong, and mostly the field names of the line before.
//! Says of a line what it is or that it does not know, and never that it is bad: then `careful` reads the line anew. Never
//! looks behind the first newline, so that giving up costs no more than the line.

use memchr::memchr3;
use meridian_types::{FieldType, ValueRef, limits};

use super::careful::duplicate;
use super::{Precision, Rest, head, number, value};

/// Reads lines of one body one by one, and keeps the names of their fields.
#[derive(Debug)]
pub(super) struct Quick<'a> {
    precision: Precision,
    /// Names that passed all checks, in the order of one line; the next lines mostly have them too.
    names: Vec<&'a str>,
    /// Fields of the line in hand.
    fields: Vec<(&'a str, ValueRef<'a>)>,
    /// Their types, and the shape that they make with their names.
    types: Vec<FieldType>,
    shape: u64,
}

/// A line that is good if its head is.
#[derive(Debug)]
pub(super) struct Plain<'a, 'q> {
    pub(super) head: &'a str,
    pub(super) rest: Rest<'q>,
    /// Its size, with the newline that ends it.
    pub(super) bytes: usize,
}

impl<'a> Quick<'a> {
    pub(super) fn new(precision: Precision) -> Self {
        Self { precision, names: Vec::new(), fields: Vec::new(), types: Vec::new(), shape: 0 }
    }

    /// Reads the first line of `text`, where lines end at newlines and at the end.
    pub(super) fn line(&mut self, text: &'a str) -> Option<Plain<'a, '_>> {
        let bytes = text.as_bytes();
        if matches!(bytes.first()?, b' ' | b'\t' | b'#') {
            return None;
        }
        let head = head::end(bytes)?;
        let mut at = self.read_fields(text, head + 1)?;
        let mut time = None;
        if bytes.get(at) == Some(&b' ') {
            let (found, length) = number::time(&bytes[at + 1..], self.precision)?;
            time = Some(found);
            at += 1 + length;
        }
        if at > limits::LINE_BYTES_MAX {
            return None;
        }
        let end = match &bytes[at..] {
            [] => 0,
            [b'\n', ..] | [b'\r'] => 1,
            [b'\r', b'\n', ..] => 2,
            _ => return None,
        };
        let rest = Rest { fields: &self.fields, time, shape: self.shape };
        Some(Plain { head: &text[..head], rest, bytes: at + end })
    }

    /// Reads the fields that begin at `at`; gives where they end.
    fn read_fields(&mut self, text: &'a str, mut at: usize) -> Option<usize> {
        self.fields.clear();
        // Whether all names so far were those of the line before, which are all different and not too many.
        let mut is_as_before = true;
        let mut types_are_as_before = true;
        loop {
            let rest = &text.as_bytes()[at..];
            let expected = self.names.get(self.fields.len()).filter(|_| is_as_before);
            let name = match expected.filter(|name| begins_with_name(rest, name)) {
                Some(name) => *name,
                None => {
                    is_as_before = false;
                    plain_name(&text[at..])?
                }
            };
            at += name.len() + 1;
            let (value, length) = plain_value(text, at)?;
            types_are_as_before &= self.types.get(self.fields.len()) == Some(&value.field_type());
            self.fields.push((name, value));
            at += length;
            if text.as_bytes().get(at) != Some(&b',') {
                break;
            }
            at += 1;
        }
        if !is_as_before {
            let names = self.fields.iter().map(|(name, _)| *name);
            if names.len() > limits::FIELDS_MAX || duplicate(names.clone()).is_some() {
                return None;
            }
            self.names.clear();
            self.names.extend(names);
        }
        if !(is_as_before && types_are_as_before && self.fields.len() == self.types.len()) {
            self.shape += 1;
            self.types.clear();
            self.types.extend(self.fields.iter().map(|(_, value)| value.field_type()));
        }
        Some(at)
    }
}

/// Whether `bytes` begin with `name=`. Names are short: eight bytes at a time are faster than a call.
#[inline]
fn begins_with_name(bytes: &[u8], name: &str) -> bool {
    let Some((begin, [b'=', ..])) = bytes.split_at_checked(name.len()) else { return false };
    let (found, found_end) = begin.as_chunks::<8>();
    let (expected, expected_end) = name.as_bytes().as_chunks::<8>();
    found.iter().zip(expected).all(|(a, b)| a == b) && found_end.iter().zip(expected_end).all(|(a, b)| a == b)
}

/// The name before the first `=` of `text`, if nothing is special about it.
fn plain_name(text: &str) -> Option<&str> {
    let is_special = |b: &u8| matches!(b, b'=' | b',' | b' ' | b'\\' | b'\n' | 0);
    let end = text.bytes().position(|b| is_special(&b))?;
    (end > 0 && text.as_bytes()[end] == b'=').then(|| &text[..end])
}

/// The value that begins at `at`, and how long it is as written.
#[inline]
fn plain_value(text: &str, at: usize) -> Option<(ValueRef<'_>, usize)> {
    let bytes = &text.as_bytes()[at..];
    match number::value(text, at) {
        Some((value, end)) if ends_value(bytes, end) => Some((value, end)),
        _ => other_value(&text[at..]),
    }
}

/// A value that is no plain number.
fn other_value(text: &str) -> Option<(ValueRef<'_>, usize)> {
    let bytes = text.as_bytes();
    if bytes.first() == Some(&b'"') {
        let close = 1 + memchr3(b'"', b'\\', b'\n', &bytes[1..])?;
        return (bytes[close] == b'"' && ends_value(bytes, close + 1))
            .then(|| (ValueRef::Str(&text[1..close]), close + 1));
    }
    let end = bytes.iter().position(|b| matches!(b, b',' | b' ' | b'\\' | b'\r' | b'\n')).unwrap_or(bytes.len());
    let value = value::unquoted(&text[..end]).ok()?;
    ends_value(bytes, end).then_some((value, end))
}

/// Whether what stands at `at` ends a value.
#[inline]
fn ends_value(bytes: &[u8], at: usize) -> bool {
    matches!(bytes.get(at), None | Some(b',' | b' ' | b'\r' | b'\n'))
}
