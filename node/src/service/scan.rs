//! Linearizable reads of shards that this node leads: their read indexes, a view of each, and the plan run over them off the
//! async threads, one shard beside the other. What they answer is merged here: the caller waits for one answer of a node. A caller
//! that asks other nodes as well confirms the reads itself, by the votes that all of them tell.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::{try_join, try_join_all};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use meridian_engine::{StoreError, View};
use meridian_env::{Class, Instant, run};
use meridian_proto::v1;
use meridian_query::{Batches, Needed, Plan, execute};
use meridian_raft::{Group, JobError, ReadError, Reads, Unread};
use meridian_types::{Code, DatabaseId, Failure, NodeId, ShardId, Witness};
use tonic::Status;

use super::{Node, deadline_in, moved};
use crate::shard::Shard;

/// Rows that are made into a batch where the call is served: what a handover to the threads for scans costs is more than they do.
const INLINE_ROWS_MAX: usize = 1_024;

/// To look at so many series and values of tags takes no longer than a handover to those threads.
const GLANCE_LOOKS_MAX: usize = 256;

/// Answers a scan: the witnesses, then batches as the caller takes them. The shards are read while their leaders are confirmed, and
/// nothing is told before they are, but what the caller has yet to confirm.
pub(super) async fn serve(
    node: &Node,
    request: v1::ScanRequest,
) -> Result<BoxStream<'static, Result<v1::ScanReply, Status>>, (Failure, Option<NodeId>)> {
    let plain = |failure: Failure| (failure, None);
    // Each once, however often it is named.
    let mut shards = BTreeMap::new();
    for asked in &request.shards {
        shards.insert(asked.shard, node.shard(asked.shard, asked.incarnation).map_err(plain)?);
    }
    let groups: Vec<_> = shards.into_values().collect();
    let plan = Plan::decode(&request.plan).map_err(|e| plain(Failure::new(e.code(), e.to_string())))?;
    let (plan, database) = (Arc::new(plan), DatabaseId(request.database));
    let context = node.context(deadline_in(&node.env, request.deadline_ms), &request.traceparent);
    if groups.is_empty() {
        return Err(plain(Failure::new(Code::BadRequest, "a scan names no shard")));
    }
    let refused = |(spec, error): Unread| {
        let shard = ShardId(spec.group.0);
        match error {
            ReadError::Moved(leader) => moved(&shard, leader),
            ReadError::Unconfirmed(why) => {
                plain(Failure::new(Code::NoLeader, format!("{shard}: {why}")).retry_after_ms(100))
            }
        }
    };
    let (_, reads) = Group::read(&groups, context.deadline).await.map_err(refused)?;
    let held = |other: &v1::ShardRef| node.shard(other.shard, other.incarnation).ok()?.held_vote();
    let votes = request.others.iter().filter_map(held).collect();
    let scans = groups.into_iter().map(|group| scan(node, group, database, Arc::clone(&plan), context.deadline));
    let scans = try_join_all(scans);
    let confirmed = |reads: Reads| reads.confirmed().map(move |confirmed| confirmed.map_err(refused));
    // A scan that fails ends nothing: its failure, too, is told only by a leader, and a confirmation that is under way is not dropped.
    let (scans, claims) = if request.others.is_empty() {
        let (scans, ()) = try_join(scans.map(Ok), confirmed(reads)).await?;
        (scans, Vec::new())
    } else {
        let (scans, claims) = (scans.await, reads.claims());
        if scans.is_err() {
            confirmed(reads).await?;
        }
        (scans, claims)
    };
    let (witnesses, answers): (Vec<Witness>, _) = scans.map_err(plain)?.into_iter().unzip();
    for Witness { shard, index, .. } in &witnesses {
        tracing::debug!(%shard, %index, "reads");
    }
    let witnesses = witnesses.into_iter().map(Into::into).collect();
    let start = v1::ScanStart { witnesses, claims, votes };
    let answer = Batches::merged(&plan, answers);
    // What a group has beyond its limit is passed over, and nobody has counted it.
    let is_counted = plan.group_limit.is_none();
    let work = Arc::clone(&node.env.work);
    let parts = futures::stream::unfold(Some((Some(start), answer)), move |left| {
        let work = Arc::clone(&work);
        async move {
            let (start, answer) = left?;
            let is_small = is_counted && answer.rows_at_most().is_some_and(|rows| rows <= INLINE_ROWS_MAX);
            let (batch, left) = match is_small {
                true => take(answer),
                false => run(&*work, Class::Scan, || take(answer)).await,
            };
            let part = v1::ScanReply { start, batch: batch.into(), end: left.is_none() };
            Some((Ok(part), left.map(|left| (None, left))))
        }
    });
    Ok(parts.boxed())
}

