//! A disk in memory that survives its host, and loses at a crash what nobody synced.
//!
//! Bytes and names are two things, as on a real disk: `sync_data` makes a file's bytes durable and not its name, `sync_dir`
//! the names of a directory and no bytes. Of the changes of a directory's names a prefix survives a crash, since file systems
//! keep their order; a rename survives in both its directories or in neither. Bytes have no order: see [`content`].

mod content;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use content::{Content, Fate, SECTOR};
use parking_lot::{Mutex, MutexGuard};

use crate::{Disk, File, Lock, Open, Rng};

/// A simulated file ends here at the latest: a larger offset is a bug, not a wish for that much memory.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// What else goes wrong with a disk. Crashes lose, keep and tear without being asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// All files together hold at most this many bytes: what does not fit fails with `StorageFull` after the part that does.
    pub capacity_bytes: Option<u64>,
    /// The next `sync_data` or `sync_dir` fails with EIO, once. No later sync makes durable what it should have.
    pub fail_next_sync: bool,
    /// The next write to a file in a directory of this name lands a sector behind where it belongs, once; nobody is told.
    pub misdirect_next_in: Option<&'static str>,
    /// The power goes in the middle of the next `sync_data` or `sync_dir`: jobs take no simulated time between a write and its
    /// sync, so that no crash from outside comes in between.
    pub crash_next_sync: bool,
}

/// The disk of one host, as it survives its crashes. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

/// What a disk holds for certain at one moment.
#[derive(Debug)]
pub(super) struct Image {
    dirs: BTreeSet<PathBuf>,
    files: Vec<(PathBuf, Vec<u8>)>,
}

type Node = Arc<Mutex<Content>>;

#[derive(Debug)]
struct State {
    /// Raised by each crash: a handle of an earlier life fails.
    life: u64,
    /// How many syncs have ended well.
    syncs: u64,
    /// The power went in the middle of a sync, and the host has not been told.
    died: bool,
    rng: Rng,
    faults: Faults,
    dirs: BTreeSet<PathBuf>,
    /// Files as a process sees them.
    names: BTreeMap<PathBuf, Node>,
    /// Files as they are found after a crash if no change since survives.
    durable: BTreeMap<PathBuf, Node>,
    /// What leads from `durable` to `names`.
    pending: Vec<Change>,
    locks: BTreeSet<PathBuf>,
}

/// One atomic change of names: a file made, removed, or (both) renamed.
#[derive(Debug)]
struct Change {
    drop: Option<PathBuf>,
    put: Option<(PathBuf, Node)>,
    /// A sync of it failed.
    doomed: bool,
}

impl Change {
    fn dirs(&self) -> impl Iterator<Item = &Path> {
        self.drop.iter().chain(self.put.iter().map(|(path, _)| path)).map(|path| parent(path))
    }

    fn apply(self, names: &mut BTreeMap<PathBuf, Node>) {
        if let Some(path) = self.drop {
            names.remove(&path);
        }
        names.extend(self.put);
    }
}

/// The error of whatever belongs to a process that has crashed.
pub(super) fn zombie() -> io::Error {
    io::Error::other("simulated: this handle belongs to a process that has crashed")
}

fn fail(kind: io::ErrorKind, path: &Path, what: &str) -> io::Error {
    io::Error::new(kind, format!("{}: {what}", path.display()))
}

/// One spelling of a path: without `.`; the working directory is the empty path.
fn clean(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// The directories of an empty disk: the root and the working directory.
fn roots() -> BTreeSet<PathBuf> {
    [PathBuf::from("/"), PathBuf::new()].into()
}

impl SimDisk {
    /// An empty disk that knows the root and the working directory.
    pub fn new(rng: Rng) -> Self {
        let state = State {
            life: 0,
            syncs: 0,
            died: false,
            rng,
            faults: Faults::default(),
            dirs: roots(),
            names: BTreeMap::new(),
            durable: BTreeMap::new(),
            pending: Vec::new(),
            locks: BTreeSet::new(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The disk as a process sees it until the next crash.
    pub fn mount(&self) -> Arc<dyn Disk> {
        Arc::new(self.mounted())
    }

    fn mounted(&self) -> Mount {
        Mount { state: Arc::clone(&self.state), life: self.state.lock().life }
    }

    /// The power goes: decides what survives of what was not synced, lets go of all locks, and ends the life of all handles.
    pub fn crash(&self) {
        let state = &mut *self.state.lock();
        let fate = Fate::draw(&state.rng);
        state.crash(fate);
        state.died = false;
    }

    /// Whether the power went in the middle of a sync since the last crash: the host must be crashed, too.
    pub fn has_died(&self) -> bool {
        self.state.lock().died
    }

    /// Sets what else goes wrong from here on.
    pub fn set_faults(&self, faults: Faults) {
        self.state.lock().faults = faults;
    }

    /// Changes what else goes wrong from here on.
    pub fn change_faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.state.lock().faults);
    }

    /// What else goes wrong.
    pub fn faults(&self) -> Faults {
        self.state.lock().faults
    }

    /// All files with their sizes, in the order of their paths.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        self.state.lock().names.iter().map(|(path, node)| (path.clone(), node.lock().len())).collect()
    }

    /// Bytes of all files.
    pub fn used_bytes(&self) -> u64 {
        self.state.lock().used_bytes()
    }

    /// How many syncs have ended well so far.
    pub fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }

    /// Everything on it is gone, as if it were new. For a host that is down.
    pub fn wipe(&self) {
        let state = &mut *self.state.lock();
        state.dirs = roots();
        state.names.clear();
        state.durable.clear();
        state.pending.clear();
    }

    /// What would be found if the power went now and nothing survived that is not synced.
    pub(super) fn image(&self) -> Image {
        let state = self.state.lock();
        let files = state.durable.iter().map(|(path, node)| (path.clone(), node.lock().durable().to_vec()));
        Image { dirs: state.dirs.clone(), files: files.collect() }
    }

    /// What was synced since `image` was lost all the same. For a host that is down.
    pub(super) fn revert(&self, image: Image) {
        let state = &mut *self.state.lock();
        state.dirs = image.dirs;
        state.durable =
            image.files.into_iter().map(|(path, bytes)| (path, Arc::new(Mutex::new(Content::of(bytes))))).collect();
        state.names = state.durable.clone();
        state.pending.clear();
    }

    /// Damages one bit of a file, counted from its start: `8 * offset + bit`. An error if there is none.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> io::Result<()> {
        let flipped = self.state.lock().file(&clean(path))?.lock().flip_bit(bit);
        if flipped { Ok(()) } else { Err(fail(io::ErrorKind::UnexpectedEof, path, "has no such bit")) }
    }
}

