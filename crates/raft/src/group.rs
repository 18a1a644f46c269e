//! One replica on this node, as a typed handle: propose, read, background work, and what it answers to peers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use meridian_env::{Elapsed, Env, Halt, Instant, deadline};
use meridian_proto::v1;
use meridian_types::{Incarnation, LogIndex, NodeId, ReplicaId};
use openraft::async_runtime::WatchReceiver;
use openraft::entry::RaftEntry;
use openraft::errors::{ClientWriteError, Fatal, ForwardToLeader, RaftError};
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest};
use openraft::{Raft, ServerState};
use parking_lot::RwLock;
use tokio::sync::watch;
use tonic::{Status, Streaming};

use crate::adapter::Adapter;
use crate::background::{Ended, Jobs};
use crate::entry::{self, Header};
use crate::groups::GroupSpec;
use crate::log::GroupLog;
use crate::machine::{JobError, Machine, decode_mark};
use crate::network::Peers;
use crate::service::{Replica, fatal, malformed};
use crate::snapshot::{Incoming, Transfers};
use crate::types::{Command, LogId, Member, TypeConfig, Vote};
use crate::wire;

/// How long a flush waits until openraft knows its snapshot, in steps.
const SNAPSHOT_KNOWN_STEP: Duration = Duration::from_millis(500);
const SNAPSHOT_KNOWN_STEPS: usize = 10;
/// How long a replica that was stopped may take to finish what it was applying.
const STOP_MAX: Duration = Duration::from_secs(10);
/// How many times the tail for slow followers a transfer may make the log keep: behind it, the follower needs the log. One
/// that needs more gets another snapshot, of which most is there already.
const TAILS_MAX: u64 = 8;

/// Why a proposal has no reply.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProposeError {
    /// Certainly not applied: this replica does not lead; the leader, if it knows.
    #[error("this replica does not lead the group")]
    Moved(Option<NodeId>),
    /// It may have been applied or may yet be.
    #[error("the outcome is not known: {0}")]
    Unknown(String),
}

/// One replica as operators see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupStatus {
    /// Which.
    pub spec: GroupSpec,
    /// `leader`, `follower`, `candidate`, `learner`, `stopped`, `failed`, or `damaged`: to be replaced.
    pub role: &'static str,
    /// Its term.
    pub term: u64,
    /// Who leads, as it knows.
    pub leader: Option<ReplicaId>,
    /// Last entry in its log.
    pub last: Option<LogIndex>,
    /// Last entry that it knows committed.
    pub committed: Option<LogIndex>,
    /// Last entry that it has applied.
    pub applied: Option<LogIndex>,
    /// Last entry that its files hold.
    pub snapshot: Option<LogIndex>,
    /// Last entry that is purged from its log.
    pub purged: Option<LogIndex>,
    /// On the leader: the last entry that each replica is known to have, 0 if none is known.
    pub replication: BTreeMap<ReplicaId, LogIndex>,
}

/// A handle to this node's replica of one group. Clones share it.
pub struct Group<M: Machine> {
    spec: GroupSpec,
    raft: Raft<TypeConfig, Adapter<M>>,
    parts: Arc<Parts<M>>,
}

/// What stands around the replica.
pub(crate) struct Parts<M> {
    pub(crate) env: Env,
    pub(crate) jobs: Arc<Jobs<M>>,
    pub(crate) log: GroupLog,
    pub(crate) peers: Arc<Peers>,
    pub(crate) incoming: Incoming,
    pub(crate) transfers: Arc<Transfers>,
    /// Ends when openraft applies nothing any more.
    pub(crate) applies: watch::Receiver<()>,
}

impl<M: Machine> Clone for Group<M> {
    fn clone(&self) -> Self {
        Self { spec: self.spec, raft: self.raft.clone(), parts: Arc::clone(&self.parts) }
    }
}

impl<M: Machine> std::fmt::Debug for Group<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Group").field(&self.spec).finish()
    }
}

