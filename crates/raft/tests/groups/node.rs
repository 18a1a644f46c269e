//! One node as a process would start it: its log, its Peer service, its replica of each group; and its load.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use meridian_env::{Env, Halt, Instant, Listener, incoming};
use meridian_raft::{
    Group, GroupSpec, Groups, GroupsConfig, Header, KIND_MACHINE_MIN, LogSettings, ProposeError, ReadError, Timing,
};
use meridian_types::{
    DatabaseId, GroupId, Incarnation, LogIndex, NodeId, ReplicaId, RequestId, SessionId, Stamp, Timestamp,
};
use tokio::task::JoinHandle;
use tonic::transport::Server;

use crate::ledger::Ledger;
use crate::list::{List, payload};

pub(crate) const CLUSTER: &str = "c1a5";
pub(crate) const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];
/// The first one's machine is durable at apply, the others' are memory with files behind it.
pub(crate) const GROUPS: [GroupId; 3] = [GroupId::META, GroupId(1), GroupId(2)];

/// How long a proposal or a read may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two proposals of one writer.
const PAUSE: Duration = Duration::from_millis(5);
/// Of one group, at a time.
const WRITERS: u64 = 3;
/// Between two rounds of background work.
const MAINTAIN_EVERY: Duration = Duration::from_millis(300);
/// Bytes of its log that each group keeps behind its files.
pub(crate) const KEEP_BYTES: u64 = 8 << 10;
/// So few that a transfer takes a while.
const SNAPSHOT_BYTES_PER_SECOND: u64 = 512 << 10;

/// A replica's id tells its group, so that mixing up two would show.
pub(crate) fn replica(group: GroupId, node: NodeId) -> ReplicaId {
    ReplicaId(u64::from(group.0 * 10 + node.0))
}

fn list_dir(dir: &Path, replica: ReplicaId) -> PathBuf {
    dir.join(format!("list-{replica}"))
}

/// A running node.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) groups: Groups,
    pub(crate) replicas: BTreeMap<GroupId, Group<List>>,
    env: Env,
}

impl Node {
    /// Starts a node whose files are in `dir`, and serves its peers at `listener`. The first node forms the groups.
    pub(crate) async fn start(
        id: NodeId,
        env: Env,
        dir: &Path,
        listener: Box<dyn Listener>,
        addresses: &BTreeMap<NodeId, String>,
    ) -> Result<(Self, JoinHandle<()>), Halt> {
        // Segments so small that a run has many.
        let log = LogSettings { segment_bytes: 64 << 10, cache_bytes: 16 << 10, ..LogSettings::default() };
        let config = GroupsConfig {
            cluster: CLUSTER.into(),
            node: id,
            timing: Timing::default(),
            log,
            incoming: dir.join("incoming"),
            snapshot_bytes_per_second: SNAPSHOT_BYTES_PER_SECOND,
        };
        let groups = Groups::open(env.clone(), &dir.join("log"), config).await?;
        addresses.iter().for_each(|(node, address)| groups.set_address(*node, address));
        let server = Server::builder().add_routes(groups.service()).serve_with_incoming(incoming(listener));
        let server = tokio::spawn(async move { server.await.expect("the listener goes on") });
        let mut replicas = BTreeMap::new();
        for group in GROUPS {
            let machine = match group {
                GroupId::META => List::durable(&env, &dir.join("list")).await,
                _ => List::filed(&env, &list_dir(dir, replica(group, id))).await,
            };
            let spec = GroupSpec { group, incarnation: Incarnation(1), replica: replica(group, id) };
            let handle = groups.start(spec, machine).await?;
            if id == NODES[0] {
                handle.initialize(&NODES.map(|node| (replica(group, node), node)).into()).await?;
            }
            replicas.insert(group, handle);
        }
        Ok((Self { id, groups, replicas, env }, server))
    }