impl State {
    fn file(&self, path: &Path) -> io::Result<&Node> {
        match self.names.get(path) {
            Some(node) => Ok(node),
            None if self.dirs.contains(path) => Err(fail(io::ErrorKind::IsADirectory, path, "is a directory")),
            None => Err(fail(io::ErrorKind::NotFound, path, "no such file")),
        }
    }

    fn directory(&self, path: &Path) -> io::Result<()> {
        match self.dirs.contains(path) {
            true => Ok(()),
            false if self.names.contains_key(path) => Err(fail(io::ErrorKind::NotADirectory, path, "is a file")),
            false => Err(fail(io::ErrorKind::NotFound, path, "no such directory")),
        }
    }

    fn change(&mut self, drop: Option<PathBuf>, put: Option<(PathBuf, Node)>) {
        let change = |drop, put| Change { drop, put, doomed: false };
        change(drop.clone(), put.clone()).apply(&mut self.names);
        self.pending.push(change(drop, put));
    }

    fn create(&mut self, path: &Path) -> io::Result<Node> {
        self.directory(parent(path))?;
        if self.names.contains_key(path) || self.dirs.contains(path) {
            return Err(fail(io::ErrorKind::AlreadyExists, path, "exists"));
        }
        let node = Node::default();
        self.change(None, Some((path.to_owned(), Arc::clone(&node))));
        Ok(node)
    }

    fn crash(&mut self, fate: Fate) {
        self.life += 1;
        self.locks.clear();
        let mut broken = BTreeSet::new();
        for change in std::mem::take(&mut self.pending) {
            let survives = !change.dirs().any(|dir| broken.contains(dir)) && self.rng.chance(fate.keep);
            if survives {
                change.apply(&mut self.durable);
            } else {
                broken.extend(change.dirs().map(Path::to_owned));
            }
        }
        for node in self.durable.values() {
            node.lock().settle(fate, &self.rng);
        }
        self.names = self.durable.clone();
    }

    /// Whether this write is the one that lands elsewhere.
    fn misdirects(&mut self, path: &Path) -> bool {
        let dir = parent(path).file_name();
        self.faults.misdirect_next_in.take_if(|name| dir.is_some_and(|dir| dir == *name)).is_some()
    }

    /// Whether this sync is the one that fails.
    fn sync_fails(&mut self) -> bool {
        std::mem::take(&mut self.faults.fail_next_sync)
    }

    /// Whether this sync is the one in which the power goes; it has gone then.
    fn sync_dies(&mut self) -> bool {
        let dies = std::mem::take(&mut self.faults.crash_next_sync);
        if dies {
            self.crash(Fate::draw_in_sync(&self.rng));
            self.died = true;
        }
        dies
    }

    /// Splits `pending` into the changes that a sync of `dir` concerns, in order, and the others. A rename ties its two
    /// directories together, so the earlier changes of the other one come along.
    fn take_pending(&mut self, dir: &Path) -> Vec<Change> {
        let mut dirs = BTreeSet::from([dir.to_owned()]);
        let (mut concerned, mut others) = (Vec::new(), Vec::new());
        for change in std::mem::take(&mut self.pending).into_iter().rev() {
            if !change.doomed && change.dirs().any(|dir| dirs.contains(dir)) {
                dirs.extend(change.dirs().map(Path::to_owned));
                concerned.push(change);
            } else {
                others.push(change);
            }
        }
        concerned.reverse();
        others.reverse();
        self.pending = others;
        concerned
    }

