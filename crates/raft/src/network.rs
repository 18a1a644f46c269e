//! How replicas call each other: one channel a purpose and node pair, a deadline on every call, an identity on every call.
//!
//! A stream of appends is opened only when its first request is there: openraft's backoff lives in that request stream, and
//! a stream whose connect fails before it is polled would be retried at once, for ever.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use meridian_env::{ChannelSettings, Clock, Env, Work, channel, deadline};
use meridian_proto::v1::peer_client::PeerClient;
use meridian_proto::{PROTOCOL_VERSION, v1};
use meridian_types::{GroupId, Incarnation, Mutant, NodeId, ReplicaId, limits};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::v2::RaftNetworkV2;
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RPCTypes};
use parking_lot::Mutex;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;

use crate::beats::{self, Beats};
use crate::confirm::Pace;
use crate::entry;
use crate::groups::Timing;
use crate::log::GroupLog;
use crate::snapshot::{self, Snapshot, SnapshotData, Transfers};
use crate::types::{Member, TypeConfig, Vote};
use crate::wire;

pub(crate) type RpcError = RPCError<TypeConfig>;

/// Shortest silence for which a stream is given up, while it opens or has requests under way: above what a busy disk takes to
/// sync and above a round trip over any distance, where a heartbeat's patience may be below it.
const STREAM_IDLE_MIN: Duration = Duration::from_secs(1);

/// Between two tries to send a snapshot.
const SNAPSHOT_AGAIN: Duration = Duration::from_millis(500);

/// A heartbeat waits this part of the time between two for those of other groups: what is left must do for a round trip.
const BEATS_GATHERED: u64 = 6;

/// What a connection is for; each has its own, so that heartbeats never wait behind data, nor data behind snapshots.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Purpose {
    Control,
    Append,
    Bulk,
}

/// A channel and the address that it was opened to.
type Open = (Arc<str>, Channel);

/// Who this node is, and where its peers are now.
#[derive(Debug)]
pub(crate) struct Peers {
    env: Env,
    cluster: Arc<str>,
    node: NodeId,
    /// How long a confirmation is waited for, and the answers of heartbeats that went together.
    patience: Duration,
    pace: Pace,
    beats: Beats,
    addresses: Mutex<BTreeMap<NodeId, Arc<str>>>,
    channels: Mutex<BTreeMap<(NodeId, Purpose), Open>>,
}

impl Peers {
    pub(crate) fn new(env: Env, cluster: Arc<str>, node: NodeId, timing: Timing) -> Self {
        Self {
            env,
            cluster,
            node,
            // As long as openraft waits.
            patience: Duration::from_millis(timing.election_ms_max),
            pace: Pace::default(),
            beats: Beats::new(Duration::from_millis(timing.heartbeat_ms / BEATS_GATHERED)),
            addresses: Mutex::default(),
            channels: Mutex::default(),
        }
    }

    /// From the next call on, `node` is reached at `address`.
    pub(crate) fn set_address(&self, node: NodeId, address: &str) {
        self.addresses.lock().insert(node, address.into());
    }

    pub(crate) fn cluster(&self) -> &str {
        &self.cluster
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.env.clock
    }

    /// How long each node takes to confirm.
    pub(crate) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Heartbeats that wait for others.
    pub(crate) fn beats(&self) -> &Beats {
        &self.beats
    }

    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    pub(crate) fn node(&self) -> NodeId {
        self.node
    }

