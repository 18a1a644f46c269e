//! From memory to blocks: the head and the replicated state are cut at exactly one entry, written as files by a job, and
//! committed by one manifest. Apply goes on in a new head meanwhile.
//!
//! A cut whose job failed stays, and is handed out again: its rows are in no other place than memory and log.

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::sync::Arc;

use meridian_env::File;
use meridian_types::{DatabaseId, FieldType, SeriesNumber, TimeRange};

use crate::Engine;
use crate::block::{BlockWriter, Piece};
use crate::chunk::contains;
use crate::cut::Cut;
use crate::error::StoreError;
use crate::few::Few;
use crate::manifest::{BlockRecord, Manifest, TombstoneState};
use crate::names::Names;
use crate::read::after;
use crate::rechunk::{Cuts, Given, rechunk};
use crate::sealed::Sealed;
use crate::series::Series;
use crate::store::{Place, Store, Stored, block_name, names_name};
use crate::task::{Made, Outcome, Task};
use crate::tombstone::Tombstone;

/// Files that one flush makes of one database; data that is spread over more partitions is cut more coarsely.
const PARTITIONS_MAX: usize = 64;

/// Up to where a flush goes, and what the engine's owner keeps with it.
#[derive(Clone, Debug)]
pub struct Point {
    /// The last applied entry.
    pub index: u64,
    /// Opaque to the engine: comes back from [`Engine::durable`].
    pub mark: Vec<u8>,
    /// The owner's own replicated state as of that entry, opaque.
    pub state: Vec<u8>,
}

impl Engine {
    /// The job that brings everything up to `point`, which is the last applied entry, into files; `None` if it is there, or
    /// if the engine has no directory. `partition` gives the length in nanoseconds of a database's time partitions.
    pub fn freeze(&mut self, point: Point, partition: impl Fn(DatabaseId) -> i64) -> Option<Task> {
        let store = self.store.as_ref()?;
        let (place, base) = (store.place.clone(), Arc::clone(&store.manifest));
        if self.cut.is_none() {
            if point.index <= base.applied {
                return None;
            }
            self.cut = Some(Arc::new(self.cut_head(point, partition)));
        }
        let cut = Arc::clone(self.cut.as_ref()?);
        Some(Task::new(move || write(&place, &base, &cut)))
    }

    /// A flush is done: what was cut is in blocks.
    pub(crate) fn flushed(&mut self, flushed: Flushed) {
        let Flushed { manifest, new_blocks, new_names, kept_names } = flushed;
        let Some(store) = self.store.as_mut() else { return };
        store.names.truncate(kept_names);
        store.names.extend(new_names);
        store.replace(manifest, new_blocks);
        let cut = self.cut.take().expect("a flush ends once, and the cut stays until then");
        self.listed = cut.next_series;
        let manifest = &store.manifest;
        let still = |t: &Tombstone| t.index > cut.last || manifest.tombstones.iter().any(|kept| kept.index == t.index);
        self.tombstones.retain(still);
    }
}

impl Store {
    /// Goes over to a manifest of which `new_blocks` are the files that were not there before.
    pub(crate) fn replace(&mut self, manifest: Arc<Manifest>, new_blocks: Vec<Arc<Stored>>) {
        let mut all: BTreeMap<u64, Arc<Stored>> =
            self.blocks.drain(..).chain(new_blocks).map(|stored| (stored.record.meta.number, stored)).collect();
        let listed = manifest.blocks.iter().map(|record| all.remove(&record.meta.number));
        self.blocks = listed.map(|stored| stored.expect("a manifest lists old blocks and new ones")).collect();
        self.manifest = manifest;
    }
}

/// What a flush has made and committed.
pub(crate) struct Flushed {
    manifest: Arc<Manifest>,
    new_blocks: Vec<Arc<Stored>>,
    new_names: Option<Arc<dyn File>>,
    /// How many of the files of the series table stay.
    kept_names: usize,
}

