//! The catalogue as a replicated machine: every applied run is kept in the node's registry by one commit, together with how
//! far it goes. The registry is never the only copy: one that does not open, does not fit or is behind is rebuilt from the
//! catalogue's file, which the log is purged behind, and from the log.

mod file;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use file::Snapshot;
use meridian_env::{Catalogue as Store, Disk, Env, Halt};
use meridian_meta::{Catalogue, Command, Reply};
use meridian_raft::{Answer, Applied, Entry, Job, JobError, KIND_MACHINE_MIN, Machine, Received, View};
use tokio::sync::watch;

/// The payload is a command. Kinds are stored: never renumber.
pub(crate) const KIND_COMMAND: u8 = KIND_MACHINE_MIN;

const KEY_APPLIED: &[u8] = b"applied";
const PREFIX: &[u8] = b"meta/";
/// The file's name, beside the registry.
const FILE_NAME: &str = "catalogue.snapshot";
/// Entries after which the file is written again though the catalogue is the same, so that the log can go.
const FILE_EVERY_ENTRIES: u64 = 1_000;

/// The state of the meta group.
#[derive(Debug)]
pub(crate) struct Meta {
    catalogue: Arc<Catalogue>,
    /// `None` once the node stops.
    store: Option<Arc<dyn Store>>,
    /// How far the registry goes.
    applied: Option<Applied>,
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// What is in the file; never ahead of the registry.
    snapshot: Option<Snapshot>,
    /// What async code reads: a commit may hold the machine's lock for as long as a disk takes.
    published: watch::Sender<Arc<Catalogue>>,
}

/// What a background job has made.
#[derive(Debug)]
pub(crate) struct Done {
    snapshot: Snapshot,
    /// The catalogue, if it is another's.
    adopted: Option<Catalogue>,
}

impl Meta {
    /// Opens the registry in `dir`. One that cannot be used is made anew, from the file beside it or for the log to fill.
    pub(crate) fn open(env: &Env, dir: &Path) -> Result<Self, Halt> {
        let path = dir.with_file_name(FILE_NAME);
        let io = |error: io::Error| Halt::io(format!("opening {}", dir.display()), &error);
        let snapshot = Snapshot::read(&*env.disk, &path).unwrap_or_else(|error| {
            tracing::error!(path = %path.display(), %error, "the catalogue's file is of no use: it is written anew");
            None
        });
        let opened = match env.catalogue.open(dir) {
            // Not damaged: somebody uses it.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => return Err(io(error)),
            Err(error) => Err(error.to_string()),
            Ok(store) => read(&*store).and_then(|(catalogue, applied)| {
                let filed = snapshot.as_ref().map(|(snapshot, _)| snapshot.applied.index());
                let is_behind = filed > Some(applied.as_ref().and_then(Applied::index));
                if is_behind {
                    Err("it is behind the catalogue's file".into())
                } else {
                    Ok((store, catalogue, applied))
                }
            }),
        };
        let (snapshot, filed) = snapshot.unzip();
        let (store, catalogue, applied) = match opened {
            Ok((store, catalogue, applied)) => (Arc::from(store), catalogue, applied),
            Err(reason) => {
                let from = if snapshot.is_some() { "its file and the log" } else { "the log" };
                tracing::warn!(dir = %dir.display(), reason, "the registry is rebuilt from {from}");
                env.catalogue.destroy(dir).map_err(io)?;
                let store: Arc<dyn Store> = Arc::from(env.catalogue.open(dir).map_err(io)?);
                let (catalogue, applied) = (filed.unwrap_or_default(), snapshot.as_ref().map(|s| s.applied.clone()));
                if let Some(applied) = &applied {
                    fill(&*store, applied, &catalogue).map_err(io)?;
                }
                (store, catalogue, applied)
            }
        };
        let catalogue = Arc::new(catalogue);
        let published = watch::Sender::new(Arc::clone(&catalogue));
        let disk = Arc::clone(&env.disk);
        Ok(Self { catalogue, store: Some(store), applied, disk, path, snapshot, published })
    }

    /// Lets go of the registry: nothing is applied after this.
    pub(crate) fn close(&mut self) {
        self.store = None;
    }

    /// The catalogue, and news of every new version of it.
    pub(crate) fn published(&self) -> watch::Receiver<Arc<Catalogue>> {
        self.published.subscribe()
    }

    fn publish(&self) {
        let now = &self.catalogue;
        self.published.send_if_modified(|known| {
            let changed = known.version() != now.version();
            if changed {
                *known = Arc::clone(now);
            }
            changed
        });
    }

    /// Whether the file is worth writing: after a change, or for the log's sake.
    fn is_file_old(&self, applied: &Applied) -> bool {
        let Some(snapshot) = &self.snapshot else { return true };
        let index = |applied: &Applied| applied.index().map_or(0, |index| index.0);
        let entries = index(applied) - index(&snapshot.applied).min(index(applied));
        entries > 0 && (self.catalogue.version() != snapshot.version || entries >= FILE_EVERY_ENTRIES)
    }
}