    /// Puts a new and empty replica of a group in the place of this node's.
    pub(crate) async fn replace(&mut self, dir: &Path, group: GroupId, new: ReplicaId) -> Result<(), Halt> {
        self.groups.stop(group).await;
        self.groups.remove(group, Incarnation(1)).await?;
        let spec = GroupSpec { group, incarnation: Incarnation(1), replica: new };
        let machine = List::filed(&self.env, &list_dir(dir, new)).await;
        self.replicas.insert(group, self.groups.start(spec, machine).await?);
        Ok(())
    }

    /// The instant until which a call may take.
    pub(crate) fn patience(&self) -> Instant {
        self.env.clock.now() + PATIENCE
    }

    /// Flushes, tidies and purges every group, again and again, for as long as `on` says.
    pub(crate) fn maintain(&self, on: &Arc<AtomicBool>) {
        for group in self.replicas.values() {
            let (group, on, clock) = (group.clone(), Arc::clone(on), Arc::clone(&self.env.clock));
            tokio::spawn(async move {
                loop {
                    clock.sleep(MAINTAIN_EVERY).await;
                    if !on.load(Ordering::Relaxed) {
                        continue;
                    }
                    group.flush().await.expect("the disk is fine");
                    group.upkeep().await.expect("the disk is fine");
                    group.purge(KEEP_BYTES).await.expect("the log is fine");
                }
            });
        }
    }

    /// Proposes `value` to a group through this node.
    pub(crate) async fn propose(&self, group: GroupId, value: u64) -> Result<(LogIndex, usize), ProposeError> {
        let session = SessionId { birth: Timestamp::default(), nonce: u64::from(self.id.0) };
        let header = Header {
            kind: KIND_MACHINE_MIN,
            map_version: 0,
            stamp: Stamp(0),
            request: RequestId { session, seq: value },
            pending_from: 0,
            database: DatabaseId(0),
        };
        let at = self.env.clock.now() + PATIENCE;
        self.replicas[&group].propose(header, payload(value), at).await
    }

    pub(crate) async fn read(&self, group: GroupId) -> Result<LogIndex, ReadError> {
        self.replicas[&group].read_index(self.env.clock.now() + PATIENCE).await
    }

    /// A group's list here.
    pub(crate) fn list(&self, group: GroupId) -> Vec<(LogIndex, u64)> {
        self.replicas[&group].machine().read().values.clone()
    }

    /// Writes to the groups that this node leads, and reads them, for as long as `on` says.
    pub(crate) fn load(&self, ledger: &Arc<Ledger>, on: &Arc<AtomicBool>) {
        for group in GROUPS {
            for writer in 0..WRITERS {
                tokio::spawn(self.clone().write(group, writer, Arc::clone(ledger), Arc::clone(on)));
            }
        }
    }

    async fn write(self, group: GroupId, writer: u64, ledger: Arc<Ledger>, on: Arc<AtomicBool>) {
        for round in writer.. {
            self.env.clock.sleep(PAUSE).await;
            if !on.load(Ordering::Relaxed) || !self.replicas[&group].is_leader() {
                continue;
            }
            let value = ledger.begin(group, self.id);
            let result = self.propose(group, value).await;
            ledger.end(value, &result);
            if round % 4 == 0 {
                self.check_read(group, &ledger).await;
            }
        }
    }

    /// A confirmed read shows whatever was acked, by whomever, before it began.
    async fn check_read(&self, group: GroupId, ledger: &Ledger) {
        let acked = ledger.acked(group);
        let Ok(index) = self.read(group).await else { return };
        let list: BTreeSet<_> = self.list(group).into_iter().collect();
        let missed: Vec<_> = acked.iter().filter(|seen| seen.0 > index || !list.contains(seen)).collect();
        ledger.count_read(
            self.id,
            missed.is_empty().then_some(()).ok_or_else(|| {
                format!("{group}: {}'s read at {index} lacks what was acked before: {missed:?}", self.id)
            }),
        );
    }
}

/// Whether all these have the same log of a group and have applied all of it.
pub(crate) fn are_level(nodes: &[Node], group: GroupId) -> bool {
    let status: Vec<_> = nodes.iter().map(|node| node.replicas[&group].status()).collect();
    status.iter().all(|s| s.last.is_some() && s.applied == s.last && s.last == status[0].last)
}
