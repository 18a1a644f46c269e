//! The head, taken out at exactly one entry, with all else that was replicated then: what a flush brings into files.
//!
//! It must never change once it is made: views read it until its blocks are there.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meridian_types::{DatabaseId, FieldType, Mutant, SeriesNumber, Timestamp};

use crate::Engine;
use crate::few::Few;
use crate::flush::Point;
use crate::manifest::DatabaseState;
use crate::series::{Identity, Series};
use crate::stats::Size;
use crate::tombstone::Tombstone;

/// The head as it was after the entry `last`, and all else that was replicated then. Wide because it is all of a state at one moment.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) last: u64,
    /// Those with rows, by number, but for the few.
    pub(crate) series: Vec<Series>,
    pub(crate) few: BTreeMap<DatabaseId, Few>,
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
        filled.sort(); // stable, because what was filled in order is sorted in no time
        let mut room = filled.len();
        let (mut series, mut few) = (Vec::new(), Vec::new());
        // Series of one measurement mostly stand together, and to look at each for its home takes as long as all else.
        let mut at = (SeriesNumber(u32::MAX), 0);
        for number in filled {
            let Some(slot) = self.series[number.0 as usize].as_mut() else { continue };
            let home = self.marks.homes[number.0 as usize];
            if at.0 != home {
                at = (home, of_database(&mut few, slot.identity().home.database, std::mem::take(&mut room)));
            }
            let (_, few, sum) = &mut few[at.1];
            *sum = *sum + slot.size();
            match Arc::get_mut(slot) {
                Some(one) => {
                    if !few.take((home, number), one) {
                        series.push(one.take_rows());
                    }
                }
                // A view reads it, and goes on with these rows.
                None => {
                    let emptied = Arc::new(Series::new(Arc::clone(slot.identity())));
                    series.push(std::mem::replace(slot, emptied).as_ref().clone());
                }
            }
        }
        for (database, _, size) in &few {
            if let Some(home) = self.databases.get_mut(database) {
                home.stats.replace(*size, Size::default());
            }
        }
        let size = few.iter().fold(Size::default(), |sum, (.., size)| sum + *size);
        if Mutant::LoseFlushTail.is_planted() && series.pop().is_none() {
            few.iter_mut().for_each(|(_, few, _)| few.pop());
        }
        let few = few.into_iter().map(|(database, few, _)| (database, few)).collect();
        let unlisted = self.series[self.listed as usize..].iter().flatten();
        let measurements = self.databases.values().flat_map(|home| home.measurements.values());
        Cut {
            last: point.index,
            series,
            few,
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

/// Where that stands which is taken of a database; if it is not there, with room for `series` series of one value.
fn of_database(all: &mut Vec<(DatabaseId, Few, Size)>, database: DatabaseId, series: usize) -> usize {
    all.iter().position(|(of, ..)| *of == database).unwrap_or_else(|| {
        all.push((database, Few::with_room(series), Size::default()));
        all.len() - 1
    })
}

impl Cut {
    /// The rows of a series that are being flushed.
    pub(crate) fn series(&self, of: &Arc<Identity>) -> Option<Cow<'_, Series>> {
        let place = self.series.binary_search_by_key(&of.number, Series::number);
        let few = || self.few.get(&of.home.database)?.get(of).map(Cow::Owned);
        place.ok().and_then(|place| self.series.get(place)).map(Cow::Borrowed).or_else(few)
    }

    /// Rows of the database before it are gone.
    pub(crate) fn cutoff(&self, database: DatabaseId) -> Option<Timestamp> {
        let nanos = self.databases.get(&database)?.cutoff?;
        Timestamp::new(nanos).ok()
    }
}
