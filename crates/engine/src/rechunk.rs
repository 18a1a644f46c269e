//! Rows of one series out of parts in log order, as chunks that follow each other: what a block is made of.
//!
//! Parts that follow each other in time are put together column by column, or go on as they are if they are large enough. Of
//! parts that overlap, or of which rows are deleted, so are the rows between which no other part has one; the others are taken
//! one by one. It must never lose a value that a reader of the parts would see, nor keep one that it would not.

use std::ops::Range;
use std::sync::Arc;

use meridian_types::{FieldType, TimeRange};

use crate::block::Wanted;
use crate::chunk::{Builder, Chunk};
use crate::error::StoreError;
use crate::merge::Part;
use crate::sealed::Sealed;

/// Text of one chunk after which it is full. With the text of one more row it is still far below what a cell can address.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Fewer rows than this that follow each other are taken one by one: a piece costs a step for each column.
const RUN_ROWS_MIN: usize = 4;

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

/// Some rows of a series, and the times at which they are deleted.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) rows: Sealed,
    pub(crate) hidden: Arc<[TimeRange]>,
}

impl Given {
    /// Rows of which none is deleted.
    pub(crate) fn whole(rows: Sealed) -> Self {
        Self { rows, hidden: Arc::default() }
    }

    fn part(&self) -> Result<Part, StoreError> {
        Ok(Part { chunk: self.rows.chunk(Wanted::All)?, hidden: Arc::clone(&self.hidden) })
    }
}

/// The rows of `given`, which is in log order, inside `range`: sorted by time, one row a timestamp, of each column the value
/// that came last in the log. `types` by column number.
pub(crate) fn rechunk(
    given: &[Given],
    types: &[FieldType],
    range: TimeRange,
    cuts: Cuts,
) -> Result<Vec<Sealed>, StoreError> {
    if let [only] = given
        && only.hidden.is_empty()
        && is_done(&only.rows, range, cuts)
    {
        return Ok(vec![only.rows.clone()]);
    }
    let mut made = Making { types, cuts, open: Builder::default(), text: String::new(), last: None, done: Vec::new() };
    if !follow_each_other(given) {
        let parts = given.iter().map(Given::part).collect::<Result<Vec<_>, _>>()?;
        made.overlapping(&parts, range);
        made.finish();
        return Ok(made.done);
    }
    for (at, one) in given.iter().enumerate() {
        if stays(given, at, range, cuts) {
            made.finish();
            made.done.push(one.rows.clone());
        } else {
            let part = one.part()?;
            made.part(&part.chunk, part.inside(range));
        }
    }
    made.finish();
    Ok(made.done)
}

/// Whether each part begins after the one before has ended, and nothing of them is deleted.
fn follow_each_other(given: &[Given]) -> bool {
    let spans = || given.iter().filter_map(|one| one.rows.span());
    let hides = |one: &Given| one.hidden.iter().any(|hidden| one.rows.overlaps(*hidden));
    spans().zip(spans().skip(1)).all(|(a, b)| a.1 < b.0) && !given.iter().any(hides)
}

/// Whether rows may be what they would become.
fn is_done(rows: &Sealed, range: TimeRange, cuts: Cuts) -> bool {
    let Some((first, last)) = rows.span() else { return false };
    rows.rows() <= cuts.rows_max
        && range.start().nanos() <= first
        && last < range.end().nanos()
        && cuts.partition_of(first) == cuts.partition_of(last)
}

/// Whether a part goes on as it is: it is at least half full, or there is nothing beside it to put it together with.
fn stays(given: &[Given], at: usize, range: TimeRange, cuts: Cuts) -> bool {
    let rows = &given[at].rows;
    let is_large = |rows: &Sealed| is_done(rows, range, cuts) && 2 * rows.rows() >= cuts.rows_max;
    let partition = |rows: &Sealed| rows.span().map(|(first, _)| cuts.partition_of(first));
    let is_no_match =
        |other: Option<&Given>| other.is_none_or(|one| is_large(&one.rows) || partition(&one.rows) != partition(rows));
    let before = at.checked_sub(1).and_then(|before| given.get(before));
    is_large(rows) || is_done(rows, range, cuts) && is_no_match(before) && is_no_match(given.get(at + 1))
}

struct Making<'a> {
    types: &'a [FieldType],
    cuts: Cuts,
    open: Builder,
    text: String,
    last: Option<i64>,
    done: Vec<Sealed>,
}

impl Making<'_> {
    /// Any parts, which are in log order.
    fn overlapping(&mut self, parts: &[Part], range: TimeRange) {
        let mut rows: Vec<(i64, u32, u32)> = Vec::new();
        for (part, number) in parts.iter().zip(0..) {
            rows.extend(part.rows(range).map(|(time, row)| (time, number, row as u32)));
        }
        rows.sort_by_key(|(time, ..)| *time); // stable: rows of one time stay in log order
        for run in rows.chunk_by(|a, b| a.0 < b.0 && a.1 == b.1 && a.2 + 1 == b.2) {
            let (chunk, first) = (&parts[run[0].1 as usize].chunk, run[0].2 as usize);
            // A row of the same time may be before the first and behind the last. And a piece brings all texts of its chunk.
            if run.len() < RUN_ROWS_MIN || !chunk.text().is_empty() {
                run.iter().for_each(|(time, _, row)| self.row(*time, chunk, *row as usize));
                continue;
            }
            let (last, inner) = (first + run.len() - 1, first + 1..first + run.len() - 1);
            self.row(run[0].0, chunk, first);
            self.part(chunk, inner);
            self.row(chunk.times()[last], chunk, last);
        }
    }

    /// Rows of a chunk that come after all before, in as few pieces as the cuts allow.
    fn part(&mut self, chunk: &Chunk, rows: Range<usize>) {
        let (types, cuts) = (self.types, self.cuts);
        let mut at = rows.start;
        while at < rows.end {
            let partition = cuts.partition_of(chunk.times()[at]);
            let is_other = self.last.is_some_and(|last| cuts.partition_of(last) != partition);
            if is_other || self.is_full() || self.text.len() + chunk.text().len() > TEXT_BYTES_MAX {
                self.finish();
            }
            let mut end = rows.end.min(at + cuts.rows_max - self.open.rows());
            if cuts.partition_of(chunk.times()[end - 1]) != partition {
                end = at + chunk.times()[at..end].partition_point(|time| cuts.partition_of(*time) == partition);
            }
            // All of the text, which the rows of one chunk share: what no cell points to is not written.
            let text_at = self.text.len() as u64;
            self.text.push_str(chunk.text());
            let is_text = |column: u16| types.get(usize::from(column)) == Some(&FieldType::Str);
            self.open.append(chunk, at..end, text_at, is_text);
            self.last = Some(chunk.times()[end - 1]);
            at = end;
        }
    }

    fn is_full(&self) -> bool {
        self.open.rows() >= self.cuts.rows_max || self.text.len() >= TEXT_BYTES_MAX
    }

    fn row(&mut self, time: i64, chunk: &Chunk, row: usize) {
        if let Some(last) = self.last.filter(|last| *last != time)
            && (self.is_full() || self.cuts.partition_of(last) != self.cuts.partition_of(time))
        {
            self.finish();
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
            self.done.push(Sealed::Columns(Arc::new(chunk)));
        }
    }
}

#[cfg(test)]
mod tests;
