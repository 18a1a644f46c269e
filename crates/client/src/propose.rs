//! Proposals to shards, over one long stream a node, so that many small batches share a connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use meridian_env::Context;
use meridian_proto::v1::shard_reply::Outcome;
use meridian_proto::{failure_of, v1};
use meridian_types::{Code, DatabaseId, Failure, NodeId, RequestId, SeriesNumber, ShardId, Witness};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

use crate::cluster::{Cluster, Tried};

/// Frames that wait for the stream to a node at most; more wait with their callers.
const PIPE_FRAMES_MAX: usize = 64;

/// A frame for one shard.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// Whose it is.
    pub shard: ShardId,
    /// Into which database.
    pub database: DatabaseId,
    /// Which request.
    pub request: RequestId,
    /// The lowest seq of the session that is still pending.
    pub pending_from: u64,
    /// The encoded frame.
    pub frame: Bytes,
}

/// What a shard stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// Where.
    pub witness: Witness,
    /// Field values.
    pub points: u64,
    /// The numbers of the series that the frame names by key, in its order; none if it was stored by an earlier try.
    pub series: Vec<SeriesNumber>,
}

impl Cluster {
    /// Gets a frame stored by its shard, at most once, whatever breaks on the way; not past the context's deadline.
    pub async fn propose(&self, context: &Context, proposal: Proposal) -> Result<Written, Failure> {
        let group = proposal.shard.into();
        let proposal = &proposal;
        let call = |node, address| self.propose_to(context, proposal, node, address).boxed();
        self.on_leader(context, group, true, call).await
    }

    async fn propose_to(
        &self,
        context: &Context,
        proposal: &Proposal,
        node: NodeId,
        address: Arc<str>,
    ) -> Result<Written, Tried> {
        let map = self.map();
        let no_shard = || Failure::new(Code::NotReady, format!("{} is not known here yet", proposal.shard));
        let shard = map.shards.get(&proposal.shard).ok_or_else(|| Tried { failure: no_shard(), leader: None })?;
        let left = context.deadline.saturating_duration_since(self.inner.env.clock.now());
        let frame = v1::ShardFrame {
            call: 0,
            shard: proposal.shard.0,
            incarnation: shard.incarnation.0,
            map_version: map.version,
            database: proposal.database.0,
            request: Some(proposal.request.into()),
            pending_from: proposal.pending_from,
            frame: proposal.frame.clone(),
            deadline_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX),
            traceparent: context.traceparent().to_owned(),
        };
        let pipe = self.inner.pipes.to(self, node, &address);
        match pipe.call(frame).await? {
            Outcome::Written(written) => {
                let missing = || Failure::new(Code::Internal, "a shard's reply has no witness");
                let witness = written.witness.ok_or_else(|| Tried { failure: missing(), leader: None })?;
                let series = written.series.into_iter().map(SeriesNumber).collect();
                Ok(Written { witness: witness.into(), points: written.points, series })
            }
            Outcome::Error(error) => {
                let leader = error.leader.map(NodeId);
                Err(Tried { failure: error.into(), leader })
            }
        }
    }
}

/// The streams to nodes.
#[derive(Debug, Default)]
pub(crate) struct Pipes(Mutex<BTreeMap<NodeId, (Arc<str>, Pipe)>>);

#[derive(Clone, Debug)]
struct Pipe {
    frames: mpsc::Sender<v1::ShardFrame>,
    state: Arc<State>,
}

type Answer = oneshot::Sender<Result<Outcome, Failure>>;

#[derive(Debug, Default)]
struct State {
    next: AtomicU64,
    /// `None` once the stream has ended.
    waiting: Mutex<Option<BTreeMap<u64, Answer>>>,
}

impl Pipes {
    fn to(&self, cluster: &Cluster, node: NodeId, address: &Arc<str>) -> Pipe {
        let mut pipes = self.0.lock();
        if let Some((opened_to, pipe)) = pipes.get(&node)
            && opened_to == address
            && pipe.state.waiting.lock().is_some()
        {
            return pipe.clone();
        }
        let (frames, receiver) = mpsc::channel(PIPE_FRAMES_MAX);
        let state = Arc::new(State { next: AtomicU64::new(0), waiting: Mutex::new(Some(BTreeMap::new())) });
        let pipe = Pipe { frames, state: Arc::clone(&state) };
        pipes.insert(node, (Arc::clone(address), pipe.clone()));
        let mut client = cluster.inner.channels.shards(address);
        tokio::spawn(async move {
            // The body of the call goes out with its headers: as soon as one frame was taken, any may have arrived.
            let sent = Arc::new(AtomicBool::new(false));
            let taken = Arc::clone(&sent);
            let frames = ReceiverStream::new(receiver).inspect(move |_| taken.store(true, Ordering::Relaxed));
            let status = match client.propose(frames).await {
                Err(status) => status,
                Ok(replies) => drain(replies.into_inner(), &state).await,
            };
            let failure = match sent.load(Ordering::Relaxed) {
                true => Failure::new(Code::Unknown, format!("the connection ended: {status}")),
                false => failure_of(&status, false),
            };
            let waiting = state.waiting.lock().take().unwrap_or_default();
            for (_, waiter) in waiting {
                drop(waiter.send(Err(failure.clone())));
            }
        });
        pipe
    }
}

/// Hands replies to their callers until the stream ends; says why it did.
async fn drain(mut replies: tonic::Streaming<v1::ShardReply>, state: &State) -> tonic::Status {
    while let Some(reply) = replies.next().await {
        match reply {
            Err(status) => return status,
            Ok(v1::ShardReply { call, outcome }) => {
                let waiter = state.waiting.lock().as_mut().and_then(|w| w.remove(&call));
                let outcome = outcome.ok_or_else(|| Failure::new(Code::Unknown, "a shard's reply has no outcome"));
                if let Some(waiter) = waiter {
                    drop(waiter.send(outcome));
                }
            }
        }
    }
    tonic::Status::unavailable("the node ended the stream")
}

impl Pipe {
    async fn call(&self, mut frame: v1::ShardFrame) -> Result<Outcome, Tried> {
        let gone = || Tried { failure: Failure::new(Code::Unreachable, "the connection ended before"), leader: None };
        let (sender, receiver) = oneshot::channel();
        frame.call = self.state.next.fetch_add(1, Ordering::Relaxed);
        let entry = Waiting { call: frame.call, state: &self.state };
        self.state.waiting.lock().as_mut().ok_or_else(gone)?.insert(frame.call, sender);
        self.frames.send(frame).await.map_err(|_| gone())?;
        let outcome = receiver.await.unwrap_or_else(|_| Err(Failure::new(Code::Unknown, "the connection ended")));
        drop(entry);
        outcome.map_err(|failure| Tried { failure, leader: None })
    }
}

/// Takes a caller that went away out of the list.
struct Waiting<'a> {
    call: u64,
    state: &'a State,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = self.state.waiting.lock().as_mut() {
            waiting.remove(&self.call);
        }
    }
}
