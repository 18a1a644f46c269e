//! Rows of one series out of parts that overlap in time: sorted, one row a timestamp, of each field the value that came
//! last in the log.
//!
//! It must never depend on how the rows were cut into parts, only on their order.

use std::ops::Range;
use std::sync::Arc;

use meridian_types::TimeRange;

use crate::chunk::{Chunk, Column, contains};

/// Some rows of a series, and the times at which they are deleted.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) chunk: Arc<Chunk>,
    pub(crate) hidden: Arc<[TimeRange]>,
}

impl Part {
    /// Rows of which none is deleted.
    pub(crate) fn whole(chunk: Arc<Chunk>) -> Self {
        Self { chunk, hidden: Arc::default() }
    }

    /// The rows inside `range`, deleted or not.
    pub(crate) fn inside(&self, range: TimeRange) -> Range<usize> {
        let times = self.chunk.times();
        let first = times.partition_point(|time| *time < range.start().nanos());
        first..first + times[first..].partition_point(|time| *time < range.end().nanos())
    }

    /// Times and row numbers inside `range` that are not deleted, in order.
    pub(crate) fn rows(&self, range: TimeRange) -> impl Iterator<Item = (i64, usize)> {
        let times = self.chunk.times();
        let first = times.partition_point(|time| *time < range.start().nanos());
        let inside =
            times[first..].iter().copied().zip(first..).take_while(move |(time, _)| *time < range.end().nanos());
        inside.filter(|(time, _)| !self.hidden.iter().any(|hidden| contains(*hidden, *time)))
    }
}

/// The rows of a series inside a range that have a value in one of some columns.
#[derive(Debug)]
pub(crate) struct Merged {
    /// In log order.
    parts: Vec<Part>,
    rows: Rows,
}

/// Which rows there are.
#[derive(Debug)]
enum Rows {
    /// All of some rows of a part, and then of another one, which all come later.
    Runs(Vec<(usize, Range<usize>)>),
    /// By time, and those of one time in log order.
    Single(Vec<Source>),
}

/// Where a row, or a part of it, comes from.
#[derive(Clone, Copy, Debug)]
struct Source {
    time: i64,
    part: u32,
    row: u32,
}

impl Merged {
    /// Merges `parts`, which are in log order.
    pub(crate) fn new(parts: Vec<Part>, range: TimeRange, columns: &[u16]) -> Self {
        if let Some(runs) = runs(&parts, range, columns) {
            return Self { parts, rows: Rows::Runs(runs) };
        }
        let mut rows = Vec::new();
        for (found, part) in parts.iter().zip(0..) {
            let wanted: Vec<&Column> = columns.iter().filter_map(|number| found.chunk.column(*number)).collect();
            let full = found.rows(range).filter(|(_, row)| wanted.iter().any(|column| column.has(*row)));
            rows.extend(full.map(|(time, row)| Source { time, part, row: row as u32 }));
        }
        rows.sort_by_key(|source| source.time); // stable, and linear on parts that follow each other in time
        Self { parts, rows: Rows::Single(rows) }
    }

    /// The times of the rows, strictly increasing.
    pub(crate) fn times(&self) -> Vec<i64> {
        match &self.rows {
            Rows::Runs(runs) => {
                let slices = runs.iter().map(|(part, rows)| &self.parts[*part].chunk.times()[rows.clone()]);
                slices.flatten().copied().collect()
            }
            Rows::Single(rows) => {
                let mut times: Vec<i64> = rows.iter().map(|source| source.time).collect();
                times.dedup();
                times
            }
        }
    }

    /// The values of one of the columns, one for each of [`Merged::times`]; `None` if no row has one.
    pub(crate) fn column<'a, T>(&'a self, number: u16, value: impl Fn(&'a Chunk, u64) -> T) -> Option<Vec<Option<T>>> {
        let columns: Vec<Option<&Column>> = self.parts.iter().map(|part| part.chunk.column(number)).collect();
        if columns.iter().all(Option::is_none) {
            return None;
        }
        let mut values: Vec<Option<T>> = Vec::new();
        match &self.rows {
            Rows::Runs(runs) => {
                values.reserve_exact(runs.iter().map(|(_, rows)| rows.len()).sum());
                for (part, rows) in runs {
                    let chunk = &*self.parts[*part].chunk;
                    match columns[*part] {
                        None => values.extend(rows.clone().map(|_| None)),
                        Some(column) if column.present().is_none() => {
                            values.extend(column.cells()[rows.clone()].iter().map(|cell| Some(value(chunk, *cell))));
                        }
                        Some(column) => {
                            values.extend(rows.clone().map(|row| column.get(row).map(|cell| value(chunk, cell))));
                        }
                    }
                }
            }
            Rows::Single(rows) => {
                let mut previous = None;
                for source in rows {
                    let part = source.part as usize;
                    let cell = columns[part].and_then(|column| column.get(source.row as usize));
                    let found = cell.map(|cell| value(&self.parts[part].chunk, cell));
                    match values.last_mut().filter(|_| previous == Some(source.time)) {
                        Some(last) => *last = found.or(last.take()),
                        None => values.push(found),
                    }
                    previous = Some(source.time);
                }
            }
        }
        values.iter().any(Option::is_some).then_some(values)
    }
}

/// The rows as runs, if they are some: of parts that follow each other in time, of which nothing is deleted, and in whose rows
/// one of the columns always has a value. So are those of most series.
fn runs(parts: &[Part], range: TimeRange, columns: &[u16]) -> Option<Vec<(usize, Range<usize>)>> {
    let mut runs = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let (rows, mut wanted) = (part.inside(range), columns.iter().filter_map(|number| part.chunk.column(*number)));
        if rows.is_empty() || wanted.clone().next().is_none() {
            continue;
        }
        if !part.hidden.is_empty() || wanted.all(|column| column.present().is_some()) {
            return None;
        }
        runs.push((at, rows));
    }
    let times = |(part, rows): &(usize, Range<usize>)| {
        let times = &parts[*part].chunk.times()[rows.clone()];
        (times[0], times[times.len() - 1])
    };
    runs.sort_by_key(|run| times(run).0);
    runs.is_sorted_by(|a, b| times(a).1 < times(b).0).then_some(runs)
}
