//! Where names and values end, and what a backslash does in them. The one place that knows escapes outside of strings; it
//! never says which names a line may have.

use std::borrow::Cow;

use memchr::{memchr, memchr_iter};

use super::LineError;
use super::error::clip;

/// What ends a tag's name or value and a field's name, and what a backslash escapes in them.
pub(super) fn ends_part(byte: u8) -> bool {
    matches!(byte, b',' | b'=' | b' ')
}

/// Moves `rest` behind the first stop that no backslash escapes; gives what stands before that stop, and the stop.
pub(super) fn take<'a>(rest: &mut &'a str, is_stop: impl Fn(u8) -> bool) -> (&'a str, Option<u8>) {
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
pub(super) fn name(raw: &str, is_escapable: impl Fn(u8) -> bool) -> Result<Cow<'_, str>, LineError> {
    if memchr(0, raw.as_bytes()).is_some() {
        return Err(LineError::NulInName(clip(raw)));
    }
    Ok(unescape(raw, is_escapable))
}

/// Drops each backslash that escapes; borrows where there is none.
pub(super) fn unescape(raw: &str, is_escapable: impl Fn(u8) -> bool) -> Cow<'_, str> {
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