/// The next batch, empty if there is none, and what is left behind it.
fn take(mut answer: Batches) -> (Vec<u8>, Option<Batches>) {
    let batch = answer.next().map(|batch| batch.encode()).unwrap_or_default();
    let is_done = answer.is_done();
    (batch, (!is_done).then_some(answer))
}

/// One shard's answer, and up to where in its log it sees.
async fn scan(
    node: &Node,
    group: Group<Shard>,
    database: DatabaseId,
    plan: Arc<Plan>,
    deadline: Instant,
) -> Result<(Witness, Batches), Failure> {
    node.metrics.scanned();
    let clock = Arc::clone(&node.env.clock);
    let shard = ShardId(group.spec().group.0);
    let failed = |error| node.scan_failed(shard, error);
    let seen = match glance(&group, database, &plan) {
        // Most shards have no series of those that a short query is about.
        Some(Ok((witness, view))) if view.is_empty() => return read(witness, view, &plan).map_err(failed),
        seen => seen.transpose()?,
    };
    let job = move || -> Result<(Witness, Batches), ScanError> {
        if clock.now() >= deadline {
            return Err(Failure::new(Code::Unreachable, "the read waited past its deadline").into());
        }
        let (witness, view) = match seen {
            Some(seen) => seen,
            None => look(&group.machine().read(), database, &plan)?,
        };
        read(witness, view, &plan)
    };
    run(&*node.env.work, Class::Scan, job).await.map_err(failed)
}

/// What a plan needs of a shard, if it can be seen at once: nothing is applied meanwhile, and there is not much to look at.
fn glance(group: &Group<Shard>, database: DatabaseId, plan: &Plan) -> Option<Result<(Witness, View), Failure>> {
    let machine = group.machine().try_read()?;
    machine.engine().is_view_at_most(GLANCE_LOOKS_MAX, database, plan).then(|| look(&machine, database, plan))
}

fn look(machine: &Shard, database: DatabaseId, plan: &Plan) -> Result<(Witness, View), Failure> {
    if machine.engine().is_dropped(database) {
        return Err(Failure::new(Code::NoDatabase, "the database was dropped"));
    }
    Ok((machine.witness(), machine.engine().view(database, plan)))
}

fn read(witness: Witness, view: View, plan: &Plan) -> Result<(Witness, Batches), ScanError> {
    let (mut broken, needed) = (None, Needed::of(plan));
    let rows = view.series(&needed).map_while(|rows| rows.map_err(|error| broken = Some(error)).ok());
    let batches = execute(plan, rows, &needed);
    if let Some(error) = broken {
        return Err(ScanError::Files(error));
    }
    let batches = batches.map_err(|e| Failure::new(e.code(), e.to_string()))?;
    Ok((witness, batches))
}

/// Why a scan has no answer.
enum ScanError {
    /// What was asked cannot be answered.
    Asked(Failure),
    /// The replica's own files failed.
    Files(StoreError),
}

impl From<Failure> for ScanError {
    fn from(failure: Failure) -> Self {
        Self::Asked(failure)
    }
}

impl Node {
    /// What the caller is told; a replica whose files are damaged leaves service, and a node whose disk fails halts.
    fn scan_failed(&self, shard: ShardId, error: ScanError) -> Failure {
        let error = match error {
            ScanError::Asked(failure) => return failure,
            ScanError::Files(error) => crate::shard::failed(error),
        };
        let message = format!("{} cannot read its replica of {shard}: {error}", self.id);
        match error {
            JobError::Halt(halt) => self.halt(halt),
            error => self.damaged(shard, &error.to_string()),
        }
        Failure::new(Code::Moved, message).retry_after_ms(100)
    }
}
