//! What routers and operators ask of this node.

mod admin;
mod convert;
mod delete;
mod door;
mod join;
mod proposal;
mod propose;
mod scan;
mod transfer;
mod watch;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use meridian_client::Cluster;
use meridian_env::{Context, Env, Halt, Instant, Trace};
use meridian_meta::Catalogue;
use meridian_proto::v1::shards_server::Shards;
use meridian_proto::{status_naming_leader, status_of, v1};
use meridian_raft::{Group, Groups};
use meridian_types::{Code, Failure, Incarnation, Mutant, NodeId, ReplicaId, ShardId, Timestamp, limits};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Semaphore;
use tokio::sync::watch::{Receiver, Sender};
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument;

use self::proposal::Refused;
use crate::damage::Damage;
use crate::meta::Meta;
use crate::metrics::{Live, Metrics};
use crate::shard::Shard;
use crate::storage::Pressure;

pub(crate) use convert::nodes as node_list;
pub(crate) use door::{Begin, Door, Phase};
pub(crate) use join::JOIN_MAX;

/// Longest time that a request may give itself: what waits longer was forgotten by its caller.
const DEADLINE_MAX: Duration = Duration::from_secs(300);

/// A request's deadline as its sender's time left; 0 means that it set none.
fn deadline_in(env: &Env, ms: u32) -> Instant {
    let left = if ms == 0 { Duration::from_secs(10) } else { Duration::from_millis(ms.into()) };
    env.clock.now() + left.min(DEADLINE_MAX)
}

/// What the services share once the node belongs to a cluster. Clones are the same node. Wide because every service and every
/// background loop of a node takes this one handle.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) env: Env,
    pub(crate) id: NodeId,
    pub(crate) cluster: Arc<str>,
    pub(crate) meta: Group<Meta>,
    published: Receiver<Arc<Catalogue>>,
    pub(crate) shards: Arc<RwLock<BTreeMap<ShardId, Group<Shard>>>>,
    /// Bytes of proposals between socket and reply.
    pub(crate) budget: Arc<Semaphore>,
    pub(crate) metrics: Arc<Metrics>,
    /// How much of its memory the node's rows take.
    pub(crate) pressure: Arc<Pressure>,
    /// Whether the log has no room.
    pub(crate) log_full: Receiver<bool>,
    /// Replicas that left service, because their files are damaged.
    pub(crate) damages: Arc<Mutex<BTreeMap<ShardId, Damage>>>,
    /// Where the replicas' files are.
    pub(crate) dir: Arc<Path>,
    /// The highest stamp that any shard of this node has applied, in nanoseconds.
    pub(crate) stamps: Arc<AtomicI64>,
    /// The first local fault that was found outside of Raft.
    halted: Sender<Option<Halt>>,
    /// The other nodes.
    pub(crate) client: Cluster,
    /// Turns true when streams are to come to their end.
    closing: Receiver<bool>,
}

/// What a node's storage tells its services.
pub(crate) struct Storage<'a> {
    /// Where the replicas' files are.
    pub(crate) dir: &'a Path,
    /// Memory for rows that are in no file yet.
    pub(crate) memory_bytes: u64,
    /// The groups and their log.
    pub(crate) groups: &'a Groups,
}

impl Node {
    pub(crate) fn new(
        env: Env,
        (cluster, id): (Arc<str>, NodeId),
        storage: Storage<'_>,
        meta: Group<Meta>,
        client: Cluster,
        closing: Receiver<bool>,
    ) -> Self {
        let published = meta.machine().read().published();
        let (shards, damages) = (Arc::default(), Arc::default());
        let budget = Arc::new(Semaphore::new(limits::NODE_PROPOSAL_BYTES_MAX));
        let live = Live {
            groups: storage.groups.clone(),
            meta: meta.clone(),
            shards: Arc::clone(&shards),
            damages: Arc::clone(&damages),
            budget: Arc::clone(&budget),
        };
        Self {
            env,
            id,
            cluster,
            meta,
            published,
            shards,
            budget,
            metrics: Arc::new(Metrics::new(live)),
            pressure: Arc::new(Pressure::new(storage.memory_bytes)),
            log_full: storage.groups.log_full(),
            damages,
            dir: storage.dir.into(),
            stamps: Arc::default(),
            halted: Sender::new(None),
            client,
            closing,
        }
    }

