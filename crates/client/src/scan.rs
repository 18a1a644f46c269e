//! Reads of shards: one stream a node, so that HTTP/2's flow control bounds what waits for the slowest.
//!
//! Never hands on an answer that is not confirmed: by the node that gives it, or by the votes that the nodes told that were asked with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::try_join_all;
use meridian_env::{Clock, Context, Instant, deadline};
use meridian_proto::{failure_of, v1};
use meridian_types::{Code, DatabaseId, Failure, Kind, NodeId, ReplicaId, ShardId, Witness};

use crate::cluster::{Cluster, Tried};
use crate::votes::Votes;

/// The answer of one or several shards of one node as it arrives.
#[derive(Debug)]
pub struct Scan {
    /// Which shards answer, and up to where in its log each sees.
    pub witnesses: Vec<Witness>,
    /// What has yet to be confirmed of it.
    claims: Vec<v1::Claim>,
    /// What its node told for the others.
    votes: Vec<v1::HeldVote>,
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
    ///
    /// If the nodes that are asked are a majority for each shard, these calls are all there is: each tells what its replicas of the others'
    /// shards have voted since. A leader whose vote no majority is heard to hold is asked again, and then asks the others itself.
    pub async fn scan(
        &self,
        context: &Context,
        shards: &[ShardId],
        database: DatabaseId,
        plan: &Bytes,
    ) -> Result<Vec<Scan>, Failure> {
        let scans = self.scans(context, shards, true, database, plan).await?;
        let votes = Votes::of(scans.iter().flat_map(|scan| &scan.votes));
        let (mut confirmed, unconfirmed): (Vec<_>, Vec<_>) =
            scans.into_iter().partition(|scan| scan.claims.iter().all(|claim| votes.confirm(claim)));
        let deposed = unconfirmed.iter().flat_map(|scan| &scan.claims).filter(|claim| !votes.confirm(claim));
        deposed.for_each(|claim| self.note_vote(claim, votes.newest(claim)));
        let again: Vec<ShardId> =
            unconfirmed.iter().flat_map(|scan| &scan.witnesses).map(|witness| witness.shard).collect();
        confirmed.extend(self.scans(context, &again, false, database, plan).await?);
        Ok(confirmed)
    }

    /// The same, in which each node confirms what it answers itself, unless the votes may be gathered and can be.
    async fn scans(
        &self,
        context: &Context,
        shards: &[ShardId],
        may_gather: bool,
        database: DatabaseId,
        plan: &Bytes,
    ) -> Result<Vec<Scan>, Failure> {
        let mut by_leader: BTreeMap<_, Vec<ShardId>> = BTreeMap::new();
        for shard in shards {
            by_leader.entry(self.known_leader((*shard).into())).or_default().push(*shard);
        }
        let asked = by_leader.keys().flatten().map(|(node, _)| *node).collect();
        let is_gathered = may_gather && self.hear_majorities(shards, &asked);
        let others = |led: &[ShardId]| -> Vec<ShardId> {
            shards.iter().copied().filter(|shard| is_gathered && !led.contains(shard)).collect()
        };
        let scans = by_leader.into_iter().map(|(leader, led)| async move {
            let together = match leader {
                Some(leader) if led.len() > 1 || is_gathered => {
                    self.scan_together(context, leader, (&led, &others(&led)), database, plan).await?
                }
                _ => None,
            };
            let alone =
                |shard| async move { self.scan_alone(context, (shard, &others(&[shard])), database, plan).await };
            match together {
                Some(scan) => Ok(vec![scan]),
                None => try_join_all(led.into_iter().map(alone)).await,
            }
        });
        Ok(try_join_all(scans).await?.into_iter().flatten().collect())
    }

    /// A replica that claims to lead a shard may be deposed by the one that this vote is for.
    fn note_vote(&self, claim: &v1::Claim, newest: Option<u64>) {
        let (map, shard) = (self.map(), ShardId(claim.shard));
        let node = |replica| map.shards.get(&shard)?.replicas.get(&ReplicaId(replica)).copied();
        if let (Some(asked), Some(leader)) = (node(claim.replica), newest.and_then(node)) {
            self.note_leader(shard.into(), asked, Some(leader));
        }
    }

    /// Whether more than half of the replicas of each of these shards are on these nodes.
    fn hear_majorities(&self, shards: &[ShardId], nodes: &BTreeSet<NodeId>) -> bool {
        let map = self.map();
        let mut known = shards.iter().filter_map(|shard| map.shards.get(shard));
        nodes.len() > 1
            && known.all(|shard| {
                let heard = shard.replicas.values().filter(|node| nodes.contains(node));
                2 * heard.count() > shard.replicas.len()
            })
    }

    /// Nothing where each shard may do better alone.
    async fn scan_together(
        &self,
        context: &Context,
        (node, address): (NodeId, Arc<str>),
        (shards, others): (&[ShardId], &[ShardId]),
        database: DatabaseId,
        plan: &Bytes,
    ) -> Result<Option<Scan>, Failure> {
        let call = self.scan_at(context, (shards, others), database, plan, address).boxed();
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
        (shard, others): (ShardId, &[ShardId]),
        database: DatabaseId,
        plan: &Bytes,
    ) -> Result<Scan, Failure> {
        let shards = [shard];
        let call = |_, address| self.scan_at(context, (&shards, others), database, plan, address).boxed();
        self.on_leader(context, shard.into(), true, call).await
    }

    /// Asks a node for `shards`, and for its votes on `others`, which other nodes are asked for.
    async fn scan_at(
        &self,
        context: &Context,
        (shards, others): (&[ShardId], &[ShardId]),
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
            others: others.iter().map(known).collect::<Result<_, Tried>>()?,
        };
        let mut client = self.inner.channels.scans(&address);
        // A read changes nothing: whatever broke, it may be asked again.
        let mut replies = client.scan(request).await.map_err(|s| Tried::status(&s, false))?.into_inner();
        let deadline = context.deadline;
        let mut first = replies.message().await.map_err(|s| Tried::status(&s, false))?;
        let start = first.as_mut().and_then(|first| first.start.take()).unwrap_or_default();
        let v1::ScanStart { witnesses, claims, votes } = start;
        let witnesses = witnesses.into_iter().map(Witness::from).collect();
        let scan = Scan { witnesses, claims, votes, first, ended: false, replies, clock, deadline };
        if scan.witnesses.iter().map(|witness| witness.shard).ne(shards.iter().copied()) {
            let failure = Failure::new(Code::Unreachable, "an answer did not begin with the witness of each shard");
            return Err(Tried { failure, leader: None });
        }
        Ok(scan)
    }
}
