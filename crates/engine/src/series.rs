//! One series: sealed chunks in log order, and the tail that takes its next rows.
//!
//! It must never depend on where chunks were cut in what it answers.

use std::sync::Arc;

use meridian_types::{SeriesKey, SeriesNumber, TimeRange, ValueRef};

use crate::chunk::Chunk;
use crate::stats::Size;
use crate::tail::Tail;

/// One series of one measurement.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    key: Arc<SeriesKey>,
    /// The measurement it belongs to, by the number of that measurement's first series: given once, never reused.
    home: SeriesNumber,
    /// What a frame that names this series by number must carry.
    check: u32,
    sealed: Vec<Arc<Chunk>>,
    sealed_size: Size,
    tail: Tail,
}

impl Series {
    pub(crate) fn new(key: Arc<SeriesKey>, home: SeriesNumber) -> Self {
        let check = meridian_frame::series_check(&key);
        Self { key, home, check, sealed: Vec::new(), sealed_size: Size::default(), tail: Tail::default() }
    }

    pub(crate) fn key(&self) -> &SeriesKey {
        &self.key
    }

    /// Whether a frame that speaks of a series of measurement `home` with this check means this one.
    pub(crate) fn is_meant(&self, home: SeriesNumber, check: u32) -> bool {
        self.home == home && self.check == check
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
