//! The open rows of one series: an append-only list of words, in log order.
//!
//! Layout of a row: `time | mask_words words: which columns it has | one cell for each, by column number`. A cell is the
//! value's 64 bits, or for a string its place in `text`. One buffer for everything keeps a series of one row small, and a
//! row pays for the values it has, not for the columns it lacks.
//!
//! It must never sort, merge or drop: sealing does (`chunk`).

use meridian_types::{TimeRange, Timestamp, ValueRef};

use crate::stats::Size;

/// A tail with as many words is full whatever its rows: bounds what a view or a seal must copy at a time.
const TAIL_WORDS_MAX: usize = 128 << 10;
/// A tail with as much text is full likewise. With the text of one more row it still is far below 4 GiB, which is what
/// a cell can address.
const TAIL_TEXT_BYTES_MAX: usize = 1 << 20;

const _: () = assert!(TAIL_TEXT_BYTES_MAX + meridian_types::limits::RECORD_BYTES_MAX < u32::MAX as usize);

/// Open rows of one series.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail {
    words: Vec<u64>,
    text: String,
    mask_words: u8,
    rows: u32,
    points: u32,
    time_min: i64,
    time_max: i64,
}

/// One row, as it stands in a tail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) time: i64,
    mask: &'a [u64],
    cells: &'a [u64],
}

impl Tail {
    /// An empty tail for rows whose columns fit `mask_words` words of bits.
    pub(crate) fn new(mask_words: u8) -> Self {
        Self { mask_words, ..Self::default() }
    }

    /// Words in the mask of each row.
    pub(crate) fn mask_words(&self) -> u8 {
        self.mask_words
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Whether the next row should go to a new tail.
    pub(crate) fn is_full(&self, rows_max: usize) -> bool {
        self.rows as usize >= rows_max || self.words.len() >= TAIL_WORDS_MAX || self.text.len() >= TAIL_TEXT_BYTES_MAX
    }

    /// Appends a row and returns how many values it has; one without values leaves nothing. `cells` are sorted by column,
    /// and every column is below `64 * mask_words`.
    pub(crate) fn push<'a>(&mut self, time: i64, cells: impl Iterator<Item = (u16, ValueRef<'a>)>) -> u32 {
        let start = self.words.len();
        let mask_at = start + 1;
        let cells_at = mask_at + usize::from(self.mask_words);
        if start == 0 {
            // Most series of a wide shard have few rows: do not let the buffer double its way up to the first.
            self.words.reserve_exact(cells_at + cells.size_hint().1.unwrap_or(0));
        }
        self.words.push(time.cast_unsigned());
        self.words.resize(cells_at, 0);
        for (column, value) in cells {
            let cell = self.cell(value);
            self.words[mask_at + usize::from(column / 64)] |= 1 << (column % 64);
            self.words.push(cell);
        }
        let points = (self.words.len() - cells_at) as u32;
        if points == 0 {
            self.words.truncate(start);
            return 0;
        }
        let first = self.is_empty();
        self.time_min = if first { time } else { self.time_min.min(time) };
        self.time_max = if first { time } else { self.time_max.max(time) };
        self.rows += 1;
        self.points += points;
        points
    }

    fn cell(&mut self, value: ValueRef<'_>) -> u64 {
        match value {
            ValueRef::F64(v) => v.to_bits(),
            ValueRef::I64(v) => v.cast_unsigned(),
            ValueRef::U64(v) => v,
            ValueRef::Bool(v) => u64::from(v),
            ValueRef::Str(v) => {
                let start = self.text.len() as u64;
                self.text.push_str(v);
                start << 32 | v.len() as u64
            }
        }
    }

    /// First and last time.
    pub(crate) fn span(&self) -> Option<(i64, i64)> {
        (!self.is_empty()).then_some((self.time_min, self.time_max))
    }

    /// Whether some row may be inside `range`.
    pub(crate) fn overlaps(&self, range: TimeRange) -> bool {
        !self.is_empty() && overlaps(self.time_min, self.time_max, range)
    }

    /// The rows in log order.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let mut rest = self.words.as_slice();
        std::iter::from_fn(move || {
            let (time, tail) = rest.split_first()?;
            let (mask, tail) = tail.split_at(usize::from(self.mask_words));
            let present: u32 = mask.iter().map(|m| m.count_ones()).sum();
            let (cells, tail) = tail.split_at(present as usize);
            rest = tail;
            Some(Row { time: time.cast_signed(), mask, cells })
        })
    }

    /// What the string cells point into.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn size(&self) -> Size {
        Size { points: u64::from(self.points), bytes: (8 * self.words.capacity() + self.text.capacity()) as u64 }
    }
}

impl Row<'_> {
    /// Column numbers and cells, in order of the columns.
    pub(crate) fn cells(&self) -> impl Iterator<Item = (u16, u64)> {
        columns_of(self.mask).zip(self.cells.iter().copied())
    }
}

/// The columns whose bits are set.
fn columns_of(mask: &[u64]) -> impl Iterator<Item = u16> {
    mask.iter().zip((0_u16..).step_by(64)).flat_map(|(word, base)| {
        let mut left = *word;
        std::iter::from_fn(move || {
            let bit = (left != 0).then(|| left.trailing_zeros())?;
            left &= left - 1;
            Some(base + bit as u16)
        })
    })
}

/// Whether the closed span of times has an instant in `range`.
pub(crate) fn overlaps(time_min: i64, time_max: i64, range: TimeRange) -> bool {
    let (start, end): (Timestamp, Timestamp) = (range.start(), range.end());
    time_min < end.nanos() && start.nanos() <= time_max
}
