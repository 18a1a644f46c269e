//! The whole contract with the layers above: a machine that applies entries in order, and its adapter to openraft.

use std::io;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures::{FutureExt, Stream, StreamExt};
use meridian_env::{Class, Env, Halt};
use meridian_types::LogIndex;
use openraft::OptionalSend;
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftStateMachine};
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::entry::{self, Header};
use crate::storage::Synced;
use crate::types::{LogId, Payload, Reply, StoredMembership, TypeConfig};

/// Entries that one run of apply takes at most, and the bytes after which it takes no more.
const RUN_ENTRIES_MAX: usize = 256;
const RUN_BYTES_MAX: usize = 4 << 20;

/// An entry as a machine sees it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its position.
    pub index: LogIndex,
    /// Its header.
    pub header: Header,
    /// What was proposed.
    pub payload: Bytes,
}

/// Where in the log a machine's files stand, opaque to the machine: it keeps the last one with its state, in one batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied(pub Bytes);

/// A deterministic state machine: the same entries give the same state and the same replies on every replica.
pub trait Machine: Send + Sync + 'static {
    /// What a proposal is answered with.
    type Reply: Send + Sync + 'static;

    /// How far the files stand; `None` if there are none, and the log is applied from its start.
    fn applied(&self) -> Option<Applied>;

    /// Applies entries in order and answers each. A refusal is a reply; `Halt` means that this replica's own disk or
    /// version failed it, and no reply leaves. `applied` stands for the state after the run.
    fn apply(&mut self, run: &[Entry], applied: &Applied) -> Result<Vec<Self::Reply>, Halt>;
}

/// Drives a [`Machine`] for openraft: off the async threads, in runs, and never ahead of this replica's own log.
pub(crate) struct Adapter<M> {
    machine: Arc<RwLock<M>>,
    env: Env,
    synced: watch::Receiver<Synced>,
    applied: Option<LogId>,
    membership: StoredMembership,
}

impl<M: Machine> Adapter<M> {
    pub(crate) fn open(machine: Arc<RwLock<M>>, env: Env, synced: watch::Receiver<Synced>) -> Result<Self, Halt> {
        let applied = machine.read().applied();
        let (applied, membership) = match applied {
            None => (None, StoredMembership::default()),
            Some(mark) => decode_mark(&mark).map_err(|e| Halt::new(format!("the machine's applied mark: {e}")))?,
        };
        Ok(Self { machine, env, synced, applied, membership })
    }

    /// Waits until this replica has synced what it is about to apply.
    async fn wait_synced(&mut self) -> io::Result<()> {
        let last = self.applied.as_ref().map_or(0, |id| id.index);
        let is_decided = |synced: &Synced| synced.as_ref().map_or(true, |next| *next > last);
        let synced = self.synced.wait_for(is_decided).await.map_err(io::Error::other)?;
        synced.as_ref().map(|_| ()).map_err(|halt| io::Error::other(halt.clone()))
    }

    async fn apply_run(&mut self, run: Vec<EntryResponder<TypeConfig>>) -> io::Result<()> {
        let mut entries = Vec::with_capacity(run.len());
        for (entry, _) in &run {
            let (leader, index) = entry.log_id_parts();
            self.applied = Some(LogId::new(*leader, index));
            match &entry.payload {
                Payload::Blank => {}
                Payload::Membership(membership) => {
                    self.membership = StoredMembership::new(self.applied, membership.clone());
                }
                Payload::Normal(command) => entries.push(Entry {
                    index: LogIndex(index),
                    header: command.header,
                    payload: command.payload.clone(),
                }),
            }
        }
        let count = entries.len();
        self.wait_synced().await?;
        let mark = encode_mark(self.applied.as_ref(), &self.membership);
        let machine = Arc::clone(&self.machine);
        let job = move || machine.write().apply(&entries, &mark);
        let replies = meridian_env::run(&*self.env.work, Class::Apply, job).await.map_err(io::Error::other)?;
        assert_eq!(replies.len(), count, "a machine answers every entry of a run");
        let mut replies = replies.into_iter();
        for (entry, responder) in run {
            let normal = matches!(entry.payload, Payload::Normal(_));
            let reply = normal.then(|| replies.next().map(|r| Box::new(r) as _)).flatten();
            if let Some(responder) = responder {
                responder.send(Reply(reply));
            }
        }
        Ok(())
    }
}

impl<M: Machine> RaftStateMachine<TypeConfig> for Adapter<M> {
    type SnapshotData = ();
    type SnapshotBuilder = NoSnapshots;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(first) = entries.next().await {
            let mut run = vec![first?];
            let mut bytes = 0;
            while run.len() < RUN_ENTRIES_MAX && bytes < RUN_BYTES_MAX {
                let Some(Some(next)) = entries.next().now_or_never() else { break };
                let next = next?;
                if let Payload::Normal(command) = &next.0.payload {
                    bytes += command.payload.len();
                }
                run.push(next);
            }
            self.apply_run(run).await?;
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<NoSnapshots> {
        None
    }

    async fn get_snapshot_builder(&mut self) -> NoSnapshots {
        NoSnapshots
    }

    async fn install_snapshot(
        &mut self,
        _meta: &openraft::type_config::alias::SnapshotMetaOf<TypeConfig>,
        _data: (),
    ) -> io::Result<()> {
        Err(io::Error::other(NO_SNAPSHOTS))
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<openraft::type_config::alias::SnapshotOf<TypeConfig, ()>>> {
        Ok(None)
    }
}

/// Until the engine flushes there is nothing to make a snapshot of: the log is kept whole instead, so none is needed.
#[derive(Debug)]
pub(crate) struct NoSnapshots;

pub(crate) const NO_SNAPSHOTS: &str = "this version keeps the whole log and neither makes nor takes snapshots";

impl openraft::storage::RaftSnapshotBuilder<TypeConfig> for NoSnapshots {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> io::Result<openraft::type_config::alias::SnapshotOf<TypeConfig, ()>> {
        Err(io::Error::other(NO_SNAPSHOTS))
    }
}

/// `has:u8 log id | has:u8 log id of the membership | membership`.
fn encode_mark(applied: Option<&LogId>, membership: &StoredMembership) -> Applied {
    let mut bytes = BytesMut::new();
    for id in [applied, membership.log_id().as_ref()] {
        bytes.put_u8(u8::from(id.is_some()));
        bytes.extend_from_slice(&id.map(entry::encode_log_id).unwrap_or_else(|| Bytes::from_static(&[0; 24])));
    }
    bytes.extend_from_slice(&entry::encode_membership(membership.membership()));
    Applied(bytes.freeze())
}

fn decode_mark(mark: &Applied) -> Result<(Option<LogId>, StoredMembership), entry::EntryError> {
    let cut = || entry::EntryError::Malformed("the mark is cut short");
    let id = |at: usize| -> Result<Option<LogId>, entry::EntryError> {
        let part = mark.0.get(at..at + 25).ok_or_else(cut)?;
        if part[0] == 0 { Ok(None) } else { entry::decode_log_id(&part[1..]).map(Some) }
    };
    let (applied, at) = (id(0)?, id(25)?);
    let membership = entry::decode_membership(mark.0.slice(50..))?;
    Ok((applied, StoredMembership::new(at, membership)))
}
