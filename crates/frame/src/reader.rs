//! The one place that takes bytes apart: each step checks what is left before it takes, and says where it stood when it
//! failed. Allocates nothing.

use crate::check::FrameError;

/// The part of a frame that is not read yet.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`, which begin at byte `at` of the frame.
    pub(crate) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { rest: bytes, at }
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How far reading came, in bytes from the start of the frame.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The error that something before here is wrong.
    pub(crate) fn malformed(&self, what: &'static str) -> FrameError {
        FrameError::Malformed { at: self.at, what }
    }

    /// The next `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], FrameError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.malformed("is cut short"))?;
        self.rest = rest;
        self.at += len;
        Ok(taken)
    }

    /// The next byte.
    pub(crate) fn u8(&mut self) -> Result<u8, FrameError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// The next two bytes, as a size.
    pub(crate) fn u16(&mut self) -> Result<usize, FrameError> {
        Ok(usize::from(u16::from_le_bytes(self.array()?)))
    }

    /// The next four bytes.
    pub(crate) fn u32(&mut self) -> Result<u32, FrameError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// The next four bytes, as a size.
    pub(crate) fn size(&mut self) -> Result<usize, FrameError> {
        Ok(self.u32()? as usize)
    }

    /// The bytes of the next column.
    pub(crate) fn column(&mut self) -> Result<&'a [u8], FrameError> {
        let length = self.size()?;
        self.take(length)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }
}

/// Words of `N` bytes each, of bytes whose length was checked.
pub(crate) fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + Clone {
    bytes.as_chunks::<N>().0.iter().copied()
}

/// The first `count` bits of bytes whose length was checked, least significant first.
pub(crate) fn bits(bytes: &[u8], count: usize) -> impl Iterator<Item = bool> {
    (0..count).map(|i| bytes[i / 8] & (1 << (i % 8)) != 0)
}

/// Whether `bytes` are exactly `count` bits, with zeros in the spare bits of the last byte.
pub(crate) fn are_bits(bytes: &[u8], count: usize) -> bool {
    let no_spare_bit = |last: &u8| last.leading_zeros() as usize >= bytes.len() * 8 - count;
    bytes.len() == count.div_ceil(8) && bytes.last().is_none_or(no_spare_bit)
}
