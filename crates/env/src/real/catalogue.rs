//! Key-value stores by sled 0.34.
//!
//! Two things that sled leaves to us. Its `flush` is `sync_file_range` on Linux, which syncs neither the length of its file
//! nor the disk's cache, and it never syncs the files of large values: a commit syncs them all itself. And damage can make
//! its recovery panic, which in a release ends the process: a marker file tells the next open that the last one did not end.
#![expect(clippy::disallowed_methods, reason = "the place that the bans name")]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::disk::{at, create_dir, parent, sync_dir};
use crate::{Catalogue, Catalogues, Change};

/// Page cache of one store.
const CACHE_BYTES: u64 = 16 << 20;
/// There while an open runs.
const MARKER: &str = "opening";
/// sled's own names: its log, and the directory of values that do not fit it.
const LOG: &str = "db";
const BLOBS: &str = "blobs";

/// How often, and at what intervals, an open asks for the lock that a closed store's threads may still hold.
const LOCK_TRIES: u32 = 100;
const LOCK_INTERVAL: Duration = Duration::from_millis(10);

/// Knows which stores of this process are open: sled's own lock outlives a store that was closed, for as long as one of
/// sled's threads holds its file.
#[derive(Debug, Default)]
pub(super) struct Sled {
    open: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl Catalogues for Sled {
    fn open(&self, dir: &Path) -> io::Result<Box<dyn Catalogue>> {
        let opened = Opened::take(&self.open, dir)?;
        create_dir(dir)?;
        wait_for_lock(dir)?;
        let marker = dir.join(MARKER);
        fs::OpenOptions::new().write(true).create_new(true).open(&marker).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => damaged(dir, "its last open did not end"),
            _ => at("create", &marker)(error),
        })?;
        let db = catch_unwind(AssertUnwindSafe(|| open(dir)));
        fs::remove_file(&marker).map_err(at("remove", &marker))?;
        let db = db.map_err(|_| damaged(dir, "sled's recovery panicked"))??;
        let log = fs::File::open(dir.join(LOG)).map_err(at("open", dir))?;
        let store = Store { db, dir: dir.to_owned(), log, blobs: Mutex::default(), _opened: opened };
        // Recovery may have written each of these, and their names may be new.
        for entry in fs::read_dir(dir).map_err(at("list", dir))? {
            let path = entry.map_err(at("list", dir))?.path();
            fs::File::open(&path).and_then(|file| file.sync_all()).map_err(at("sync", &path))?;
        }
        sync_dir(dir)?;
        store.sync()?;
        Ok(Box::new(store))
    }

    fn destroy(&self, dir: &Path) -> io::Result<()> {
        let _taken = Opened::take(&self.open, dir)?;
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(at("remove", dir)).and_then(|()| sync_dir(parent(dir))),
        }
    }
}

/// One store's place among the open ones, until dropped.
#[derive(Debug)]
struct Opened {
    all: Arc<Mutex<BTreeSet<PathBuf>>>,
    dir: PathBuf,
}

impl Opened {
    fn take(all: &Arc<Mutex<BTreeSet<PathBuf>>>, dir: &Path) -> io::Result<Self> {
        if !all.lock().insert(dir.to_owned()) {
            let text = format!("the store in {} is open: close it first", dir.display());
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
        }
        Ok(Self { all: Arc::clone(all), dir: dir.to_owned() })
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.all.lock().remove(&self.dir);
    }
}

/// Waits until sled's lock is free. Another process that holds it does not let go, and is an error.
fn wait_for_lock(dir: &Path) -> io::Result<()> {
    let log = match fs::File::open(dir.join(LOG)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(at("open", dir))?,
    };
    for _ in 0..LOCK_TRIES {
        match log.try_lock() {
            Ok(()) => return Ok(()),
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(LOCK_INTERVAL),
            Err(fs::TryLockError::Error(error)) => return Err(at("lock", dir)(error)),
        }
    }
    let text = format!("the store in {} is locked: another process uses it", dir.display());
    Err(io::Error::new(io::ErrorKind::WouldBlock, text))
}

fn damaged(dir: &Path, why: &str) -> io::Error {
    let text = format!("the store in {} does not open ({why}): destroy it and build it again", dir.display());
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Opens sled and reads all of it once, so that damage shows here and not in the middle of the store's use.
fn open(dir: &Path) -> io::Result<sled::Db> {
    let db =
        sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(None).open().map_err(failed(dir))?;
    for pair in &*db {
        pair.map_err(failed(dir))?;
    }
    Ok(db)
}

fn failed(dir: &Path) -> impl Fn(sled::Error) -> io::Error {
    move |error| match error {
        sled::Error::Io(error) => at("store in", dir)(error),
        error => damaged(dir, &error.to_string()),
    }
}

struct Store {
    db: sled::Db,
    dir: PathBuf,
    /// Our own descriptor of sled's log.
    log: fs::File,
    /// Files of large values that are known to be synced.
    blobs: Mutex<BTreeSet<OsString>>,
    /// Last, so that sled is closed before another open may begin.
    _opened: Opened,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Store {
    /// Syncs what sled has written: first large values and their names, then the log that points to them.
    fn sync(&self) -> io::Result<()> {
        let dir = self.dir.join(BLOBS);
        let mut synced = self.blobs.lock();
        let mut present = BTreeSet::new();
        for entry in fs::read_dir(&dir).map_err(at("list", &dir))? {
            let entry = entry.map_err(at("list", &dir))?;
            if !synced.contains(&entry.file_name()) {
                match fs::File::open(entry.path()).and_then(|file| file.sync_all()) {
                    // sled removes values that nothing points to at any time.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    synced => synced.map_err(at("sync", &entry.path()))?,
                }
            }
            present.insert(entry.file_name());
        }
        if !present.is_subset(&synced) {
            sync_dir(&dir)?;
        }
        *synced = present;
        self.log.sync_all().map_err(at("sync the store in", &self.dir))
    }
}

impl Catalogue for Store {
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(self.db.get(key).map_err(failed(&self.dir))?.map(|value| value.to_vec()))
    }

    fn scan(&self, prefix: &[u8]) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let pairs = self.db.scan_prefix(prefix);
        pairs.map(|pair| pair.map(|(key, value)| (key.to_vec(), value.to_vec())).map_err(failed(&self.dir))).collect()
    }

    fn commit(&self, changes: Vec<Change>) -> io::Result<()> {
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.db.apply_batch(batch).map_err(failed(&self.dir))?;
        self.db.flush().map_err(failed(&self.dir))?;
        self.sync()
    }
}
