//! Several blocks into one: series by series, with memory for one series at a time.
//!
//! It must never carry out a delete or a cutoff that the manifest does not hold yet: the files would be ahead of the state
//! that is stored with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use meridian_types::{FieldType, SeriesNumber, TimeRange, Timestamp};

use super::plan;
use crate::Engine;
use crate::block::{BlockWriter, Cursor};
use crate::error::StoreError;
use crate::flush::{Writing, needed, write_series};
use crate::manifest::{BlockRecord, Manifest};
use crate::read::after;
use crate::rechunk::{Cuts, Given, rechunk};
use crate::sealed::Sealed;
use crate::series::Identity;
use crate::store::{Place, Stored};
use crate::task::{Made, Outcome, Task};
use crate::tombstone::{self, Tombstone};

/// What a merge has made and committed.
pub(crate) struct Compacted {
    manifest: Arc<Manifest>,
    new: Option<Arc<Stored>>,
}

/// All that a merge needs.
struct Merge {
    place: Place,
    base: Arc<Manifest>,
    /// In log order.
    inputs: Vec<Arc<Stored>>,
    /// Those of the manifest.
    tombstones: Vec<Tombstone>,
    /// By number.
    identities: Vec<Option<Arc<Identity>>>,
    /// Column types by the number of the measurement's first series.
    types: BTreeMap<SeriesNumber, Arc<[FieldType]>>,
    rows_max: usize,
}

impl Engine {
    /// The next piece of upkeep of the files, if there is one.
    pub fn upkeep(&mut self) -> Option<Task> {
        let store = self.store.as_ref()?;
        let base = Arc::clone(&store.manifest);
        let of_manifest = |t: &&Tombstone| base.tombstones.iter().any(|kept| kept.index == t.index);
        let tombstones: Vec<Tombstone> = self.tombstones.iter().filter(of_manifest).cloned().collect();
        let has_deletes = |record: &BlockRecord| tombstones.iter().any(|tombstone| tombstone.concerns(record));
        let chosen = plan::plan(&base.blocks, has_deletes)?;
        let inputs: Vec<_> = chosen.into_iter().map(|at| Arc::clone(&store.blocks[at])).collect();
        if inputs.iter().any(|input| !self.databases.contains_key(&input.record.meta.database)) {
            // Its database was dropped: the next flush drops the file.
            return None;
        }
        let measurements = self.databases.values().flat_map(|home| home.measurements.values());
        let merge = Merge {
            place: store.place.clone(),
            inputs,
            tombstones,
            identities: self.series.iter().map(|s| s.as_ref().map(|s| Arc::clone(s.identity()))).collect(),
            types: measurements.filter_map(|m| Some((m.home()?.number, m.types().into()))).collect(),
            rows_max: self.chunk_rows_max,
            base,
        };
        Some(Task::new(move || merge.run()))
    }

    /// A merge is done.
    pub(crate) fn compacted(&mut self, compacted: Compacted) {
        let Compacted { manifest, new } = compacted;
        let Some(store) = self.store.as_mut() else { return };
        store.replace(manifest, new.into_iter().collect());
        let manifest = &store.manifest;
        let still =
            |t: &Tombstone| t.index > manifest.applied || manifest.tombstones.iter().any(|kept| kept.index == t.index);
        self.tombstones.retain(still);
    }
}

impl Merge {
    fn run(self) -> Result<Outcome, StoreError> {
        let mut writing = Writing::new(&self.place, self.base.next_file);
        let compacted = self.write(&mut writing);
        writing.discard_after(&compacted);
        compacted.map(|compacted| Outcome(Made::Compacted(compacted)))
    }

    fn write(&self, writing: &mut Writing<'_>) -> Result<Compacted, StoreError> {
        let (Some(first), Some(last)) = (self.inputs.first(), self.inputs.last()) else {
            return Err(StoreError::Io("a merge of no blocks".into()));
        };
        let mut writer = writing.begin(first.record.meta.database)?;
        let has_rows = self.series(&mut writer)?;
        let record = |meta| BlockRecord {
            meta,
            first: first.record.first,
            last: last.record.last,
            clean: self.base.applied,
            partition: first.record.partition,
        };
        let new = if has_rows { Some(writing.end(writer, record)?) } else { None };
        if new.is_none() {
            writing.discard();
        }
        let merged =
            |record: &BlockRecord| self.inputs.iter().any(|input| input.record.meta.number == record.meta.number);
        let mut blocks: Vec<BlockRecord> = self.base.blocks.iter().filter(|record| !merged(record)).cloned().collect();
        blocks.extend(new.iter().map(|stored| stored.record.clone()));
        blocks.sort_by_key(|record| (record.first, record.meta.number));
        let tombstones = needed(&self.tombstones, &blocks);
        let manifest = Manifest { tombstones, blocks, next_file: writing.next_file, ..(*self.base).clone() };
        self.place.commit(&self.base, &manifest)?;
        Ok(Compacted { manifest: Arc::new(manifest), new })
    }

    /// Writes all series that have rows left; whether there was one.
    fn series(&self, writer: &mut BlockWriter) -> Result<bool, StoreError> {
        let database = self.inputs[0].record.meta.database;
        let cutoff = self.base.databases.get(&database).and_then(|state| state.cutoff);
        let cutoff = cutoff.and_then(|nanos| Timestamp::new(nanos).ok());
        let Some(range) = after(cutoff, TimeRange::ALL) else { return Ok(false) };
        // The partition was respected when the inputs were cut.
        let cuts = Cuts { rows_max: self.rows_max, partition: i64::MAX };
        let mut cursors: Vec<Cursor> = self.inputs.iter().map(|input| input.block.cursor_over_all()).collect();
        let (mut at, mut has_rows) = (SeriesNumber(0), false);
        while let Some(number) = next(&mut cursors, at)? {
            // Of a series that is unknown the database was dropped meanwhile.
            if let Some(identity) = self.identities.get(number.0 as usize).and_then(Option::as_ref) {
                let types = &self.types[&identity.home.number];
                let given = self.given(&mut cursors, identity, range)?;
                let chunks = rechunk(&given, types, range, cuts)?;
                if !chunks.is_empty() {
                    write_series(writer, number, &chunks, types)?;
                    has_rows = true;
                }
            }
            let Some(after) = number.0.checked_add(1) else { break };
            at = SeriesNumber(after);
        }
        Ok(has_rows)
    }

    fn given(&self, cursors: &mut [Cursor], series: &Identity, range: TimeRange) -> Result<Vec<Given>, StoreError> {
        let mut given = Vec::new();
        for (input, cursor) in self.inputs.iter().zip(cursors) {
            let hidden: Arc<[TimeRange]> =
                tombstone::hidden(&self.tombstones, series, input.record.deletes_after()).into();
            let chunks = cursor.encoded(series.number, range)?.into_iter();
            let given_here =
                chunks.map(|one| Given { rows: Sealed::Encoded(Arc::new(one)), hidden: Arc::clone(&hidden) });
            given.extend(given_here);
        }
        Ok(given)
    }
}

/// The lowest series at or above `at` that one of the blocks has.
fn next(cursors: &mut [Cursor], at: SeriesNumber) -> Result<Option<SeriesNumber>, StoreError> {
    let mut lowest = None;
    for cursor in cursors {
        let found = cursor.next_number(at)?;
        lowest = match (lowest, found) {
            (Some(a), Some(b)) => Some(std::cmp::min(a, b)),
            (a, b) => a.or(b),
        };
    }
    Ok(lowest)
}
