//! Rows that a flush takes from series that have few: the words of their tails, one series behind the other, because a series of one
//! row costs many times that row to move as a whole.
//!
//! It must never change once the cut is made, and holds no text.

use std::sync::Arc;

use meridian_types::SeriesNumber;

use crate::chunk::Chunk;
use crate::series::{Identity, Series};
use crate::tail::{Tail, columns_of};

/// See the module. Of one database.
#[derive(Debug, Default)]
pub(crate) struct Few {
    /// By number.
    series: Vec<One>,
    words: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct One {
    home: SeriesNumber,
    number: SeriesNumber,
    /// Where its words begin.
    at: u32,
    mask_words: u8,
}

/// The rows of one series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FewRows<'f> {
    /// Of its measurement.
    pub(crate) home: SeriesNumber,
    pub(crate) number: SeriesNumber,
    words: &'f [u64],
    mask_words: u8,
}

impl Few {
    /// With room for so many series of a row of one value.
    pub(crate) fn with_room(series: usize) -> Self {
        Self { series: Vec::with_capacity(series), words: Vec::with_capacity(3 * series) }
    }

    /// Takes the rows of a series that comes after all before, its measurement's number and its own being known, if they are of this kind
    /// and there is room.
    pub(crate) fn take(&mut self, (home, number): (SeriesNumber, SeriesNumber), series: &mut Series) -> bool {
        let Ok(at) = u32::try_from(self.words.len()) else { return false };
        let Some(tail) = series.few() else { return false };
        let mask_words = tail.mask_words();
        self.words.extend_from_slice(tail.words());
        self.series.push(One { home, number, at, mask_words });
        series.clear();
        true
    }

    /// Removes the last series, if there is one.
    pub(crate) fn pop(&mut self) {
        if let Some(last) = self.series.pop() {
            self.words.truncate(last.at as usize);
        }
    }

    /// All series, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = FewRows<'_>> {
        (0..self.series.len()).map(|place| self.rows(place))
    }

    /// The series as it was, if it is here.
    pub(crate) fn get(&self, identity: &Arc<Identity>) -> Option<Series> {
        let place = self.series.binary_search_by_key(&identity.number, |one| one.number).ok()?;
        Some(Series::of_tail(Arc::clone(identity), self.rows(place).tail()))
    }

    fn rows(&self, place: usize) -> FewRows<'_> {
        let One { home, number, at, mask_words } = self.series[place];
        let end = self.series.get(place + 1).map_or(self.words.len(), |next| next.at as usize);
        FewRows { home, number, words: &self.words[at as usize..end], mask_words }
    }
}

impl FewRows<'_> {
    /// First and last time.
    pub(crate) fn span(&self) -> (i64, i64) {
        let time = |at: usize| self.words.get(at).map_or(0, |word| word.cast_signed());
        (time(0), time(self.words.len().saturating_sub(self.stride())))
    }

    /// Each row: its time, and its cells by column.
    pub(crate) fn rows(&self) -> impl ExactSizeIterator<Item = (i64, impl Iterator<Item = (u16, u64)>)> {
        let cells_at = 1 + usize::from(self.mask_words);
        self.words
            .chunks_exact(self.stride())
            .map(move |row| (row[0].cast_signed(), columns_of(self.mask()).zip(row[cells_at..].iter().copied())))
    }

    /// The rows in columns.
    pub(crate) fn chunk(&self) -> Chunk {
        Chunk::seal(&self.tail())
    }

    fn tail(&self) -> Tail {
        Tail::of_words(self.words, self.stride(), self.mask_words)
    }

    fn mask(&self) -> &[u64] {
        self.words.get(1..1 + usize::from(self.mask_words)).unwrap_or_default()
    }

    fn stride(&self) -> usize {
        let columns: u32 = self.mask().iter().map(|word| word.count_ones()).sum();
        1 + usize::from(self.mask_words) + columns as usize
    }
}