impl<M: Machine> Group<M> {
    pub(crate) fn new(spec: GroupSpec, raft: Raft<TypeConfig, Adapter<M>>, parts: Parts<M>) -> Self {
        Self { spec, raft, parts: Arc::new(parts) }
    }

    pub(crate) fn raft(&self) -> &Raft<TypeConfig, Adapter<M>> {
        &self.raft
    }

    pub(crate) fn env(&self) -> &Env {
        &self.parts.env
    }

    pub(crate) fn jobs(&self) -> &Arc<Jobs<M>> {
        &self.parts.jobs
    }

    pub(crate) fn log(&self) -> &GroupLog {
        &self.parts.log
    }

    pub(crate) fn peers(&self) -> &Arc<Peers> {
        &self.parts.peers
    }

    pub(crate) fn incoming(&self) -> &Incoming {
        &self.parts.incoming
    }

    /// Which replica this is.
    pub fn spec(&self) -> GroupSpec {
        self.spec
    }

    /// The machine. Lock it to read, briefly: apply waits meanwhile.
    pub fn machine(&self) -> &RwLock<M> {
        self.parts.jobs.machine()
    }

    /// Forms the group, once, on one of its replicas while all are pristine. Doing it again changes nothing.
    pub async fn initialize(&self, members: &BTreeMap<ReplicaId, NodeId>) -> Result<(), Halt> {
        let members: BTreeMap<u64, Member> = members.iter().map(|(r, n)| (r.0, Member { node: *n })).collect();
        match self.raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(openraft::errors::InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(Halt::new(format!("forming {}: {error}", self.spec.group))),
        }
    }

