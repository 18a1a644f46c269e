//! All Raft groups of one node: one log, one set of connections, one Peer service, and a typed handle for each group.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use meridian_env::{Env, Halt};
use meridian_types::{GroupId, Incarnation, NodeId, ReplicaId};
use openraft::async_runtime::WatchReceiver;
use openraft::errors::Fatal;
use openraft::{Config, Raft, SnapshotPolicy};
use tokio::sync::watch;

use crate::adapter::Adapter;
use crate::background::{Ended, Jobs};
use crate::group::{Group, Parts};
use crate::log::{Log, LogFigures, LogSettings};
use crate::machine::Machine;
use crate::network::{Network, Peers};
use crate::service::{Replicas, Service};
use crate::snapshot::{Incoming, Transfers};
use crate::storage::Storage;

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
    /// Where snapshots arrive: a directory for each group in it. On the disk of the machines' files, which are renamed from here.
    pub incoming: PathBuf,
    /// Bytes of snapshots that the node sends in a second, over all groups: [`SNAPSHOT_BYTES_PER_SECOND`] unless there is a reason.
    pub snapshot_bytes_per_second: u64,
}

/// What a node may send without its disk and network being felt by writers.
pub const SNAPSHOT_BYTES_PER_SECOND: u64 = 64 << 20;

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
    transfers: Arc<Transfers>,
    incoming: Arc<Path>,
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
            // Nor does openraft purge by itself: only what `Group::purge` says, and what a received snapshot replaces.
            max_in_snapshot_log_to_keep: u64::MAX,
            enable_pre_vote: Some(true),
            // A leader that came back in its old term could give an index twice: its last entries may be lost here and kept
            // elsewhere. Nor does it know what it had committed, so that its reads would go back.
            enable_leader_restore: Some(false),
            // A disk that lied about its syncs brings its replica back without what it acknowledged: the leader sends that again.
            // Otherwise one such disk would end the leaders of all its groups.
            allow_log_reversion: Some(true),
            ..Config::default()
        };
        let raft = raft.validate().map_err(|e| Halt::new(format!("the Raft settings do not fit together: {e}")))?;
        let log = Log::open(&env, dir, config.log).await?;
        let peers = Arc::new(Peers::new(env.clone(), config.cluster.into(), config.node, timing));
        let transfers = Arc::new(Transfers::new(Arc::clone(&env.clock), config.snapshot_bytes_per_second));
        let groups = Self {
            env,
            config: Arc::new(raft),
            log,
            peers,
            transfers,
            incoming: config.incoming.into(),
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
        let log = self.log.group(spec.group, spec.incarnation);
        let jobs = Jobs::new(machine, self.env.clone(), self.halted.clone());
        let storage = Storage::new(log.clone());
        let adapter =
            Adapter::open(spec, Arc::clone(&jobs), self.env.clone(), (storage.synced(), storage.committed()))?;
        let applies = adapter.alive();
        let network = Network {
            peers: Arc::clone(&self.peers),
            transfers: Arc::clone(&self.transfers),
            log: log.clone(),
            group: spec.group,
            incarnation: spec.incarnation,
            replica: spec.replica,
        };
        let config = Arc::clone(&self.config);
        let raft = Raft::new(spec.replica.0, config, network, storage, adapter)
            .await
            .map_err(|e| Halt::new(format!("starting {}: {e}", spec.group)))?;
        let (env, transfers) = (self.env.clone(), Arc::clone(&self.transfers));
        let (peers, incoming) = (Arc::clone(&self.peers), self.staging(spec.group));
        let group = Group::new(spec, raft, Parts { env, jobs, log, peers, incoming, transfers, applies });
        self.replicas.write().insert(spec.group, Arc::new(group.clone()));
        tokio::spawn(watch_fatal(group.clone(), self.halted.clone()));
        Ok(group)
    }

    /// Stops this node's replica of a group, if one runs: nothing of it runs any more when this returns, and it may be
    /// started again.
    pub async fn stop(&self, group: GroupId) {
        let replica = self.replicas.write().remove(&group);
        if let Some(replica) = replica {
            replica.stop().await;
        }
    }

    /// Forgets a replica that was replaced, whether it runs or not: stops it and removes its log and what had arrived for it.
    /// Its machine's files are the caller's. For replicas that are no members any more: one that comes back has forgotten
    /// what it voted for.
    pub async fn remove(&self, group: GroupId, incarnation: Incarnation) -> Result<(), Halt> {
        let runs = self.replicas.read().get(&group).map(|replica| replica.incarnation());
        if runs == Some(incarnation) {
            self.stop(group).await;
        }
        // The log forgets only what it knows.
        drop(self.log.group(group, incarnation));
        self.log.remove_group(group, incarnation).await?;
        if runs.is_none_or(|runs| runs == incarnation) {
            let cleared = self.staging(group).clear().await;
            cleared.map_err(|status| Halt::new(format!("clearing what arrived for {group}: {}", status.message())))?;
        }
        Ok(())
    }

    /// Whether the log holds nothing of a group: no vote, no entry, and none that was purged.
    pub fn is_untouched(&self, group: GroupId, incarnation: Incarnation) -> bool {
        let state = self.log.group(group, incarnation).state();
        state.vote.is_none() && state.purged.is_none() && state.last.is_none()
    }

    /// What the log has written since this node started.
    pub fn log_figures(&self) -> LogFigures {
        self.log.figures()
    }

    /// Bytes of the log's files.
    pub fn log_bytes(&self) -> u64 {
        self.log.bytes()
    }

    /// The group whose entries keep the oldest part of a log that is over its budget, if copying them forward is too much:
    /// flush and purge it.
    pub fn log_pinned(&self) -> Option<GroupId> {
        self.log.pinned().map(|(group, ..)| group)
    }

    /// Resolves when the log has its first file, for which a new one needs space. Before, its directory looks like a lost one.
    pub async fn log_begun(&self) {
        self.log.begun().await;
    }

    /// Whether the disk is too full for the log to go on for long: nothing new may be proposed.
    pub fn log_full(&self) -> watch::Receiver<bool> {
        self.log.full()
    }

    /// Bytes of snapshots that this node has sent since it started.
    pub fn snapshot_bytes_sent(&self) -> u64 {
        self.transfers.sent_bytes()
    }

    fn staging(&self, group: GroupId) -> Incoming {
        Incoming::new(self.env.clone(), self.incoming.join(group.to_string()), self.halted.clone())
    }

    /// The service that other nodes' replicas call.
    pub fn service(&self) -> tonic::service::Routes {
        let (peers, replicas) = (Arc::clone(&self.peers), Arc::clone(&self.replicas));
        let service = Service { peers, replicas, full: self.log.full() };
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

pub(crate) fn halt(halted: &watch::Sender<Option<Halt>>, reason: Halt) {
    tracing::error!(%reason, "this node halts");
    halted.send_if_modified(|h| h.is_none() && h.replace(reason).is_none());
}

/// Halts the node when a replica fails, unless only its files are damaged: then it leaves service, and the node stays.
async fn watch_fatal<M: Machine>(group: Group<M>, halted: watch::Sender<Option<Halt>>) {
    let mut metrics = group.raft().metrics();
    loop {
        let state = metrics.borrow_watched().running_state.clone();
        match state {
            Err(Fatal::Stopped) => return,
            Err(error) if let Some(Ended::Damaged(reason)) = group.jobs().ended() => {
                tracing::error!(group = %group.spec().group, reason, %error, "a replica has left service");
                return;
            }
            Err(error) => return halt(&halted, Halt::new(format!("{}: {error}", group.spec().group))),
            Ok(()) => {}
        }
        if metrics.changed().await.is_err() {
            return;
        }
    }
}
