//! Fields and timestamp of any line, good or bad, and the only words for what is wrong with them. Takes its time: what most
//! lines look like is read by `quick`, which never says a line is good that this module would refuse or read otherwise.

use std::borrow::Cow;
use std::collections::BTreeSet;

use meridian_types::{Timestamp, ValueRef, limits};

use super::error::clip;
use super::names::{ends_part, name, take, unescape};
use super::{LineError, Precision, split, value};

/// What stands behind the head of a line.
#[derive(Debug)]
pub(super) struct Tail<'a> {
    fields: Vec<(Cow<'a, str>, Value<'a>)>,
    pub(super) time: Option<Timestamp>,
}

#[derive(Debug)]
enum Value<'a> {
    Plain(ValueRef<'static>),
    /// Without its quotes and escapes.
    Text(Cow<'a, str>),
}

impl<'a> Tail<'a> {
    /// Reads `rest`, which has no blanks at its end.
    pub(super) fn parse(mut rest: &'a str, precision: Precision) -> Result<Self, LineError> {
        let fields = take_fields(&mut rest)?;
        let time = match rest.trim_start_matches(' ').split_once(' ') {
            Some((_, behind)) => return Err(LineError::AfterTime(clip(behind.trim_start_matches(' ')))),
            None => rest.trim_start_matches(' '),
        };
        let time = if time.is_empty() { None } else { Some(value::time(time, precision)?) };
        Ok(Self { fields, time })
    }

    /// The fields in the order of the line.
    pub(super) fn fields(&self) -> Vec<(&str, ValueRef<'_>)> {
        let value = |value| match value {
            &Value::Plain(value) => value,
            Value::Text(text) => ValueRef::Str(text),
        };
        self.fields.iter().map(|(name, v)| (&**name, value(v))).collect()
    }
}

fn take_fields<'a>(rest: &mut &'a str) -> Result<Vec<(Cow<'a, str>, Value<'a>)>, LineError> {
    *rest = rest.trim_start_matches(' ');
    if rest.is_empty() {
        return Err(LineError::NoField);
    }
    let mut fields = Vec::new();
    loop {
        let (raw, stop) = take(rest, ends_part);
        match (raw, stop) {
            ("", Some(b'=')) => return Err(LineError::EmptyFieldName),
            (_, Some(b'=')) => {}
            ("", _) => return Err(LineError::NoFieldAfterComma),
            _ => return Err(LineError::FieldWithoutValue(clip(raw))),
        }
        let name = name(raw, ends_part)?;
        let (value, stop) = if rest.starts_with('"') { take_string(rest, &name)? } else { take_unquoted(rest, &name)? };
        fields.push((name, value));
        if stop != Some(b',') {
            break;
        }
    }
    if fields.len() > limits::FIELDS_MAX {
        return Err(LineError::TooManyFields(fields.len()));
    }
    match duplicate(fields.iter().map(|(name, _)| &**name)) {
        Some(name) => Err(LineError::DuplicateField(clip(name))),
        None => Ok(fields),
    }
}

fn take_unquoted<'a>(rest: &mut &'a str, field: &str) -> Result<(Value<'a>, Option<u8>), LineError> {
    let (text, stop) = take(rest, |b| matches!(b, b',' | b' '));
    if text.is_empty() {
        return Err(LineError::FieldWithoutValue(clip(field)));
    }
    let bad = |problem| LineError::Value { field: clip(field), value: clip(text), problem };
    Ok((Value::Plain(value::unquoted(text).map_err(bad)?), stop))
}

/// Reads a string from its opening quote to behind the comma or space that follows it.
fn take_string<'a>(rest: &mut &'a str, field: &str) -> Result<(Value<'a>, Option<u8>), LineError> {
    let close = split::closing_quote(rest.as_bytes(), 1).ok_or_else(|| LineError::OpenString(clip(field)))?;
    let text = unescape(&rest[1..close], |b| matches!(b, b'"' | b'\\'));
    let stop = rest.as_bytes().get(close + 1).copied();
    if !matches!(stop, None | Some(b',' | b' ')) {
        return Err(LineError::AfterString(clip(field)));
    }
    *rest = rest.get(close + 2..).unwrap_or_default();
    Ok((Value::Text(text), stop))
}

/// A name that comes twice. Lines with few fields, nearly all, compare them pairwise and allocate nothing.
pub(super) fn duplicate<'n>(names: impl ExactSizeIterator<Item = &'n str> + Clone) -> Option<&'n str> {
    const FEW: usize = 16;
    let mut all = names.clone();
    if all.len() > FEW {
        let mut seen = BTreeSet::new();
        return all.find(|name| !seen.insert(*name));
    }
    all.enumerate().find(|(i, name)| names.clone().take(*i).any(|n| n == *name)).map(|(_, name)| name)
}