    /// Proposes an entry and waits for its reply, not past `at`.
    pub async fn propose(
        &self,
        header: Header,
        payload: bytes::Bytes,
        at: Instant,
    ) -> Result<(LogIndex, M::Reply), ProposeError> {
        if self.is_damaged() {
            return Err(ProposeError::Moved(None));
        }
        let write = self.raft.client_write(Command { header, payload });
        match deadline(&*self.env().clock, at, write).await {
            Err(Elapsed) => Err(ProposeError::Unknown("the deadline passed after it was proposed".into())),
            Ok(Ok(response)) => {
                let reply = response.data.0.and_then(|any| any.downcast::<M::Reply>().ok());
                let reply = *reply.expect("this group's machine made the reply to its own entry");
                Ok((LogIndex(response.log_id.index), reply))
            }
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to)))) => Err(ProposeError::Moved(node(&to))),
            Ok(Err(error)) => Err(ProposeError::Unknown(error.to_string())),
        }
    }

    /// Whether this replica leads, as far as it knows.
    pub fn is_leader(&self) -> bool {
        self.raft.metrics().borrow_watched().state == ServerState::Leader
    }

    /// The node that leads, as far as this replica knows.
    pub fn leader(&self) -> Option<NodeId> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let leader = metrics.current_leader?;
        metrics.membership_config.membership().get_node(&leader).map(|m| m.node)
    }

    /// Asks the leader that runs here to hand over to `to`. What comes of it shows in later status.
    pub async fn transfer_leader(&self, to: ReplicaId) -> Result<(), Halt> {
        self.raft.trigger().transfer_leader(to.0).await.map_err(|e| Halt::new(e.to_string()))
    }

    /// How it stands.
    pub fn status(&self) -> GroupStatus {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let index = |id: &Option<LogId>| id.as_ref().map(|id| LogIndex(id.index));
        let role = match (&metrics.running_state, metrics.state) {
            _ if self.is_damaged() => "damaged",
            (Err(Fatal::Stopped), _) => "stopped",
            (Err(_), _) => "failed",
            (_, ServerState::Leader) => "leader",
            (_, ServerState::Follower) => "follower",
            (_, ServerState::Candidate) => "candidate",
            (_, ServerState::Learner) => "learner",
            (_, ServerState::Shutdown) => "stopped",
        };
        let matched = metrics.replication.iter().flatten();
        let replication = matched.map(|(replica, last)| (ReplicaId(*replica), index(last).unwrap_or_default()));
        GroupStatus {
            spec: self.spec,
            role,
            term: metrics.current_term,
            leader: metrics.current_leader.map(ReplicaId),
            last: metrics.last_log_index.map(LogIndex),
            committed: index(&metrics.cluster_committed),
            applied: index(&metrics.last_applied),
            snapshot: index(&metrics.snapshot),
            purged: index(&metrics.purged),
            replication: replication.collect(),
        }
    }

    /// Brings the machine's files up to what is applied, and lets openraft know. Whether there was anything to write.
    pub async fn flush(&self) -> Result<bool, JobError> {
        let flushed = self.jobs().flush().await;
        self.check_damage(&flushed).await;
        if flushed? {
            self.make_snapshot_known().await?;
            return Ok(true);
        }
        Ok(false)
    }

    /// The next piece of the machine's upkeep. Whether there was any.
    pub async fn upkeep(&self) -> Result<bool, JobError> {
        let kept = self.jobs().upkeep().await;
        self.check_damage(&kept).await;
        kept
    }

    /// Purges the log behind the files, except for about `keep_bytes` that spare slow followers a snapshot. While a snapshot
    /// is on its way, what its receiver will need next is kept too, within a bound.
    pub async fn purge(&self, keep_bytes: u64) -> Result<(), Halt> {
        let Some(mut upto) = self.parts.log.index_keeping(keep_bytes) else { return Ok(()) };
        if let Some(needed_after) = self.parts.transfers.needed_after(self.spec.group) {
            let bound = self.parts.log.index_keeping(keep_bytes.saturating_mul(TAILS_MAX));
            upto = upto.min(bound.map_or(needed_after, |bound| bound.max(needed_after)));
        }
        let (snapshot, purged) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            (metrics.snapshot.map(|id| id.index), metrics.purged.map(|id| id.index))
        };
        let Some(upto) = snapshot.map(|snapshot| snapshot.min(upto)).filter(|upto| Some(*upto) > purged) else {
            return Ok(());
        };
        match self.raft.trigger().purge_log(upto).await {
            Ok(()) | Err(Fatal::Stopped) => Ok(()),
            Err(error) => Err(Halt::new(format!("purging {}: {error}", self.spec.group))),
        }
    }

    /// What was found wrong with this replica's files while they were sent as a snapshot, once: it must leave service, or
    /// others wait for that snapshot for ever.
    pub fn take_suspicion(&self) -> Option<String> {
        self.parts.transfers.take_suspicion(self.spec.group, self.spec.replica)
    }

    /// Bytes of the entries that the log holds.
    pub fn log_bytes(&self) -> u64 {
        self.parts.log.bytes()
    }

    /// openraft purges behind the snapshot that it knows: tells it of the files, and waits until it does, for a while.
    async fn make_snapshot_known(&self) -> Result<(), Halt> {
        let Some(applied) = self.jobs().view().await.map(|view| view.applied) else { return Ok(()) };
        let (last, _) = decode_mark(&applied).map_err(|error| Halt::new(format!("the files' mark: {error}")))?;
        let clock = &*self.env().clock;
        for _ in 0..SNAPSHOT_KNOWN_STEPS {
            if self.raft.trigger().snapshot().await.is_err() {
                return Ok(());
            }
            let mut metrics = self.raft.metrics();
            let known = async {
                while metrics.borrow_watched().snapshot < last {
                    if metrics.changed().await.is_err() {
                        return;
                    }
                }
            };
            // One that was being made already may show older files: it is asked for again.
            if deadline(clock, clock.now() + SNAPSHOT_KNOWN_STEP, known).await.is_ok() {
                return Ok(());
            }
        }
        tracing::warn!(group = %self.spec.group, "openraft does not know of a flush yet: the next one tells it");
        Ok(())
    }

    pub(crate) fn is_damaged(&self) -> bool {
        matches!(self.jobs().ended(), Some(Ended::Damaged(_)))
    }

    /// A replica whose files are damaged leaves service: what it would serve or send on is not to be trusted.
    async fn check_damage<T>(&self, result: &Result<T, JobError>) {
        if let Err(JobError::Damaged(reason)) = result {
            tracing::error!(group = %self.spec.group, replica = %self.spec.replica, reason, "a replica leaves service");
            self.shutdown().await;
        }
    }

    /// Stops this replica: when this returns, nothing of it runs.
    pub async fn shutdown(&self) {
        let clock = &*self.env().clock;
        match deadline(clock, clock.now() + STOP_MAX, self.raft.shutdown()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(group = %self.spec.group, %error, "the replica did not stop cleanly"),
            // It may wait for its log, which may wait for space: closing the log ends that.
            Err(_) => tracing::warn!(group = %self.spec.group, "the replica did not stop in time"),
        }
        self.jobs().note_end(Ended::Stopped);
        // What openraft had handed over before is still applied.
        let mut applies = self.parts.applies.clone();
        let applied = async { while applies.changed().await.is_ok() {} };
        if deadline(clock, clock.now() + STOP_MAX, applied).await.is_err() {
            tracing::warn!(group = %self.spec.group, "the replica still applies entries");
        }
        self.jobs().finished().await;
    }
}