    fn client(&self, to: NodeId, purpose: Purpose) -> Result<PeerClient<Channel>, RpcError> {
        if to == self.node {
            return Err(unreachable("a node never calls itself"));
        }
        let address = self.addresses.lock().get(&to).cloned();
        let address = address.ok_or_else(|| unreachable(&format!("the address of {to} is not known")))?;
        let open = || channel(Arc::clone(&self.env.net), &address, ChannelSettings::default());
        let channel = match self.channels.lock().entry((to, purpose)) {
            MapEntry::Vacant(place) => place.insert((Arc::clone(&address), open())).1.clone(),
            MapEntry::Occupied(mut place) => {
                if place.get().0 != address {
                    place.insert((Arc::clone(&address), open()));
                }
                place.get().1.clone()
            }
        };
        Ok(PeerClient::new(channel)
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX))
    }

    /// Asks replicas on `to` whether they hold these votes; one answer for each.
    pub(crate) async fn confirm(&self, to: NodeId, leaderships: Vec<v1::Leadership>) -> Result<Vec<bool>, RpcError> {
        let (mut client, count) = (self.client(to, Purpose::Control)?, leaderships.len());
        let mut request = tonic::Request::new(v1::ConfirmRequest { leaderships });
        self.identify(to, request.metadata_mut());
        let clock = &*self.env.clock;
        match deadline(clock, clock.now() + self.patience, client.confirm(request)).await {
            Ok(Ok(reply)) if reply.get_ref().held.len() == count => Ok(reply.into_inner().held),
            Ok(Ok(_)) => Err(unreachable(&format!("{to} does not say of each vote whether it holds"))),
            Ok(Err(status)) => Err(unreachable(&format!("{to}: {status}"))),
            Err(_) => Err(unreachable(&format!("{to} did not answer within {} ms", self.patience.as_millis()))),
        }
    }

    /// Sends heartbeats of any groups to their replicas on `to`.
    pub(crate) async fn heartbeats(
        &self,
        to: NodeId,
        requests: Vec<v1::AppendRequest>,
    ) -> Result<tonic::Streaming<v1::HeartbeatsReply>, RpcError> {
        let mut client = self.client(to, Purpose::Control)?;
        let mut request = tonic::Request::new(v1::HeartbeatsRequest { requests });
        self.identify(to, request.metadata_mut());
        let replies = client.heartbeats(request).await;
        replies.map(tonic::Response::into_inner).map_err(|status| unreachable(&status.to_string()))
    }

    fn identify(&self, to: NodeId, metadata: &mut MetadataMap) {
        let cluster = self.cluster.parse().expect("a cluster id is hexadecimal digits");
        metadata.insert("meridian-cluster", cluster);
        metadata.insert("meridian-from", self.node.0.into());
        metadata.insert("meridian-to", to.0.into());
        metadata.insert("meridian-protocol", PROTOCOL_VERSION.into());
    }
}

/// Makes one group's connections to its other replicas.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) peers: Arc<Peers>,
    pub(crate) transfers: Arc<Transfers>,
    pub(crate) log: GroupLog,
    pub(crate) group: GroupId,
    pub(crate) incarnation: Incarnation,
    pub(crate) replica: ReplicaId,
}

impl Network {
    fn link(&self, target: u64, member: &Member, purpose: Purpose) -> Link {
        let group =
            v1::GroupRef { group: self.group.0, incarnation: self.incarnation.0, from: self.replica.0, to: target };
        let transfers = Arc::clone(&self.transfers);
        let (peers, log) = (Arc::clone(&self.peers), self.log.clone());
        Link { peers, transfers, log, group, node: member.node, purpose }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, node: &Member) -> Link {
        self.link(target, node, Purpose::Append)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Member) -> Link {
        self.link(target, node, Purpose::Control)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &Member) -> Link {
        self.link(target, node, Purpose::Bulk)
    }
}

/// From one replica to another, for one purpose.
#[derive(Debug)]
pub(crate) struct Link {
    peers: Arc<Peers>,
    transfers: Arc<Transfers>,
    log: GroupLog,
    pub(crate) group: v1::GroupRef,
    pub(crate) node: NodeId,
    purpose: Purpose,
}