    /// How many bytes a file of `len` bytes may come to have.
    fn room(&self, len: u64) -> u64 {
        let Some(capacity) = self.faults.capacity_bytes else { return FILE_BYTES_MAX };
        len.saturating_add(capacity.saturating_sub(self.used_bytes())).min(FILE_BYTES_MAX)
    }

    fn used_bytes(&self) -> u64 {
        self.names.values().map(|node| node.lock().len()).sum()
    }
}

/// The disk as one process sees it.
#[derive(Clone, Debug)]
struct Mount {
    state: Arc<Mutex<State>>,
    life: u64,
}

impl Mount {
    fn lock(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state.lock();
        if state.life == self.life { Ok(state) } else { Err(zombie()) }
    }
}

impl Disk for Mount {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        let path = clean(path);
        let mut state = self.lock()?;
        let node = if how == Open::Create { state.create(&path)? } else { Arc::clone(state.file(&path)?) };
        Ok(Box::new(Handle { mount: self.clone(), node, path, writable: how != Open::Read }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (clean(from), clean(to));
        let mut state = self.lock()?;
        let node = Arc::clone(state.file(&from)?);
        state.directory(parent(&to))?;
        if state.dirs.contains(&to) {
            return Err(fail(io::ErrorKind::IsADirectory, &to, "is a directory"));
        }
        if from != to {
            state.change(Some(from), Some((to, node)));
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let path = clean(path);
        let mut state = self.lock()?;
        state.file(&path)?;
        state.change(Some(path), None);
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let dir = clean(dir);
        let state = self.lock()?;
        state.directory(&dir)?;
        // Paths sort by their parts: what is below a directory follows it without a gap.
        let files = state.names.range(dir.clone()..).map(|(path, _)| path).take_while(|path| path.starts_with(&dir));
        let dirs = state.dirs.range(dir.clone()..).take_while(|path| path.starts_with(&dir));
        let inside = files.chain(dirs).filter(|path| path.parent() == Some(&dir)).filter_map(|path| path.file_name());
        let mut names: Vec<String> = inside.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = clean(dir);
        let mut state = self.lock()?;
        if let Some(file) = dir.ancestors().find(|path| state.names.contains_key(*path)) {
            return Err(fail(io::ErrorKind::AlreadyExists, file, "is a file"));
        }
        state.dirs.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = clean(dir);
        let state = &mut *self.lock()?;
        state.directory(&dir)?;
        if state.sync_dies() {
            return Err(zombie());
        }
        let concerned = state.take_pending(&dir);
        if state.sync_fails() {
            state.pending.extend(concerned.into_iter().map(|change| Change { doomed: true, ..change }));
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        for change in concerned {
            change.apply(&mut state.durable);
        }
        state.syncs += 1;
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let path = clean(path);
        let mut state = self.lock()?;
        if !state.names.contains_key(&path) {
            state.create(&path)?;
        }
        if !state.locks.insert(path.clone()) {
            return Err(fail(io::ErrorKind::WouldBlock, &path, "is locked"));
        }
        Ok(Box::new(HeldLock { mount: self.clone(), path }))
    }
}

#[derive(Debug)]
struct HeldLock {
    mount: Mount,
    path: PathBuf,
}

impl Lock for HeldLock {}

impl Drop for HeldLock {
    fn drop(&mut self) {
        if let Ok(mut state) = self.mount.lock() {
            state.locks.remove(&self.path);
        }
    }
}

#[derive(Debug)]
struct Handle {
    mount: Mount,
    node: Node,
    path: PathBuf,
    writable: bool,
}

impl File for Handle {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let _alive = self.mount.lock()?;
        Ok(self.node.lock().read_at(buffer, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.mount.lock()?;
        if !self.writable {
            return Err(fail(io::ErrorKind::PermissionDenied, &self.path, "is open for reading only"));
        }
        let offset = if state.misdirects(&self.path) { offset + SECTOR } else { offset };
        let len = self.node.lock().len();
        let end = offset.saturating_add(bytes.len() as u64);
        let room = if end > len { state.room(len) } else { end };
        let fits = room.saturating_sub(offset).min(bytes.len() as u64) as usize;
        self.node.lock().write_at(bytes[..fits].to_vec(), offset);
        match fits == bytes.len() {
            true => Ok(()),
            false if end > FILE_BYTES_MAX => Err(fail(io::ErrorKind::FileTooLarge, &self.path, "is too large")),
            false => Err(fail(io::ErrorKind::StorageFull, &self.path, "the disk is full")),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.mount.lock()?;
        if state.sync_dies() {
            return Err(zombie());
        }
        if state.sync_fails() {
            self.node.lock().fail_sync();
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        self.node.lock().sync();
        state.syncs += 1;
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let _alive = self.mount.lock()?;
        Ok(self.node.lock().len())
    }

    fn reserve_zeroed(&self, to: u64) -> io::Result<()> {
        if to > FILE_BYTES_MAX {
            return Err(fail(io::ErrorKind::FileTooLarge, &self.path, "is too large"));
        }
        let len = self.len()?;
        if to > len { self.write_at(&vec![0; (to - len) as usize], len) } else { Ok(()) }
    }
}
