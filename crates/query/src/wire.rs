//! Reading and writing what crosses processes: little-endian, every length checked against the bytes that remain. Never
//! allocates by a number it read before that check.

use meridian_types::Code;

/// Bytes of a peer that are not what they should be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// Another format.
    #[error("version {found} is not known here, only {known}: run the same version of meridian everywhere")]
    Version {
        /// The version that arrived.
        found: u8,
        /// The version that this process reads.
        known: u8,
    },
    /// Not of the format that the version names.
    #[error("{what} is malformed at byte {at}")]
    Malformed {
        /// Which part.
        what: &'static str,
        /// Where its bytes end or should have ended.
        at: usize,
    },
}

impl DecodeError {
    /// The stable code of this failure: bytes that a peer made are its bug or ours.
    pub fn code(&self) -> Code {
        match self {
            Self::Version { .. } => Code::WrongVersion,
            Self::Malformed { .. } => Code::Internal,
        }
    }
}

/// Takes values from the front of bytes.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    len: usize,
}

macro_rules! integer {
    ($($name:ident: $type:ty;)*) => {
        $(pub(crate) fn $name(&mut self, what: &'static str) -> Result<$type, DecodeError> {
            let Some((bytes, rest)) = self.rest.split_first_chunk() else { return Err(self.malformed(what)) };
            self.rest = rest;
            Ok(<$type>::from_le_bytes(*bytes))
        })*
    };
}

impl<'a> Reader<'a> {
    /// Reads `bytes` after their version, which must be `known`.
    pub(crate) fn new(bytes: &'a [u8], known: u8) -> Result<Self, DecodeError> {
        let mut reader = Self { rest: bytes, len: bytes.len() };
        let found = reader.u8("the version")?;
        if found == known { Ok(reader) } else { Err(DecodeError::Version { found, known }) }
    }

    integer! { u8: u8; u32: u32; u64: u64; i64: i64; i128: i128; f64: f64; }

    pub(crate) fn malformed(&self, what: &'static str) -> DecodeError {
        DecodeError::Malformed { what, at: self.len - self.rest.len() }
    }

    /// The value, or the error that says `what` is malformed here.
    pub(crate) fn check<T>(&self, value: Option<T>, what: &'static str) -> Result<T, DecodeError> {
        value.ok_or_else(|| self.malformed(what))
    }

    pub(crate) fn flag(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.malformed(what)),
        }
    }

    pub(crate) fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let len = self.u32(what)? as usize;
        let (bytes, rest) = self.check(self.rest.split_at_checked(len), what)?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(crate) fn str(&mut self, what: &'static str) -> Result<&'a str, DecodeError> {
        let bytes = self.bytes(what)?;
        self.check(std::str::from_utf8(bytes).ok(), what)
    }

    /// A list: its length, which must not be above `max`, then each item.
    pub(crate) fn list<T>(
        &mut self,
        what: &'static str,
        max: usize,
        mut item: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.u32(what)? as usize;
        if count > max {
            return Err(self.malformed(what));
        }
        // Through `Result` the iterator promises no length, so that the vector grows only by what was read.
        (0..count).map(|_| item(self)).collect()
    }

    /// Checks that nothing remains.
    pub(crate) fn end(&self, what: &'static str) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.malformed(what)) }
    }
}

/// Writes a count or a length.
pub(crate) fn put_len(out: &mut Vec<u8>, len: usize) {
    let len = u32::try_from(len).expect("plans and rows are bounded far below 4 GiB before they are encoded");
    out.extend_from_slice(&len.to_le_bytes());
}

/// Writes bytes after their length.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}
