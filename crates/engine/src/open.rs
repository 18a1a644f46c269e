//! An engine out of files: its own at a start, or a snapshot's that was received from a peer.
//!
//! It must never take over files of another owner, and never keep half of a snapshot: one manifest switches.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind::NotFound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meridian_env::{Disk, File, Open};
use meridian_types::{Mutant, Timestamp};
use xxhash_rust::xxh3::xxh3_128;

use crate::Engine;
use crate::error::StoreError;
use crate::flush::Point;
use crate::manifest::{self, DatabaseState, Manifest};
use crate::names::Name;
use crate::series::{Home, Identity, Series, keys};
use crate::store::{MANIFEST, Place, block_name, names_name};
use crate::table::{Database, Measurement};
use crate::task::{Made, Outcome, Task};
use crate::tombstone::Tombstone;

/// One file of a snapshot.
#[derive(Clone, Debug)]
pub struct SnapshotFile {
    /// Its name, one of a snapshot.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// xxh3-128 of its content.
    pub hash: u128,
    /// Its content.
    pub content: SnapshotContent,
}

/// What a file of a snapshot holds.
#[derive(Clone, Debug)]
pub enum SnapshotContent {
    /// It was made for the snapshot.
    Memory(Vec<u8>),
    /// An open file of the shard, readable even when the shard has removed it.
    File(Arc<dyn File>),
}

impl Engine {
    /// The engine whose files are in `dir`, which is made if absent. `owner` names whose files they are: those of another
    /// are refused. Reads the series table and the ends of all blocks.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, owner: &str, seed: u64) -> Result<Self, StoreError> {
        let place = Place { disk, dir: dir.to_owned() };
        let manifest = match place.prepare()? {
            Some(manifest) => manifest,
            None => {
                // Says from the first day on whose they are.
                let empty = Manifest { owner: owner.to_owned(), ..Manifest::default() };
                place.commit(&empty, &empty)?;
                empty
            }
        };
        if manifest.owner != owner {
            let (dir, found) = (dir.display().to_string(), manifest.owner);
            return Err(StoreError::Foreign { dir, found, wanted: owner.to_owned() });
        }
        place.sweep(&manifest.files())?;
        Self::load(place, manifest, seed)
    }

    /// Removes the files in `dir`, whoever they belong to: for a replica that gives way to another one.
    pub fn wipe(disk: Arc<dyn Disk>, dir: &Path) -> Result<(), StoreError> {
        let place = Place { disk, dir: dir.to_owned() };
        let io = |error: std::io::Error| StoreError::io(format_args!("emptying {}", dir.display()), &error);
        match place.disk.remove(&dir.join(MANIFEST)) {
            Err(error) if error.kind() == NotFound => {}
            removed => removed.and_then(|()| place.disk.sync_dir(dir)).map_err(io)?,
        }
        place.prepare()?;
        place.sweep(&BTreeSet::new())
    }

    fn load(place: Place, manifest: Manifest, seed: u64) -> Result<Self, StoreError> {
        let mut engine = Self::new(seed);
        engine.dropped = manifest.dropped.clone();
        for (id, state) in &manifest.databases {
            let database = restore(&engine, state)
                .ok_or_else(|| StoreError::Damaged(format!("the manifest lists columns of {id} that cannot be")))?;
            engine.databases.insert(*id, database);
        }
        for record in &manifest.names {
            for name in place.read_names(record)? {
                engine.restore_series(name, manifest.next_series)?;
            }
        }
        engine.skip_series_to(manifest.next_series);
        engine.listed = manifest.next_series;
        let tombstones = manifest.tombstones.iter();
        engine.tombstones =
            tombstones.map(|t| Tombstone::decode(t.database, t.index, &t.selection)).collect::<Result<_, _>>()?;
        engine.store = Some(place.open(manifest)?);
        Ok(engine)
    }

    fn restore_series(&mut self, name: Name, next: u32) -> Result<(), StoreError> {
        let number = name.number;
        let damaged = |what: &str| StoreError::Damaged(format!("the series table: series {number} {what}"));
        if number.0 >= next || (number.0 as usize) < self.series.len() {
            return Err(damaged("is out of order"));
        }
        self.skip_series_to(number.0);
        let Some(home) = self.databases.get_mut(&name.database) else {
            // Of a database that was dropped after the file was written.
            self.skip_series_to(number.0 + 1);
            return Ok(());
        };
        let measurement = home.measurements.get_mut(&*name.measurement);
        let measurement = measurement.ok_or_else(|| damaged("is of a measurement that the manifest does not list"))?;
        let new_home = || Arc::new(Home { database: name.database, measurement: name.measurement, number });
        let of = measurement.home().cloned().unwrap_or_else(new_home);
        let key_of = keys(&self.series);
        if measurement.number(&name.key, &key_of).is_some() {
            return Err(damaged("has the key of another one"));
        }
        let index_bytes = measurement.insert(&name.key, number, &of, &key_of);
        home.stats.added(&name.key, index_bytes);
        let identity = Identity::new(number, name.key, of);
        self.marks.push(&identity);
        self.series.push(Some(Arc::new(Series::new(Arc::new(identity)))));
        Ok(())
    }

    /// Leaves out the series below `number`, which are gone.
    fn skip_series_to(&mut self, number: u32) {
        self.series.resize(number as usize, None);
        self.marks.skip_to(number);
    }

    /// Up to where the files go, and what the owner gave with it; `None` before the first flush.
    pub fn durable(&self) -> Option<Point> {
        let manifest = &self.store.as_ref()?.manifest;
        let point = || Point { index: manifest.applied, mark: manifest.mark.clone(), state: manifest.state.clone() };
        (manifest.applied > 0).then(point)
    }

    /// The last entry whose effect is in files; 0 if there are none.
    pub fn durable_index(&self) -> u64 {
        self.store.as_ref().map_or(0, |store| store.manifest.applied)
    }

    /// All that [`Engine::durable`] stands for, as files; `None` before the first flush.
    pub fn snapshot(&self) -> Option<Vec<SnapshotFile>> {
        let store = self.store.as_ref().filter(|store| store.manifest.applied > 0)?;
        let bytes = store.manifest.encode().ok()?;
        let (len, hash) = (bytes.len() as u64, xxh3_128(&bytes));
        let mut files =
            vec![SnapshotFile { name: MANIFEST.into(), bytes: len, hash, content: SnapshotContent::Memory(bytes) }];
        for (record, file) in store.manifest.names.iter().zip(&store.names) {
            let content = SnapshotContent::File(Arc::clone(file));
            files.push(SnapshotFile { name: names_name(record), bytes: record.bytes, hash: record.hash, content });
        }
        for stored in &store.blocks {
            let (meta, content) = (&stored.record.meta, SnapshotContent::File(Arc::clone(stored.block.file())));
            files.push(SnapshotFile { name: block_name(meta), bytes: meta.bytes, hash: meta.hash, content });
        }
        Some(files)
    }

    /// The job that replaces this engine by a snapshot: `files` are its names and where they lie, verified, on the disk of
    /// the engine. They are moved.
    pub fn adopt(&self, files: Vec<(String, PathBuf)>, seed: u64) -> Task {
        let store = self.store.as_ref().map(|store| (store.place.clone(), Arc::clone(&store.manifest)));
        Task::new(move || {
            let (place, base) =
                store.ok_or_else(|| StoreError::Io("an engine in memory alone takes no snapshot".into()))?;
            adopt(place, &base, files, seed)
        })
    }
}

