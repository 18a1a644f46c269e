//! Several blocks into one: series by series, with memory for one series at a time.
//!
//! It must never carry out a delete or a cutoff that the manifest does not hold yet: the files would be ahead of the state
//! that is stored with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use meridian_types::{FieldType, SeriesNumber, TimeRange, Timestamp};

use super::gather::Gathering;
use super::plan;
use crate::Engine;
use crate::block::{BlockWriter, Walk};
use crate::error::StoreError;
use crate::flush::{Writing, needed, write_series};
use crate::manifest::{BlockRecord, Manifest};
use crate::read::after;
use crate::rechunk::{Cuts, Given, rechunk};
use crate::series::{Identity, Series};
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
    /// By number, the number of the first series of its measurement.
    homes: Vec<SeriesNumber>,
    /// By number, if there are tombstones.
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
        let identity = |series: &Option<Arc<Series>>| series.as_ref().map(|series| Arc::clone(series.identity()));
        let identities = match tombstones.is_empty() {
            true => Vec::new(),
            false => self.series.iter().map(identity).collect(),
        };
        let measurements = self.databases.values().flat_map(|home| home.measurements.values());
        let merge = Merge {
            place: store.place.clone(),
            inputs,
            tombstones,
            homes: self.marks.homes.clone(),
            identities,
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
        let mut walks = self.inputs.iter().map(|input| Walk::begin(&input.block)).collect::<Result<Vec<_>, _>>()?;
        let mut has_rows = false;
        while let Some(number) = walks.iter().filter_map(Walk::number).min() {
            // Of a series whose measurement is unknown the database was dropped meanwhile.
            let home = self.homes.get(number.0 as usize).copied();
            if let Some((home, types)) = home.and_then(|home| Some((home, self.types.get(&home)?))) {
                let mut gathering = Gathering { writer, homes: &self.homes, types, range };
                if self.tombstones.is_empty()
                    && (pass_shared(gathering.writer, &mut walks, number, range)?
                        || gathering.from(number, &mut walks)?)
                {
                    has_rows = true;
                    continue;
                }
                has_rows |= self.one(writer, &mut walks, (home, number), types, range)?;
            }
            for walk in walks.iter_mut().filter(|walk| walk.number() == Some(number)) {
                walk.pass()?;
            }
        }
        Ok(has_rows)
    }

    /// Writes the series at which some of the blocks are; whether it has rows left.
    fn one(
        &self,
        writer: &mut BlockWriter,
        walks: &mut [Walk],
        (home, number): (SeriesNumber, SeriesNumber),
        types: &[FieldType],
        range: TimeRange,
    ) -> Result<bool, StoreError> {
        let here = |walk: &Walk| walk.number() == Some(number);
        let identity = self.identities.get(number.0 as usize).and_then(Option::as_ref);
        let mut given = Vec::new();
        for (input, walk) in self.inputs.iter().zip(walks).filter(|(_, walk)| here(walk)) {
            let hidden = |identity: &Arc<Identity>| {
                tombstone::hidden(&self.tombstones, identity, input.record.deletes_after()).into()
            };
            let hidden: Arc<[TimeRange]> = identity.map(hidden).unwrap_or_default();
            let chunks = walk.sealed(range)?.into_iter();
            given.extend(chunks.map(|rows| Given { rows, hidden: Arc::clone(&hidden) }));
        }
        let chunks = rechunk(&given, types, range, self.cuts())?;
        if !chunks.is_empty() {
            write_series(writer, (home, number), &chunks, types)?;
        }
        Ok(!chunks.is_empty())
    }

    /// The partition was respected when the inputs were cut.
    fn cuts(&self) -> Cuts {
        Cuts { rows_max: self.rows_max, partition: i64::MAX }
    }
}

/// Moves the chunk that several series share from `number` on, if no other block has a row of any series up to its last one. Whether there
/// was one.
fn pass_shared(
    writer: &mut BlockWriter,
    walks: &mut [Walk],
    number: SeriesNumber,
    range: TimeRange,
) -> Result<bool, StoreError> {
    let Some(at) = walks.iter().position(|walk| walk.number() == Some(number)) else { return Ok(false) };
    let others = walks.iter().enumerate().filter(|(other, _)| *other != at);
    let before = others.filter_map(|(_, walk)| walk.number()).min();
    let Some(shared) = walks[at].take_shared(before, range)? else { return Ok(false) };
    writer.shared(&shared).map_err(|error| StoreError::io("writing a block", &error))?;
    Ok(true)
}
