//! What routers and operators ask of this node.

mod admin;
mod convert;
mod propose;
mod scan;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use meridian_env::{Context, Env, Instant};
use meridian_meta::Catalogue;
use meridian_proto::v1::admin_server::AdminServer;
use meridian_proto::v1::shards_server::{Shards, ShardsServer};
use meridian_proto::{status_naming_leader, status_of, v1};
use meridian_raft::Group;
use meridian_types::{Code, Failure, Incarnation, NodeId, ShardId, limits};
use parking_lot::RwLock;
use tokio::sync::Semaphore;
use tokio::sync::watch::Receiver;
use tonic::{Request, Response, Status, Streaming};

use crate::meta::Meta;
use crate::metrics::Metrics;
use crate::shard::Shard;

/// Longest time that a request may give itself: what waits longer was forgotten by its caller.
const DEADLINE_MAX: Duration = Duration::from_secs(300);

/// A request's deadline as its sender's time left; 0 means that it set none.
fn deadline_in(env: &Env, ms: u32) -> Instant {
    let left = if ms == 0 { Duration::from_secs(10) } else { Duration::from_millis(ms.into()) };
    env.clock.now() + left.min(DEADLINE_MAX)
}

/// What the services share. Clones are the same node.
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
}

impl Node {
    pub(crate) fn new(env: Env, id: NodeId, cluster: Arc<str>, meta: Group<Meta>) -> Self {
        let published = meta.machine().read().published();
        Self {
            env,
            id,
            cluster,
            meta,
            published,
            shards: Arc::default(),
            budget: Arc::new(Semaphore::new(limits::NODE_PROPOSAL_BYTES_MAX)),
            metrics: Arc::new(Metrics::new()),
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

    pub(crate) fn shards_server(&self) -> ShardsServer<Self> {
        ShardsServer::new(self.clone())
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    pub(crate) fn admin_server(&self) -> AdminServer<Self> {
        AdminServer::new(self.clone())
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

    fn context(&self, deadline: Instant, traceparent: &str) -> Context {
        let traceparent = (!traceparent.is_empty()).then(|| traceparent.into());
        Context { principal: "router".into(), deadline, traceparent }
    }
}

/// A failure to lead, naming the leader if it is known.
fn moved(group: &impl std::fmt::Display, leader: Option<NodeId>) -> (Failure, Option<NodeId>) {
    let failure = match leader {
        Some(node) => Failure::new(Code::Moved, format!("{group} is led by {node}")),
        None => Failure::new(Code::NoLeader, format!("{group} has no leader that is known here")),
    };
    (failure.retry_after_ms(50), leader)
}

fn status((failure, leader): (Failure, Option<NodeId>)) -> Status {
    status_naming_leader(&failure, leader)
}

#[tonic::async_trait]
impl Shards for Node {
    type ProposeStream = futures::stream::BoxStream<'static, Result<v1::ShardReply, Status>>;
    type ScanStream = futures::stream::BoxStream<'static, Result<v1::ScanReply, Status>>;
    type WatchStream = futures::stream::BoxStream<'static, Result<v1::CatalogueUpdate, Status>>;

    async fn propose(
        &self,
        request: Request<Streaming<v1::ShardFrame>>,
    ) -> Result<Response<Self::ProposeStream>, Status> {
        Ok(Response::new(propose::serve(self.clone(), request.into_inner())))
    }

    async fn scan(&self, request: Request<v1::ScanRequest>) -> Result<Response<Self::ScanStream>, Status> {
        scan::serve(self, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn watch(&self, _request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(watch::serve(self.clone())))
    }
}

fn internal(what: impl Into<String>) -> Status {
    status_of(&Failure::new(Code::Internal, what))
}
