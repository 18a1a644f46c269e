//! Reads of shards: one stream a node, so that HTTP/2's flow control bounds what waits for the slowest.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::try_join_all;
use meridian_env::{Clock, Context, Instant, deadline};
use meridian_proto::{failure_of, v1};
use meridian_types::{Code, DatabaseId, Failure, Kind, NodeId, ShardId, Witness};

use crate::cluster::{Cluster, Tried};

/// The answer of one or several shards of one node as it arrives.
#[derive(Debug)]
pub struct Scan {
    /// Which shards answer, and up to where in its log each sees.
    pub witnesses: Vec<Witness>,
    /// What came with them.
    first: Option<v1::ScanReply>,
    /// Whether the last part has come.
    ended: bool,
    replies: tonic::Streaming<v1::ScanReply>,
    clock: Arc<dyn Clock>,
    deadline: Instant,
}

impl Scan {
    /// The next batch, as `crates/query` encodes it; `None` when the answer is whole.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        while !self.ended {
            let part = match self.first.take() {
                Some(part) => part,
                None => self.part().await?,
            };
            self.ended = part.end;
            if !part.batch.is_empty() {
                return Ok(Some(part.batch));
            }
        }
        Ok(None)
    }

    async fn part(&mut self) -> Result<v1::ScanReply, Failure> {
        let next = deadline(&*self.clock, self.deadline, self.replies.message()).await;
        let late = |_| Failure::new(Code::Unreachable, "the answer did not arrive before the deadline");
        let reply = next.map_err(late)?.map_err(|status| failure_of(&status, false))?;
        let cut = || Failure::new(Code::Unreachable, "a node's answer broke off");
        reply.ok_or_else(cut)
    }
}

impl Cluster {
    /// Starts linearizable reads of shards, in one call to each node that leads some of them. What such a call does not come to,
    /// because a leader has moved or is silent, each of its shards is asked for alone. The plan is as `crates/query` encodes it.
    pub async fn scan(
        &self,
        context: &Context,
        shards: &[ShardId],
        database: DatabaseId,
        plan: &Bytes,
    ) -> Result<Vec<Scan>, Failure> {
        let mut by_leader: BTreeMap<_, Vec<ShardId>> = BTreeMap::new();
        for shard in shards {
            by_leader.entry(self.known_leader((*shard).into())).or_default().push(*shard);
        }
        let scans = by_leader.into_iter().map(|(leader, shards)| async move {
            let together = match leader {
                Some(leader) if shards.len() > 1 => {
                    self.scan_together(context, leader, &shards, database, plan).await?
                }
                _ => None,
            };
            match together {
                Some(scan) => Ok(vec![scan]),
                None => try_join_all(shards.iter().map(|shard| self.scan_alone(context, *shard, database, plan))).await,
            }
        });
        Ok(try_join_all(scans).await?.into_iter().flatten().collect())
    }

    /// Nothing where each shard may do better alone.
    async fn scan_together(
        &self,
        context: &Context,
        (node, address): (NodeId, Arc<str>),
        shards: &[ShardId],
        database: DatabaseId,
        plan: &Bytes,
    ) -> Result<Option<Scan>, Failure> {
        let call = self.scan_at(context, shards, database, plan, address).boxed();
        let failure = match self.try_on(context, node, true, call).await {
            Ok(scan) => return Ok(Some(scan)),
            Err(tried) => tried.failure,
        };
        if !matches!(failure.kind(), Kind::Retry | Kind::Unknown | Kind::Overloaded) {
            return Err(failure);
        }
        // Nobody has said that another one leads, but it has nothing to say itself.
        if matches!(failure.code, Code::Unknown | Code::Unreachable) {
            shards.iter().for_each(|shard| self.note_leader((*shard).into(), node, None));
        }
        Ok(None)
    }

    async fn scan_alone(
        &self,
        context: &Context,
        shard: ShardId,
        database: DatabaseId,
        plan: &Bytes,
    ) -> Result<Scan, Failure> {
        let shards = [shard];
        let call = |_, address| self.scan_at(context, &shards, database, plan, address).boxed();
        self.on_leader(context, shard.into(), true, call).await
    }

    async fn scan_at(
        &self,
        context: &Context,
        shards: &[ShardId],
        database: DatabaseId,
        plan: &Bytes,
        address: Arc<str>,
    ) -> Result<Scan, Tried> {
        let map = self.map();
        let known = |shard: &ShardId| {
            let known = map.shards.get(shard).ok_or_else(|| Tried {
                failure: Failure::new(Code::NotReady, format!("{shard} is not known here yet")),
                leader: None,
            })?;
            Ok(v1::ShardRef { shard: shard.0, incarnation: known.incarnation.0 })
        };
        let clock = Arc::clone(&self.inner.env.clock);
        let left = context.deadline.saturating_duration_since(clock.now());
        let request = v1::ScanRequest {
            shards: shards.iter().map(known).collect::<Result<_, Tried>>()?,
            map_version: map.version,
            database: database.0,
            plan: plan.clone(),
            deadline_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX),
            traceparent: context.traceparent().to_owned(),
        };
        let mut client = self.inner.channels.scans(&address);
        // A read changes nothing: whatever broke, it may be asked again.
        let replies = client.scan(request).await.map_err(|s| Tried::status(&s, false))?.into_inner();
        let deadline = context.deadline;
        let mut scan = Scan { witnesses: Vec::new(), first: None, ended: false, replies, clock, deadline };
        scan.first = scan.replies.message().await.map_err(|s| Tried::status(&s, false))?;
        let start = scan.first.as_mut().and_then(|first| first.start.take()).unwrap_or_default();
        scan.witnesses = start.witnesses.into_iter().map(Witness::from).collect();
        if scan.witnesses.iter().map(|witness| witness.shard).ne(shards.iter().copied()) {
            let failure = Failure::new(Code::Unreachable, "an answer did not begin with the witness of each shard");
            return Err(Tried { failure, leader: None });
        }
        Ok(scan)
    }
}
