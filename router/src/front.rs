//! What all requests of a router share: the way to the cluster, request ids, the budget of bytes, and counters.
//!
//! Decides nothing about a request: that is the business of `write` and `read`.

use std::sync::Arc;
use std::time::Duration;

use meridian_client::{Cluster, Database, Map, Sessions};
use meridian_env::{Context, Env, Rng, Trace};
use meridian_proto::v1;
use meridian_types::{Code, Failure, database_name_is_valid};
use tokio::sync::{Semaphore, watch};

use crate::Config;
use crate::metrics::Metrics;
use crate::ready::Ready;
use crate::write::{AllMet, Budget};

/// Queries under way at a time: each holds a window of bytes for each shard.
const QUERIES_MAX: usize = 128;
/// Longest time of a query, from its arrival to its last row.
pub(crate) const QUERY_TIMEOUT: Duration = Duration::from_secs(30);

/// One router.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) env: Env,
    pub(crate) config: Config,
    pub(crate) cluster: Cluster,
    /// The request ids that this router gives to what came without one.
    pub(crate) sessions: Sessions,
    pub(crate) all_met: Arc<AllMet>,
    pub(crate) budget: Budget,
    pub(crate) queries: Arc<Semaphore>,
    pub(crate) metrics: Metrics,
    pub(crate) ready: Ready,
    /// Draws the ids of traces.
    traces: Rng,
    stopping: watch::Receiver<bool>,
}

impl Front {
    pub(crate) fn new(env: Env, config: Config, stopping: watch::Receiver<bool>) -> Self {
        Self {
            cluster: Cluster::connect(&env, config.nodes.clone()),
            sessions: Sessions::new(&env),
            all_met: Arc::new(AllMet::new(&env.rng)),
            budget: Budget::default(),
            queries: Arc::new(Semaphore::new(QUERIES_MAX)),
            metrics: Metrics::default(),
            ready: Ready::default(),
            traces: env.rng.child("traces"),
            env,
            config,
            stopping,
        }
    }

    /// Resolves when the router is to stop.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stopping = self.stopping.clone();
        // A sender that is gone has stopped, too.
        async move { drop(stopping.wait_for(|stop| *stop).await) }
    }

    /// Whether the router is to stop: what is under way is finished, and nobody should send more.
    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// The context of a request that arrives now, in the trace that its caller names, or else in a new one.
    pub(crate) fn context(&self, principal: Arc<str>, timeout: Duration, traceparent: Option<&str>) -> Context {
        let trace = traceparent.and_then(Trace::named).unwrap_or_else(|| Trace::new(&self.traces));
        Context { principal, deadline: self.env.clock.now() + timeout, trace: Some(trace) }
    }

    /// The map, once there is one.
    pub(crate) async fn map(&self, context: &Context) -> Result<Arc<Map>, Failure> {
        let map = self.cluster.map();
        if map.version > 0 { Ok(map) } else { self.cluster.map_at(context, 1).await }
    }

    /// The database of this name, as anyone acknowledged it before this call.
    pub(crate) async fn database(&self, context: &Context, name: &str) -> Result<Arc<Database>, Failure> {
        let none =
            || Failure::new(Code::NoDatabase, format!("database {name:?} does not exist: meridian db create {name}"));
        self.find_database(context, name).await?.ok_or_else(none)
    }

    /// The same, or nothing if it certainly is not there.
    pub(crate) async fn find_database(&self, context: &Context, name: &str) -> Result<Option<Arc<Database>>, Failure> {
        if !database_name_is_valid(name) {
            let text = format!("{:?} is no database name: use [A-Za-z_][A-Za-z0-9_.-]{{0,63}}", clip(name, 80));
            return Err(Failure::new(Code::BadRequest, text));
        }
        if let Some(database) = self.map(context).await?.databases.get(name) {
            return Ok(Some(Arc::clone(database)));
        }
        Ok(self.cluster.refresh(context).await?.databases.get(name).map(Arc::clone))
    }

    /// Makes a database, unless another request has just done so.
    pub(crate) async fn create_database(&self, context: &Context, name: &str) -> Result<Arc<Database>, Failure> {
        let request = v1::CreateDatabaseRequest { name: name.to_owned(), if_absent: true, ..Default::default() };
        let created = self.cluster.create_database(context, request).await?;
        let unreadable = |e: meridian_proto::ConvertError| Failure::new(Code::Internal, e.to_string());
        Ok(Arc::new(Database::try_from(created).map_err(unreadable)?))
    }
}

/// The start of a text, short enough for a message; at most `bytes_max` bytes.
pub(crate) fn clip(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}
