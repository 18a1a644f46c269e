//! The catalogue as wire messages.

use meridian_meta::{Catalogue, Database, FieldRecord};
use meridian_proto::v1;

pub(crate) fn nodes(catalogue: &Catalogue) -> Vec<v1::Node> {
    let node = |node: &meridian_meta::NodeSpec| v1::Node {
        id: node.id.0,
        region: node.region.clone(),
        data_address: node.addr_data.clone(),
        raft_address: node.addr_raft.clone(),
        http_address: node.addr_http.clone(),
    };
    catalogue.nodes().values().map(node).collect()
}

pub(super) fn database(database: &Database) -> v1::Database {
    v1::Database {
        id: database.id.0,
        name: database.name.clone(),
        shard_by_some: database.shard_by.is_some(),
        shard_by: database.shard_by.clone().unwrap_or_default(),
        retention: database.retention.nanos(),
        future: database.future.nanos(),
    }
}

pub(super) fn databases(catalogue: &Catalogue) -> v1::DatabaseList {
    v1::DatabaseList { databases: catalogue.databases().values().map(database).collect() }
}

pub(super) fn shards(catalogue: &Catalogue) -> v1::ShardList {
    let shard = |shard: &meridian_meta::Shard| v1::Shard {
        id: shard.id.0,
        incarnation: shard.incarnation.0,
        replicas: shard.replicas.iter().map(|r| v1::Replica { id: r.id.0, node: r.node.0 }).collect(),
        preferred: shard.preferred.0,
    };
    v1::ShardList { shards: catalogue.shards().values().map(shard).collect() }
}

pub(super) fn epochs(catalogue: &Catalogue) -> v1::EpochList {
    let epoch = |epoch: &meridian_types::Epoch| v1::Epoch {
        id: epoch.id.0,
        range: Some(epoch.range.into()),
        slots: epoch.table.owners().iter().map(|s| s.0).collect(),
    };
    v1::EpochList { epochs: catalogue.epochs().values().map(epoch).collect() }
}

pub(super) fn field(record: &FieldRecord) -> v1::FieldEntry {
    v1::FieldEntry {
        database: record.database.0,
        measurement: record.measurement.clone(),
        field: record.field.clone(),
        r#type: v1::FieldType::from(record.field_type).into(),
    }
}
