//! How a frame is cut by shard and by size, and how its series get their keys back. Cuts between rows, never inside one, and
//! looks at series, never at values.
//!
//! Deterministic: the same frame and the same owners give the same bytes, so a request that is sent again is the same
//! request.

use std::collections::BTreeMap;

use bytes::Bytes;
use meridian_types::{Code, SeriesKey, ShardId};

use crate::{
    Frame, Run, SeriesRef, Table,
    size::TableSize,
    write::{self, Selection},
};

/// Why a frame cannot be split.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SplitError {
    /// A series by number: numbers belong to one shard, so the frame has its place already.
    #[error("the frame names series by number, which only their shard understands: send the keys")]
    Numbered,
    /// A row that does not fit into a part, even alone.
    #[error("a row needs {bytes} bytes, over the limit of {bytes_max}: give it fewer or shorter fields")]
    RowTooLarge {
        /// What it needs.
        bytes: usize,
        /// What a part may have.
        bytes_max: usize,
    },
}

impl SplitError {
    /// The code to refuse the frame with.
    pub fn code(&self) -> Code {
        match self {
            Self::Numbered => Code::BadRequest,
            Self::RowTooLarge { .. } => Code::OverLimit,
        }
    }
}

impl Frame {
    /// The same rows with every series by key: `key_of` gives that of the `n`th run, counted over all tables. Nothing if it
    /// has none for a run that needs one.
    pub fn by_keys(&self, mut key_of: impl FnMut(usize) -> Option<SeriesKey>) -> Option<Bytes> {
        let mut out = write::start();
        let mut runs_before = 0;
        for table in self.tables() {
            let keyed = |(at, run): (usize, &Run)| match &run.series {
                SeriesRef::Key(_) => Some(run.series.clone()),
                SeriesRef::Number(_) => key_of(runs_before + at).map(SeriesRef::Key),
            };
            let series: Option<Vec<_>> = table.runs().iter().enumerate().map(keyed).collect();
            let series = series?;
            let selection = Selection {
                measurement: table.measurement(),
                runs: series.iter().zip(table.runs()).map(|(series, run)| (series, run.rows.len())).collect(),
                check: 0,
                rows: None,
                times: table.times(),
                fields: table.fields().iter().collect(),
            };
            write::write_table(&mut out, &selection);
            runs_before += table.runs().len();
        }
        Some(write::finish(out))
    }

    /// Cuts the frame into parts of at most `bytes_max` bytes, each with rows of one shard: by shard, then in the order
    /// of the rows. A run may be cut between rows. A frame that fits and has one shard is its own only part, without a
    /// copy. Asks `shard_of` once for each run. Refuses series by number, and a row over `bytes_max`: for
    /// [`meridian_types::limits::PROPOSAL_BYTES_MAX`], what [`crate::FrameBuilder`] made has none.
    pub fn split(
        &self,
        bytes_max: usize,
        mut shard_of: impl FnMut(&str, &SeriesKey) -> ShardId,
    ) -> Result<Vec<(ShardId, Bytes)>, SplitError> {
        let mut owned = Vec::new();
        for table in self.tables() {
            for run in table.runs() {
                let SeriesRef::Key(key) = &run.series else { return Err(SplitError::Numbered) };
                owned.push((shard_of(table.measurement(), key), table, run));
            }
        }
        let first = owned.first().expect("a checked frame has a run").0;
        if self.bytes().len() <= bytes_max && owned.iter().all(|(shard, ..)| *shard == first) {
            return Ok(vec![(first, self.bytes().clone())]);
        }
        let mut shards: BTreeMap<ShardId, Parts<'_>> = BTreeMap::new();
        for (shard, table, run) in owned {
            shards.entry(shard).or_insert_with(|| Parts::new(bytes_max)).add(table, run)?;
        }
        let of_shard = |(shard, parts): (ShardId, Parts<'_>)| parts.finish().into_iter().map(move |part| (shard, part));
        Ok(shards.into_iter().flat_map(of_shard).collect())
    }
}

/// The parts of one shard: those that are full, the tables written of the next, and the table that grows.
#[derive(Debug)]
struct Parts<'a> {
    bytes_max: usize,
    full: Vec<Bytes>,
    written: Vec<u8>,
    growing: Option<Growing<'a>>,
}