fn restore(engine: &Engine, state: &DatabaseState) -> Option<Database> {
    let mut database = Database::default();
    if let Some(cutoff) = state.cutoff {
        database.cutoff = Some(Timestamp::new(cutoff).ok()?);
    }
    for (name, columns) in &state.measurements {
        let mut measurement = Measurement::new(engine.hasher);
        for (number, (field, field_type)) in (0..).zip(columns) {
            measurement.restore_column(number, field, *field_type).then_some(())?;
        }
        database.measurements.insert(name.as_str().into(), measurement);
    }
    Some(database)
}

fn adopt(place: Place, base: &Manifest, files: Vec<(String, PathBuf)>, seed: u64) -> Result<Outcome, StoreError> {
    let mut files: BTreeMap<String, PathBuf> = files.into_iter().collect();
    let missing = |name: &str| StoreError::Damaged(format!("the snapshot lacks its file {name}"));
    let path = files.remove(MANIFEST).ok_or_else(|| missing(MANIFEST))?;
    let bytes = place.disk.read(&path, manifest::BYTES_MAX);
    let bytes = bytes.map_err(|error| StoreError::io(format_args!("reading {}", path.display()), &error))?;
    let mut received = Manifest::decode(&bytes)?;
    if Mutant::InstallHalfSnapshot.is_planted() {
        received.blocks.truncate(received.blocks.len() / 2);
    }
    // Also what is here already: it is the same, and in place of one that has rotten unnoticed it is whole.
    for name in &received.files() {
        let (from, to) = (files.get(name).ok_or_else(|| missing(name))?, place.file(name));
        match place.disk.rename(from, &to) {
            // An adoption that failed for want of space has moved it already.
            Err(error) if error.kind() == NotFound && place.disk.open(&to, Open::Read).is_ok() => {}
            moved => moved.map_err(|error| StoreError::io(format_args!("moving {}", from.display()), &error))?,
        }
    }
    let next_file = received.next_file.max(base.next_file);
    let manifest = Manifest { owner: base.owner.clone(), next_file, ..received };
    place.commit(base, &manifest)?;
    Ok(Outcome(Made::Adopted(Box::new(Engine::load(place, manifest, seed)?))))
}
