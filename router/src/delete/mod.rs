//! A delete's way: what is named becomes a selection, every shard that its range touches deletes its part once, and what
//! became of each is one answer. HTTP and gRPC share all of it.
//!
//! Not atomic over shards: an answer without a failure means that all have done it, and a failure says which have.

mod asked; // what a message of gRPC names, pure
mod verdict; // what became of all shards, pure

use bytes::Bytes;
use futures::future::join_all;
use meridian_client::Deletion;
use meridian_env::Context;
use meridian_query::Selection;
use meridian_types::{Code, DatabaseId, Failure, RequestId, ShardId, Witness};
use tracing::Instrument;

use crate::front::{Front, clip};
use crate::metrics::outcome_of;
use crate::write::{Ids, check_birth};
use verdict::{ShardOutcome, verdict};

pub(crate) use asked::selection;

/// Bytes of a measurement's name in a message.
const NAME_BYTES_MAX: usize = 512;

impl Front {
    /// Deletes what is selected, counted and logged; a witness for each shard that was asked, if all have done it.
    pub(crate) async fn delete(
        &self,
        endpoint: &'static str,
        context: &Context,
        database: &str,
        selection: Selection,
        ids: Ids,
    ) -> Result<Vec<Witness>, Failure> {
        let mut in_flight = self.metrics.begin(endpoint);
        let trace = context.trace.as_ref().map(tracing::field::display);
        let span = tracing::info_span!("delete", endpoint, database, peer = %context.principal, trace);
        let result = self.delete_all(context, database, &selection, ids).instrument(span.clone()).await;
        span.in_scope(|| match &result {
            Err(failure) => tracing::info!(code = %failure.code, why = failure.message, "failed"),
            // Unlike a write, it is worth a line: somebody will ask where the points are.
            Ok(witnesses) => {
                let (range, conditions, shards) = (selection.range, selection.matchers.len(), witnesses.len());
                let measurement = selection.measurement.as_deref().map(|name| clip(name, NAME_BYTES_MAX));
                tracing::info!(measurement, ?range, conditions, shards, "deleted");
            }
        });
        in_flight.done(result.as_ref().map_or_else(outcome_of, |_| "ok"));
        result
    }

    async fn delete_all(
        &self,
        context: &Context,
        name: &str,
        selection: &Selection,
        ids: Ids,
    ) -> Result<Vec<Witness>, Failure> {
        check_birth(ids, self.env.clock.wall())?;
        self.database(context, name).await?;
        // All that was acknowledged anywhere must go: the map must know every shard that could have it.
        let map = self.cluster.refresh(context).await?;
        let database = self.database(context, name).await?;
        if map.epochs.is_empty() {
            return Err(Failure::new(Code::NotReady, "the cluster is not formed yet: it has no shards"));
        }
        if let Some(measurement) = &selection.measurement
            && map.fields(database.id, measurement).is_none()
        {
            let measurement = clip(measurement, NAME_BYTES_MAX);
            let text = format!("measurement {measurement:?} does not exist in this database: names are case-sensitive");
            return Err(Failure::new(Code::NoMeasurement, text));
        }
        let bytes = Bytes::from(selection.encode());
        let mut held = self.budget.hold();
        held.grow_to(bytes.len())?;
        let shards = map.shards_in(selection.range).into_iter();
        verdict(join_all(shards.map(|shard| self.delete_from(context, database.id, shard, bytes.clone(), ids))).await)
    }

    async fn delete_from(
        &self,
        context: &Context,
        database: DatabaseId,
        shard: ShardId,
        selection: Bytes,
        ids: Ids,
    ) -> ShardOutcome {
        let name =
            |request, pending_from| Deletion { shard, database, request, pending_from, selection: selection.clone() };
        let outcome = match ids {
            Ids::Own => self.delete_own(context, name).await,
            // The key names one request; nobody says when its last repetition has come.
            Ids::Key(session) => self.cluster.delete(context, name(RequestId { session, seq: 0 }, 0)).await,
            Ids::Exactly { request, pending_from } => self.cluster.delete(context, name(request, pending_from)).await,
        };
        ShardOutcome { shard, outcome }
    }

    /// Under an id of this router. A shard that has forgotten the router's session, because many others came since, is asked
    /// once more under a new one: without an id of the client's, a delete is done at least once.
    async fn delete_own(
        &self,
        context: &Context,
        name: impl Fn(RequestId, u64) -> Deletion,
    ) -> Result<Witness, Failure> {
        let pending = self.sessions.request();
        match self.cluster.delete(context, name(pending.id, pending.pending_from())).await {
            Err(failure) if failure.code == Code::SessionExpired => {
                self.sessions.renew(pending.id.session);
                let pending = self.sessions.request();
                self.cluster.delete(context, name(pending.id, pending.pending_from())).await
            }
            other => other,
        }
    }
}
