//! Rows of one series out of parts that overlap in time: sorted, one row a timestamp, of each field the value that came
//! last in the log.
//!
//! It must never depend on how the rows were cut into parts, only on their order.

use std::ops::Range;
use std::sync::Arc;

use meridian_query::{Column as Read, Values};
use meridian_types::{FieldType, TimeRange};

use crate::chunk::{Chunk, Column, contains};
use crate::table::Column as Stored;

/// Some rows of a series, and the times at which they are deleted.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) chunk: Arc<Chunk>,
    pub(crate) hidden: Arc<[TimeRange]>,
}

impl Part {
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

    /// All rows of one chunk.
    pub(crate) fn whole(chunk: Chunk) -> Self {
        let rows = Rows::Runs(vec![(0, 0..chunk.times().len())]);
        Self { parts: vec![Part { chunk: Arc::new(chunk), hidden: Arc::default() }], rows }
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
    pub(crate) fn values(&self, of: Stored) -> Option<Read> {
        match of.field_type {
            FieldType::F64 => self.column(of.number, |_, cell| f64::from_bits(cell)).map(Read::F64),
            FieldType::I64 => self.column(of.number, |_, cell| cell.cast_signed()).map(Read::I64),
            FieldType::U64 => self.column(of.number, |_, cell| cell).map(Read::U64),
            FieldType::Bool => self.column(of.number, |_, cell| cell != 0).map(Read::Bool),
            FieldType::Str => self.column(of.number, |chunk, cell| Arc::from(chunk.string(cell))).map(Read::Str),
        }
    }

    fn column<'a, T: Default>(&'a self, number: u16, value: impl Fn(&'a Chunk, u64) -> T) -> Option<Values<T>> {
        let columns: Vec<Option<&Column>> = self.parts.iter().map(|part| part.chunk.column(number)).collect();
        if columns.iter().all(Option::is_none) {
            return None;
        }
        let values: Values<T> = match &self.rows {
            Rows::Runs(runs) if runs.iter().all(|(part, _)| columns[*part].is_some_and(|c| c.present().is_none())) => {
                let mut values = Vec::with_capacity(runs.iter().map(|(_, rows)| rows.len()).sum());
                for (part, rows) in runs {
                    let (chunk, column) = (&*self.parts[*part].chunk, columns[*part]);
                    let cells = column.map_or(&[][..], |column| &column.cells()[rows.clone()]);
                    values.extend(cells.iter().map(|cell| value(chunk, *cell)));
                }
                Values::dense(values)
            }
            Rows::Runs(runs) => {
                let rows = runs.iter().flat_map(|(part, rows)| rows.clone().map(move |row| (*part, row)));
                let cell = |(part, row): (usize, usize)| {
                    columns[part].and_then(|column| column.get(row)).map(|cell| value(&self.parts[part].chunk, cell))
                };
                rows.map(cell).collect()
            }
            Rows::Single(rows) => {
                // Of one time the last one in the log that has a value.
                let of_one_time = rows.chunk_by(|a, b| a.time == b.time).map(|same| {
                    same.iter().rev().find_map(|source| {
                        let part = source.part as usize;
                        let cell = columns[part].and_then(|column| column.get(source.row as usize))?;
                        Some(value(&self.parts[part].chunk, cell))
                    })
                });
                of_one_time.collect()
            }
        };
        let is_there = values.iter().next().is_some();
        is_there.then_some(values)
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
