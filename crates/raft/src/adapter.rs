//! Drives a [`Machine`] for openraft: off the async threads, in runs, and never ahead of this replica's own log.
//!
//! A snapshot is whatever the machine's last flush left on disk. None is ever made for openraft's sake, except when it cannot
//! go on without one and there has been no flush yet.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{FutureExt, Stream, StreamExt};
use meridian_env::{Class, Env, Halt};
use meridian_types::LogIndex;
use openraft::OptionalSend;
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use tokio::sync::watch;

use crate::background::Jobs;
use crate::groups::GroupSpec;
use crate::machine::{Entry, Machine, View, decode_mark, encode_mark};
use crate::snapshot::{Snapshot, SnapshotData, SnapshotMeta};
use crate::storage::Synced;
use crate::types::{LogId, Payload, Reply, StoredMembership, TypeConfig};

/// Entries that one run of apply takes at most, and the bytes after which it takes no more.
const RUN_ENTRIES_MAX: usize = 256;
const RUN_BYTES_MAX: usize = 4 << 20;
/// A replica for which more entries than this are committed behind a run is behind.
const BEHIND_MAX: u64 = 8;

/// See the module.
pub(crate) struct Adapter<M: Machine> {
    spec: GroupSpec,
    jobs: Arc<Jobs<M>>,
    env: Env,
    synced: watch::Receiver<Synced>,
    committed: Arc<AtomicU64>,
    applied: Option<LogId>,
    membership: StoredMembership,
    /// Dropped with this, once nothing is applied any more.
    alive: watch::Sender<()>,
}

impl<M: Machine> Adapter<M> {
    pub(crate) fn open(
        spec: GroupSpec,
        jobs: Arc<Jobs<M>>,
        env: Env,
        (synced, committed): (watch::Receiver<Synced>, Arc<AtomicU64>),
    ) -> Result<Self, Halt> {
        let applied = jobs.machine().read().applied();
        let (applied, membership) = match applied {
            None => (None, StoredMembership::default()),
            Some(mark) => decode_mark(&mark).map_err(|e| Halt::new(format!("the machine's applied mark: {e}")))?,
        };
        Ok(Self { spec, jobs, env, synced, committed, applied, membership, alive: watch::Sender::new(()) })
    }

    /// Ends when this does.
    pub(crate) fn alive(&self) -> watch::Receiver<()> {
        self.alive.subscribe()
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
        let (mut waiting, mut others) = (Vec::with_capacity(run.len()), Vec::new());
        for (entry, responder) in run {
            let (leader, index) = entry.log_id_parts();
            let id = LogId::new(*leader, index);
            self.applied = Some(id);
            match entry.payload {
                Payload::Blank => others.extend(responder),
                Payload::Membership(membership) => {
                    self.membership = StoredMembership::new(self.applied, membership);
                    others.extend(responder);
                }
                Payload::Normal(command) => {
                    entries.push(Entry { index: LogIndex(index), header: command.header, payload: command.payload });
                    waiting.push((id, responder));
                }
            }
        }
        self.wait_synced().await?;
        let last = self.applied.as_ref().map_or(0, |id| id.index);
        let is_behind = self.committed.load(Ordering::Relaxed) > last + BEHIND_MAX;
        // Those go first for whom somebody waits. A follower lets them, as long as it is not behind.
        let is_first = is_behind || waiting.iter().any(|(_, responder)| responder.is_some());
        let class = if is_first { Class::Answer } else { Class::Apply };
        let mark = encode_mark(self.applied.as_ref(), &self.membership);
        let jobs = Arc::clone(&self.jobs);
        let span = tracing::debug_span!("apply", group = %self.spec.group, replica = %self.spec.replica);
        let job = move || {
            let mut left = entries.len();
            let mut answer = |place: usize, reply| {
                let (id, responder) = &mut waiting[place];
                jobs.note_applied(*id);
                left -= 1;
                if let Some(responder) = responder.take() {
                    responder.send(Reply(Some(Box::new(reply))));
                }
                if left == 0 && !is_behind {
                    // Gives way to those that carry answers and sync logs, for which the scheduler would have this thread go on for
                    // milliseconds. It costs the thread its share of the processor: who is behind would fall back for good.
                    std::thread::yield_now();
                }
            };
            let applied = span.in_scope(|| jobs.machine().write().apply(&entries, &mark, &mut answer));
            assert!(applied.is_err() || left == 0, "a machine answers every entry of a run");
            applied
        };
        meridian_env::run(&*self.env.work, class, job).await.map_err(io::Error::other)?;
        self.applied.into_iter().for_each(|id| self.jobs.note_applied(id));
        others.into_iter().for_each(|responder| responder.send(Reply(None)));
        Ok(())
    }
}

impl<M: Machine> RaftStateMachine<TypeConfig> for Adapter<M> {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder<M>;

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

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder<M>> {
        let is_there = force || self.jobs.view().await.is_some();
        is_there.then(|| Builder { jobs: Arc::clone(&self.jobs) })
    }

    async fn get_snapshot_builder(&mut self) -> Builder<M> {
        Builder { jobs: Arc::clone(&self.jobs) }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: SnapshotData) -> io::Result<()> {
        match data {
            // openraft offers a machine its own files when they are ahead of what it has applied, and memory starts at the
            // files: they never are.
            SnapshotData::Own(_) if meta.last_log_id <= self.applied => return Ok(()),
            SnapshotData::Own(_) => return Err(io::Error::other("the machine is behind its own files")),
            SnapshotData::Received(received) => self.jobs.adopt(received).await.map_err(io::Error::other)?,
        }
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        self.jobs.view().await.map(snapshot).transpose()
    }
}

fn snapshot(view: View) -> io::Result<Snapshot> {
    let (last_log_id, last_membership) = decode_mark(&view.applied).map_err(io::Error::other)?;
    Ok(Snapshot { meta: SnapshotMeta { last_log_id, last_membership }, snapshot: SnapshotData::Own(view) })
}

/// Gives what the last flush left.
pub(crate) struct Builder<M: Machine> {
    jobs: Arc<Jobs<M>>,
}

impl<M: Machine> RaftSnapshotBuilder<TypeConfig> for Builder<M> {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let mut view = self.jobs.view().await;
        if view.is_none() {
            self.jobs.flush().await.map_err(io::Error::other)?;
            view = self.jobs.view().await;
        }
        snapshot(view.ok_or_else(|| io::Error::other("nothing is applied that a snapshot could hold"))?)
    }
}
