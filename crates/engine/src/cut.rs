//! The head, taken out at exactly one entry, with all else that was replicated then: what a flush brings into files.
//!
//! It must never change once it is made: views read it until its blocks are there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meridian_types::{DatabaseId, FieldType, Mutant, SeriesNumber, Timestamp};

use crate::Engine;
use crate::flush::Point;
use crate::manifest::DatabaseState;
use crate::series::{Identity, Series};
use crate::stats::Size;
use crate::tombstone::Tombstone;

/// The head as it was after the entry `last`, and all else that was replicated then.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) last: u64,
    /// Those with rows, by number.
    pub(crate) series: Vec<Series>,
    pub(crate) size: Size,
    pub(crate) point: Point,
    pub(crate) databases: BTreeMap<DatabaseId, DatabaseState>,
    pub(crate) dropped: BTreeSet<DatabaseId>,
    pub(crate) tombstones: Vec<Tombstone>,
    /// Series that no file lists yet.
    pub(crate) unlisted: Vec<Arc<Identity>>,
    pub(crate) next_series: u32,
    /// Column types by the number of the measurement's first series.
    pub(crate) types: BTreeMap<SeriesNumber, Arc<[FieldType]>>,
    pub(crate) partitions: BTreeMap<DatabaseId, i64>,
    pub(crate) rows_max: usize,
}

impl Engine {
    /// Takes the rows out of the head.
    pub(crate) fn cut_head(&mut self, point: Point, partition: impl Fn(DatabaseId) -> i64) -> Cut {
        let mut filled = std::mem::take(&mut self.filled);
        filled.sort_unstable();
        let mut series = Vec::with_capacity(filled.len());
        // Series of one database mostly stand together.
        let mut sizes: Vec<(DatabaseId, Size)> = Vec::new();
        for number in filled {
            let Some(slot) = self.series[number.0 as usize].as_mut() else { continue };
            let full = match Arc::get_mut(slot) {
                Some(series) => series.take_rows(),
                // A view reads it, and goes on with these rows.
                None => std::mem::replace(slot, Arc::new(Series::new(Arc::clone(slot.identity())))).as_ref().clone(),
            };
            let database = full.identity().home.database;
            if sizes.last().is_none_or(|(last, _)| *last != database) {
                sizes.push((database, Size::default()));
            }
            if let Some((_, sum)) = sizes.last_mut() {
                *sum = *sum + full.size();
            }
            series.push(full);
        }
        for (database, size) in &sizes {
            if let Some(home) = self.databases.get_mut(database) {
                home.stats.replace(*size, Size::default());
            }
        }
        let size = sizes.iter().fold(Size::default(), |sum, (_, size)| sum + *size);
        if Mutant::LoseFlushTail.is_planted() {
            series.pop();
        }
        let unlisted = self.series[self.listed as usize..].iter().flatten();
        let measurements = self.databases.values().flat_map(|home| home.measurements.values());
        Cut {
            last: point.index,
            series,
            size,
            point,
            databases: self.databases.iter().map(|(id, home)| (*id, home.state())).collect(),
            dropped: self.dropped.clone(),
            tombstones: self.tombstones.clone(),
            unlisted: unlisted.map(|series| Arc::clone(series.identity())).collect(),
            next_series: self.series.len() as u32,
            types: measurements.filter_map(|m| Some((m.home()?.number, m.types().into()))).collect(),
            partitions: self.databases.keys().map(|id| (*id, partition(*id).max(1))).collect(),
            rows_max: self.chunk_rows_max,
        }
    }
}

impl Cut {
    /// Rows of the database before it are gone.
    pub(crate) fn cutoff(&self, database: DatabaseId) -> Option<Timestamp> {
        let nanos = self.databases.get(&database)?.cutoff?;
        Timestamp::new(nanos).ok()
    }
}
