//! A query's way out: a `Select` becomes a plan, every shard that its range touches answers, in one stream from each node,
//! and their ordered batches are merged and streamed as they arrive.
//!
//! An answer is whole or an error: a shard that cannot answer fails the query, in its first message or in its midst.

mod gather; // batches to rows, streamed
mod plan; // what was asked, checked against the map
mod rows; // rows to messages

use std::sync::Arc;

use meridian_client::{Database, Map};
use meridian_env::{Class, Context, run};
use meridian_proto::v1;
use meridian_query::{Matcher, Plan};
use meridian_types::{Code, Failure, Mutant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::Instrument;

use crate::front::Front;
use crate::metrics::outcome_of;
use gather::Gather;
use plan::Asked;

pub(crate) use plan::match_op;

/// Messages that wait for a slow client; the rest waits with the shards.
const MESSAGES_WAITING: usize = 2;
/// When to try again while too many queries are under way.
const RETRY_AFTER_MS: u32 = 500;

/// An answer as it is sent.
pub(crate) type Answer = ReceiverStream<Result<v1::QueryReply, Status>>;

impl Front {
    /// Answers a query. What can be known at once is a failure here; what goes wrong later ends the stream.
    pub(crate) async fn query(self: Arc<Self>, context: Context, select: v1::Select) -> Result<Answer, Failure> {
        let trace = context.trace.as_ref().map(tracing::field::display);
        let span = tracing::info_span!("query", database = select.database, measurement = select.measurement, trace);
        let started = self.env.clock.now();
        let (sender, answer) = tokio::sync::mpsc::channel(MESSAGES_WAITING);
        let begun = self.begin(&context, select).instrument(span.clone()).await;
        let mut gather = match begun {
            Ok(gather) => gather,
            Err(failure) => {
                self.metrics.begin("query").done(outcome_of(&failure));
                span.in_scope(|| tracing::info!(code = %failure.code, why = failure.message, "refused"));
                return Err(failure);
            }
        };
        let gathering = async move {
            let mut in_flight = self.metrics.begin("query");
            match gather.send_all(&self.env, &context, &sender).await {
                Ok(Some(rows)) => {
                    in_flight.done("ok");
                    self.metrics.rows_read.inc_by(rows);
                    tracing::debug!(rows, "answered");
                }
                // The client went away.
                Ok(None) => {}
                Err(failure) => {
                    in_flight.done(outcome_of(&failure));
                    tracing::info!(code = %failure.code, why = failure.message, "failed");
                }
            }
            self.metrics.query_took(self.env.clock.now() - started);
        };
        tokio::spawn(gathering.instrument(span));
        Ok(ReceiverStream::new(answer))
    }

    async fn begin(&self, context: &Context, select: v1::Select) -> Result<Gather, Failure> {
        let Ok(permit) = Arc::clone(&self.queries).try_acquire_owned() else {
            let text = "too many queries are under way in this router: send again later, or through another";
            return Err(Failure::new(Code::Overloaded, text).retry_after_ms(RETRY_AFTER_MS));
        };
        let is_compiled = |m: &v1::Matcher| match_op(m).is_ok_and(|op| Matcher::is_compiled(op, &m.value));
        let inline = !select.matchers.iter().any(is_compiled);
        let check = move || Asked::check(select);
        // Compiling patterns can take long.
        let asked = if inline { check() } else { run(&*self.env.work, Class::Scan, check).await }?;
        let (map, database, plan) = self.plan(context, &asked).await?;
        if map.epochs.is_empty() {
            return Err(Failure::new(Code::NotReady, "the cluster is not formed yet: it has no shards"));
        }
        let bytes = bytes::Bytes::from(plan.encode());
        let shards = map.shards_in(plan.range);
        let scans = self.cluster.scan(context, &shards, database.id, &bytes).await?;
        Ok(Gather::new(plan, scans, permit))
    }

    /// The plan, by a map that is known to be new enough: fields keep their types for ever, so fields that are named and known
    /// need no newer one; "all fields" and names that are not known do.
    async fn plan(&self, context: &Context, asked: &Asked) -> Result<(Arc<Map>, Arc<Database>, Plan), Failure> {
        let select = &asked.select;
        let database = self.database(context, &select.database).await?;
        let map = self.cluster.map();
        if !select.fields.is_empty()
            && let Ok(plan) = asked.plan(&map, &database)
        {
            return Ok((map, database, plan));
        }
        let map = match Mutant::StaleMap.is_planted() {
            true => map,
            false => self.cluster.refresh(context).await?,
        };
        let database = self.database(context, &select.database).await?;
        let plan = asked.plan(&map, &database)?;
        Ok((map, database, plan))
    }
}