impl Link {
    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.peers.env.clock
    }

    pub(crate) fn work(&self) -> &dyn Work {
        &*self.peers.env.work
    }

    pub(crate) fn client(&self, purpose: Purpose) -> Result<PeerClient<Channel>, RpcError> {
        self.peers.client(self.node, purpose)
    }

    pub(crate) fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        self.peers.identify(self.node, request.metadata_mut());
        request
    }

    /// Waits for a call, not longer than `patience`.
    async fn bounded<T>(
        &self,
        action: RPCTypes,
        patience: Duration,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, RpcError> {
        let clock = &*self.peers.env.clock;
        match deadline(clock, clock.now() + patience, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(unreachable(&format!("{}: {status}", self.node))),
            Err(_) => Err(self.timeout(action, patience)),
        }
    }

    fn timeout(&self, action: RPCTypes, timeout: Duration) -> RpcError {
        RPCError::Timeout(Timeout { action, id: self.group.from, target: self.group.to, timeout })
    }

    /// Ends `requests`, unpolled, once another leader's vote is in the log. openraft too ends them, but not before it has read
    /// the log from where the stream is, and a later leader may have cut it below that: its debug assertion forbids that.
    fn while_leading<S>(&self, requests: S) -> impl Stream<Item = S::Item> + use<S>
    where
        S: Stream + Unpin,
    {
        let (log, own) = (self.log.clone(), self.group.from);
        let leader = move || {
            let vote = entry::decode_vote(&log.state().vote?).ok()?;
            (vote.leader_id.node_id == own).then_some(vote.leader_id)
        };
        until_deposed(requests, leader)
    }

    async fn heartbeat(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        // What it waits for others does not count.
        let patience = option.soft_ttl() + self.peers.beats().gathered_for();
        let has_previous = request.prev_log_id.is_some();
        let message = wire::append_out(self.group, request);
        let beat = beats::beat(&self.peers, self.node, message);
        let answered = deadline(self.clock(), self.clock().now() + patience, beat).await;
        let reply = answered.map_err(|_| self.timeout(RPCTypes::AppendEntries, patience))??;
        match wire::response_in(reply).map_err(|e| unreachable(&e.to_string()))? {
            // openraft would panic.
            AppendEntriesResponse::Conflict if !has_previous => {
                Err(unreachable(&format!("{} refuses an entry that it was not asked for", self.node)))
            }
            response => Ok(response),
        }
    }

    async fn open_stream(
        &self,
        outbound: impl Stream<Item = v1::AppendRequest> + Send + 'static,
        patience: Duration,
    ) -> Result<tonic::Streaming<v1::AppendReply>, RpcError> {
        let mut client = self.client(Purpose::Append)?;
        let call = client.append(self.request(outbound));
        self.bounded(RPCTypes::AppendEntries, patience, call).await
    }
}

