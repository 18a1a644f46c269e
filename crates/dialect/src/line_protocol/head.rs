//! The head of a line, which is its raw text before the fields: measurement and tags, escapes and all. Never looks behind it.

use std::borrow::Cow;

use memchr::memchr2_iter;
use meridian_types::SeriesKey;

use super::LineError;
use super::error::{clip, clip_key};
use super::names::{ends_part, name, take, unescape};

/// Where the head of the first line of `text` ends: at the first space that no backslash escapes. `None` if a newline or the
/// end of `text` comes first; a newline can stand in a string only, and so never in a head.
pub(super) fn end(text: &[u8]) -> Option<usize> {
    let mut stops = memchr2_iter(b' ', b'\n', text);
    stops.find(|&at| text[at] == b'\n' || at == 0 || text[at - 1] != b'\\').filter(|&at| text[at] == b' ')
}

/// What a head says, if it is a good one.
pub(super) fn parse(mut rest: &str) -> Result<(Cow<'_, str>, SeriesKey), LineError> {
    let ends_measurement = |b| matches!(b, b',' | b' ');
    let (measurement, stop) = take(&mut rest, ends_measurement);
    if measurement.is_empty() {
        return Err(LineError::NoMeasurement);
    }
    let measurement = name(measurement, ends_measurement)?;
    let tags = take_tags(rest, stop)?;
    let tags: Vec<_> =
        tags.iter().map(|(name, value)| (unescape(name, ends_part), unescape(value, ends_part))).collect();
    let mut tags: Vec<_> = tags.iter().map(|(name, value)| (&**name, &**value)).collect();
    Ok((measurement, SeriesKey::from_tags(&mut tags).map_err(clip_key)?))
}

/// Reads tags, as written, for as long as a comma follows.
fn take_tags(mut rest: &str, mut stop: Option<u8>) -> Result<Vec<(&str, &str)>, LineError> {
    let mut tags = Vec::new();
    while stop == Some(b',') {
        let (name, end_of_name) = take(&mut rest, ends_part);
        if end_of_name != Some(b'=') {
            return Err(match name {
                "" => LineError::NoTag,
                name => LineError::TagWithoutValue(clip(name)),
            });
        }
        let (value, end_of_value) = take(&mut rest, ends_part);
        if end_of_value == Some(b'=') {
            return Err(LineError::EqualsInTagValue(clip(name)));
        }
        tags.push((name, value));
        stop = end_of_value;
    }
    Ok(tags)
}
