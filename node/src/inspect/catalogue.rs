//! The catalogue in a node's registry. A store writes when it is opened, so a copy is opened, and removed again.

use std::io;
use std::path::Path;

use meridian_env::{Disk, Env, Open};
use meridian_meta::{Catalogue, Database, NodeSpec, Shard};
use serde::Serialize;

use crate::meta;

/// Bytes that are copied at a time.
const PIECE_BYTES: usize = 1 << 20;

/// The catalogue as one node has kept it: others may have a newer one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CatalogueReport {
    /// Counts its changes.
    pub version: u64,
    /// The cluster, once it is formed.
    pub cluster: Option<String>,
    /// Nodes.
    pub nodes: Vec<NodeReport>,
    /// Databases.
    pub databases: Vec<DatabaseReport>,
    /// Ids of dropped databases that some shards may still hold.
    pub dropped: Vec<String>,
    /// Shards.
    pub shards: Vec<ShardReport>,
    /// Versions of the slot table.
    pub epochs: usize,
    /// Fields that have a type.
    pub fields: usize,
}

/// A storage node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct NodeReport {
    /// Its id.
    pub id: String,
    /// Its region.
    pub region: String,
    /// Where it serves routers.
    pub address: String,
}

/// A database.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DatabaseReport {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// How long points are kept; for ever if there is none.
    pub retention: Option<String>,
}

/// A shard.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ShardReport {
    /// Its id.
    pub id: String,
    /// Its life.
    pub incarnation: String,
    /// The replica that should lead.
    pub preferred: String,
    /// Its replicas.
    pub replicas: Vec<ReplicaReport>,
}

/// One copy of a shard.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ReplicaReport {
    /// Its id.
    pub id: String,
    /// Where it is.
    pub node: String,
}

/// Reads the registry in `registry` by a copy in `scratch`.
pub(super) fn read_copy(env: &Env, registry: &Path, scratch: &Path) -> Result<CatalogueReport, String> {
    let read = copy(&*env.disk, registry, scratch).map_err(|e| e.to_string()).and_then(|()| {
        let store = env.catalogue.open(scratch).map_err(|e| e.to_string())?;
        meta::read(&*store).map(|(catalogue, _)| report(&catalogue))
    });
    // What stays behind is a copy in a directory for such: the report matters more.
    if let Err(error) = env.catalogue.destroy(scratch) {
        tracing::warn!(scratch = %scratch.display(), %error, "the copy of the registry was not removed");
    }
    read
}

fn copy(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    let names = disk.list(from)?;
    disk.create_dir(to)?;
    for name in names {
        let (from, to) = (from.join(&name), to.join(&name));
        match copy(disk, &from, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => copy_file(disk, &from, &to)?,
            copied => copied?,
        }
    }
    Ok(())
}

fn copy_file(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    let (source, target) = (disk.open(from, Open::Read)?, disk.open(to, Open::Create)?);
    let (mut piece, mut at) = (vec![0; PIECE_BYTES], 0);
    loop {
        let read = source.read_at(&mut piece, at)?;
        if read == 0 {
            return Ok(());
        }
        target.write_at(&piece[..read], at)?;
        at += read as u64;
    }
}

fn report(catalogue: &Catalogue) -> CatalogueReport {
    CatalogueReport {
        version: catalogue.version(),
        cluster: catalogue.cluster().map(|cluster| cluster.to_string()),
        nodes: catalogue.nodes().values().map(node).collect(),
        databases: catalogue.databases().values().map(database).collect(),
        dropped: catalogue.dropped().keys().map(ToString::to_string).collect(),
        shards: catalogue.shards().values().map(shard).collect(),
        epochs: catalogue.epochs().len(),
        fields: catalogue.fields_since(0).0.len(),
    }
}

fn node(node: &NodeSpec) -> NodeReport {
    NodeReport { id: node.id.to_string(), region: node.region.clone(), address: node.addr_data.clone() }
}

fn database(database: &Database) -> DatabaseReport {
    let retention = (database.retention.nanos() > 0).then(|| database.retention.to_string());
    DatabaseReport { id: database.id.to_string(), name: database.name.clone(), retention }
}

fn shard(shard: &Shard) -> ShardReport {
    let replica =
        |replica: &meridian_meta::Replica| ReplicaReport { id: replica.id.to_string(), node: replica.node.to_string() };
    ShardReport {
        id: shard.id.to_string(),
        incarnation: shard.incarnation.to_string(),
        preferred: shard.preferred.to_string(),
        replicas: shard.replicas.iter().map(replica).collect(),
    }
}
