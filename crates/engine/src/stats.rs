//! How much is held: counted as writes happen, so that asking costs nothing.
//!
//! It must never decide anything in `write`: memory refuses before a write enters the log, or not at all.

use meridian_types::SeriesKey;

use crate::series::{Identity, Series};

/// Memory of a series beside its key, its tags and its rows: itself, its counts, and its places in the tables.
const SERIES_BYTES: usize = size_of::<Series>() + size_of::<Identity>() + 72;

/// How much an engine holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Series.
    pub series: u64,
    /// Values. One that was written over or deleted still counts while its rows and the later ones lie in different chunks
    /// or blocks, or in an open tail.
    pub points: u64,
    /// Bytes of memory, estimated.
    pub bytes: u64,
    /// Those of them that are rows, which a flush frees.
    pub row_bytes: u64,
    /// Bytes of files.
    pub file_bytes: u64,
    /// Blocks.
    pub blocks: u64,
}

impl Stats {
    /// Accounts for something that was `before` and is `after` now.
    pub(crate) fn replace(&mut self, before: Size, after: Size) {
        self.points = (self.points + after.points).saturating_sub(before.points);
        self.bytes = (self.bytes + after.bytes).saturating_sub(before.bytes);
        self.row_bytes = (self.row_bytes + after.bytes).saturating_sub(before.bytes);
    }

    /// Accounts for a new series without rows, whose tags take so many bytes in the index.
    pub(crate) fn added(&mut self, key: &SeriesKey, index_bytes: usize) {
        self.series += 1;
        self.bytes += (key.as_bytes().len() + SERIES_BYTES + index_bytes) as u64;
    }
}

impl std::iter::Sum for Stats {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            series: sum.series + one.series,
            points: sum.points + one.points,
            bytes: sum.bytes + one.bytes,
            row_bytes: sum.row_bytes + one.row_bytes,
            file_bytes: sum.file_bytes + one.file_bytes,
            blocks: sum.blocks + one.blocks,
        })
    }
}

/// What some rows take.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Size {
    /// Values.
    pub(crate) points: u64,
    /// Bytes of memory, estimated.
    pub(crate) bytes: u64,
}

impl std::ops::Add for Size {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { points: self.points + other.points, bytes: self.bytes + other.bytes }
    }
}
