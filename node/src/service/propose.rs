//! Frames from routers into the log of their shard: checked fully before they are proposed, so that no poison enters a log.

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use meridian_env::Class;
use meridian_frame::Frame;
use meridian_proto::v1;
use meridian_proto::v1::shard_reply::Outcome;
use meridian_types::Failure;
use tonic::{Status, Streaming};

use super::Node;
use super::proposal::{Asked, Refused, admit, answered_as_another};
use crate::shard::{KIND_WRITE, Reply};

/// Frames of one stream that are under way at once; more wait in the connection.
const UNDER_WAY_MAX: usize = 256;
/// Smaller frames are checked where they are: a job would cost more.
const INLINE_BYTES_MAX: usize = 4 << 10;

/// Proposes what arrives and answers each frame when it is applied, in any order. A node that is about to end takes no more
/// frames, answers those that it has, and ends the stream: what was not taken is sent again elsewhere.
pub(super) fn serve(
    node: Node,
    frames: Streaming<v1::ShardFrame>,
) -> BoxStream<'static, Result<v1::ShardReply, Status>> {
    let frames = frames.take_until(node.closed());
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

async fn propose(node: &Node, frame: v1::ShardFrame) -> Result<v1::Written, Refused> {
    let asked = Asked {
        shard: frame.shard,
        incarnation: frame.incarnation,
        map_version: frame.map_version,
        database: frame.database,
        request: frame.request.as_ref(),
        pending_from: frame.pending_from,
        bytes: frame.frame.len(),
        deadline_ms: frame.deadline_ms,
        traceparent: &frame.traceparent,
    };
    node.pressure.admit().map_err(|failure| (failure, None))?;
    let admitted = admit(node, KIND_WRITE, asked)?;
    check(node, frame.frame.clone()).await.map_err(|failure| (failure, None))?;
    match admitted.propose(frame.frame).await? {
        Reply::Written { witness, points, series } => {
            let series = series.into_iter().map(|number| number.0).collect();
            Ok(v1::Written { witness: Some(witness.into()), points, series })
        }
        _ => Err(answered_as_another("a write")),
    }
}

/// Whether the frame is one that `apply` can store.
async fn check(node: &Node, bytes: Bytes) -> Result<(), Failure> {
    let small = bytes.len() <= INLINE_BYTES_MAX;
    let job = || match Frame::check(bytes) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::new(error.code(), error.to_string())),
    };
    if small { job() } else { meridian_env::run(&*node.env.work, Class::Answer, job).await }
}