/// Writes and commits a cut.
fn write(place: &Place, base: &Manifest, cut: &Cut) -> Result<Outcome, StoreError> {
    let mut writing = Writing::new(place, base.next_file);
    let flushed = flush(&mut writing, base, cut);
    writing.discard_after(&flushed);
    flushed.map(|flushed| Outcome(Made::Flushed(flushed)))
}

fn flush(writing: &mut Writing<'_>, base: &Manifest, cut: &Cut) -> Result<Flushed, StoreError> {
    let place = writing.place;
    let mut new = Vec::new();
    let mut by_database: BTreeMap<DatabaseId, Vec<&Series>> = BTreeMap::new();
    for series in &cut.series {
        by_database.entry(series.identity().home.database).or_default().push(series);
    }
    let none = Few::default();
    let databases: BTreeSet<DatabaseId> = by_database.keys().chain(cut.few.keys()).copied().collect();
    for database in databases {
        let series = by_database.remove(&database).unwrap_or_default();
        let few = cut.few.get(&database).unwrap_or(&none);
        new.extend(writing.blocks(database, &series, few, base.applied + 1, cut)?);
    }
    let (names, kept_names) = writing.names(base, cut)?;
    let mut blocks = kept(base, cut);
    blocks.extend(new.iter().map(|stored| stored.record.clone()));
    let mut listed = base.names[..kept_names].to_vec();
    listed.extend(names.iter().map(|(record, _)| record.clone()));
    let manifest = Manifest {
        owner: base.owner.clone(),
        applied: cut.last,
        mark: cut.point.mark.clone(),
        state: cut.point.state.clone(),
        databases: cut.databases.clone(),
        dropped: cut.dropped.clone(),
        next_series: cut.next_series,
        tombstones: needed(&cut.tombstones, &blocks),
        names: listed,
        blocks,
        next_file: writing.next_file,
    };
    place.commit(base, &manifest)?;
    let new_names = names.map(|(_, file)| file);
    Ok(Flushed { manifest: Arc::new(manifest), new_blocks: new, new_names, kept_names })
}

/// The blocks that go on: not those of dropped databases, nor those behind a cutoff.
fn kept(base: &Manifest, cut: &Cut) -> Vec<BlockRecord> {
    let stays = |record: &&BlockRecord| {
        let state = cut.databases.get(&record.meta.database);
        state.is_some_and(|state| state.cutoff.is_none_or(|cutoff| record.meta.time_max >= cutoff))
    };
    base.blocks.iter().filter(stays).cloned().collect()
}

/// The deletes that some block must still honour.
pub(crate) fn needed(tombstones: &[Tombstone], blocks: &[BlockRecord]) -> Vec<TombstoneState> {
    let matters = |tombstone: &&Tombstone| blocks.iter().any(|block| tombstone.concerns(block));
    let state = |tombstone: &Tombstone| TombstoneState {
        database: tombstone.database,
        index: tombstone.index,
        selection: tombstone.selection.encode(),
    };
    tombstones.iter().filter(matters).map(state).collect()
}

/// Files in the making, so that those of a job that fails are removed.
pub(crate) struct Writing<'a> {
    pub(crate) place: &'a Place,
    pub(crate) next_file: u64,
    made: Vec<std::path::PathBuf>,
}

impl<'a> Writing<'a> {
    pub(crate) fn new(place: &'a Place, next_file: u64) -> Self {
        Self { place, next_file, made: Vec::new() }
    }

    /// Removes what a job that failed has written. Not after an error of the disk: then nobody knows whether the manifest that
    /// names these files is in place, the node halts, and the next start removes what is left over.
    pub(crate) fn discard_after<T>(&self, result: &Result<T, StoreError>) {
        if matches!(result, Err(StoreError::Full(_) | StoreError::Damaged(_))) {
            self.discard();
        }
    }

    pub(crate) fn discard(&self) {
        self.made.iter().for_each(|path| self.place.discard(path));
    }

