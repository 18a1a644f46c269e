//! What the meta group's replicas hold, and how it is read. Changed by `apply` alone; may be read at any time.

use std::collections::{BTreeMap, BTreeSet};

use meridian_types::{DatabaseId, Duration, Epoch, EpochId, FieldType, Incarnation, NodeId, ReplicaId, ShardId};
use serde::{Deserialize, Serialize};

use crate::command::{ClusterId, NodeSpec};
use crate::fields::{FieldRecord, FieldTypes, Fields};
use crate::sections::Section;

/// The placement that forming the cluster makes.
pub const PLACEMENT_DEFAULT: &str = "default";

/// What the cluster was begun with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Formation {
    /// The cluster.
    pub cluster: ClusterId,
    /// Nodes that its first shards wait for.
    pub nodes: u32,
    /// Its first number of shards.
    pub shards: u32,
    /// Its first number of copies of each shard.
    pub replication: u8,
}

/// Policy for where copies go.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Placement {
    /// Its name.
    pub name: String,
    /// Voters of each shard.
    pub replication: u8,
}

/// A named set of series.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Database {
    /// Its id, never reused.
    pub id: DatabaseId,
    /// Its name, unique among live databases.
    pub name: String,
    /// The tags that decide a series' slot, sorted; `None` means all of them. Never changes.
    pub shard_by: Option<Vec<String>>,
    /// How long points are kept; zero means for ever.
    pub retention: Duration,
    /// How far ahead of the clock a point may be.
    pub future: Duration,
    /// The name of its placement.
    pub placement: String,
}

/// A database that is dropped and that some shards may still hold.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Dropped {
    /// Its id.
    pub id: DatabaseId,
    /// The name that it had.
    pub name: String,
    /// The shards that have not confirmed the drop, never empty.
    pub waiting: BTreeSet<ShardId>,
}

/// One copy of a shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Replica {
    /// Its id, which is Raft's id in the group; never reused.
    pub id: ReplicaId,
    /// Where it is.
    pub node: NodeId,
}

/// One Raft group of points.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Shard {
    /// Its id.
    pub id: ShardId,
    /// Its life.
    pub incarnation: Incarnation,
    /// Its copies.
    pub replicas: Vec<Replica>,
    /// The copy that should lead.
    pub preferred: ReplicaId,
    /// The copy that forms the group, once, when it starts. None after it was replaced: the group is there then, and a copy that
    /// has not started yet must wait for it.
    pub former: Option<ReplicaId>,
}

/// Numbers that only grow, so that nothing is named twice.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Counters {
    /// Commands that changed something.
    pub(crate) version: u64,
    pub(crate) next_node: u32,
    pub(crate) next_database: u32,
    pub(crate) next_replica: u64,
    pub(crate) next_field: u64,
    /// Field records there are, so that a lost one is noticed.
    pub(crate) fields: u64,
}

/// The state of the meta group. [`Catalogue::default`] is the state before the cluster is begun.
#[derive(Clone, Debug)]
pub struct Catalogue {
    pub(crate) counters: Counters,
    pub(crate) formation: Option<Formation>,
    pub(crate) nodes: BTreeMap<NodeId, NodeSpec>,
    pub(crate) placements: BTreeMap<String, Placement>,
    pub(crate) databases: BTreeMap<DatabaseId, Database>,
    pub(crate) dropped: BTreeMap<DatabaseId, Dropped>,
    pub(crate) shards: BTreeMap<ShardId, Shard>,
    pub(crate) epochs: BTreeMap<EpochId, Epoch>,
    pub(crate) fields: Fields,
    /// What storage does not have yet; no part of the replicated state.
    pub(crate) changed: BTreeSet<Section>,
}

impl Default for Catalogue {
    fn default() -> Self {
        Self {
            counters: Counters {
                version: 0,
                next_node: 1,
                next_database: 1,
                next_replica: 1,
                next_field: 0,
                fields: 0,
            },
            formation: None,
            nodes: BTreeMap::new(),
            placements: BTreeMap::new(),
            databases: BTreeMap::new(),
            dropped: BTreeMap::new(),
            shards: BTreeMap::new(),
            epochs: BTreeMap::new(),
            fields: Fields::default(),
            changed: Section::FIXED.into(),
        }
    }
}

impl Catalogue {
    /// How many applied commands changed something. Equal versions of one cluster have equal contents.
    pub fn version(&self) -> u64 {
        self.counters.version
    }

    /// The cluster, once it is begun.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.formation.as_ref().map(|f| f.cluster)
    }

    /// What the cluster was begun with, once it is.
    pub fn formation(&self) -> Option<&Formation> {
        self.formation.as_ref()
    }

    /// Whether the nodes that were waited for have joined and every shard has its place.
    pub fn is_formed(&self) -> bool {
        !self.shards.is_empty()
    }

    /// All nodes.
    pub fn nodes(&self) -> &BTreeMap<NodeId, NodeSpec> {
        &self.nodes
    }

    /// All placements by name.
    pub fn placements(&self) -> &BTreeMap<String, Placement> {
        &self.placements
    }

    /// All live databases.
    pub fn databases(&self) -> &BTreeMap<DatabaseId, Database> {
        &self.databases
    }

    /// The live database of this name. Looks at each: routers keep their own map by name.
    pub fn database(&self, name: &str) -> Option<&Database> {
        self.databases.values().find(|d| d.name == name)
    }

    /// The live database of this id.
    pub fn database_by_id(&self, id: DatabaseId) -> Option<&Database> {
        self.databases.get(&id)
    }

    /// Dropped databases that some shard has not confirmed yet.
    pub fn dropped(&self) -> &BTreeMap<DatabaseId, Dropped> {
        &self.dropped
    }

    /// All shards.
    pub fn shards(&self) -> &BTreeMap<ShardId, Shard> {
        &self.shards
    }

    /// All epochs.
    pub fn epochs(&self) -> &BTreeMap<EpochId, Epoch> {
        &self.epochs
    }

    /// The field types of a database by measurement and field; `None` while it has none.
    pub fn fields(&self, database: DatabaseId) -> Option<&FieldTypes> {
        self.fields.types(database)
    }

    /// The type of a field, once it is decided; then it never changes while the database lives.
    pub fn field_type(&self, database: DatabaseId, measurement: &str, field: &str) -> Option<FieldType> {
        self.fields.types(database)?.get(measurement)?.get(field).copied()
    }

    /// The field decisions numbered `cursor` and above, and the cursor for the next call; a watcher starts at 0. Numbers
    /// are the same on every replica. Decisions of a dropped database are no longer in the log: a watcher that misses the
    /// id among [`Catalogue::databases`] forgets what it knew of it, and never has to start over.
    pub fn fields_since(&self, cursor: u64) -> (&[FieldRecord], u64) {
        (self.fields.since(cursor), self.counters.next_field)
    }
}
