//! What a node is told when it starts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use meridian_raft::{LogSettings, Timing};
use meridian_types::NodeId;

/// Where a node listens, each as `host:port`; port 0 takes a free one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listen {
    /// gRPC for routers and operators.
    pub data: String,
    /// gRPC for peers.
    pub raft: String,
    /// `/metrics` and `/health`.
    pub http: String,
}

/// One node of the cluster's first formation, as the others reach it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its region.
    pub region: String,
    /// `host:port` of its gRPC for routers.
    pub data: String,
    /// `host:port` of its gRPC for peers.
    pub raft: String,
    /// `host:port` of its HTTP.
    pub http: String,
}

/// A node's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Everything it stores.
    pub data: PathBuf,
    /// The cluster, as 32 hexadecimal digits.
    pub cluster: u128,
    /// This node, one of `members`.
    pub node: NodeId,
    /// Where it listens.
    pub listen: Listen,
    /// All nodes, this one included; an odd number, since every one votes on the catalogue.
    pub members: BTreeMap<NodeId, Member>,
    /// Shards that the cluster is formed with.
    pub shards: u32,
    /// Copies of each shard that the cluster is formed with.
    pub replication: u8,
    /// Whether an empty data directory is right, because this is the node's first start. Otherwise it is a lost disk: the
    /// node would forget what it has acknowledged, and must not come back under its old name.
    pub first_start: bool,
    /// Waits of Raft.
    pub timing: Timing,
    /// Sizes of the log.
    pub log: LogSettings,
}