    fn number(&mut self) -> u64 {
        let number = self.next_file;
        self.next_file += 1;
        self.made.push(self.place.unnamed(number));
        number
    }

    pub(crate) fn begin(&mut self, database: DatabaseId) -> Result<BlockWriter, StoreError> {
        let number = self.number();
        let path = self.place.unnamed(number);
        BlockWriter::create(&*self.place.disk, &path, number, database)
            .map_err(|error| StoreError::io(format_args!("making {}", path.display()), &error))
    }

    /// Ends a block and opens it for reading. `record` says all but what the file is.
    pub(crate) fn end(
        &mut self,
        writer: BlockWriter,
        record: impl FnOnce(crate::block::BlockMeta) -> BlockRecord,
    ) -> Result<Arc<Stored>, StoreError> {
        let meta = writer.finish().map_err(|error| StoreError::io("ending a block", &error))?;
        let name = block_name(&meta);
        self.place.name(meta.number, &name)?;
        self.made.push(self.place.file(&name));
        self.place.open_block(&record(meta))
    }

    /// The blocks of one database, of which these are the series with rows.
    fn blocks(
        &mut self,
        database: DatabaseId,
        all: &[&Series],
        few: &Few,
        first: u64,
        cut: &Cut,
    ) -> Result<Vec<Arc<Stored>>, StoreError> {
        let Some(range) = after(cut.cutoff(database), TimeRange::ALL) else { return Ok(Vec::new()) };
        let spans = all.iter().filter_map(|series| series.span()).chain(few.span());
        let Some((min, max)) = spans.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))) else { return Ok(Vec::new()) };
        let partition = partition_for(cut.partitions[&database], min.max(range.start().nanos()), max);
        let cuts = Cuts { rows_max: cut.rows_max, partition };
        let (recent, writers) = (cuts.partition_of(min), BTreeMap::new());
        let mut making = Making { writing: self, database, range, cuts, recent, cut, writers };
        let mut place = 0;
        for series in all {
            place = making.few(few, place, Some(series.number()))?;
            making.series(series.identity().numbers(), series.sealed(range))?;
        }
        making.few(few, place, None)?;
        let writers = making.writers;
        let record = |meta| BlockRecord { meta, first, last: cut.last, clean: 0, partition };
        writers.into_values().map(|writer| self.end(writer, record)).collect()
    }

    /// The increment of the series table, if there is one, and how many of its files stay. It takes over files that are not
    /// much larger than itself, so that there are few of them and each series is rewritten seldom.
    fn names(&mut self, base: &Manifest, cut: &Cut) -> Result<(NewNames, usize), StoreError> {
        let mut names = Names::default();
        cut.unlisted.iter().for_each(|series| names.push_identity(series));
        if names.is_empty() {
            return Ok((None, base.names.len()));
        }
        let mut kept = base.names.len();
        let mut bytes = names.bytes();
        while let Some(record) = base.names[..kept].last().filter(|record| record.bytes <= 2 * bytes) {
            bytes += record.bytes;
            kept -= 1;
        }
        if kept < base.names.len() {
            let mut all = Names::default();
            for record in &base.names[kept..] {
                let stays = |name: &&crate::names::Name| !cut.dropped.contains(&name.database);
                self.place.read_names(record)?.iter().filter(stays).for_each(|name| all.push(name));
            }
            cut.unlisted.iter().for_each(|series| all.push_identity(series));
            names = all;
        }
        let number = self.number();
        let record = names.write(&*self.place.disk, &self.place.unnamed(number), number)?;
        self.place.name(number, &names_name(&record))?;
        self.made.push(self.place.file(&names_name(&record)));
        let file = self.place.open_names(&record)?;
        Ok((Some((record, file)), kept))
    }
}

type NewNames = Option<(crate::manifest::NamesRecord, Arc<dyn File>)>;

