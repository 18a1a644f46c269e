//! The storage node: stores replicas of shards and of the catalogue, and serves routers and peers.
//!
//! [`run`] is the whole node, for `main` and for the simulation alike: whatever it touches comes through its `Env`.

mod address; // under which a node can be found
mod admit; // how a directory becomes a node
mod config;
mod damage; // remembered
mod drain; // how it ends
mod gather; // how a cluster comes together
mod http;
mod identity; // whose a directory is
mod inspect; // what a directory holds
mod meet; // how nodes find each other again
mod meta;
mod metrics;
mod reconcile; // in step with the catalogue
mod register; // in the catalogue, where it is now
mod replicas; // of shards, here
mod requests;
mod retention;
mod run;
mod serve;
mod service;
mod shard;
mod state; // what a shard keeps beside its points
mod storage; // memory, log and files within their bounds

pub use config::{Addresses, Config, StorageSettings};
pub use inspect::{
    CatalogueReport, DatabaseReport, FileReport, InspectError, NodeReport, Part, ReplicaReport, Report, SegmentReport,
    ShardReport, Usage, inspect,
};
pub use meridian_raft::{LogSettings, Timing};
pub use run::{RunError, run};
