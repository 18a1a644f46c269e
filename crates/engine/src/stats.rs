//! How much is held: counted as writes happen, so that asking costs nothing.
//!
//! It must never decide anything in `write`: memory refuses before a write enters the log, or not at all.

/// How much an engine holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Series.
    pub series: u64,
    /// Values in memory. A value that was written over still counts while its rows and the later ones lie in different
    /// chunks, or in an open tail.
    pub points: u64,
    /// Bytes of memory, estimated.
    pub bytes: u64,
}

impl Stats {
    /// Accounts for something that was `before` and is `after` now.
    pub(crate) fn replace(&mut self, before: Size, after: Size) {
        self.points = (self.points + after.points).saturating_sub(before.points);
        self.bytes = (self.bytes + after.bytes).saturating_sub(before.bytes);
    }
}

impl std::iter::Sum for Stats {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            series: sum.series + one.series,
            points: sum.points + one.points,
            bytes: sum.bytes + one.bytes,
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
