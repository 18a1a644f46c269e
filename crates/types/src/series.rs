//! A series' identity: its sorted tags, in the one byte form that frames, logs, hashes and maps share.
//!
//! Layout: for each tag, sorted by name as bytes: `name_len:u16 name value_len:u16 value`, little-endian. The bytes decide
//! identity; the hash only places.

use crate::limits;

/// Why a set of tags is no series key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// A tag without a name.
    #[error("a tag has an empty name")]
    EmptyName,
    /// A tag without a value.
    #[error("tag {0:?} has an empty value")]
    EmptyValue(String),
    /// The same tag name twice.
    #[error("tag {0:?} is given twice")]
    Duplicate(String),
    /// NUL in a name or a value.
    #[error("tag {0:?} has a NUL byte in its name or its value")]
    Nul(String),
    /// More tags than a series may have.
    #[error("{0} tags are over the limit of {max} a series", max = limits::TAGS_MAX)]
    TooMany(usize),
    /// A tag value over its limit.
    #[error("the value of tag {name:?} has {bytes} bytes, over the limit of {max}", max = limits::TAG_VALUE_BYTES_MAX)]
    ValueTooLong {
        /// Which tag.
        name: String,
        /// Its size.
        bytes: usize,
    },
    /// The whole key over its limit.
    #[error("the series key has {0} bytes, over the limit of {max}", max = limits::SERIES_KEY_BYTES_MAX)]
    KeyTooLong(usize),
    /// Stored bytes that are no canonical key.
    #[error("the series key is malformed at byte {0}")]
    Malformed(usize),
}

/// The sorted tags of one series in canonical bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SeriesKey(Box<[u8]>);

impl SeriesKey {
    /// Sorts `tags` in place and makes the key. Refuses empty names and values, duplicates, NUL, and what is over a limit.
    pub fn from_tags(tags: &mut [(&str, &str)]) -> Result<Self, KeyError> {
        if tags.len() > limits::TAGS_MAX {
            return Err(KeyError::TooMany(tags.len()));
        }
        tags.sort_unstable();
        let mut bytes = Vec::with_capacity(tags.iter().map(|(k, v)| k.len() + v.len() + 4).sum());
        for (i, (name, value)) in tags.iter().enumerate() {
            check_tag(name, value)?;
            if i > 0 && tags[i - 1].0 == *name {
                return Err(KeyError::Duplicate((*name).to_owned()));
            }
            push_part(&mut bytes, name)?;
            push_part(&mut bytes, value)?;
        }
        if bytes.len() > limits::SERIES_KEY_BYTES_MAX {
            return Err(KeyError::KeyTooLong(bytes.len()));
        }
        Ok(Self(bytes.into()))
    }

    /// Takes stored or received bytes for a key after checking all that [`SeriesKey::from_tags`] promises.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        Self::check_bytes(bytes)?;
        Ok(Self(bytes.into()))
    }

    /// Whether `bytes` are a canonical key; allocates nothing unless they are not.
    pub fn check_bytes(bytes: &[u8]) -> Result<(), KeyError> {
        if bytes.len() > limits::SERIES_KEY_BYTES_MAX {
            return Err(KeyError::KeyTooLong(bytes.len()));
        }
        let mut rest = bytes;
        let mut previous: Option<&str> = None;
        let mut count = 0;
        while !rest.is_empty() {
            let at = bytes.len() - rest.len();
            let name = take_part(&mut rest).ok_or(KeyError::Malformed(at))?;
            let value = take_part(&mut rest).ok_or(KeyError::Malformed(at))?;
            check_tag(name, value)?;
            if previous.is_some_and(|p| p >= name) {
                return Err(KeyError::Malformed(at));
            }
            previous = Some(name);
            count += 1;
        }
        if count > limits::TAGS_MAX { Err(KeyError::TooMany(count)) } else { Ok(()) }
    }

    /// The canonical bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The tags in name order.
    pub fn tags(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || Some((take_part(&mut rest)?, take_part(&mut rest)?)))
    }

    /// The value of a tag; a missing tag is the empty string, as in matchers.
    pub fn tag(&self, name: &str) -> &str {
        let (mut rest, name) = (&*self.0, name.as_bytes());
        // Only what is found is read as text: an index asks this of each value that it looks up.
        while let (Some(tag), Some(value)) = (take_bytes(&mut rest), take_bytes(&mut rest)) {
            if tag == name {
                return std::str::from_utf8(value).unwrap_or_default();
            }
        }
        ""
    }
}

impl std::fmt::Debug for SeriesKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.tags()).finish()
    }
}

fn check_tag(name: &str, value: &str) -> Result<(), KeyError> {
    if name.is_empty() {
        return Err(KeyError::EmptyName);
    }
    if value.is_empty() {
        return Err(KeyError::EmptyValue(name.to_owned()));
    }
    if name.contains('\0') || value.contains('\0') {
        return Err(KeyError::Nul(name.to_owned()));
    }
    if value.len() > limits::TAG_VALUE_BYTES_MAX {
        return Err(KeyError::ValueTooLong { name: name.to_owned(), bytes: value.len() });
    }
    Ok(())
}

fn push_part(bytes: &mut Vec<u8>, part: &str) -> Result<(), KeyError> {
    let len = u16::try_from(part.len()).map_err(|_| KeyError::KeyTooLong(part.len()))?;
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(part.as_bytes());
    Ok(())
}

fn take_part<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    take_bytes(rest).and_then(|part| std::str::from_utf8(part).ok())
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, tail) = rest.split_first_chunk::<2>()?;
    let (part, tail) = tail.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
    *rest = tail;
    Some(part)
}

/// Whether a database may be called so: `[A-Za-z_][A-Za-z0-9_.-]{0,63}`.
pub fn database_name_is_valid(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && name.len() <= 64
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Whether a measurement or a field may be called so: any UTF-8 of 1 to 65,535 bytes without NUL.
pub fn name_is_valid(name: &str) -> bool {
    !name.is_empty() && name.len() <= limits::NAME_BYTES_MAX && !name.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_sorted_and_read_back() {
        let key = SeriesKey::from_tags(&mut [("region", "eu"), ("host", "a")]).expect("valid");
        assert_eq!(key.tags().collect::<Vec<_>>(), [("host", "a"), ("region", "eu")]);
        assert_eq!(key.tag("host"), "a");
        assert_eq!(key.tag("absent"), "");
        assert_eq!(SeriesKey::from_bytes(key.as_bytes()), Ok(key));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert_eq!(SeriesKey::from_tags(&mut [("", "a")]), Err(KeyError::EmptyName));
        assert_eq!(SeriesKey::from_tags(&mut [("a", "")]), Err(KeyError::EmptyValue("a".into())));
        assert_eq!(SeriesKey::from_tags(&mut [("a", "1"), ("a", "2")]), Err(KeyError::Duplicate("a".into())));
        assert_eq!(SeriesKey::from_tags(&mut [("a", "\0")]), Err(KeyError::Nul("a".into())));
        let unsorted = b"\x01\0b\x01\x001\x01\0a\x01\x001";
        assert_eq!(SeriesKey::from_bytes(unsorted), Err(KeyError::Malformed(6)));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_key_or_an_error(bytes: Vec<u8>) {
            if let Ok(key) = SeriesKey::from_bytes(&bytes) {
                let mut tags: Vec<_> = key.tags().collect();
                proptest::prop_assert_eq!(SeriesKey::from_tags(&mut tags).expect("canonical"), key.clone());
            }
        }
    }
}
