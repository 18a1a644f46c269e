//! What everything goes through that a router wants in a shard's log: a leader, a request id, room in this node's budget, a
//! deadline. What it is for is checked by whoever asks, before it is proposed.

use std::sync::Arc;

use bytes::Bytes;
use meridian_env::{Context, deadline};
use meridian_proto::{request_id, v1};
use meridian_raft::{Group, Header, ProposeError};
use meridian_types::{Code, DatabaseId, Failure, Mutant, NodeId, ShardId, Stamp, limits};
use tokio::sync::OwnedSemaphorePermit;
use tracing::{Instrument, Span};

use super::{DEADLINE_MAX, Node, deadline_in, moved};
use crate::shard::{KIND_WRITE, Reply, Shard};

/// Why something is not answered, and the node that leads instead, if it is known.
pub(super) type Refused = (Failure, Option<NodeId>);

/// What a router says of each entry that it wants made.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) shard: u32,
    pub(super) incarnation: u32,
    pub(super) map_version: u64,
    pub(super) database: u32,
    pub(super) request: Option<&'a v1::RequestId>,
    pub(super) pending_from: u64,
    /// Size of the payload.
    pub(super) bytes: usize,
    pub(super) deadline_ms: u32,
    pub(super) traceparent: &'a str,
}

/// What may be proposed once its payload is checked.
pub(super) struct Admitted {
    node: Node,
    group: Group<Shard>,
    header: Header,
    context: Context,
    span: Span,
    /// Held until the log has the payload.
    budget: OwnedSemaphorePermit,
}

/// Admits an entry of this kind, or says why not: nothing is proposed then.
pub(super) fn admit(node: &Node, kind: u8, asked: Asked<'_>) -> Result<Admitted, Refused> {
    let plain = |failure: Failure| (failure, None);
    let group = node.shard(asked.shard, asked.incarnation).map_err(plain)?;
    if !group.is_leader() {
        return Err(moved(&ShardId(asked.shard), group.leader().filter(|leader| *leader != node.id)));
    }
    if *node.log_full.borrow() {
        let message =
            format!("the disk of {} is full: free some space there, and it takes writes again by itself", node.id);
        return Err(plain(Failure::new(Code::Overloaded, message).retry_after_ms(1_000)));
    }
    let request = request_id(asked.request).map_err(|e| plain(e.into()))?;
    let context = node.context(deadline_in(&node.env, asked.deadline_ms), asked.traceparent);
    let now = node.hybrid_time();
    if request.session.birth > now.saturating_add(limits::SESSION_AHEAD_NANOS_MAX) {
        let message =
            format!("the session was born at {}, ahead of this node's clock: set the clocks", request.session.birth);
        return Err(plain(Failure::new(Code::TimeOutOfRange, message)));
    }
    let bytes = asked.bytes;
    let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
    let budget = Arc::clone(&node.budget).try_acquire_many_owned(permits).map_err(|_| {
        let limit = limits::NODE_PROPOSAL_BYTES_MAX;
        let message =
            format!("{} holds its {limit} bytes of proposals: this request of {bytes} bytes must wait", node.id);
        plain(Failure::new(Code::Overloaded, message).retry_after_ms(100))
    })?;
    let header = Header {
        kind,
        map_version: asked.map_version,
        stamp: Stamp(now.nanos()),
        request,
        pending_from: asked.pending_from,
        database: DatabaseId(asked.database),
    };
    let span = tracing::debug_span!(
        "propose",
        node = %node.id,
        shard = %ShardId(asked.shard),
        %request,
        trace = context.trace.as_ref().map(tracing::field::display),
    );
    Ok(Admitted { node: node.clone(), group, header, context, span, budget })
}

impl Admitted {
    /// Proposes a checked payload and waits until it is applied, or its deadline passes. A refusal by the shard is an error.
    pub(super) async fn propose(self, payload: Bytes) -> Result<Reply, Refused> {
        let plain = |failure: Failure| (failure, None);
        let (clock, at) = (Arc::clone(&self.node.env.clock), self.context.deadline);
        if clock.now() >= at {
            let message = "the deadline passed before it could be proposed";
            return Err(plain(Failure::new(Code::Overloaded, message).retry_after_ms(100)));
        }
        if Mutant::AckBeforeMajority.is_planted() && self.header.kind == KIND_WRITE {
            let witness = self.group.machine().read().witness();
            tokio::spawn(self.answer(payload));
            return Ok(Reply::Written { witness, points: 0, series: Vec::new() });
        }
        // The bytes stay in the log's queue however long the caller waits, and so does their permit.
        let span = self.span.clone();
        let proposal = tokio::spawn(self.answer(payload).instrument(span));
        match deadline(&*clock, at, proposal).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(plain(Failure::new(Code::Unknown, "the node is stopping"))),
            Err(_) => Err(plain(Failure::new(Code::Unknown, "the deadline passed after it was proposed"))),
        }
    }

    async fn answer(self, payload: Bytes) -> Result<Reply, Refused> {
        let Self { node, group, header, budget, .. } = self;
        let proposed = group.propose(header, payload, node.env.clock.now() + DEADLINE_MAX).await;
        drop(budget);
        match proposed {
            Ok((index, Reply::Refused(failure))) => {
                tracing::debug!(%index, code = %failure.code, why = failure.message, "refused");
                Err((failure, None))
            }
            Ok((index, reply)) => {
                tracing::debug!(%index, "applied");
                node.metrics.applied(&reply);
                Ok(reply)
            }
            Err(ProposeError::Moved(leader)) => Err(moved(&group.spec().group, leader)),
            Err(ProposeError::Unknown(why)) => {
                tracing::debug!(why, "unknown");
                Err((Failure::new(Code::Unknown, why), None))
            }
        }
    }
}

/// A machine that answers an entry as if it were of another kind is broken.
pub(super) fn answered_as_another(what: &'static str) -> Refused {
    (Failure::new(Code::Internal, format!("{what} was answered as something else")), None)
}
