//! How a command, a reply and a section become bytes: a version byte, then postcard. Decoding is total: any bytes are a
//! value or a [`DecodeError`], and no length in them is trusted with an allocation (serde caps what it reserves ahead).

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The one version that this binary writes and reads.
pub(crate) const VERSION: u8 = 3;

/// Why bytes are no command, no reply or no catalogue. A replica that meets one in its own log or store halts.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// No bytes at all.
    #[error("catalogue bytes are empty")]
    Empty,
    /// Written by another version.
    #[error("catalogue bytes have version {0}, this binary reads version {VERSION}: run the version that wrote them")]
    Version(u8),
    /// The version is right and the rest is not.
    #[error("catalogue bytes are malformed: {0}")]
    Malformed(postcard::Error),
    /// Something follows the value.
    #[error("catalogue bytes have {0} bytes after their end")]
    Trailing(usize),
    /// A section of the stored catalogue is not there.
    #[error("the stored catalogue lacks its section {0:?}")]
    Missing(String),
    /// A section that this version does not know.
    #[error("the stored catalogue has the unknown section {0:?}")]
    UnknownSection(String),
    /// The sections can be read, but they contradict each other or themselves.
    #[error("the stored catalogue contradicts itself: {0}")]
    Inconsistent(&'static str),
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![VERSION]).expect("all our types have known lengths and a Vec grows")
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (version, rest) = bytes.split_first().ok_or(DecodeError::Empty)?;
    if *version != VERSION {
        return Err(DecodeError::Version(*version));
    }
    let (value, rest) = postcard::take_from_bytes(rest).map_err(DecodeError::Malformed)?;
    if rest.is_empty() { Ok(value) } else { Err(DecodeError::Trailing(rest.len())) }
}
