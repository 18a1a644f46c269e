//! What the catalogue answers to a command. A refusal is a reply like any other: it is the same on every replica.

use meridian_types::limits::{FIELDS_MAX, NODES_MAX, SHARDS_MAX, TAGS_MAX};
use meridian_types::{Code, DatabaseId, FieldType, NodeId, ReplicaId, ShardId};
use serde::{Deserialize, Serialize};

use crate::catalogue::Database;
use crate::codec::{self, DecodeError};
use crate::command::ClusterId;

/// The outcome of one command.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// The shards have their places, now or before.
    Formed,
    /// The node's addresses are as given.
    NodeRegistered,
    /// The database that was made or, with `if_absent`, found.
    Database(Database),
    /// The database that had the name; its shards still have to confirm.
    Dropped(DatabaseId),
    /// The confirmation is noted.
    Confirmed,
    /// Every field of the command that is in neither list has the type that was given.
    Fields {
        /// Fields that have another type.
        conflicts: Vec<FieldConflict>,
        /// Fields for which their measurement has no room.
        over_limit: Vec<FieldOverLimit>,
    },
    /// Nothing was changed.
    Refused(Refused),
    /// The cluster is begun as asked, now or before.
    Initialised,
    /// The directory is this node, now or before.
    Joined(NodeId),
    /// The copy has given way, now or before.
    Replaced,
}

impl Reply {
    /// The bytes for whoever waits in another process: a version byte, then postcard.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads what [`Reply::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes)
    }
}

/// A field has a type already, and another was given.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("field {field:?} of measurement {measurement:?} is {stored}, not {given}")]
pub struct FieldConflict {
    /// Its measurement.
    pub measurement: String,
    /// Its name.
    pub field: String,
    /// The type it has.
    pub stored: FieldType,
    /// The type that was given.
    pub given: FieldType,
}

impl FieldConflict {
    /// The public code of this failure.
    pub fn code(&self) -> Code {
        Code::TypeConflict
    }
}

/// A field for which its measurement has no room.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("measurement {measurement:?} has {FIELDS_MAX} fields, the limit: field {field:?} needs another measurement")]
pub struct FieldOverLimit {
    /// The full measurement.
    pub measurement: String,
    /// The field that was not registered.
    pub field: String,
}

impl FieldOverLimit {
    /// The public code of this failure.
    pub fn code(&self) -> Code {
        Code::OverLimit
    }
}

/// Why a command changed nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum Refused {
    /// The first command must begin the cluster.
    #[error("the cluster is not begun yet: run `meridian cluster init`")]
    NotInitialised,
    /// Shards have no place before enough nodes have joined.
    #[error(
        "the cluster is not formed yet: {joined} of {wanted} nodes have joined; start the others with --join, or wait"
    )]
    NotFormed {
        /// Nodes that there are.
        joined: usize,
        /// Nodes that the cluster was begun for.
        wanted: u32,
    },
    /// Another beginning came first.
    #[error(
        "cluster {0} is begun already: `meridian cluster init` is sent once, to one node; the others join by themselves"
    )]
    AlreadyInitialised(ClusterId),
    /// A number of nodes outside its limits.
    #[error("{0} nodes are outside 1 to {NODES_MAX}")]
    NodeCount(u32),
    /// A number of shards outside its limits.
    #[error("{0} shards are outside 1 to {SHARDS_MAX}")]
    ShardCount(u32),
    /// More copies than nodes, or none.
    #[error("{replication} copies of each shard need as many nodes, and at least 1 of both: there are {nodes} nodes")]
    Replication {
        /// The copies asked for.
        replication: u8,
        /// The nodes that there are to be.
        nodes: u32,
    },
    /// A node that never joined.
    #[error("{0} is no node of this cluster")]
    UnknownNode(NodeId),
    /// A directory asks to be a new node at the address of an old one, or as an old one whose directory it is not.
    #[error(
        "{node} of this cluster is registered at {address}, and this directory is not the one that it joined with: a node \
         that lost its disk has forgotten its votes and what it acknowledged, and must not come back under its old name. \
         Restore its directory; or, for a new node, choose another address; or, if {node} has moved, start it first, so that \
         it registers its new address"
    )]
    AnotherDirectory {
        /// The node that is registered.
        node: NodeId,
        /// The address that both have.
        address: String,
    },
    /// A node came back somewhere else.
    #[error("{node} is in region {stored:?}, not {given:?}: a node never changes its region")]
    RegionChanged {
        /// Which node.
        node: NodeId,
        /// The region it joined from.
        stored: String,
        /// The region that was given.
        given: String,
    },
    /// A name that no database can have.
    #[error("{0:?} is no database name: use a letter or _, then up to 63 of letters, digits, _ . -")]
    DatabaseName(String),
    /// The name is taken.
    #[error("database {0:?} exists")]
    DatabaseExists(String),
    /// No database has this name.
    #[error("there is no database {0:?}")]
    NoDatabase(String),
    /// No database has this id: dropped, or never made.
    #[error("there is no database {0}: it was dropped")]
    NoDatabaseId(DatabaseId),
    /// A shard confirmed the drop of a database that lives.
    #[error("database {0} is not dropped")]
    NotDropped(DatabaseId),
    /// All ids are used up.
    #[error("no database id is left: {0} were given")]
    DatabaseIds(u32),
    /// `shard_by` cannot be followed.
    #[error("`shard_by` needs 1 to {TAGS_MAX} tag names without NUL; leave it out to shard by all tags")]
    ShardBy,
    /// A span of time below zero.
    #[error("{what} is {nanos} ns: it must not be negative")]
    NegativeDuration {
        /// `retention` or `future`.
        what: String,
        /// The value seen.
        nanos: i64,
    },
    /// A measurement or field name that is not allowed.
    #[error("measurement {measurement:?}, field {field:?}: names have 1 to 65,535 bytes and no NUL")]
    FieldName {
        /// The measurement as given.
        measurement: String,
        /// The field as given.
        field: String,
    },
    /// No shard has this id.
    #[error("there is no shard {0}")]
    NoShard(ShardId),
    /// A copy that no other one could give its content to.
    #[error("{replica} is the only copy of {shard}: what it has lost is nowhere else. Restore its files")]
    LastReplica {
        /// The shard.
        shard: ShardId,
        /// Its copy.
        replica: ReplicaId,
    },
}

impl Refused {
    /// The public code of this failure.
    pub fn code(&self) -> Code {
        match self {
            Self::NotInitialised | Self::NotFormed { .. } => Code::NotReady,
            Self::AlreadyInitialised(_) => Code::ClusterExists,
            Self::RegionChanged { .. } => Code::WrongCluster,
            Self::AnotherDirectory { .. } => Code::LostDisk,
            Self::NodeCount(_) | Self::ShardCount(_) | Self::DatabaseIds(_) => Code::OverLimit,
            Self::UnknownNode(_) | Self::NoShard(_) => Code::NoGroup,
            Self::DatabaseExists(_) => Code::DatabaseExists,
            Self::NoDatabase(_) | Self::NoDatabaseId(_) => Code::NoDatabase,
            Self::Replication { .. }
            | Self::LastReplica { .. }
            | Self::DatabaseName(_)
            | Self::NotDropped(_)
            | Self::ShardBy
            | Self::NegativeDuration { .. }
            | Self::FieldName { .. } => Code::BadRequest,
        }
    }
}
