//! Batches of nodes to messages of rows. Reads a node's answer only when the merge wants its next batch: what the client does
//! not take stays with the nodes, behind HTTP/2's windows.

use std::sync::Arc;

use bytes::Bytes;
use meridian_client::Scan;
use meridian_env::{Class, Context, Env, deadline, run};
use meridian_proto::{status_of, v1};
use meridian_query::{Aggregate, Batch, Merge, Plan, columns};
use meridian_types::{Code, Failure, FieldType};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::Sender;
use tonic::Status;

use super::rows::messages;

/// Above this size, a batch is decoded by the threads for that.
const INLINE_BYTES_MAX: usize = 64 << 10;

type Replies = Sender<Result<v1::QueryReply, Status>>;

/// An answer in the making.
#[derive(Debug)]
pub(super) struct Gather {
    plan: Arc<Plan>,
    scans: Vec<Scan>,
    merge: Merge,
    /// Held as long as the query is under way.
    _permit: OwnedSemaphorePermit,
}

/// The client has gone away.
struct Gone;

impl Gather {
    pub(super) fn new(plan: Plan, scans: Vec<Scan>, permit: OwnedSemaphorePermit) -> Self {
        let merge = Merge::new(plan.clone(), scans.len());
        Self { plan: Arc::new(plan), scans, merge, _permit: permit }
    }

    /// Sends the whole answer; how many rows it had, or nothing if the client has gone away. A failure is sent, too.
    pub(super) async fn send_all(
        &mut self,
        env: &Env,
        context: &Context,
        replies: &Replies,
    ) -> Result<Option<u64>, Failure> {
        let sending = self.send_parts(env, replies);
        // A client that stops reading would hold the shards' answers for ever.
        let late =
            |_| Err(Failure::new(Code::Unreachable, "the query was not answered, or not read, before its deadline"));
        match deadline(&*env.clock, context.deadline, sending).await.unwrap_or_else(late) {
            Ok(Ok(rows)) => Ok(Some(rows)),
            Ok(Err(Gone)) => Ok(None),
            Err(failure) => {
                // If the client does not take it in time, the stream ends without its end, which is no answer either.
                let telling = replies.send(Err(status_of(&failure)));
                drop(deadline(&*env.clock, context.deadline, telling).await);
                Err(failure)
            }
        }
    }

    async fn send_parts(&mut self, env: &Env, replies: &Replies) -> Result<Result<u64, Gone>, Failure> {
        // What is not sent yet: a short answer is one message.
        let mut reply = v1::QueryReply { header: Some(header(&self.plan)), ..Default::default() };
        let mut count = 0;
        while !self.merge.done() {
            if let Some(input) = self.merge.wants() {
                // A shard may think for long: a client that is gone must not keep it, and our permit, until it is done.
                let Ok(next) = unless_gone(replies, self.scans[input].next()).await else { return Ok(Err(Gone)) };
                match next? {
                    None => self.merge.finish_input(input),
                    Some(bytes) => self.merge.push(input, self.decode(env, bytes).await?),
                }
            }
            let rows = self.merge.take().map_err(|error| Failure::new(error.code(), error.to_string()))?;
            count += rows.len() as u64;
            let mut messages = messages(&self.plan, rows).peekable();
            while let Some(rows) = messages.next() {
                reply.rows = Some(rows);
                let is_last = messages.peek().is_none() && self.merge.done();
                if !is_last && send(replies, std::mem::take(&mut reply)).await.is_err() {
                    return Ok(Err(Gone));
                }
            }
        }
        let witnesses = self.scans.iter().flat_map(|scan| &scan.witnesses);
        let witnesses = witnesses.map(|witness| (*witness).into()).collect();
        reply.end = Some(v1::QueryEnd { witnesses, rows: count });
        Ok(send(replies, reply).await.map(|()| count))
    }

    async fn decode(&self, env: &Env, bytes: Bytes) -> Result<Batch, Failure> {
        let plan = Arc::clone(&self.plan);
        let inline = bytes.len() <= INLINE_BYTES_MAX;
        let job = move || Batch::decode(&plan, &bytes);
        let batch = if inline { job() } else { run(&*env.work, Class::Scan, job).await };
        batch.map_err(|error| Failure::new(error.code(), error.to_string()))
    }
}

/// What `waiting` comes to, unless the client goes away before.
async fn unless_gone<T>(replies: &Replies, waiting: impl Future<Output = T>) -> Result<T, Gone> {
    tokio::select! {
        biased;
        () = replies.closed() => Err(Gone),
        done = waiting => Ok(done),
    }
}

async fn send(replies: &Replies, reply: v1::QueryReply) -> Result<(), Gone> {
    replies.send(Ok(reply)).await.map_err(|_| Gone)
}

fn header(plan: &Plan) -> v1::QueryHeader {
    let of_field = |(_, field_type): &(String, FieldType)| {
        let of = |aggregate: &Aggregate| match aggregate {
            Aggregate::Count => FieldType::U64,
            Aggregate::Mean => FieldType::F64,
            _ => *field_type,
        };
        if plan.aggregates.is_empty() { vec![*field_type] } else { plan.aggregates.iter().map(of).collect() }
    };
    let types = plan.fields.iter().flat_map(of_field);
    let column = |(name, field_type)| v1::Column { name, r#type: v1::FieldType::from(field_type).into() };
    v1::QueryHeader { columns: columns(plan).into_iter().zip(types).map(column).collect() }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use meridian_types::TimeRange;

    use super::*;

    #[test]
    fn a_client_that_leaves_is_noticed_while_a_shard_is_silent() {
        let (replies, answer) = tokio::sync::mpsc::channel(1);
        assert!(matches!(unless_gone(&replies, std::future::ready(7)).now_or_never(), Some(Ok(7))));
        let mut waiting = Box::pin(unless_gone(&replies, std::future::pending::<()>()));
        assert!(waiting.as_mut().now_or_never().is_none(), "the shard is silent and the client is there");
        drop(answer);
        assert!(matches!(waiting.now_or_never(), Some(Err(Gone))));
    }

    #[test]
    fn columns_have_names_and_types() {
        let fields = [("a".to_owned(), FieldType::I64), ("b".to_owned(), FieldType::F64)];
        let builder = || Plan::builder("m", TimeRange::ALL).fields(fields.clone());
        let of = |plan: &Plan| {
            let columns = header(plan).columns.into_iter();
            columns.map(|c| format!("{} {:?}", c.name, c.r#type())).collect::<Vec<_>>()
        };
        assert_eq!(of(&builder().build().expect("valid")), ["a Integer", "b Float"]);
        let aggregates = [Aggregate::Count, Aggregate::Mean, Aggregate::Max];
        assert_eq!(
            of(&builder().aggregates(aggregates).build().expect("valid")),
            [
                "count(a) Unsigned",
                "mean(a) Float",
                "max(a) Integer",
                "count(b) Unsigned",
                "mean(b) Float",
                "max(b) Float"
            ]
        );
    }
}
