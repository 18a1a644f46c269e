//! Frames from routers into the log of their shard: checked fully before they are proposed, so that no poison enters a log.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use meridian_env::{Class, Instant, deadline};
use meridian_frame::{Frame, SeriesRef};
use meridian_proto::v1::shard_reply::Outcome;
use meridian_proto::{request_id, v1};
use meridian_raft::{Group, Header, ProposeError};
use meridian_types::{Code, DatabaseId, Failure, NodeId, ShardId, Stamp, limits};
use tonic::{Status, Streaming};

use super::{DEADLINE_MAX, Node, deadline_in, moved};
use crate::shard::{KIND_WRITE, Reply, Shard};

/// Frames of one stream that are under way at once; more wait in the connection.
const UNDER_WAY_MAX: usize = 256;
/// Smaller frames are checked where they are: a job would cost more.
const INLINE_BYTES_MAX: usize = 4 << 10;

/// Proposes what arrives and answers each frame when it is applied, in any order.
pub(super) fn serve(
    node: Node,
    frames: Streaming<v1::ShardFrame>,
) -> BoxStream<'static, Result<v1::ShardReply, Status>> {
    let answers = frames.map(move |frame| {
        let node = node.clone();
        async move {
            let frame = frame?;
            let call = frame.call;
            let outcome = match propose(&node, frame).await {
                Ok(written) => Outcome::Written(written),
                Err((failure, leader)) => {
                    node.metrics.refused(failure.kind());
                    Outcome::Error(v1::Error { leader: leader.map(|n| n.0), ..failure.into() })
                }
            };
            Ok(v1::ShardReply { call, outcome: Some(outcome) })
        }
    });
    answers.buffer_unordered(UNDER_WAY_MAX).boxed()
}

type Refused = (Failure, Option<NodeId>);

async fn propose(node: &Node, frame: v1::ShardFrame) -> Result<v1::Written, Refused> {
    let plain = |failure: Failure| (failure, None);
    let group = node.shard(frame.shard, frame.incarnation).map_err(plain)?;
    if !group.is_leader() {
        return Err(moved(&ShardId(frame.shard), group.leader().filter(|leader| *leader != node.id)));
    }
    let request = request_id(frame.request.as_ref()).map_err(|e| plain(e.into()))?;
    let context = node.context(deadline_in(&node.env, frame.deadline_ms), &frame.traceparent);
    let now = node.env.clock.wall();
    if request.session.birth > now.saturating_add(limits::SESSION_AHEAD_NANOS_MAX) {
        let message =
            format!("the session was born at {}, ahead of this node's clock: set the clocks", request.session.birth);
        return Err(plain(Failure::new(Code::TimeOutOfRange, message)));
    }
    let bytes = frame.frame.len();
    let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
    let budget = Arc::clone(&node.budget).try_acquire_many_owned(permits).map_err(|_| {
        let limit = limits::NODE_PROPOSAL_BYTES_MAX;
        let message =
            format!("{} holds its {limit} bytes of proposals: this frame of {bytes} bytes must wait", node.id);
        plain(Failure::new(Code::Overloaded, message).retry_after_ms(100))
    })?;
    check(node, frame.frame.clone()).await.map_err(plain)?;
    if node.env.clock.now() >= context.deadline {
        let message = "the deadline passed before the frame could be proposed";
        return Err(plain(Failure::new(Code::Overloaded, message).retry_after_ms(100)));
    }
    let header = Header {
        kind: KIND_WRITE,
        map_version: frame.map_version,
        stamp: Stamp(now.nanos()),
        request,
        pending_from: frame.pending_from,
        database: DatabaseId(frame.database),
    };
    // The bytes stay in the log's queue however long the caller waits, and so does their permit.
    let (node, at) = (node.clone(), context.deadline);
    let clock = Arc::clone(&node.env.clock);
    let proposal = tokio::spawn(async move {
        let answer = answer(&node, &group, header, frame.frame, node.env.clock.now() + DEADLINE_MAX).await;
        drop(budget);
        answer
    });
    match deadline(&*clock, at, proposal).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(plain(Failure::new(Code::Unknown, "the node is stopping"))),
        Err(_) => Err(plain(Failure::new(Code::Unknown, "the deadline passed after it was proposed"))),
    }
}

async fn answer(
    node: &Node,
    group: &Group<Shard>,
    header: Header,
    frame: Bytes,
    deadline: Instant,
) -> Result<v1::Written, Refused> {
    match group.propose(header, frame, deadline).await {
        Ok((_, Reply::Written { witness, points })) => {
            node.metrics.written(points);
            Ok(v1::Written { witness: Some(witness.into()), points })
        }
        Ok((_, Reply::Refused(failure))) => Err((failure, None)),
        Ok((_, Reply::Dropped)) => Err((Failure::new(Code::Internal, "a write was answered as a drop"), None)),
        Err(ProposeError::Moved(leader)) => Err(moved(&group.spec().group, leader)),
        Err(ProposeError::Unknown(why)) => Err((Failure::new(Code::Unknown, why), None)),
    }
}

/// Whether the frame is one that `apply` can store.
async fn check(node: &Node, bytes: Bytes) -> Result<(), Failure> {
    let small = bytes.len() <= INLINE_BYTES_MAX;
    let job = move || {
        let frame = Frame::check(bytes).map_err(|error| Failure::new(error.code(), error.to_string()))?;
        let numbered = |table: &meridian_frame::Table| {
            table.runs().iter().any(|run| matches!(run.series, SeriesRef::Number { .. }))
        };
        if frame.tables().iter().any(numbered) {
            let message = "series numbers are not given out by this version: send the frame with series keys";
            return Err(Failure::new(Code::SendKeys, message));
        }
        Ok(())
    };
    if small { job() } else { meridian_env::run(&*node.env.work, Class::Apply, job).await }
}
