//! The storage node: stores replicas of shards and of the catalogue, and serves routers and peers.
//!
//! [`run`] is the whole node, for `main` and for the simulation alike: whatever it touches comes through its `Env`.

mod config;
mod http;
mod identity;
mod meta;
mod metrics;
mod reconcile;
mod requests;
mod run;
mod service;
mod shard;

pub use config::{Config, Listen, Member};
pub use meridian_raft::{LogSettings, Timing};
pub use run::{RunError, Started, run};
