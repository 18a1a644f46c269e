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

/// A tail that was emptied keeps no more room.
const TAIL_WORDS_KEPT: usize = 4 << 10;

/// Open rows of one series.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail {
    words: Vec<u64>,
    text: String,
    mask_words: u8,
    /// Whether rows have different columns.
    is_mixed: bool,
    /// Whether a row is not later than the one before it.
    is_unsorted: bool,
    rows: u32,
    points: u32,
    time_min: i64,
    time_max: i64,
    /// Of the newest row.
    time_last: i64,
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

    /// A tail with rows that all have the same columns and no text, in order of time, as another tail had them.
    pub(crate) fn of_words(words: &[u64], stride: usize, mask_words: u8) -> Self {
        let mut tail = Self::new(mask_words);
        tail.extend(words, stride, words.len() / stride);
        tail
    }

    /// Removes all rows and keeps the room for the next ones, because a series that was filled is filled again.
    pub(crate) fn clear(&mut self) {
        let (mut words, mut text) = (std::mem::take(&mut self.words), std::mem::take(&mut self.text));
        words.clear();
        text.clear();
        text.shrink_to(TAIL_WORDS_KEPT);
        words.shrink_to(TAIL_WORDS_KEPT);
        *self = Self { words, text, ..Self::new(self.mask_words) };
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
        let mask = &self.words[mask_at..cells_at];
        self.is_mixed |= start > 0 && mask != &self.words[1..1 + mask.len()];
        self.note_time(time);
        self.rows += 1;
        self.points += points;
        points
    }

    fn note_time(&mut self, time: i64) {
        let first = self.is_empty();
        self.time_min = if first { time } else { self.time_min.min(time) };
        self.time_max = if first { time } else { self.time_max.max(time) };
        self.is_unsorted |= !first && time <= self.time_last;
        self.time_last = time;
    }

    /// Appends rows that all have the same columns: `words` is what a tail has of them, `stride` words a row. Together the
    /// tail will have `rows_max` rows at most.
    pub(crate) fn extend(&mut self, words: &[u64], stride: usize, rows_max: usize) {
        let mask = 1..1 + usize::from(self.mask_words);
        let Some(of_new) = words.get(mask.clone()) else { return };
        let differ = |first: &[u64]| first.iter().zip(of_new).any(|(a, b)| a != b);
        self.is_mixed |= self.words.get(mask).is_some_and(differ);
        let wanted = self.words.len() + words.len();
        if wanted > self.words.capacity() {
            // The first rows take what they need, because most series of a wide shard have few. Then few steps.
            let more = if self.is_empty() { wanted } else { wanted.max(2 * self.words.capacity()) };
            let most = (rows_max * stride).max(wanted);
            self.words.reserve_exact(more.min(most) - self.words.len());
        }
        self.words.extend_from_slice(words);
        for row in words.chunks_exact(stride) {
            self.note_time(row[0].cast_signed());
            self.rows += 1;
        }
        self.points += (words.len() / stride * (stride - 1 - usize::from(self.mask_words))) as u32;
    }

    /// Rows that are open.
    pub(crate) fn len(&self) -> usize {
        self.rows as usize
    }

    /// The words of the rows and how many a row has, if all rows have the same columns; and whether their times increase.
    pub(crate) fn even(&self) -> Option<(&[u64], usize, bool)> {
        let rows = self.rows as usize;
        (rows > 0 && !self.is_mixed).then(|| (self.words.as_slice(), self.words.len() / rows, !self.is_unsorted))
    }

    /// The columns of the first row, by number.
    pub(crate) fn first_columns(&self) -> impl Iterator<Item = u16> {
        columns_of(self.words.get(1..1 + usize::from(self.mask_words)).unwrap_or_default())
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

    /// All rows.
    pub(crate) fn words(&self) -> &[u64] {
        &self.words
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
pub(crate) fn columns_of(mask: &[u64]) -> impl Iterator<Item = u16> {
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
