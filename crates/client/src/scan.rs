//! Reads of shards: one stream a shard, so that HTTP/2's flow control bounds what waits for the slowest.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use meridian_env::{Clock, Context, Instant, deadline};
use meridian_proto::v1::scan_reply::Part;
use meridian_proto::{failure_of, v1};
use meridian_types::{Code, DatabaseId, Failure, ShardId, Witness};

use crate::cluster::{Cluster, Tried};

/// One shard's answer as it arrives.
#[derive(Debug)]
pub struct ShardScan {
    /// Who answers, and up to where in its log it sees.
    pub witness: Witness,
    replies: tonic::Streaming<v1::ScanReply>,
    clock: Arc<dyn Clock>,
    deadline: Instant,
}

impl ShardScan {
    /// The next batch, as `crates/query` encodes it; `None` when the answer is whole.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        match self.part().await? {
            Part::Batch(batch) => Ok(Some(batch)),
            Part::End(_) => Ok(None),
            Part::Start(_) => Err(Failure::new(Code::Internal, "a shard began its answer twice")),
        }
    }

    async fn part(&mut self) -> Result<Part, Failure> {
        let next = deadline(&*self.clock, self.deadline, self.replies.message()).await;
        let late = |_| Failure::new(Code::Unreachable, "the answer did not arrive before the deadline");
        let reply = next.map_err(late)?.map_err(|status| failure_of(&status, false))?;
        let cut = || Failure::new(Code::Unreachable, "a shard's answer broke off");
        reply.and_then(|r| r.part).ok_or_else(cut)
    }
}

impl Cluster {
    /// Starts a linearizable read of one shard; the plan is as `crates/query` encodes it.
    pub async fn scan(
        &self,
        context: &Context,
        shard: ShardId,
        database: DatabaseId,
        plan: Bytes,
    ) -> Result<ShardScan, Failure> {
        let call = |_, address| self.scan_at(context, shard, database, plan.clone(), address).boxed();
        self.on_leader(context, shard.into(), true, call).await
    }

    async fn scan_at(
        &self,
        context: &Context,
        shard: ShardId,
        database: DatabaseId,
        plan: Bytes,
        address: Arc<str>,
    ) -> Result<ShardScan, Tried> {
        let map = self.map();
        let unknown = || Failure::new(Code::NotReady, format!("{shard} is not known here yet"));
        let known = map.shards.get(&shard).ok_or_else(|| Tried { failure: unknown(), leader: None })?;
        let clock = Arc::clone(&self.inner.env.clock);
        let left = context.deadline.saturating_duration_since(clock.now());
        let request = v1::ScanRequest {
            shard: shard.0,
            incarnation: known.incarnation.0,
            map_version: map.version,
            database: database.0,
            plan,
            deadline_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX),
            traceparent: context.traceparent().to_owned(),
        };
        let mut client = self.inner.channels.scans(&address);
        // A read changes nothing: whatever broke, it may be asked again.
        let replies = client.scan(request).await.map_err(|s| Tried::status(&s, false))?.into_inner();
        let unset = Witness { shard, incarnation: known.incarnation, index: <_>::default(), stamp: <_>::default() };
        let mut scan = ShardScan { witness: unset, replies, clock, deadline: context.deadline };
        let first = scan.replies.message().await.map_err(|s| Tried::status(&s, false))?;
        match first.and_then(|r| r.part) {
            Some(Part::Start(witness)) => scan.witness = witness.into(),
            _ => {
                let failure = Failure::new(Code::Unreachable, "a shard's answer did not begin with its witness");
                return Err(Tried { failure, leader: None });
            }
        }
        Ok(scan)
    }
}
