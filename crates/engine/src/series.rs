//! One series: sealed chunks in log order, and the tail that takes its next rows.
//!
//! It must never depend on where chunks were cut in what it answers.

use std::sync::Arc;

use meridian_types::{DatabaseId, SeriesKey, SeriesNumber, TimeRange, ValueRef};

use crate::chunk::Chunk;
use crate::stats::Size;
use crate::tail::Tail;

/// The measurement that a series belongs to.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Home {
    pub(crate) database: DatabaseId,
    pub(crate) measurement: Box<str>,
    /// The number of the measurement's first series: names it among all that the engine ever had.
    pub(crate) number: SeriesNumber,
}

/// Who a series is: given once, never changed.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) number: SeriesNumber,
    pub(crate) key: Arc<SeriesKey>,
    pub(crate) home: Arc<Home>,
    /// What a frame that names this series by number must carry.
    check: u32,
}

impl Identity {
    pub(crate) fn new(number: SeriesNumber, key: Arc<SeriesKey>, home: Arc<Home>) -> Self {
        let check = meridian_frame::series_check(&key);
        Self { number, key, home, check }
    }

    /// Whether a frame that speaks of a series of measurement `home` with this check means this one.
    pub(crate) fn is_meant(&self, home: SeriesNumber, check: u32) -> bool {
        self.home.number == home && self.check == check
    }
}

/// One series of one measurement, with the rows of it that are in memory.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    identity: Arc<Identity>,
    sealed: Vec<Arc<Chunk>>,
    sealed_size: Size,
    tail: Tail,
}

impl Series {
    /// A series without rows.
    pub(crate) fn new(identity: Arc<Identity>) -> Self {
        Self { identity, sealed: Vec::new(), sealed_size: Size::default(), tail: Tail::default() }
    }

    pub(crate) fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    pub(crate) fn key(&self) -> &SeriesKey {
        &self.identity.key
    }

    pub(crate) fn number(&self) -> SeriesNumber {
        self.identity.number
    }

    /// Whether no row of it is in memory.
    pub(crate) fn is_empty(&self) -> bool {
        self.sealed.is_empty() && self.tail.is_empty()
    }

    /// First and last time of its rows in memory.
    pub(crate) fn span(&self) -> Option<(i64, i64)> {
        let sealed = self.sealed.iter().filter_map(|chunk| chunk.span());
        sealed.chain(self.tail.span()).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// Removes the rows inside `range`. Views taken before still see them.
    pub(crate) fn remove(&mut self, range: TimeRange) {
        if !self.overlaps(range) {
            return;
        }
        self.seal();
        let kept = std::mem::take(&mut self.sealed).into_iter().filter_map(|chunk| match chunk.overlaps(range) {
            true => chunk.without(range).map(Arc::new),
            false => Some(chunk),
        });
        self.sealed = kept.collect();
        self.sealed_size = self.sealed.iter().fold(Size::default(), |sum, chunk| sum + chunk.size());
    }

    /// Makes room for rows whose columns need `mask_words` words of bits. A tail with narrower rows is sealed; that
    /// happens at most once for every 64 columns of a measurement.
    pub(crate) fn widen(&mut self, mask_words: u8) {
        if self.tail.mask_words() < mask_words {
            self.seal();
            self.tail = Tail::new(mask_words);
        }
    }

    /// Appends a row as [`Tail::push`] does, and seals the tail if that fills it.
    pub(crate) fn push<'a>(
        &mut self,
        time: i64,
        cells: impl Iterator<Item = (u16, ValueRef<'a>)>,
        chunk_rows_max: usize,
    ) -> u32 {
        let points = self.tail.push(time, cells);
        if self.tail.is_full(chunk_rows_max) {
            self.seal();
        }
        points
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            let chunk = Chunk::seal(&self.tail);
            self.sealed_size = self.sealed_size + chunk.size();
            self.sealed.push(Arc::new(chunk));
            self.tail = Tail::new(self.tail.mask_words());
        }
    }

    /// Whether some row may be inside `range`.
    pub(crate) fn overlaps(&self, range: TimeRange) -> bool {
        self.tail.overlaps(range) || self.sealed.iter().any(|chunk| chunk.overlaps(range))
    }

    /// Everything that may be inside `range`, in log order; what is open comes sealed, as a copy.
    pub(crate) fn parts(&self, range: TimeRange) -> Vec<Arc<Chunk>> {
        let open = self.tail.overlaps(range).then(|| Arc::new(Chunk::seal(&self.tail)));
        self.sealed.iter().filter(|chunk| chunk.overlaps(range)).cloned().chain(open).collect()
    }

    /// What its rows take; the series itself is accounted for where it is made.
    pub(crate) fn size(&self) -> Size {
        self.sealed_size + self.tail.size()
    }
}
