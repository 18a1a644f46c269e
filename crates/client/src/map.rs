//! What a router knows of the cluster: a value, replaced as a whole at every change of the catalogue.

use std::collections::BTreeMap;
use std::sync::Arc;

use meridian_proto::{ConvertError, v1};
use meridian_types::{
    DatabaseId, Duration, Epoch, EpochId, FieldType, Incarnation, NodeId, ReplicaId, SeriesKey, ShardId, Slot,
    SlotTable, TimeRange, Timestamp, slot_of,
};

/// A node's addresses, each `host:port`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Its region.
    pub region: String,
    /// gRPC for routers.
    pub data_address: Arc<str>,
    /// Raft for peers.
    pub raft_address: Arc<str>,
    /// HTTP for operators.
    pub http_address: Arc<str>,
}

/// A database's settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Database {
    /// Its id.
    pub id: DatabaseId,
    /// Its name.
    pub name: String,
    /// The tags that decide the shard; all if `None`.
    pub shard_by: Option<Vec<String>>,
    /// How long points are kept; 0 is for ever.
    pub retention: Duration,
    /// How far ahead of the clock a point may be.
    pub future: Duration,
}

/// A shard and where its replicas are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shard {
    /// Its life.
    pub incarnation: Incarnation,
    /// The replicas' nodes.
    pub replicas: BTreeMap<ReplicaId, NodeId>,
    /// The node that leads if it can.
    pub preferred: Option<NodeId>,
}

type Fields = BTreeMap<String, Arc<BTreeMap<String, FieldType>>>;

/// One version of the catalogue.
#[derive(Clone, Default, Debug)]
pub struct Map {
    /// 0 before anything is known.
    pub version: u64,
    /// The cluster's id.
    pub cluster: String,
    /// Nodes.
    pub nodes: Arc<BTreeMap<NodeId, Node>>,
    /// Databases by name.
    pub databases: Arc<BTreeMap<String, Arc<Database>>>,
    /// Shards.
    pub shards: Arc<BTreeMap<ShardId, Shard>>,
    /// Epochs in order of their time.
    pub epochs: Arc<Vec<Epoch>>,
    fields: Arc<BTreeMap<DatabaseId, Fields>>,
}

impl Map {
    /// The shard that owns a series at a time, if the cluster is formed.
    pub fn shard_of(
        &self,
        database: &Database,
        measurement: &str,
        key: &SeriesKey,
        time: Timestamp,
    ) -> Option<ShardId> {
        self.owner(slot_of(database.id, measurement, key, database.shard_by.as_deref()), time)
    }

    /// The shard that owns a slot at a time, if the cluster is formed.
    pub fn owner(&self, slot: Slot, time: Timestamp) -> Option<ShardId> {
        Some(self.epochs.iter().find(|e| e.range.contains(time))?.table.shard(slot))
    }

    /// All shards that own something in a range.
    pub fn shards_in(&self, range: TimeRange) -> Vec<ShardId> {
        let epochs = self.epochs.iter().filter(|e| e.range.overlaps(range));
        let shards: std::collections::BTreeSet<_> = epochs.flat_map(|e| e.table.shards().iter().copied()).collect();
        shards.into_iter().collect()
    }

    /// The type of a field, if it has one.
    pub fn field_type(&self, database: DatabaseId, measurement: &str, field: &str) -> Option<FieldType> {
        self.fields.get(&database)?.get(measurement)?.get(field).copied()
    }

    /// All fields of a measurement in name order.
    pub fn fields(&self, database: DatabaseId, measurement: &str) -> Option<&Arc<BTreeMap<String, FieldType>>> {
        self.fields.get(&database)?.get(measurement)
    }

    /// The map after an update of the catalogue, as a watch delivers it.
    pub fn updated(&self, update: v1::CatalogueUpdate) -> Result<Self, ConvertError> {
        let mut map = self.clone();
        map.version = update.version;
        if !update.cluster.is_empty() {
            map.cluster = update.cluster;
        }
        if let Some(list) = update.nodes {
            map.nodes = Arc::new(list.nodes.into_iter().map(node_in).collect());
        }
        if let Some(list) = update.databases {
            let databases: Result<Vec<_>, _> = list.databases.into_iter().map(Database::try_from).collect();
            map.databases = Arc::new(databases?.into_iter().map(|d| (d.name.clone(), Arc::new(d))).collect());
            let live: Vec<_> = map.databases.values().map(|d| d.id).collect();
            Arc::make_mut(&mut map.fields).retain(|id, _| live.contains(id));
        }
        if let Some(list) = update.shards {
            map.shards = Arc::new(list.shards.into_iter().map(shard_in).collect());
        }
        if let Some(list) = update.epochs {
            let epochs: Result<Vec<_>, _> = list.epochs.into_iter().map(epoch_in).collect();
            map.epochs = Arc::new(epochs?);
        }
        if let Some(list) = update.fields {
            map.add_fields(list)?;
        }
        Ok(map)
    }

    fn add_fields(&mut self, list: v1::FieldList) -> Result<(), ConvertError> {
        let databases = Arc::make_mut(&mut self.fields);
        if list.replace {
            databases.clear();
        }
        for entry in list.fields {
            let field_type = FieldType::try_from(entry.r#type())?;
            let measurements = databases.entry(DatabaseId(entry.database)).or_default();
            let fields = measurements.entry(entry.measurement).or_default();
            Arc::make_mut(fields).insert(entry.field, field_type);
        }
        Ok(())
    }
}

fn node_in(node: v1::Node) -> (NodeId, Node) {
    let addresses = Node {
        region: node.region,
        data_address: node.data_address.into(),
        raft_address: node.raft_address.into(),
        http_address: node.http_address.into(),
    };
    (NodeId(node.id), addresses)
}

impl TryFrom<v1::Database> for Database {
    type Error = ConvertError;

    fn try_from(database: v1::Database) -> Result<Self, ConvertError> {
        let span = |what, nanos| Duration::from_nanos(nanos).ok_or(ConvertError::Unknown(what, nanos));
        Ok(Self {
            id: DatabaseId(database.id),
            name: database.name,
            shard_by: database.shard_by_some.then_some(database.shard_by),
            retention: span("retention", database.retention)?,
            future: span("future", database.future)?,
        })
    }
}

fn shard_in(shard: v1::Shard) -> (ShardId, Shard) {
    let replicas: BTreeMap<_, _> = shard.replicas.iter().map(|r| (ReplicaId(r.id), NodeId(r.node))).collect();
    let preferred = replicas.get(&ReplicaId(shard.preferred)).copied();
    (ShardId(shard.id), Shard { incarnation: Incarnation(shard.incarnation), replicas, preferred })
}

fn epoch_in(epoch: v1::Epoch) -> Result<Epoch, ConvertError> {
    let range = epoch.range.ok_or(ConvertError::Missing("epoch's range"))?.try_into()?;
    let slots = epoch.slots.into_iter().map(ShardId).collect();
    let table = SlotTable::new(slots).map_err(|_| ConvertError::Missing("epoch's slot table"))?;
    Ok(Epoch { id: EpochId(epoch.id), range, table })
}
