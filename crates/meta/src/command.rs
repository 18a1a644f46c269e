//! What the meta group's log carries. The order of variants and fields is stored: only append, never reorder.

use meridian_types::{DatabaseId, Duration, FieldType, NodeId, ReplicaId, ShardId};
use serde::{Deserialize, Serialize};

use crate::codec::{self, DecodeError};

/// Names a cluster for ever; 128 random bits drawn by the node that is told to begin it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterId(pub u128);

impl std::fmt::Display for ClusterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl std::fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// One storage node as the others find it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Its number.
    pub id: NodeId,
    /// Where it stands; copies of a shard go to different regions first. Never changes.
    pub region: String,
    /// `host:port` of its gRPC for routers and operators.
    pub addr_data: String,
    /// `host:port` of its gRPC for peers.
    pub addr_raft: String,
    /// `host:port` of its `/metrics` and `/health`.
    pub addr_http: String,
    /// Drawn by its directory before it joined: tells this node from another one that comes back under its addresses.
    pub nonce: u64,
}

/// One replicated change of the catalogue.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Places the shards on the nodes that have joined, once there are as many as `Init` asked for. Again it changes nothing.
    Form,
    /// Updates the addresses of a known node, as after a restart on other ports or another machine.
    RegisterNode(NodeSpec),
    /// Makes a database in the default placement.
    CreateDatabase {
        /// `[A-Za-z_][A-Za-z0-9_.-]{0,63}`.
        name: String,
        /// The tags that decide a series' slot; `None` means all of them.
        shard_by: Option<Vec<String>>,
        /// How long points are kept; zero means for ever.
        retention: Duration,
        /// How far ahead of the clock a point may be.
        future: Duration,
        /// Answer with the database that has this name, whatever its settings, instead of a refusal.
        if_absent: bool,
    },
    /// Drops a database. Its name is free at once; its id is never given again.
    DropDatabase {
        /// Which database.
        name: String,
    },
    /// A shard has applied the drop of a database. Idempotent.
    ConfirmDropped {
        /// The dropped database.
        database: DatabaseId,
        /// The shard that has forgotten it.
        shard: ShardId,
    },
    /// Decides the types of fields. All that agree with what is stored are registered; the reply lists the others.
    RegisterFields {
        /// Whose fields.
        database: DatabaseId,
        /// Measurement, field and type; may name what is registered already.
        fields: Vec<(String, String, FieldType)>,
    },
    /// Begins the cluster: the first command of its log. The same again is answered like the first; any other is refused.
    Init {
        /// The new cluster's id.
        cluster: ClusterId,
        /// Nodes that must have joined before shards are placed, 1 to `NODES_MAX`.
        nodes: u32,
        /// Shards, 1 to `SHARDS_MAX`; they get the ids `s1` on.
        shards: u32,
        /// Copies of each shard, 1 to `nodes`.
        replication: u8,
    },
    /// Gives a directory that was never a node the next id. Asked again with its nonce it gets the same one.
    Join {
        /// Drawn by the directory.
        nonce: u64,
        /// As in [`NodeSpec`].
        region: String,
        /// As in [`NodeSpec`].
        addr_data: String,
        /// As in [`NodeSpec`].
        addr_raft: String,
        /// As in [`NodeSpec`].
        addr_http: String,
    },
    /// Gives a copy of a shard whose files are lost a new id in the same place, so that it starts from nothing and gets its
    /// content from the others. The old id never comes back. Again it changes nothing.
    ReplaceReplica {
        /// The shard.
        shard: ShardId,
        /// The copy that gives way.
        replica: ReplicaId,
    },
}

impl Command {
    /// The bytes for the log: a version byte, then postcard.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads what [`Command::encode`] wrote. On an error the caller halts: skipping an entry would make replicas differ.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes)
    }
}
