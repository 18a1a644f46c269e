//! Sealed rows of one series: immutable, in columns, sorted by time, one row a timestamp. The one place where rows are
//! sealed; what keeps them encodes them.
//!
//! It must never change once it is made: views share it.

use std::ops::Range;

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
        match tail.even() {
            Some((words, stride, is_sorted)) => Self::turn(tail, words, stride, is_sorted),
            None => Self::seal_rows(tail),
        }
    }

    /// Seals rows that all have the same columns: of one time, the last row stays whole, and the rest turns column by column.
    fn turn(tail: &Tail, words: &[u64], stride: usize, is_sorted: bool) -> Self {
        let rows = words.chunks_exact(stride);
        let columns: Vec<u16> = tail.first_columns().collect();
        let cells_at = stride - columns.len();
        if is_sorted {
            let times = rows.clone().map(|row| row[0].cast_signed()).collect();
            let turned = columns.into_iter().zip(cells_at..);
            let turned =
                turned.map(|(number, at)| Column::new(number, None, rows.clone().map(|row| row[at]).collect()));
            return Self { times, columns: turned.collect(), text: tail.text().into() };
        }
        let mut order: Vec<(i64, usize)> =
            rows.zip((0..).step_by(stride)).map(|(row, start)| (row[0].cast_signed(), start)).collect();
        order.sort_unstable(); // rows of one time stay in log order, which is that of their starts
        order.reverse();
        order.dedup_by_key(|(time, _)| *time); // the first one stays, which is the last in the log
        order.reverse();
        let times = order.iter().map(|(time, _)| *time).collect();
        let turned = columns.into_iter().zip(cells_at..);
        let turned = turned
            .map(|(number, at)| Column::new(number, None, order.iter().map(|(_, start)| words[start + at]).collect()));
        Self { times, columns: turned.collect(), text: tail.text().into() }
    }

    /// Seals any rows, one by one.
    fn seal_rows(tail: &Tail) -> Self {
        let mut rows: Vec<Row<'_>> = tail.rows().collect();
        rows.sort_by_key(|row| row.time); // stable: rows of one time stay in log order
        let mut sealed = Builder::default();
        for row in &rows {
            sealed.row(row.time);
            for (number, cell) in row.cells() {
                sealed.cell(number, cell);
            }
        }
        sealed.finish(tail.text().into())
    }

    /// The same rows without those inside `range`; `None` if no row is left.
    pub(crate) fn without(&self, range: TimeRange) -> Option<Self> {
        let mut kept = Builder::default();
        for (row, time) in self.times.iter().enumerate().filter(|(_, time)| !contains(range, **time)) {
            kept.row(*time);
            for column in &self.columns {
                if let Some(cell) = column.get(row) {
                    kept.cell(column.number, cell);
                }
            }
        }
        // The cells of strings keep their places in the text.
        (!kept.is_empty()).then(|| kept.finish(self.text.clone()))
    }

    /// Those of its rows, in order, with the text of all.
    pub(crate) fn only(self, rows: &[usize]) -> Self {
        if rows.len() == self.times.len() {
            return self;
        }
        let times = rows.iter().map(|row| self.times[*row]).collect();
        let columns = self.columns.iter().map(|column| column.only(rows)).filter(|column| !column.cells.is_empty());
        Self { times, columns: columns.collect(), text: self.text }
    }

    /// Some of its rows. `is_text` tells of which columns the cells are places in its text.
    pub(crate) fn slice(&self, rows: Range<usize>, is_text: impl Fn(u16) -> bool) -> Self {
        let mut open = Builder::default();
        open.append(self, rows, 0, |_| false);
        let (mut slice, mut text) = (open.finish(Box::default()), String::new());
        for column in slice.columns.iter_mut().filter(|column| is_text(column.number)) {
            for cell in &mut column.cells {
                let string = self.string(*cell);
                *cell = (text.len() as u64) << 32 | string.len() as u64;
                text.push_str(string);
            }
        }
        slice.text = text.into();
        slice
    }

    /// A chunk of parts that keep what the fields of [`Chunk`] and [`Column`] promise: as they were, or checked.
    pub(crate) fn from_parts(times: Box<[i64]>, columns: Box<[Column]>, text: Box<str>) -> Self {
        Self { times, columns, text }
    }

    /// First and last time; `None` if the tail that was sealed had no rows.
    pub(crate) fn span(&self) -> Option<(i64, i64)> {
        self.times.first().copied().zip(self.times.last().copied())
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

    /// By column number.
    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    pub(crate) fn column(&self, number: u16) -> Option<&Column> {
        let place = self.columns.binary_search_by_key(&number, |column| column.number).ok()?;
        Some(&self.columns[place])
    }

    /// Whether both have the same columns, a value in each row of each, and no text.
    pub(crate) fn is_alike(&self, other: &Self) -> bool {
        let is_full = |column: &Column| column.present.is_none();
        let are_plain = [self, other].iter().all(|one| one.text.is_empty() && one.columns.iter().all(is_full));
        are_plain && self.columns.iter().map(Column::number).eq(other.columns.iter().map(Column::number))
    }

    /// What the cells of strings point into.
    pub(crate) fn text(&self) -> &str {
        &self.text
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
    /// A column with one of `cells` for each row whose bit in `present` is set, or for each row.
    pub(crate) fn new(number: u16, present: Option<Box<[u64]>>, cells: Box<[u64]>) -> Self {
        Self { number, present, cells }
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    /// One bit a row; `None` if every row has a value.
    pub(crate) fn present(&self) -> Option<&[u64]> {
        self.present.as_deref()
    }

    /// One for each row that has a value.
    pub(crate) fn cells(&self) -> &[u64] {
        &self.cells
    }

    /// Whether row `row` has a value.
    pub(crate) fn has(&self, row: usize) -> bool {
        self.present.as_ref().is_none_or(|mask| mask[row / 64] >> (row % 64) & 1 == 1)
    }

    /// Of some rows, which are in order.
    fn only(&self, rows: &[usize]) -> Self {
        if self.present.is_none() {
            return Self::new(self.number, None, rows.iter().map(|row| self.cells[*row]).collect());
        }
        let mut only = Building { number: self.number, ..Building::default() };
        for (row, cell) in rows.iter().enumerate().filter_map(|(to, row)| Some((to, self.get(*row)?))) {
            only.set(row, cell);
        }
        only.finish(rows.len())
    }

    /// The cells of `rows`.
    fn cells_in(&self, rows: Range<usize>) -> &[u64] {
        match &self.present {
            None => &self.cells[rows],
            Some(mask) => &self.cells[ones_before(mask, rows.start)..ones_before(mask, rows.end)],
        }
    }

    /// The cell of row `row`.
    pub(crate) fn get(&self, row: usize) -> Option<u64> {
        let Some(mask) = &self.present else { return Some(self.cells[row]) };
        (mask[row / 64] >> (row % 64) & 1 == 1).then(|| self.cells[ones_before(mask, row)])
    }
}

/// A chunk that is being filled, row after row in order of time.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    times: Vec<i64>,
    columns: Vec<Building>,
    /// By column number, where it stands in `columns`.
    place_of: Vec<Option<u16>>,
}

impl Builder {
    pub(crate) fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    pub(crate) fn rows(&self) -> usize {
        self.times.len()
    }

    /// Goes on with the row of `time`, which is never before the last one's; the same time is the same row.
    pub(crate) fn row(&mut self, time: i64) {
        if self.times.last() != Some(&time) {
            self.times.push(time);
        }
    }

    /// Gives the row its value of a column; a value that is there is written over.
    pub(crate) fn cell(&mut self, number: u16, cell: u64) {
        let row = self.times.len() - 1;
        self.place(number).set(row, cell);
    }

    /// The column with this number, made if it is not there.
    fn place(&mut self, number: u16) -> &mut Building {
        if self.place_of.len() <= usize::from(number) {
            self.place_of.resize(usize::from(number) + 1, None);
        }
        let columns = &mut self.columns;
        let place = *self.place_of[usize::from(number)].get_or_insert_with(|| {
            columns.push(Building { number, ..Building::default() });
            (columns.len() - 1) as u16 // a measurement has at most FIELDS_MAX columns
        });
        &mut columns[usize::from(place)]
    }

    /// Goes on with rows of a chunk that all come after the last one's. `text_at` is where the chunk's text stands in that of
    /// the new one, and `is_text` tells of which columns the cells are places in it.
    pub(crate) fn append(&mut self, chunk: &Chunk, rows: Range<usize>, text_at: u64, is_text: impl Fn(u16) -> bool) {
        let start = self.times.len();
        self.times.extend_from_slice(&chunk.times[rows.clone()]);
        for column in &chunk.columns {
            let cells = column.cells_in(rows.clone());
            // A column without a value is none.
            if !cells.is_empty() {
                let moved = if is_text(column.number) { text_at << 32 } else { 0 };
                self.place(column.number).extend(start, column, rows.clone(), cells, moved);
            }
        }
    }

    /// Goes on with rows of `stride` words each, of which the first is the time; `columns` says which column has its cell at which word.
    pub(crate) fn extend_words(&mut self, words: &[u64], stride: usize, columns: impl Iterator<Item = (u16, usize)>) {
        let (start, rows) = (self.times.len(), words.chunks_exact(stride));
        self.times.extend(rows.clone().map(|row| row[0].cast_signed()));
        for (number, at) in columns {
            self.place(number).extend_full(start, rows.clone().map(|row| row[at]));
        }
    }

    /// Goes on with rows of chunks that are alike: part and row of each.
    pub(crate) fn gather(&mut self, chunks: &[&Chunk], rows: &[(u32, u32)]) {
        let start = self.times.len();
        self.times.extend(rows.iter().map(|(part, row)| chunks[*part as usize].times[*row as usize]));
        for at in 0..chunks[0].columns.len() {
            let columns: Vec<&Column> = chunks.iter().map(|chunk| &chunk.columns[at]).collect();
            let cells = rows.iter().map(|(part, row)| columns[*part as usize].cells[*row as usize]);
            self.place(columns[0].number).extend_full(start, cells);
        }
    }

    /// The chunk. `text` is what the cells of strings point into.
    pub(crate) fn finish(mut self, text: Box<str>) -> Chunk {
        self.columns.sort_unstable_by_key(|column| column.number);
        let rows = self.times.len();
        let columns = self.columns.into_iter().map(|column| column.finish(rows)).collect();
        Chunk { times: self.times.into(), columns, text }
    }
}

/// Whether a time in nanoseconds is inside `range`.
pub(crate) fn contains(range: TimeRange, time: i64) -> bool {
    range.start().nanos() <= time && time < range.end().nanos()
}

/// How many of the bits before `row` are set; `row` may be the end.
fn ones_before(mask: &[u64], row: usize) -> usize {
    let whole: u32 = mask[..row / 64].iter().map(|word| word.count_ones()).sum();
    let rest = mask.get(row / 64).map_or(0, |word| (word & ((1 << (row % 64)) - 1)).count_ones());
    (whole + rest) as usize
}

/// Sets the bits of `rows`, for which there is room.
fn set_bits(mask: &mut [u64], rows: Range<usize>) {
    let mut at = rows.start;
    while at < rows.end {
        let count = (64 - at % 64).min(rows.end - at);
        mask[at / 64] |= (u64::MAX >> (64 - count)) << (at % 64);
        at += count;
    }
}

/// A column that is being filled, row after row.
#[derive(Debug, Default)]
struct Building {
    number: u16,
    /// Nothing while all rows have a value.
    present: Vec<u64>,
    cells: Vec<u64>,
}

impl Building {
    /// `row` is never below that of an earlier call; the same row again writes over its value.
    fn set(&mut self, row: usize, cell: u64) {
        if self.present.is_empty() && row == self.cells.len() {
            self.cells.push(cell);
            return;
        }
        self.spread(row + 1);
        let (word, bit) = (row / 64, 1 << (row % 64));
        if self.present[word] & bit != 0
            && let Some(last) = self.cells.last_mut()
        {
            *last = cell;
        } else {
            self.present[word] |= bit;
            self.cells.push(cell);
        }
    }

    /// Takes the `cells` that `column` has in `rows` as those of as many rows from `start` on, which is behind all that there
    /// are; `moved` is added to each.
    fn extend(&mut self, start: usize, column: &Column, rows: Range<usize>, cells: &[u64], moved: u64) {
        let is_dense = self.present.is_empty() && start == self.cells.len();
        if !is_dense || column.present.is_some() {
            self.spread(start + rows.len());
            match &column.present {
                None => set_bits(&mut self.present, start..start + rows.len()),
                Some(mask) => {
                    for (row, to) in rows.zip(start..) {
                        if mask[row / 64] >> (row % 64) & 1 == 1 {
                            self.present[to / 64] |= 1 << (to % 64);
                        }
                    }
                }
            }
        }
        match moved {
            0 => self.cells.extend_from_slice(cells),
            _ => self.cells.extend(cells.iter().map(|cell| cell + moved)),
        }
    }

    /// Takes one cell for each row from `start` on, which is behind all that there are.
    fn extend_full(&mut self, start: usize, cells: impl ExactSizeIterator<Item = u64>) {
        if !self.present.is_empty() || start != self.cells.len() {
            self.spread(start + cells.len());
            set_bits(&mut self.present, start..start + cells.len());
        }
        self.cells.extend(cells);
    }

    /// Makes room for the bits of so many rows, and sets those of the rows that have a value.
    fn spread(&mut self, rows: usize) {
        let is_first = self.present.is_empty();
        self.present.resize(rows.div_ceil(64).max(self.present.len()), 0);
        if is_first {
            set_bits(&mut self.present, 0..self.cells.len());
        }
    }

    fn finish(mut self, rows: usize) -> Column {
        let is_full = self.cells.len() == rows;
        if !is_full {
            self.spread(rows);
        }
        let present = (!is_full).then(|| self.present.into());
        Column { number: self.number, present, cells: self.cells.into() }
    }
}

#[cfg(test)]
mod tests;