/// The catalogue in a registry, and how far it goes.
pub(crate) fn read(store: &dyn Store) -> Result<(Catalogue, Option<Applied>), String> {
    let sections = store.scan(PREFIX).map_err(|e| e.to_string())?;
    let sections = sections.into_iter().map(|(key, value)| (key[PREFIX.len()..].to_vec(), value));
    let catalogue = Catalogue::from_sections(sections).map_err(|e| e.to_string())?;
    let applied = store.get(KEY_APPLIED).map_err(|e| e.to_string())?;
    Ok((catalogue, applied.map(|bytes| Applied(bytes.into()))))
}

fn stored(key: &[u8]) -> Vec<u8> {
    [PREFIX, key].concat()
}

/// Makes a registry hold this catalogue and nothing else, by one commit.
fn fill(store: &dyn Store, applied: &Applied, catalogue: &Catalogue) -> io::Result<()> {
    let old = store.scan(PREFIX)?.into_iter().map(|(key, _)| (key, None));
    let new = catalogue.sections().into_iter().map(|(key, value)| (stored(&key), Some(value)));
    let mut changes: std::collections::BTreeMap<_, _> = old.chain(new).collect();
    changes.insert(KEY_APPLIED.to_vec(), Some(applied.0.to_vec()));
    store.commit(changes.into_iter().collect())
}

fn failed(path: &Path, error: &io::Error) -> JobError {
    JobError::io(format_args!("writing {}", path.display()), error)
}

impl Machine for Meta {
    type Reply = Reply;
    type Done = Done;

    /// The registry's: it is durable at every apply. The file may be behind, and the log is purged behind the file.
    fn applied(&self) -> Option<Applied> {
        self.applied.clone()
    }

    /// Answers when all is committed and published: the catalogue is read without the machine's lock.
    fn apply(&mut self, run: &[Entry], applied: &Applied, answer: &mut Answer<'_, Reply>) -> Result<(), Halt> {
        let mut replies = Vec::with_capacity(run.len());
        for entry in run {
            if entry.header.kind != KIND_COMMAND {
                return Err(Halt::new(format!("g0: entry {} has the unknown kind {}", entry.index, entry.header.kind)));
            }
            let command = Command::decode(&entry.payload)
                .map_err(|error| Halt::new(format!("g0: entry {} cannot be read: {error}", entry.index)))?;
            replies.push(Arc::make_mut(&mut self.catalogue).apply(&command));
        }
        let changes = Arc::make_mut(&mut self.catalogue).take_changes();
        let mut changes: Vec<_> = changes.into_iter().map(|(key, value)| (stored(&key), value)).collect();
        changes.push((KEY_APPLIED.to_vec(), Some(applied.0.to_vec())));
        let store = self.store.as_ref().ok_or_else(|| Halt::new("the registry is closed: the node stops"))?;
        store.commit(changes).map_err(|error| Halt::io("committing the catalogue", &error))?;
        self.applied = Some(applied.clone());
        self.publish();
        replies.into_iter().enumerate().for_each(|(place, reply)| answer(place, reply));
        Ok(())
    }

    fn freeze(&mut self) -> Option<Job<Done>> {
        let applied = self.applied.clone().filter(|applied| self.is_file_old(applied))?;
        let (disk, path, catalogue) = (Arc::clone(&self.disk), self.path.clone(), Arc::clone(&self.catalogue));
        Some(Box::new(move || {
            let snapshot = Snapshot::write(&*disk, &path, &applied, &catalogue).map_err(|e| failed(&path, &e))?;
            Ok(Done { snapshot, adopted: None })
        }))
    }

    fn upkeep(&mut self) -> Option<Job<Done>> {
        None
    }

    fn install(&mut self, done: Done) {
        if let Some(catalogue) = done.adopted {
            self.catalogue = Arc::new(catalogue);
            self.applied = Some(done.snapshot.applied.clone());
            self.publish();
        }
        self.snapshot = Some(done.snapshot);
    }

    fn view(&self) -> Option<View> {
        self.snapshot.as_ref().map(Snapshot::view)
    }

    /// First the file, then the registry: one that a crash leaves behind its file is rebuilt from it.
    fn adopt(&mut self, received: Received) -> Job<Done> {
        let (disk, path, store) = (Arc::clone(&self.disk), self.path.clone(), self.store.clone());
        Box::new(move || {
            let store = store.ok_or_else(|| Halt::new("the registry is closed: the node stops"))?;
            let damaged = |what: &dyn std::fmt::Display| JobError::Damaged(format!("the catalogue that came: {what}"));
            let [(name, at)] = &received.files[..] else { return Err(damaged(&"it is not one file")) };
            let (came, catalogue) = match Snapshot::read(&*disk, at) {
                Ok(Some(came)) if name == file::NAME => came,
                Ok(_) => return Err(damaged(&"it is not there")),
                Err(error) => return Err(damaged(&error)),
            };
            if came.applied != received.applied {
                return Err(damaged(&"it stands elsewhere in the log than was said"));
            }
            let snapshot = Snapshot::write(&*disk, &path, &came.applied, &catalogue).map_err(|e| failed(&path, &e))?;
            fill(&*store, &snapshot.applied, &catalogue).map_err(|e| Halt::io("committing the catalogue", &e))?;
            Ok(Done { snapshot, adopted: Some(catalogue) })
        })
    }
}

#[cfg(test)]
mod tests;
