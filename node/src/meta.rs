//! The catalogue as a replicated machine: every applied run is kept in the node's registry by one commit, together with how
//! far it goes. The registry is never the only copy: one that does not open or does not fit is rebuilt from the log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use meridian_env::{Catalogue as Store, Env, Halt};
use meridian_meta::{Catalogue, Command, Reply};
use meridian_raft::{Applied, Entry, KIND_MACHINE_MIN, Machine};
use tokio::sync::watch;

/// The payload is a command. Kinds are stored: never renumber.
pub(crate) const KIND_COMMAND: u8 = KIND_MACHINE_MIN;

const KEY_APPLIED: &[u8] = b"applied";
const PREFIX: &[u8] = b"meta/";

/// The state of the meta group.
#[derive(Debug)]
pub(crate) struct Meta {
    catalogue: Arc<Catalogue>,
    /// `None` once the node stops.
    store: Option<Box<dyn Store>>,
    applied: Option<Applied>,
    /// What async code reads: a commit may hold the machine's lock for as long as a disk takes.
    published: watch::Sender<Arc<Catalogue>>,
}

impl Meta {
    /// Opens the registry in `dir`, or starts an empty one that the log fills again.
    pub(crate) fn open(env: &Env, dir: &Path) -> Result<Self, Halt> {
        let path = PathBuf::from(dir);
        let io = |error: std::io::Error| Halt::io(format!("opening {}", path.display()), &error);
        let opened = match env.catalogue.open(&path) {
            // Not damaged: somebody uses it.
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => return Err(io(error)),
            Err(error) => Err(error.to_string()),
            Ok(store) => read(&*store).map(|(catalogue, applied)| (store, catalogue, applied)),
        };
        let (store, catalogue, applied) = match opened {
            Ok(parts) => parts,
            Err(reason) => {
                tracing::warn!(dir = %path.display(), reason, "the registry is rebuilt from the log");
                env.catalogue.destroy(&path).map_err(io)?;
                (env.catalogue.open(&path).map_err(io)?, Catalogue::default(), None)
            }
        };
        let catalogue = Arc::new(catalogue);
        let published = watch::Sender::new(Arc::clone(&catalogue));
        Ok(Self { catalogue, store: Some(store), applied, published })
    }

    /// Lets go of the registry: nothing is applied after this.
    pub(crate) fn close(&mut self) {
        self.store = None;
    }

    /// The catalogue, and news of every new version of it.
    pub(crate) fn published(&self) -> watch::Receiver<Arc<Catalogue>> {
        self.published.subscribe()
    }
}

fn read(store: &dyn Store) -> Result<(Catalogue, Option<Applied>), String> {
    let sections = store.scan(PREFIX).map_err(|e| e.to_string())?;
    let sections = sections.into_iter().map(|(key, value)| (key[PREFIX.len()..].to_vec(), value));
    let catalogue = Catalogue::from_sections(sections).map_err(|e| e.to_string())?;
    let applied = store.get(KEY_APPLIED).map_err(|e| e.to_string())?;
    Ok((catalogue, applied.map(|bytes| Applied(bytes.into()))))
}

impl Machine for Meta {
    type Reply = Reply;

    fn applied(&self) -> Option<Applied> {
        self.applied.clone()
    }

    fn apply(&mut self, run: &[Entry], applied: &Applied) -> Result<Vec<Reply>, Halt> {
        let mut replies = Vec::with_capacity(run.len());
        for entry in run {
            if entry.header.kind != KIND_COMMAND {
                return Err(Halt::new(format!("g0: entry {} has the unknown kind {}", entry.index, entry.header.kind)));
            }
            let command = Command::decode(&entry.payload)
                .map_err(|error| Halt::new(format!("g0: entry {} cannot be read: {error}", entry.index)))?;
            replies.push(Arc::make_mut(&mut self.catalogue).apply(&command));
        }
        let prefixed = |(key, value): (Vec<u8>, _)| ([PREFIX, &key].concat(), value);
        let mut changes: Vec<_> = Arc::make_mut(&mut self.catalogue).take_changes().into_iter().map(prefixed).collect();
        changes.push((KEY_APPLIED.to_vec(), Some(applied.0.to_vec())));
        let store = self.store.as_ref().ok_or_else(|| Halt::new("the registry is closed: the node stops"))?;
        store.commit(changes).map_err(|error| Halt::io("committing the catalogue", &error))?;
        self.applied = Some(applied.clone());
        let now = &self.catalogue;
        self.published.send_if_modified(|known| {
            let changed = known.version() != now.version();
            if changed {
                *known = Arc::clone(now);
            }
            changed
        });
        Ok(replies)
    }
}