    /// Resolves when streams are to come to their end.
    fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut closing = self.closing.clone();
        // A sender that is gone has closed, too.
        async move { drop(closing.wait_for(|closing| *closing).await) }
    }

    /// This replica's files are not what was written: it leaves service, and another one is asked for.
    pub(crate) fn damaged(&self, shard: ShardId, why: &str) {
        let replica = self.shards.read().get(&shard).map(|group| group.spec().replica);
        if let Some(replica) = replica.filter(|_| !Mutant::ServeDamaged.is_planted()) {
            self.note_damage(shard, replica, why.to_owned());
        }
    }

    pub(crate) fn note_damage(&self, shard: ShardId, replica: ReplicaId, why: String) {
        tracing::error!(node = %self.id, %shard, %replica, why, "a replica's files are damaged: it leaves service and is replaced");
        self.damages.lock().insert(shard, Damage { replica, why });
    }

    /// This node can promise nothing any more.
    pub(crate) fn halt(&self, halt: Halt) {
        self.halted.send_if_modified(|halted| halted.is_none() && halted.replace(halt).is_none());
    }

    /// Resolves when the node must halt.
    pub(crate) async fn halts(&self) -> Halt {
        let mut halted = self.halted.subscribe();
        let seen = halted.wait_for(Option::is_some).await.ok().and_then(|halt| halt.clone());
        match seen {
            Some(halt) => halt,
            None => std::future::pending().await,
        }
    }

    /// The catalogue as applied here. Never waits.
    pub(crate) fn catalogue(&self) -> Arc<Catalogue> {
        Arc::clone(&self.published.borrow())
    }

    /// News of every new version of the catalogue.
    pub(crate) fn catalogues(&self) -> Receiver<Arc<Catalogue>> {
        self.published.clone()
    }

    fn shard(&self, shard: u32, incarnation: u32) -> Result<Group<Shard>, Failure> {
        let group = self.shards.read().get(&ShardId(shard)).cloned();
        let group = group.ok_or_else(|| {
            // The catalogue may be newer where the request comes from: the replica will be started shortly.
            Failure::new(Code::Moved, format!("{} has no replica of {}", self.id, ShardId(shard)))
        })?;
        if group.spec().incarnation != Incarnation(incarnation) {
            let message = format!("{} is in its life {}", ShardId(shard), group.spec().incarnation.0);
            return Err(Failure::new(Code::Moved, message));
        }
        Ok(group)
    }

    /// This node's time as far as it knows: a clock that is behind goes by what other leaders have stamped, as a hybrid logical
    /// clock does, so that its shards do not refuse everybody whose clock is right.
    fn hybrid_time(&self) -> Timestamp {
        let stamped = Timestamp::new(self.stamps.load(Ordering::Relaxed)).unwrap_or_default();
        self.env.clock.wall().max(stamped)
    }

    fn context(&self, deadline: Instant, traceparent: &str) -> Context {
        Context { principal: "router".into(), deadline, trace: Trace::named(traceparent) }
    }
}

/// A failure to lead, naming the leader if it is known.
fn moved(group: &impl std::fmt::Display, leader: Option<NodeId>) -> Refused {
    let failure = match leader {
        Some(node) => Failure::new(Code::Moved, format!("{group} is led by {node}")),
        None => Failure::new(Code::NoLeader, format!("{group} has no leader that is known here")),
    };
    (failure.retry_after_ms(50), leader)
}

fn status((failure, leader): Refused) -> Status {
    status_naming_leader(&failure, leader)
}

#[tonic::async_trait]
impl Shards for Door {
    type ProposeStream = futures::stream::BoxStream<'static, Result<v1::ShardReply, Status>>;
    type ScanStream = futures::stream::BoxStream<'static, Result<v1::ScanReply, Status>>;
    type WatchStream = futures::stream::BoxStream<'static, Result<v1::CatalogueUpdate, Status>>;

    async fn propose(
        &self,
        request: Request<Streaming<v1::ShardFrame>>,
    ) -> Result<Response<Self::ProposeStream>, Status> {
        Ok(Response::new(propose::serve(self.node()?, request.into_inner())))
    }

    async fn delete(&self, request: Request<v1::ShardDelete>) -> Result<Response<v1::ShardDeleteReply>, Status> {
        delete::serve(&self.node()?, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn scan(&self, request: Request<v1::ScanRequest>) -> Result<Response<Self::ScanStream>, Status> {
        let (node, request) = (self.node()?, request.into_inner());
        let trace = Trace::named(&request.traceparent);
        let trace = trace.as_ref().map(tracing::field::display);
        let span = tracing::debug_span!("scan", node = %node.id, shards = request.shards.len(), trace);
        scan::serve(&node, request).instrument(span).await.map(Response::new).map_err(status)
    }

    async fn watch(&self, _request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(watch::serve(self.node()?)))
    }
}

fn internal(what: impl Into<String>) -> Status {
    status_of(&Failure::new(Code::Internal, what))
}