impl<'a> Parts<'a> {
    fn new(bytes_max: usize) -> Self {
        Self { bytes_max, full: Vec::new(), written: write::start(), growing: None }
    }

    fn add(&mut self, table: &'a Table, run: &'a Run) -> Result<(), SplitError> {
        if self.growing.as_ref().is_some_and(|growing| !std::ptr::eq(growing.table, table)) {
            self.close_table();
        }
        let bytes_max = self.bytes_max;
        for row in run.rows.clone() {
            if self.add_row(table, run, row).is_err() {
                self.close_part();
                self.add_row(table, run, row).map_err(|bytes| SplitError::RowTooLarge { bytes, bytes_max })?;
            }
        }
        Ok(())
    }

    /// Adds a row to the part that grows, unless that would make it too large: then says how large.
    fn add_row(&mut self, table: &'a Table, run: &'a Run, row: usize) -> Result<(), usize> {
        let growing = self.growing.get_or_insert_with(|| Growing::new(table));
        let size = growing.size_with(run, row);
        let bytes = self.written.len() + size.total();
        if bytes > self.bytes_max {
            return Err(bytes);
        }
        growing.push(run, row, size);
        Ok(())
    }

    fn close_table(&mut self) {
        if let Some(growing) = self.growing.take().filter(|growing| !growing.rows.is_empty()) {
            growing.write(&mut self.written);
        }
    }

    fn close_part(&mut self) {
        self.close_table();
        self.full.push(write::finish(std::mem::replace(&mut self.written, write::start())));
    }

    fn finish(mut self) -> Vec<Bytes> {
        self.close_part();
        self.full
    }
}

/// Rows of a table that go into one part.
#[derive(Debug)]
struct Growing<'a> {
    table: &'a Table,
    size: TableSize,
    /// Each run that has rows here, and how many.
    runs: Vec<(&'a Run, usize)>,
    rows: Vec<u32>,
    /// Which fields of the table have a value in `rows`.
    has_field: Vec<bool>,
}

impl<'a> Growing<'a> {
    fn new(table: &'a Table) -> Self {
        let (size, has_field) = (TableSize::new(table.measurement()), vec![false; table.fields().len()]);
        Self { table, size, runs: Vec::new(), rows: Vec::new(), has_field }
    }

    /// The size with one more row.
    fn size_with(&self, run: &Run, row: usize) -> TableSize {
        let mut size = self.size;
        size.add_row();
        if !self.continues(run) {
            size.add_series(&run.series);
        }
        for (field, has_field) in self.table.fields().iter().zip(&self.has_field) {
            if let Some(value) = field.get(row) {
                size.add_value(value);
                if !has_field {
                    size.add_field(&field.name);
                }
            }
        }
        size
    }

    fn continues(&self, run: &Run) -> bool {
        self.runs.last().is_some_and(|(last, _)| std::ptr::eq(*last, run))
    }

    fn push(&mut self, run: &'a Run, row: usize, size: TableSize) {
        if !self.continues(run) {
            self.runs.push((run, 0));
        }
        if let Some((_, rows)) = self.runs.last_mut() {
            *rows += 1;
        }
        if size.fields() != self.size.fields() {
            for (field, has_field) in self.table.fields().iter().zip(&mut self.has_field) {
                *has_field |= field.get(row).is_some();
            }
        }
        self.rows.push(row as u32); // a frame has at most REQUEST_POINTS_MAX rows
        self.size = size;
    }

    fn write(self, out: &mut Vec<u8>) {
        let table = self.table;
        let selection = Selection {
            measurement: table.measurement(),
            runs: self.runs.into_iter().map(|(run, rows)| (&run.series, rows)).collect(),
            check: 0,
            rows: Some(self.rows),
            times: table.times(),
            fields: table.fields().iter().collect(),
        };
        write::write_table(out, &selection);
    }
}
