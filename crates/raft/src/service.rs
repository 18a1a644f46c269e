//! The Peer service: what other nodes' replicas ask of this node's. Checks who asks before anything else.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::{BoxStream, FuturesUnordered};
use futures::{Stream, StreamExt};
use meridian_env::Halt;
use meridian_proto::v1::heartbeat_answer::Result as Part;
use meridian_proto::v1::peer_server::{Peer, PeerServer};
use meridian_proto::{PROTOCOL_VERSION, failure_of, status_of, v1};
use meridian_types::{Code, Failure, GroupId, Incarnation, NodeId, ReplicaId, limits};
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest};
use parking_lot::RwLock;
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};

use crate::beats::BEATS_MAX;
use crate::entry::EntryError;
use crate::network::Peers;
use crate::types::{TypeConfig, Vote};
use crate::wire;

/// What a replica can be asked, whatever its machine.
pub(crate) trait Replica: Send + Sync {
    fn id(&self) -> ReplicaId;
    fn incarnation(&self) -> Incarnation;
    fn stream_append(
        &self,
        requests: BoxStream<'static, AppendEntriesRequest<TypeConfig>>,
    ) -> BoxStream<'static, Result<v1::AppendReply, Status>>;
    fn heartbeat(&self, request: v1::AppendRequest) -> futures::future::BoxFuture<'_, Result<v1::AppendReply, Status>>;
    fn vote(
        &self,
        request: v1::VoteRequest,
        pre: bool,
    ) -> futures::future::BoxFuture<'_, Result<v1::VoteReply, Status>>;
    /// Whether the last vote in its log is for the leader of this one.
    fn holds(&self, vote: &Vote) -> bool;
    fn transfer(
        &self,
        request: TransferLeaderRequest<TypeConfig>,
    ) -> futures::future::BoxFuture<'_, Result<v1::TransferLeaderReply, Status>>;
    fn snapshot(
        &self,
        offer: v1::SnapshotOffer,
        parts: Streaming<v1::SnapshotPart>,
    ) -> BoxStream<'static, Result<v1::SnapshotReply, Status>>;
    fn stop(&self) -> futures::future::BoxFuture<'_, ()>;
}

/// This node's replicas by group.
pub(crate) type Replicas = Arc<RwLock<BTreeMap<GroupId, Arc<dyn Replica>>>>;

/// Serves the node's replicas.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) peers: Arc<Peers>,
    pub(crate) replicas: Replicas,
    /// Whether the log has no room for what it would be asked to keep.
    pub(crate) full: watch::Receiver<bool>,
}

impl Service {
    pub(crate) fn server(self) -> PeerServer<Self> {
        PeerServer::new(self)
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    /// Refuses whoever belongs to another cluster, means another node, is no other node, or speaks another version.
    fn check<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let text = |key: &str| request.metadata().get(key).and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
        let protocol = text("meridian-protocol");
        if protocol != PROTOCOL_VERSION.to_string() {
            let message = format!("peer speaks protocol version {protocol:?}, this node speaks {PROTOCOL_VERSION}");
            return Err(refuse(Code::WrongVersion, message));
        }
        let cluster = text("meridian-cluster");
        if cluster != self.peers.cluster() {
            let own = self.peers.cluster();
            return Err(refuse(
                Code::WrongCluster,
                format!("peer belongs to cluster {cluster:?}, this node to {own:?}"),
            ));
        }
        let (to, own) = (text("meridian-to"), self.peers.node());
        if to != own.0.to_string() {
            return Err(refuse(Code::WrongCluster, format!("peer means n{to}, this node is {own}")));
        }
        let from = text("meridian-from");
        match from.parse().map(NodeId) {
            Ok(node) if node == own => {
                Err(refuse(Code::WrongCluster, format!("peer says that it is {node}, which is this node")))
            }
            Ok(_) => Ok(()),
            Err(_) => Err(refuse(Code::BadRequest, format!("peer says that it is node {from:?}, which is no number"))),
        }
    }

    /// The replica that is asked, if the one that asks is another and the vote its own. openraft sends no other: leaders
    /// append, hand over and send snapshots with the vote that made them leaders, candidates ask for a vote for themselves.
    /// A replica that believed in a leader of its own id would lead without having been elected.
    fn replica(&self, group: Option<v1::GroupRef>, vote: Option<v1::Vote>) -> Result<Arc<dyn Replica>, Status> {
        let group = group.ok_or_else(|| refuse(Code::BadRequest, "the group is missing"))?;
        let (name, from) = (GroupId(group.group), ReplicaId(group.from));
        let replica = self.replicas.read().get(&name).cloned();
        let wanted = (Incarnation(group.incarnation), ReplicaId(group.to));
        let Some(replica) = replica.filter(|replica| (replica.incarnation(), replica.id()) == wanted) else {
            let message = format!("{} has no replica {} of {name}", self.peers.node(), wanted.1);
            return Err(refuse(Code::NoGroup, message));
        };
        if from == wanted.1 {
            return Err(refuse(Code::BadRequest, format!("{from} of {name} asks itself")));
        }
        if let Some(vote) = vote.filter(|vote| vote.replica != from.0) {
            let message = format!("{from} of {name} sends the vote of {}, not its own", ReplicaId(vote.replica));
            return Err(refuse(Code::BadRequest, message));
        }
        Ok(replica)
    }
}

pub(crate) fn refuse(code: Code, message: impl Into<String>) -> Status {
    status_of(&Failure::new(code, message))
}

pub(crate) fn malformed(error: &EntryError) -> Status {
    refuse(Code::BadRequest, error.to_string())
}

