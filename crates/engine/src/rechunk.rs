//! Rows of one series out of parts that overlap in time, as chunks that follow each other: what a block is made of.
//!
//! It must never lose a value that a reader of the parts would see, nor keep one that it would not.

use std::sync::Arc;

use meridian_types::{FieldType, TimeRange};

use crate::chunk::{Builder, Chunk};
use crate::merge::Part;

/// Text of one chunk after which it is full. With the text of one more row it is still far below what a cell can address.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// How rows are cut into chunks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cuts {
    pub(crate) rows_max: usize,
    /// No chunk has rows of two partitions of this length in nanoseconds.
    pub(crate) partition: i64,
}

impl Cuts {
    /// Where the partition of a time begins; the first one, which begins before all times, at the least there is.
    pub(crate) fn partition_of(self, time: i64) -> i64 {
        time.checked_sub(time.rem_euclid(self.partition)).unwrap_or(i64::MIN)
    }
}

/// The rows of `parts`, which are in log order, inside `range`: sorted by time, one row a timestamp, of each column the
/// value that came last in the log. `types` by column number.
pub(crate) fn rechunk(parts: &[Part], types: &[FieldType], range: TimeRange, cuts: Cuts) -> Vec<Arc<Chunk>> {
    if let [only] = parts
        && is_done(only, range, cuts)
    {
        return vec![Arc::clone(&only.chunk)];
    }
    let mut rows: Vec<(i64, u32, u32)> = Vec::new();
    for (part, number) in parts.iter().zip(0..) {
        rows.extend(part.rows(range).map(|(time, row)| (time, number, row as u32)));
    }
    rows.sort_by_key(|(time, ..)| *time); // stable: rows of one time stay in log order
    let mut made = Making { types, cuts, open: Builder::default(), text: String::new(), last: None, done: Vec::new() };
    for (time, part, row) in rows {
        made.row(time, &parts[part as usize].chunk, row as usize);
    }
    made.finish();
    made.done
}

/// Whether a part is what it would become.
fn is_done(part: &Part, range: TimeRange, cuts: Cuts) -> bool {
    let Some((first, last)) = part.chunk.span() else { return false };
    part.hidden.is_empty()
        && part.chunk.times().len() <= cuts.rows_max
        && range.start().nanos() <= first
        && last < range.end().nanos()
        && cuts.partition_of(first) == cuts.partition_of(last)
}

struct Making<'a> {
    types: &'a [FieldType],
    cuts: Cuts,
    open: Builder,
    text: String,
    last: Option<i64>,
    done: Vec<Arc<Chunk>>,
}

impl Making<'_> {
    fn row(&mut self, time: i64, chunk: &Chunk, row: usize) {
        if let Some(last) = self.last.filter(|last| *last != time) {
            let full = self.open.rows() >= self.cuts.rows_max || self.text.len() >= TEXT_BYTES_MAX;
            if full || self.cuts.partition_of(last) != self.cuts.partition_of(time) {
                self.finish();
            }
        }
        self.last = Some(time);
        self.open.row(time);
        for column in chunk.columns() {
            let Some(cell) = column.get(row) else { continue };
            let number = column.number();
            let is_text = self.types.get(usize::from(number)) == Some(&FieldType::Str);
            let cell = if is_text { self.text_cell(chunk.string(cell)) } else { cell };
            self.open.cell(number, cell);
        }
    }

    fn text_cell(&mut self, text: &str) -> u64 {
        let start = self.text.len() as u64;
        self.text.push_str(text);
        start << 32 | text.len() as u64
    }

    fn finish(&mut self) {
        if !self.open.is_empty() {
            let chunk = std::mem::take(&mut self.open).finish(std::mem::take(&mut self.text).into());
            self.done.push(Arc::new(chunk));
        }
    }
}