impl RaftNetworkV2<TypeConfig> for Link {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        self.heartbeat(request, option).await
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RpcError>>, RpcError>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        if self.purpose == Purpose::Control {
            return openraft::network::stream_append_sequential(self, input, option);
        }
        let mut requests = self.while_leading(input);
        Box::pin(async move {
            let Some(first) = requests.next().await else {
                return Ok(futures::stream::empty().boxed());
            };
            let last = first.entries.last().map_or(first.prev_log_id, |entry| Some(entry.log_id));
            let sent = Arc::new(AtomicU64::new(0));
            let (group, count, log) = (self.group, Arc::clone(&sent), self.log.clone());
            let is_void = Arc::new(AtomicBool::new(false));
            let ends = Arc::clone(&is_void);
            // openraft asks for what was purged since the stream began again and again, gets nothing, sends heartbeats in its
            // place, and looks at no other work until the stream fails.
            let lives = move |request: &AppendEntriesRequest<TypeConfig>| {
                let next = request.prev_log_id.map_or(0, |id| id.index + 1);
                let is_void = request.entries.is_empty() && log.has_purged(next);
                ends.store(is_void, Ordering::Relaxed);
                std::future::ready(!is_void)
            };
            let outbound = futures::stream::iter([first]).chain(requests).take_while(lives).map(move |request| {
                count.fetch_add(1, Ordering::Relaxed);
                wire::append_out(group, request)
            });
            let idle = option.soft_ttl().max(STREAM_IDLE_MIN);
            let replies = match self.open_stream(outbound, idle).await {
                Err(_) if Mutant::SubQuorum.is_planted() => return Ok(futures::stream::iter([Ok(Ok(last))]).boxed()),
                opened => opened?,
            };
            let state = Replies { link: self, replies, sent, received: 0, idle, is_void };
            Ok(futures::stream::unfold(Some(state), Replies::next).boxed())
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let mut client = self.client(Purpose::Control)?;
        let message = self.request(wire::vote_request_out(self.group, &request));
        let reply = self.bounded(RPCTypes::Vote, option.soft_ttl(), client.vote(message)).await?;
        wire::vote_reply_in(reply).map_err(|e| unreachable(&e.to_string()))
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let mut client = self.client(Purpose::Control)?;
        let message = self.request(wire::vote_request_out(self.group, &request));
        let reply = self.bounded(RPCTypes::Vote, option.soft_ttl(), client.pre_vote(message)).await?;
        wire::vote_reply_in(reply).map_err(|e| unreachable(&e.to_string()))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let SnapshotData::Own(view) = snapshot.snapshot else {
            return Err(unreachable("a received snapshot is installed, not sent on").into());
        };
        tokio::select! {
            biased;
            closed = cancel => Err(closed.into()),
            sent = snapshot::send(self, &self.transfers, vote, view) => Ok(SnapshotResponse::new(sent?)),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RpcError> {
        let mut client = self.client(Purpose::Control)?;
        let message = self.request(v1::TransferLeaderRequest {
            group: Some(self.group),
            from_leader: Some(wire::vote_out(request.from_leader())),
            to_replica: *request.to_node_id(),
            last: request.last_log_id().map(wire::id_out),
        });
        let reply = self.bounded(RPCTypes::TransferLeader, option.soft_ttl(), client.transfer_leader(message)).await?;
        if reply.accepted { Ok(Ok(())) } else { Err(unreachable(&reply.reason)) }
    }

    fn backoff(&self) -> Option<Backoff> {
        // What keeps a snapshot away, such as a full disk, stays for a while, and each try lists and looks at files.
        (self.purpose == Purpose::Bulk).then(|| Backoff::new(std::iter::repeat(SNAPSHOT_AGAIN)))
    }
}

/// The replies of one stream of appends. A stream on which requests are under way and nothing comes back for `idle` is
/// given up: a connection can swallow a response and stay open.
struct Replies<'s> {
    link: &'s Link,
    replies: tonic::Streaming<v1::AppendReply>,
    sent: Arc<AtomicU64>,
    received: u64,
    idle: Duration,
    /// The stream has ended because what was to be sent is not in the log any more.
    is_void: Arc<AtomicBool>,
}

type Reply = Result<StreamAppendResult<TypeConfig>, RpcError>;

impl<'s> Replies<'s> {
    async fn next(state: Option<Self>) -> Option<(Reply, Option<Self>)> {
        let mut state = state?;
        match state.receive().await? {
            Ok(result) => {
                let go_on = result.is_ok();
                Some((Ok(result), go_on.then_some(state)))
            }
            Err(error) => Some((Err(error), None)),
        }
    }

    async fn receive(&mut self) -> Option<Reply> {
        let clock = Arc::clone(&self.link.peers.env.clock);
        loop {
            let under_way = self.sent.load(Ordering::Relaxed) > self.received;
            match deadline(&*clock, clock.now() + self.idle, self.replies.message()).await {
                Ok(Ok(Some(reply))) => {
                    self.received += 1;
                    return Some(wire::appended_in(reply).map_err(|e| unreachable(&e.to_string())));
                }
                Ok(Ok(None)) if self.is_void.load(Ordering::Relaxed) => {
                    return Some(Err(unreachable(&format!("{} lacks entries that are purged", self.link.node))));
                }
                Ok(Ok(None)) => return None,
                Ok(Err(status)) => return Some(Err(unreachable(&format!("{}: {status}", self.link.node)))),
                Err(_) if under_way => return Some(Err(self.link.timeout(RPCTypes::AppendEntries, self.idle))),
                Err(_) => {}
            }
        }
    }
}

/// `requests` for as long as the leader is the one that it was at first, if there was one; they are not polled any more after that.
fn until_deposed<S, L>(mut requests: S, leader: impl Fn() -> Option<L>) -> impl Stream<Item = S::Item>
where
    S: Stream + Unpin,
    L: PartialEq,
{
    let began = leader();
    futures::stream::poll_fn(move |context| {
        if began.is_some() && leader() == began { requests.poll_next_unpin(context) } else { Poll::Ready(None) }
    })
}

pub(crate) fn unreachable(why: &str) -> RpcError {
    RPCError::Unreachable(Unreachable::from_string(why))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_deposed_leader_is_not_asked_for_more() {
        let leader = Cell::new(Some(1));
        let requests = futures::stream::iter(0..9).inspect(|_| assert_eq!(leader.get(), Some(1), "its log may be cut"));
        let mut sent = std::pin::pin!(until_deposed(requests, || leader.get()));
        assert_eq!(sent.next().now_or_never(), Some(Some(0)));
        assert_eq!(sent.next().now_or_never(), Some(Some(1)));
        leader.set(Some(2));
        assert_eq!(sent.next().now_or_never(), Some(None));
        let never = futures::stream::iter(0..9).inspect(|_| panic!("it does not lead"));
        assert_eq!(std::pin::pin!(until_deposed(never, || None::<u8>)).next().now_or_never(), Some(None));
    }
}