pub(crate) fn fatal(error: impl std::fmt::Display) -> Status {
    refuse(Code::NotReady, Halt::new(error.to_string()).to_string())
}

/// The requests of one stream until one that is malformed or meant for another replica.
fn requests(
    first: v1::AppendRequest,
    rest: Streaming<v1::AppendRequest>,
) -> impl Stream<Item = AppendEntriesRequest<TypeConfig>> {
    let (group, sender) = (first.group, first.vote.map(|vote| vote.replica));
    let request = move |request: Result<v1::AppendRequest, Status>| match request {
        Ok(request) if (request.group, request.vote.map(|vote| vote.replica)) == (group, sender) => {
            match wire::append_in(request) {
                Ok(request) => Some(request),
                Err(error) => {
                    tracing::error!(%error, "a peer sent a malformed append: its stream ends");
                    None
                }
            }
        }
        _ => None,
    };
    let all = futures::stream::iter([Ok(first)]).chain(rest);
    all.scan((), move |(), next| std::future::ready(request(next)))
}

#[tonic::async_trait]
impl Peer for Service {
    type AppendStream = BoxStream<'static, Result<v1::AppendReply, Status>>;

    async fn append(
        &self,
        request: Request<Streaming<v1::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        self.check(&request)?;
        let mut stream = request.into_inner();
        let Some(first) = stream.message().await? else {
            return Ok(Response::new(futures::stream::empty().boxed()));
        };
        if *self.full.borrow() {
            return Err(refuse(Code::Overloaded, "this node's disk is full: it takes no entries until there is space"));
        }
        let replica = self.replica(first.group, first.vote)?;
        let full = self.full.clone();
        // What is refused here is sent again when the stream is opened again.
        let requests = requests(first, stream).take_while(move |_| std::future::ready(!*full.borrow()));
        Ok(Response::new(replica.stream_append(requests.boxed())))
    }

    type HeartbeatsStream = BoxStream<'static, Result<v1::HeartbeatsReply, Status>>;

    async fn heartbeats(
        &self,
        request: Request<v1::HeartbeatsRequest>,
    ) -> Result<Response<Self::HeartbeatsStream>, Status> {
        self.check(&request)?;
        let requests = request.into_inner().requests;
        if requests.len() > BEATS_MAX {
            let message = format!("{} heartbeats in one call, over the limit of {BEATS_MAX}", requests.len());
            return Err(refuse(Code::BadRequest, message));
        }
        let answers = (0..).zip(requests).map(|(place, request)| {
            let replica = self.replica(request.group, request.vote);
            async move {
                let answer = match replica {
                    Ok(_) if !request.entries.is_empty() => Err(refuse(Code::BadRequest, "a heartbeat has entries")),
                    Ok(replica) => replica.heartbeat(request).await,
                    Err(refused) => Err(refused),
                };
                let refused = |status: Status| Part::Refused(failure_of(&status, true).into());
                let result = Some(answer.map_or_else(refused, Part::Reply));
                v1::HeartbeatAnswer { place, result }
            }
        });
        let answers: FuturesUnordered<_> = answers.collect();
        let replies = answers.ready_chunks(BEATS_MAX).map(|answers| Ok(v1::HeartbeatsReply { answers }));
        Ok(Response::new(replies.boxed()))
    }

    async fn vote(&self, request: Request<v1::VoteRequest>) -> Result<Response<v1::VoteReply>, Status> {
        self.check(&request)?;
        let request = request.into_inner();
        let replica = self.replica(request.group, request.vote)?;
        Ok(Response::new(replica.vote(request, false).await?))
    }

    async fn pre_vote(&self, request: Request<v1::VoteRequest>) -> Result<Response<v1::VoteReply>, Status> {
        self.check(&request)?;
        let request = request.into_inner();
        let replica = self.replica(request.group, request.vote)?;
        Ok(Response::new(replica.vote(request, true).await?))
    }

    async fn confirm(&self, request: Request<v1::ConfirmRequest>) -> Result<Response<v1::ConfirmReply>, Status> {
        self.check(&request)?;
        let held = |asked: v1::Leadership| {
            let replica = self.replica(asked.group, asked.vote).ok()?;
            Some(replica.holds(&wire::vote_in(asked.vote).ok()?))
        };
        let held = request.into_inner().leaderships.into_iter().map(|asked| held(asked).unwrap_or(false));
        Ok(Response::new(v1::ConfirmReply { held: held.collect() }))
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderReply>, Status> {
        self.check(&request)?;
        let request = request.into_inner();
        let replica = self.replica(request.group, request.from_leader)?;
        let last = wire::id_in(request.last).map_err(|e| malformed(&e))?;
        let from = wire::vote_in(request.from_leader).map_err(|e| malformed(&e))?;
        let request = TransferLeaderRequest::new(from, request.to_replica, last);
        Ok(Response::new(replica.transfer(request).await?))
    }

    type SnapshotStream = BoxStream<'static, Result<v1::SnapshotReply, Status>>;

    async fn snapshot(
        &self,
        request: Request<Streaming<v1::SnapshotPart>>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        self.check(&request)?;
        let mut parts = request.into_inner();
        let Some(v1::snapshot_part::Part::Offer(offer)) = parts.message().await?.and_then(|first| first.part) else {
            return Err(refuse(Code::BadRequest, "a snapshot begins with its offer"));
        };
        let replica = self.replica(offer.group, offer.vote)?;
        Ok(Response::new(replica.snapshot(offer, parts)))
    }
}
