//! The twin of sled in memory: a commit is whole and durable when it returns.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::disk::zombie;
use crate::{Catalogue, Catalogues, Change, Rng};

/// All stores of one host, as they survive its crashes. Clones are the same stores.
#[derive(Clone, Debug)]
pub struct SimCatalogues {
    state: Arc<Mutex<State>>,
}

/// What the stores hold at one moment.
#[derive(Debug)]
pub(super) struct Image(BTreeMap<PathBuf, Contents>);

#[derive(Debug)]
struct State {
    life: u64,
    rng: Rng,
    fail_next_commit: bool,
    stores: BTreeMap<PathBuf, Contents>,
}

#[derive(Clone, Debug, Default)]
struct Contents {
    open: bool,
    damaged: bool,
    pairs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl SimCatalogues {
    /// No stores yet.
    pub fn new(rng: Rng) -> Self {
        let state = State { life: 0, rng, fail_next_commit: false, stores: BTreeMap::new() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The stores as a process sees them until the next crash.
    pub fn mount(&self) -> Arc<dyn Catalogues> {
        let life = self.state.lock().life;
        Arc::new(Mount { state: Arc::clone(&self.state), life })
    }

    /// Ends the process that has them open. Commits are whole and durable when they return, so nothing is lost.
    pub fn crash(&self) {
        let mut state = self.state.lock();
        state.life += 1;
        state.fail_next_commit = false;
        for store in state.stores.values_mut() {
            store.open = false;
        }
    }

    /// Everything in them is gone. For a host that is down.
    pub fn wipe(&self) {
        self.state.lock().stores.clear();
    }

    pub(super) fn image(&self) -> Image {
        let closed = |store: &Contents| Contents { open: false, ..store.clone() };
        Image(self.state.lock().stores.iter().map(|(dir, store)| (dir.clone(), closed(store))).collect())
    }

    /// What was committed since `image` was lost all the same. For a host that is down.
    pub(super) fn revert(&self, image: Image) {
        self.state.lock().stores = image.0;
    }

    /// Makes the next open of the store in `dir` fail, until it is destroyed.
    pub fn damage(&self, dir: &Path) {
        self.state.lock().stores.entry(dir.to_owned()).or_default().damaged = true;
    }

    /// Makes the next commit fail; whether its changes are kept is drawn, as for a process that dies in it.
    pub fn fail_next_commit(&self) {
        self.state.lock().fail_next_commit = true;
    }
}

fn lock(state: &Mutex<State>, life: u64) -> io::Result<MutexGuard<'_, State>> {
    let state = state.lock();
    if state.life == life { Ok(state) } else { Err(zombie()) }
}

fn open_already(dir: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, format!("the store in {} is open: close it first", dir.display()))
}

#[derive(Debug)]
struct Mount {
    state: Arc<Mutex<State>>,
    life: u64,
}

impl Catalogues for Mount {
    fn open(&self, dir: &Path) -> io::Result<Box<dyn Catalogue>> {
        let mut state = lock(&self.state, self.life)?;
        let store = state.stores.entry(dir.to_owned()).or_default();
        if store.damaged {
            let text = format!("the store in {} is damaged: destroy it and build it again", dir.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        if store.open {
            return Err(open_already(dir));
        }
        store.open = true;
        Ok(Box::new(Store { state: Arc::clone(&self.state), life: self.life, dir: dir.to_owned() }))
    }

    fn destroy(&self, dir: &Path) -> io::Result<()> {
        let mut state = lock(&self.state, self.life)?;
        if state.stores.get(dir).is_some_and(|store| store.open) {
            return Err(open_already(dir));
        }
        state.stores.remove(dir);
        Ok(())
    }
}

#[derive(Debug)]
struct Store {
    state: Arc<Mutex<State>>,
    life: u64,
    dir: PathBuf,
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Ok(mut state) = lock(&self.state, self.life)
            && let Some(store) = state.stores.get_mut(&self.dir)
        {
            store.open = false;
        }
    }
}

impl Store {
    fn with<T>(&self, read: impl FnOnce(&BTreeMap<Vec<u8>, Vec<u8>>) -> T) -> io::Result<T> {
        let state = lock(&self.state, self.life)?;
        Ok(read(&state.stores.get(&self.dir).expect("an open store is not destroyed").pairs))
    }
}

impl Catalogue for Store {
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.with(|pairs| pairs.get(key).cloned())
    }

    fn scan(&self, prefix: &[u8]) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.with(|pairs| {
            let from = pairs.range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded));
            from.take_while(|(key, _)| key.starts_with(prefix)).map(|(k, v)| (k.clone(), v.clone())).collect()
        })
    }

    fn commit(&self, changes: Vec<Change>) -> io::Result<()> {
        let mut state = lock(&self.state, self.life)?;
        let fails = std::mem::take(&mut state.fail_next_commit);
        if !fails || state.rng.chance(0.5) {
            let store = state.stores.get_mut(&self.dir).expect("an open store is not destroyed");
            for (key, value) in changes {
                match value {
                    Some(value) => drop(store.pairs.insert(key, value)),
                    None => drop(store.pairs.remove(&key)),
                }
            }
        }
        if fails { Err(io::Error::other("simulated: the commit failed")) } else { Ok(()) }
    }
}
