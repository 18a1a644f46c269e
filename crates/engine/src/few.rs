//! Rows that a flush takes from series that have few: the words of their tails, one series behind the other, because a series of one
//! row costs many times that row to move as a whole.
//!
//! It must never change once the cut is made, and holds no text.

use std::ops::Range;
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

/// Series of one measurement whose rows all have the same columns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FewRows<'f> {
    series: &'f [One],
    /// Of all of them.
    words: &'f [u64],
    /// Words of a row.
    stride: usize,
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

    /// How many series there are.
    pub(crate) fn len(&self) -> usize {
        self.series.len()
    }

    /// First and last time of all rows, if there are some.
    pub(crate) fn span(&self) -> Option<(i64, i64)> {
        let spans = (0..self.len()).map(|place| self.one(place).span());
        spans.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// The series with this place among all, which are in order of their numbers.
    pub(crate) fn one(&self, place: usize) -> FewRows<'_> {
        let words = self.words_of(place..place + 1);
        let series = &self.series[place..place + 1];
        FewRows { series, words, stride: stride(words, series[0].mask_words) }
    }

    /// That series and those behind it, as far as they are of the same measurement, have the same columns and together at most `rows` rows,
    /// and `fits` says so of number, first and last time of each. At least the one.
    pub(crate) fn run(
        &self,
        place: usize,
        rows: usize,
        mut fits: impl FnMut(SeriesNumber, (i64, i64)) -> bool,
    ) -> FewRows<'_> {
        let first = self.one(place);
        let (stride, mask) = (first.stride, first.mask());
        let (mut end, mut left) = (place + 1, (rows * stride).saturating_sub(first.words.len()));
        while let Some(next) = self.series.get(end) {
            let words = self.words_of(end..end + 1);
            let is_alike = next.home == first.home()
                && next.mask_words == first.series[0].mask_words
                && words.get(1..1 + mask.len()) == Some(mask);
            let span = || (words[0].cast_signed(), words[words.len() - stride].cast_signed());
            if !is_alike || words.len() > left || !fits(next.number, span()) {
                break;
            }
            left -= words.len();
            end += 1;
        }
        FewRows { series: &self.series[place..end], words: self.words_of(place..end), stride }
    }

    /// The series as it was, if it is here.
    pub(crate) fn get(&self, identity: &Arc<Identity>) -> Option<Series> {
        let place = self.series.binary_search_by_key(&identity.number, |one| one.number).ok()?;
        Some(Series::of_tail(Arc::clone(identity), self.one(place).tail()))
    }

    fn words_of(&self, series: Range<usize>) -> &[u64] {
        let at = |place: usize| self.series.get(place).map_or(self.words.len(), |one| one.at as usize);
        &self.words[at(series.start)..at(series.end)]
    }
}

/// How many words a row takes that begins here.
fn stride(words: &[u64], mask_words: u8) -> usize {
    let cells_at = 1 + usize::from(mask_words);
    let columns: u32 = words[1..cells_at].iter().map(|word| word.count_ones()).sum();
    cells_at + columns as usize
}

impl FewRows<'_> {
    /// How many series they are.
    pub(crate) fn series(&self) -> usize {
        self.series.len()
    }

    /// The number of their measurement.
    pub(crate) fn home(&self) -> SeriesNumber {
        self.series[0].home
    }

    /// First and last number.
    pub(crate) fn ends(&self) -> (SeriesNumber, SeriesNumber) {
        (self.series[0].number, self.series[self.series.len() - 1].number)
    }

    /// Time of the first row, and of the last.
    pub(crate) fn span(&self) -> (i64, i64) {
        (self.words[0].cast_signed(), self.words[self.words.len() - self.stride].cast_signed())
    }

    /// The series of each row.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> {
        let (start, all) = (self.series[0].at as usize, self.words.len());
        let ends = self.series[1..].iter().map(move |next| next.at as usize - start).chain([all]);
        let mut at = 0;
        self.series.iter().zip(ends).flat_map(move |(one, end)| {
            let rows = (end - std::mem::replace(&mut at, end)) / self.stride;
            std::iter::repeat_n(u64::from(one.number.0), rows)
        })
    }

    /// Time and cells of each row as words, how many words a row takes, and where its cells begin, which are in order of the columns.
    pub(crate) fn words(&self) -> (&[u64], usize, usize) {
        (self.words, self.stride, 1 + self.mask().len())
    }

    /// The columns of each row.
    pub(crate) fn columns(&self) -> impl Iterator<Item = u16> {
        columns_of(self.mask())
    }

    /// The rows in columns, if they are of one series.
    pub(crate) fn chunk(&self) -> Chunk {
        Chunk::seal(&self.tail())
    }

    fn tail(&self) -> Tail {
        Tail::of_words(self.words, self.stride, self.series[0].mask_words)
    }

    fn mask(&self) -> &[u64] {
        &self.words[1..1 + usize::from(self.series[0].mask_words)]
    }
}
