//! All Raft groups of one node: one log, one set of connections, one Peer service, and a typed handle for each group.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use meridian_env::{Elapsed, Env, Halt, Instant, deadline};
use meridian_proto::v1;
use meridian_types::{GroupId, Incarnation, LogIndex, NodeId, ReplicaId};
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, Fatal, ForwardToLeader, LinearizableReadError, RaftError};
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest};
use openraft::{Config, Raft, ReadPolicy, ServerState, SnapshotPolicy};
use parking_lot::RwLock;
use tokio::sync::watch;
use tonic::Status;

use crate::entry::Header;
use crate::log::{Log, LogSettings};
use crate::machine::{Adapter, Machine};
use crate::network::{Network, Peers};
use crate::service::{Replica, Replicas, Service, fatal, malformed};
use crate::storage::Storage;
use crate::types::{Command, LogId, Member, TypeConfig, Vote};
use crate::wire;

/// Waits of Raft, in milliseconds. The heartbeat and its slack must stay below the election timeout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// Between two heartbeats of a leader.
    pub heartbeat_ms: u64,
    /// Shortest silence after which a follower stands for election.
    pub election_ms_min: u64,
    /// Longest silence; also how long a leader's lease holds others back.
    pub election_ms_max: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self { heartbeat_ms: 60, election_ms_min: 200, election_ms_max: 400 }
    }
}

/// Who this node is among its peers.
#[derive(Clone, Debug)]
pub struct GroupsConfig {
    /// The cluster's id in hexadecimal digits.
    pub cluster: String,
    /// This node.
    pub node: NodeId,
    /// Waits.
    pub timing: Timing,
    /// The log's sizes.
    pub log: LogSettings,
}

/// Names one replica on this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupSpec {
    /// The group.
    pub group: GroupId,
    /// Its life.
    pub incarnation: Incarnation,
    /// This node's copy.
    pub replica: ReplicaId,
}

/// All groups of a node. Clones share them.
#[derive(Clone)]
pub struct Groups {
    env: Env,
    config: Arc<Config>,
    log: Log,
    peers: Arc<Peers>,
    replicas: Replicas,
    halted: watch::Sender<Option<Halt>>,
}

impl std::fmt::Debug for Groups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Groups").field("node", &self.peers.node()).finish_non_exhaustive()
    }
}

impl Groups {
    /// Opens the node's log in `dir` and gets ready to start groups.
    pub async fn open(env: Env, dir: &Path, config: GroupsConfig) -> Result<Self, Halt> {
        let timing = config.timing;
        let raft = Config {
            cluster_name: config.cluster.clone(),
            heartbeat_interval: timing.heartbeat_ms,
            heartbeat_min_interval: Some(timing.heartbeat_ms),
            election_timeout_min: timing.election_ms_min,
            election_timeout_max: timing.election_ms_max,
            snapshot_policy: SnapshotPolicy::Never,
            replication_lag_threshold: u64::MAX,
            enable_pre_vote: Some(true),
            // A leader that came back in its old term could give an index twice: its last entries may be lost here and kept
            // elsewhere. Nor does it know what it had committed, so that its reads would go back.
            enable_leader_restore: Some(false),
            ..Config::default()
        };
        let raft = raft.validate().map_err(|e| Halt::new(format!("the Raft settings do not fit together: {e}")))?;
        let log = Log::open(&env, dir, config.log).await?;
        let peers = Arc::new(Peers::new(env.clone(), config.cluster.into(), config.node));
        let groups = Self {
            env,
            config: Arc::new(raft),
            log,
            peers,
            replicas: Replicas::default(),
            halted: watch::Sender::new(None),
        };
        let (log, halted) = (groups.log.clone(), groups.halted.clone());
        tokio::spawn(async move { halt(&halted, log.failed().await) });
        Ok(groups)
    }

    /// From now on, peers on `node` are called at `address`.
    pub fn set_address(&self, node: NodeId, address: &str) {
        self.peers.set_address(node, address);
    }

    /// Starts this node's replica of a group. Its machine catches up with the log by itself.
    pub async fn start<M: Machine>(&self, spec: GroupSpec, machine: M) -> Result<Group<M>, Halt> {
        let machine = Arc::new(RwLock::new(machine));
        let storage = Storage::new(self.log.group(spec.group, spec.incarnation));
        let adapter = Adapter::open(Arc::clone(&machine), self.env.clone(), storage.synced())?;
        let network = Network {
            peers: Arc::clone(&self.peers),
            group: spec.group,
            incarnation: spec.incarnation,
            replica: spec.replica,
        };
        let config = Arc::clone(&self.config);
        let raft = Raft::new(spec.replica.0, config, network, storage, adapter)
            .await
            .map_err(|e| Halt::new(format!("starting {}: {e}", spec.group)))?;
        let group = Group { spec, raft, machine, env: self.env.clone() };
        self.replicas.write().insert(spec.group, Arc::new(group.clone()));
        tokio::spawn(watch_fatal(spec.group, group.raft.clone(), self.halted.clone()));
        Ok(group)
    }