pub(crate) fn node(to: &ForwardToLeader<TypeConfig>) -> Option<NodeId> {
    to.leader_node.map(|member| member.node)
}

impl<M: Machine> Replica for Group<M> {
    fn id(&self) -> ReplicaId {
        self.spec.replica
    }

    fn incarnation(&self) -> Incarnation {
        self.spec.incarnation
    }

    fn stream_append(
        &self,
        requests: BoxStream<'static, AppendEntriesRequest<TypeConfig>>,
    ) -> BoxStream<'static, Result<v1::AppendReply, Status>> {
        let parts = Arc::clone(&self.parts);
        let requests = requests.inspect(move |request| {
            let last = request.entries.last().map(RaftEntry::log_id).or(request.prev_log_id);
            last.into_iter().for_each(|last| parts.incoming.note_append(request.vote, last.index));
        });
        self.raft.stream_append(requests).map(|r| r.map(wire::appended_out).map_err(fatal)).boxed()
    }

    fn heartbeat(&self, request: v1::AppendRequest) -> BoxFuture<'_, Result<v1::AppendReply, Status>> {
        async move {
            let previous = request.previous;
            let request = wire::append_in(request).map_err(|e| malformed(&e))?;
            let response = self.raft.append_entries(request).await.map_err(fatal)?;
            Ok(wire::response_out(response, previous))
        }
        .boxed()
    }

    fn vote(&self, request: v1::VoteRequest, pre: bool) -> BoxFuture<'_, Result<v1::VoteReply, Status>> {
        async move {
            let request = wire::vote_request_in(request).map_err(|e| malformed(&e))?;
            let reply = if pre { self.raft.pre_vote(request).await } else { self.raft.vote(request).await };
            Ok(wire::vote_reply_out(&reply.map_err(fatal)?))
        }
        .boxed()
    }

    fn holds(&self, vote: &Vote) -> bool {
        let own = self.parts.log.state().vote.and_then(|own| entry::decode_vote(&own).ok());
        own.is_some_and(|own| own.leader_id == vote.leader_id)
    }

    fn transfer(
        &self,
        request: TransferLeaderRequest<TypeConfig>,
    ) -> BoxFuture<'_, Result<v1::TransferLeaderReply, Status>> {
        async move {
            let outcome = self.raft.handle_transfer_leader(request).await.map_err(fatal)?;
            let reason = outcome.err().map(|e| e.to_string());
            Ok(v1::TransferLeaderReply { accepted: reason.is_none(), reason: reason.unwrap_or_default() })
        }
        .boxed()
    }

    fn snapshot(
        &self,
        offer: v1::SnapshotOffer,
        parts: Streaming<v1::SnapshotPart>,
    ) -> BoxStream<'static, Result<v1::SnapshotReply, Status>> {
        self.take_snapshot(offer, parts)
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.shutdown().boxed()
    }
}
