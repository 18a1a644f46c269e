//! What a node is told when it starts.

use std::path::PathBuf;
use std::time::Duration;

use meridian_raft::{LogSettings, Timing};

/// The three addresses of a node, each as `host:port`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Addresses {
    /// gRPC for routers, operators, and nodes that join.
    pub data: String,
    /// gRPC for the replicas on other nodes.
    pub raft: String,
    /// `/metrics`, `/health` and `/ready`.
    pub http: String,
}

/// Bounds of what a node keeps in memory and on disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StorageSettings {
    /// Memory of points that are in no block yet.
    pub memory_bytes: u64,
    /// The log on disk, all groups together.
    pub log_bytes: u64,
    /// Entries of a group that stay in the log although blocks have them, for followers that are behind.
    pub log_keep_bytes: u64,
    /// Longest time that points stay in memory alone.
    pub flush_after: Duration,
    /// Longest range of data time of one block.
    pub partition_max: Duration,
    /// Speed at which a replica is sent to another node.
    pub snapshot_bytes_per_second: u64,
}

impl Default for StorageSettings {
    fn default() -> Self {
        Self {
            memory_bytes: 1 << 30,
            log_bytes: 1 << 30,
            log_keep_bytes: 16 << 20,
            flush_after: Duration::from_secs(600),
            partition_max: Duration::from_secs(86_400),
            snapshot_bytes_per_second: 64 << 20,
        }
    }
}

/// A node's settings. Which cluster it belongs to is not among them: that stands in its directory, from the day it joined.
#[derive(Clone, Debug)]
pub struct Config {
    /// Everything it stores.
    pub data: PathBuf,
    /// Where it listens; port 0 takes a free one.
    pub listen: Addresses,
    /// How others reach it; port 0 stands for the port at which it listens.
    pub advertise: Addresses,
    /// Where it stands; copies of a shard go to different regions first. Never changes.
    pub region: String,
    /// gRPC addresses of nodes to ask for a cluster while it belongs to none, and for news of the others while it finds no
    /// leader. Its own may be among them.
    pub join: Vec<String>,
    /// Bounds of memory and disk.
    pub storage: StorageSettings,
    /// Waits of Raft.
    pub timing: Timing,
    /// Sizes of the log.
    pub log: LogSettings,
}
