//! Linearizable reads of one shard: a read index, a view, and the plan run over it off the async threads.

use futures::StreamExt;
use futures::stream::BoxStream;
use meridian_engine::StoreError;
use meridian_env::Class;
use meridian_proto::v1;
use meridian_proto::v1::scan_reply::Part;
use meridian_query::{Batches, Needed, Plan, execute};
use meridian_raft::{JobError, ReadError};
use meridian_types::{Code, DatabaseId, Failure, NodeId, ShardId, Witness};
use parking_lot::Mutex;
use std::sync::Arc;
use tonic::Status;

use super::{Node, deadline_in, moved};

/// Answers a scan: the witness, then batches as the caller takes them, then the end.
pub(super) async fn serve(
    node: &Node,
    request: v1::ScanRequest,
) -> Result<BoxStream<'static, Result<v1::ScanReply, Status>>, (Failure, Option<NodeId>)> {
    let plain = |failure: Failure| (failure, None);
    let group = node.shard(request.shard, request.incarnation).map_err(plain)?;
    let plan = Plan::decode(&request.plan).map_err(|e| plain(Failure::new(e.code(), e.to_string())))?;
    let context = node.context(deadline_in(&node.env, request.deadline_ms), &request.traceparent);
    group.read_index(context.deadline).await.map_err(|error| match error {
        ReadError::Moved(leader) => moved(&ShardId(request.shard), leader),
        ReadError::Unconfirmed(why) => {
            plain(Failure::new(Code::NoLeader, format!("{}: {why}", ShardId(request.shard))).retry_after_ms(100))
        }
    })?;
    node.metrics.scanned();
    let database = DatabaseId(request.database);
    let clock = Arc::clone(&node.env.clock);
    let shard = ShardId(request.shard);
    let job = move || -> Result<(Witness, Batches), ScanError> {
        let late = || Failure::new(Code::Unreachable, "the read waited past its deadline");
        if clock.now() >= context.deadline {
            return Err(late().into());
        }
        let machine = group.machine().read();
        if machine.engine().is_dropped(database) {
            return Err(Failure::new(Code::NoDatabase, "the database was dropped").into());
        }
        let (witness, view) = (machine.witness(), machine.engine().view(database, &plan));
        drop(machine);
        let mut broken = None;
        let needed = Needed::of(&plan);
        let rows = view.series(&needed).map_while(|rows| rows.map_err(|error| broken = Some(error)).ok());
        let batches = execute(&plan, rows, &needed);
        if let Some(error) = broken {
            return Err(ScanError::Files(error));
        }
        let batches = batches.map_err(|e| Failure::new(e.code(), e.to_string()))?;
        Ok((witness, batches))
    };
    let answered = meridian_env::run(&*node.env.work, Class::Scan, job).await;
    let (witness, batches) = answered.map_err(|error| plain(node.scan_failed(shard, error)))?;
    tracing::debug!(index = %witness.index, "reads");
    let start = v1::ScanReply { part: Some(Part::Start(witness.into())) };
    let rest = futures::stream::unfold(Some(Arc::new(Mutex::new(batches))), {
        let work = Arc::clone(&node.env.work);
        move |state| {
            let work = Arc::clone(&work);
            async move {
                let batches = state?;
                let next = Arc::clone(&batches);
                let encode = move || next.lock().next().map(|batch| batch.encode());
                Some(match meridian_env::run(&*work, Class::Scan, encode).await {
                    Some(batch) => (Part::Batch(batch.into()), Some(batches)),
                    None => (Part::End(true), None),
                })
            }
        }
    });
    let rest = rest.map(|part| Ok(v1::ScanReply { part: Some(part) }));
    Ok(futures::stream::iter([Ok(start)]).chain(rest).boxed())
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