    /// The service that other nodes' replicas call.
    pub fn service(&self) -> tonic::service::Routes {
        let service = Service { peers: Arc::clone(&self.peers), replicas: Arc::clone(&self.replicas) };
        tonic::service::Routes::new(service.server())
    }

    /// Resolves when the log or a machine has failed: the process must halt.
    pub async fn halted(&self) -> Halt {
        let mut halted = self.halted.subscribe();
        let seen = halted.wait_for(Option::is_some).await.ok().and_then(|h| h.clone());
        match seen {
            Some(halt) => halt,
            None => std::future::pending().await,
        }
    }

    /// Stops the log after what is queued; the groups must have been shut down.
    pub async fn close(self) {
        self.log.close().await;
    }
}

fn halt(halted: &watch::Sender<Option<Halt>>, reason: Halt) {
    tracing::error!(%reason, "this node halts");
    halted.send_if_modified(|h| h.is_none() && h.replace(reason).is_none());
}

async fn watch_fatal<M: Machine>(
    group: GroupId,
    raft: Raft<TypeConfig, Adapter<M>>,
    halted: watch::Sender<Option<Halt>>,
) {
    let mut metrics = raft.metrics();
    loop {
        let state = metrics.borrow_watched().running_state.clone();
        match state {
            Err(Fatal::Stopped) => return,
            Err(error) => return halt(&halted, Halt::new(format!("{group}: {error}"))),
            Ok(()) => {}
        }
        if metrics.changed().await.is_err() {
            return;
        }
    }
}

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

/// Why a read has no index.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError {
    /// This replica does not lead; the leader, if it knows.
    #[error("this replica does not lead the group")]
    Moved(Option<NodeId>),
    /// No majority confirmed it, or not in time.
    #[error("the read could not be confirmed: {0}")]
    Unconfirmed(String),
}

/// One replica as operators see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupStatus {
    /// Which.
    pub spec: GroupSpec,
    /// `leader`, `follower`, `candidate`, `learner`, `stopped` or `failed`.
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
}

/// A handle to this node's replica of one group. Clones share it.
pub struct Group<M: Machine> {
    spec: GroupSpec,
    raft: Raft<TypeConfig, Adapter<M>>,
    machine: Arc<RwLock<M>>,
    env: Env,
}

impl<M: Machine> Clone for Group<M> {
    fn clone(&self) -> Self {
        let machine = Arc::clone(&self.machine);
        Self { spec: self.spec, raft: self.raft.clone(), machine, env: self.env.clone() }
    }
}

impl<M: Machine> std::fmt::Debug for Group<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Group").field(&self.spec).finish()
    }
}

impl<M: Machine> Group<M> {
    /// Which replica this is.
    pub fn spec(&self) -> GroupSpec {
        self.spec
    }

    /// The machine. Lock it to read, briefly: apply waits meanwhile.
    pub fn machine(&self) -> &RwLock<M> {
        &self.machine
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
        let write = self.raft.client_write(Command { header, payload });
        match deadline(&*self.env.clock, at, write).await {
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

    /// Confirms with a majority that this replica leads, waits until it has applied all that was committed before the
    /// call, and gives that index: a read of the machine from then on is linearizable.
    pub async fn read_index(&self, at: Instant) -> Result<LogIndex, ReadError> {
        let read = async {
            let linearizer =
                self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await.map_err(|error| match error {
                    RaftError::APIError(LinearizableReadError::ForwardToLeader(to)) => ReadError::Moved(node(&to)),
                    other => ReadError::Unconfirmed(other.to_string()),
                })?;
            let state = linearizer.await_ready(&self.raft).await.map_err(|e| ReadError::Unconfirmed(e.to_string()))?;
            Ok(LogIndex(state.applied().map_or(0, |id| id.index)))
        };
        deadline(&*self.env.clock, at, read)
            .await
            .unwrap_or_else(|Elapsed| Err(ReadError::Unconfirmed("the deadline passed".into())))
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
            (Err(Fatal::Stopped), _) => "stopped",
            (Err(_), _) => "failed",
            (_, ServerState::Leader) => "leader",
            (_, ServerState::Follower) => "follower",
            (_, ServerState::Candidate) => "candidate",
            (_, ServerState::Learner) => "learner",
            (_, ServerState::Shutdown) => "stopped",
        };
        GroupStatus {
            spec: self.spec,
            role,
            term: metrics.current_term,
            leader: metrics.current_leader.map(ReplicaId),
            last: metrics.last_log_index.map(LogIndex),
            committed: index(&metrics.cluster_committed),
            applied: index(&metrics.last_applied),
        }
    }

    /// Stops this replica.
    pub async fn shutdown(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(group = %self.spec.group, %error, "the replica did not stop cleanly");
        }
    }
}

fn node(to: &ForwardToLeader<TypeConfig>) -> Option<NodeId> {
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

    fn current_vote(&self) -> BoxFuture<'_, Result<Vote, Status>> {
        async move { Ok(self.raft.metrics().borrow_watched().vote) }.boxed()
    }
}
