//! Rows of a frame's table, laid out as a tail keeps them, so that a run goes into its tail in one copy.
//!
//! Only for tables in which every row has every column and no column is text: those turn column by column, without a look
//! at any single value. Pure. It must never hold more than a piece of the table.

use std::ops::Range;

use meridian_frame::{Column, Field, Table};

/// About as many words are laid out at a time: they stay in the nearest cache until they are copied.
const PIECE_WORDS: usize = 2 << 10;

/// See the module.
pub(crate) struct Rows<'t> {
    times: &'t [i64],
    columns: Vec<Cells<'t>>,
    mask_words: usize,
    /// Rows of one piece.
    piece: usize,
    words: Vec<u64>,
    /// Which rows `words` has.
    held: Range<usize>,
}

/// The values of one column, one a row.
enum Cells<'t> {
    F64(&'t [f64]),
    I64(&'t [i64]),
    U64(&'t [u64]),
    Bool(&'t [bool]),
}

impl<'t> Cells<'t> {
    /// The values of a field that has one in each of `rows` rows, unless they are texts.
    fn of(field: &'t Field, rows: usize) -> Option<Self> {
        if field.values.points() != rows {
            return None;
        }
        Some(match &field.values {
            Column::F64(values) => Self::F64(values.present()),
            Column::I64(values) => Self::I64(values.present()),
            Column::U64(values) => Self::U64(values.present()),
            Column::Bool(values) => Self::Bool(values.present()),
            Column::Str(_) => return None,
        })
    }

    /// Puts the cells of `rows` into every `stride`th word of `out`, from `at` on.
    fn put(&self, rows: Range<usize>, out: &mut [u64], stride: usize, at: usize) {
        fn spread<T: Copy>(values: &[T], out: &mut [u64], stride: usize, at: usize, cell: impl Fn(T) -> u64) {
            out.chunks_exact_mut(stride).zip(values).for_each(|(row, value)| row[at] = cell(*value));
        }
        match self {
            Self::F64(values) => spread(&values[rows], out, stride, at, f64::to_bits),
            Self::I64(values) => spread(&values[rows], out, stride, at, i64::cast_unsigned),
            Self::U64(values) => spread(&values[rows], out, stride, at, |value| value),
            Self::Bool(values) => spread(&values[rows], out, stride, at, u64::from),
        }
    }
}

impl<'t> Rows<'t> {
    /// The rows of `table`, whose fields are `columns` by column number; `None` if some value is absent or text. Each row
    /// has `mask_words` words of bits.
    pub(crate) fn of(table: &'t Table, columns: &[(u16, &'t Field)], mask_words: u8) -> Option<Self> {
        let cells: Vec<Cells<'t>> =
            columns.iter().map(|(_, field)| Cells::of(field, table.rows())).collect::<Option<_>>()?;
        let mask_words = usize::from(mask_words);
        let stride = 1 + mask_words + cells.len();
        let piece = (PIECE_WORDS / stride).max(1);
        let mut words = vec![0; piece * stride];
        // Time and cells are written over in each piece, the mask stays.
        for row in words.chunks_exact_mut(stride) {
            for (number, _) in columns {
                row[1 + usize::from(number / 64)] |= 1 << (number % 64);
            }
        }
        Some(Self { times: table.times(), columns: cells, mask_words, piece, words, held: 0..0 })
    }

    /// Words of one row.
    pub(crate) fn stride(&self) -> usize {
        1 + self.mask_words + self.columns.len()
    }

    /// Rows that [`Rows::words`] gives at most.
    pub(crate) fn piece(&self) -> usize {
        self.piece
    }

    /// The rows `rows`, at most [`Rows::piece`]. Cheap when asked in order.
    pub(crate) fn words(&mut self, rows: Range<usize>) -> &[u64] {
        if rows.start < self.held.start || rows.end > self.held.end {
            self.held = rows.start..self.times.len().min(rows.start + self.piece);
            self.lay_out();
        }
        let (first, stride) = (rows.start - self.held.start, self.stride());
        &self.words[first * stride..][..rows.len() * stride]
    }

    fn lay_out(&mut self) {
        let (held, stride, cells_at) = (self.held.clone(), self.stride(), 1 + self.mask_words);
        let rows = self.words.chunks_exact_mut(stride).zip(&self.times[held.clone()]);
        rows.for_each(|(row, time)| row[0] = time.cast_unsigned());
        for (column, at) in self.columns.iter().zip(cells_at..) {
            column.put(held.clone(), &mut self.words, stride, at);
        }
    }
}