/// The blocks of one database in the making.
struct Making<'m, 'p> {
    writing: &'m mut Writing<'p>,
    database: DatabaseId,
    /// What retention has left.
    range: TimeRange,
    cuts: Cuts,
    /// A partition in which the next time probably is as well: to find it takes a division.
    recent: i64,
    cut: &'m Cut,
    /// By the start of their partition.
    writers: BTreeMap<i64, BlockWriter>,
}

impl Making<'_, '_> {
    /// A series with any rows, given in log order; series come in order of their numbers.
    fn series(&mut self, numbers: (SeriesNumber, SeriesNumber), rows: Vec<Sealed>) -> Result<(), StoreError> {
        let (cut, cuts) = (self.cut, self.cuts);
        let types = &cut.types[&numbers.0];
        let given: Vec<Given> = rows.into_iter().map(Given::whole).collect();
        let partition = |chunk: &Sealed| cuts.partition_of(chunk.span().map_or(0, |(first, _)| first));
        for same in rechunk(&given, types, self.range, cuts)?.chunk_by(|a, b| partition(a) == partition(b)) {
            write_series(self.writer(partition(&same[0]))?, numbers, same, types)?;
        }
        Ok(())
    }

    /// The series of few rows from `place` on whose numbers are below `before`; where those begin that are not.
    fn few(&mut self, few: &Few, mut place: usize, before: Option<SeriesNumber>) -> Result<usize, StoreError> {
        let (cut, range) = (self.cut, self.range);
        while place < few.len() {
            let one = few.one(place);
            let ((number, _), (first, last), home) = (one.ends(), one.span(), one.home());
            if before.is_some_and(|before| before <= number) {
                break;
            }
            let partition = self.partition_of(first);
            if !contains(range, first) || !contains(range, last) || partition != self.partition_of(last) {
                self.series((home, number), vec![Sealed::Columns(Arc::new(one.chunk()))])?;
                place += 1;
                continue;
            }
            let io = |error| StoreError::io("writing a block", &error);
            let room = self.writer(partition)?.room_for_few(home).map_err(io)?;
            let run = few.run(place, room, |number, (first, last)| {
                before.is_none_or(|before| number < before)
                    && contains(range, first)
                    && contains(range, last)
                    && partition == self.partition_of(first)
                    && partition == self.partition_of(last)
            });
            self.writer(partition)?.few_rows(&run, &cut.types[&home]);
            place += run.series();
        }
        Ok(place)
    }

    fn partition_of(&mut self, time: i64) -> i64 {
        // The first one begins at no multiple of the length.
        if self.recent == i64::MIN || !(0..self.cuts.partition).contains(&time.saturating_sub(self.recent)) {
            self.recent = self.cuts.partition_of(time);
        }
        self.recent
    }

    /// The block of a partition, which is begun if it is not there.
    fn writer(&mut self, partition: i64) -> Result<&mut BlockWriter, StoreError> {
        Ok(match self.writers.entry(partition) {
            btree_map::Entry::Occupied(open) => open.into_mut(),
            btree_map::Entry::Vacant(place) => place.insert(self.writing.begin(self.database)?),
        })
    }
}

/// Adds the chunks of one series to a block; `numbers` are its measurement's and its own.
pub(crate) fn write_series(
    writer: &mut BlockWriter,
    numbers: (SeriesNumber, SeriesNumber),
    chunks: &[Sealed],
    types: &[FieldType],
) -> Result<(), StoreError> {
    let chunks = chunks.iter().map(|sealed| match sealed {
        Sealed::Columns(chunk) => Piece::Chunk(chunk),
        Sealed::Encoded(encoded) => Piece::Encoded(encoded),
    });
    writer.series(numbers, chunks, types).map_err(|error| StoreError::io("writing a block", &error))
}

/// The length of partition that cuts the times from `min` to `max` into few enough.
fn partition_for(wanted: i64, min: i64, max: i64) -> i64 {
    let mut length = wanted;
    while max.abs_diff(min) / length.unsigned_abs() >= PARTITIONS_MAX as u64 {
        length = length.saturating_mul(2);
    }
    length
}
