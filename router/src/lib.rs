//! The stateless front of a cluster: takes writes, deletes and queries from people and their programs, splits them by shard,
//! and answers when every shard has.
//!
//! Knows no engine, no Raft and no catalogue log: nodes are reached through `crates/client` alone. Keeps nothing that a
//! restart would lose, and touches the world through `Env` only, so that [`run`] is the same in production and in simulation.

mod delete; // a delete's way to all of its shards
mod front; // what all requests share
mod grpc; // the services for programs
mod http; // the paths for foreign clients and operators
mod metrics; // what operators see
mod read; // a query's way out
mod ready; // whether this router can do its work
mod write; // a batch's way in

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use meridian_env::{Env, Listener, deadline};
use tokio::sync::watch;

use crate::front::Front;

/// What a router is told at its start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Where HTTP listens, as `host:port`; port 0 takes a free one.
    pub http: String,
    /// Where gRPC listens, as `host:port`; port 0 takes a free one.
    pub grpc: String,
    /// gRPC addresses of some nodes of the cluster, as `host:port`; the others are learnt from these.
    pub nodes: Vec<String>,
    /// Whether a write to a database that does not exist creates it.
    pub auto_create_databases: bool,
    /// Longest time from a write's arrival to its answer, and of the drain at the end.
    pub request_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            http: "127.0.0.1:8086".into(),
            grpc: "127.0.0.1:7171".into(),
            nodes: Vec::new(),
            auto_create_databases: false,
            request_timeout: Duration::from_secs(10),
        }
    }
}

/// Where a router listens, each as `host:port`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Started {
    /// HTTP.
    pub http: String,
    /// gRPC.
    pub grpc: String,
}

/// Why a router could not serve.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No node to begin with.
    #[error("no node is named: name the gRPC address of at least one, such as 127.0.0.1:7172")]
    NoNodes,
    /// An address that cannot be listened at.
    #[error("{what} cannot listen at {address}: {source}; choose a free address of this host")]
    Listen {
        /// `HTTP` or `gRPC`.
        what: &'static str,
        /// The address.
        address: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The gRPC server ended by itself.
    #[error("the gRPC server failed: {0}")]
    Grpc(#[from] tonic::transport::Error),
    /// The HTTP server ended by itself.
    #[error("the HTTP server failed: {0}")]
    Http(std::io::Error),
}

/// Serves until `stop` resolves, then takes no more requests and answers those that are under way, for `request_timeout` at
/// most. `started` hears where it listens before the first request is taken.
pub async fn run(
    env: Env,
    config: Config,
    started: impl FnOnce(Started),
    stop: impl Future<Output = ()>,
) -> Result<(), RunError> {
    if config.nodes.is_empty() {
        return Err(RunError::NoNodes);
    }
    let http = listen(&env, "HTTP", &config.http).await?;
    let grpc = listen(&env, "gRPC", &config.grpc).await?;
    started(Started { http: http.local_addr(), grpc: grpc.local_addr() });
    let (stopping, told) = watch::channel(false);
    let clock = Arc::clone(&env.clock);
    let drain = config.request_timeout;
    let front = Arc::new(Front::new(env, config, told));
    let http = http::serve(Arc::clone(&front), http);
    let grpc = grpc::serve(front, grpc);
    let serving = async { tokio::try_join!(http, grpc).map(drop) };
    tokio::pin!(serving);
    tokio::select! {
        biased;
        ended = &mut serving => return ended,
        () = stop => {}
    }
    stopping.send_replace(true);
    match deadline(&*clock, clock.now() + drain, serving).await {
        Ok(ended) => ended,
        Err(_) => {
            tracing::warn!(
                "requests were still under way when the time to drain was over; their clients see them cut off"
            );
            Ok(())
        }
    }
}

async fn listen(env: &Env, what: &'static str, address: &str) -> Result<Box<dyn Listener>, RunError> {
    let failed = |source| RunError::Listen { what, address: address.to_owned(), source };
    env.net.listen(address).await.map_err(failed)
}
