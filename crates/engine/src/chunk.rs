//! Sealed rows of one series: immutable, in columns, sorted by time, one row a timestamp. The one place where rows are
//! sealed, and so the place where compression and blocks will begin.
//!
//! It must never change once it is made: views share it.

use meridian_types::TimeRange;

use crate::stats::Size;
use crate::tail::{Row, Tail, overlaps};

/// Rows of one series, sealed.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// Strictly increasing, never empty unless the tail was.
    times: Box<[i64]>,
    /// By column number.
    columns: Box<[Column]>,
    text: Box<str>,
}

/// The values of one column of a chunk.
#[derive(Debug)]
pub(crate) struct Column {
    number: u16,
    /// One bit a row; `None` if every row has a value.
    present: Option<Box<[u64]>>,
    /// One for each row that has a value.
    cells: Box<[u64]>,
}

impl Chunk {
    /// Sorts a tail's rows by time and merges those of one time: of the same field, the later in the log stays.
    pub(crate) fn seal(tail: &Tail) -> Self {
        let mut rows: Vec<Row<'_>> = tail.rows().collect();
        rows.sort_by_key(|row| row.time); // stable: rows of one time stay in log order
        let mut times: Vec<i64> = Vec::with_capacity(rows.len());
        let mut columns: Vec<Building> = Vec::new();
        let mut place_of: Vec<Option<usize>> = vec![None; 64 * usize::from(tail.mask_words())];
        for row in &rows {
            if times.last() != Some(&row.time) {
                times.push(row.time);
            }
            for (number, cell) in row.cells() {
                let place = *place_of[usize::from(number)].get_or_insert_with(|| {
                    columns.push(Building { number, ..Building::default() });
                    columns.len() - 1
                });
                columns[place].set(times.len() - 1, cell);
            }
        }
        columns.sort_unstable_by_key(|column| column.number);
        Self {
            columns: columns.into_iter().map(|column| column.finish(times.len())).collect(),
            times: times.into(),
            text: tail.text().into(),
        }
    }

    /// Whether some row may be inside `range`.
    pub(crate) fn overlaps(&self, range: TimeRange) -> bool {
        let span = self.times.first().zip(self.times.last());
        span.is_some_and(|(first, last)| overlaps(*first, *last, range))
    }

    /// Strictly increasing.
    pub(crate) fn times(&self) -> &[i64] {
        &self.times
    }

    pub(crate) fn column(&self, number: u16) -> Option<&Column> {
        let place = self.columns.binary_search_by_key(&number, |column| column.number).ok()?;
        Some(&self.columns[place])
    }

    /// The string that a cell of this chunk stands for.
    pub(crate) fn string(&self, cell: u64) -> &str {
        let (start, len) = ((cell >> 32) as usize, (cell & u64::from(u32::MAX)) as usize);
        &self.text[start..start + len]
    }

    pub(crate) fn size(&self) -> Size {
        let points: usize = self.columns.iter().map(|c| c.cells.len()).sum();
        let masks: usize = self.columns.iter().flat_map(|c| &c.present).map(|p| 8 * p.len()).sum();
        let fixed = size_of::<Self>() + self.columns.len() * size_of::<Column>();
        let bytes = fixed + 8 * (self.times.len() + points) + masks + self.text.len();
        Size { points: points as u64, bytes: bytes as u64 }
    }
}

impl Column {
    /// Whether row `row` has a value.
    pub(crate) fn has(&self, row: usize) -> bool {
        self.present.as_ref().is_none_or(|mask| mask[row / 64] >> (row % 64) & 1 == 1)
    }

    /// The cell of row `row`.
    pub(crate) fn get(&self, row: usize) -> Option<u64> {
        let Some(mask) = &self.present else { return Some(self.cells[row]) };
        let (word, bit) = (row / 64, row % 64);
        if mask[word] >> bit & 1 == 0 {
            return None;
        }
        let before: u32 = mask[..word].iter().map(|w| w.count_ones()).sum();
        let inside = (mask[word] & ((1 << bit) - 1)).count_ones();
        Some(self.cells[(before + inside) as usize])
    }
}

/// A column that is being filled, row after row.
#[derive(Default)]
struct Building {
    number: u16,
    present: Vec<u64>,
    cells: Vec<u64>,
}

impl Building {
    /// `row` is never below that of an earlier call; the same row again writes over its value.
    fn set(&mut self, row: usize, cell: u64) {
        let (word, bit) = (row / 64, 1 << (row % 64));
        if self.present.len() <= word {
            self.present.resize(word + 1, 0);
        }
        if self.present[word] & bit != 0
            && let Some(last) = self.cells.last_mut()
        {
            *last = cell;
        } else {
            self.present[word] |= bit;
            self.cells.push(cell);
        }
    }

    fn finish(mut self, rows: usize) -> Column {
        self.present.resize(rows.div_ceil(64), 0);
        let present = (self.cells.len() < rows).then(|| self.present.into());
        Column { number: self.number, present, cells: self.cells.into() }
    }
}
