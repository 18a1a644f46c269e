//! What lies in the directory of a node that is stopped, told without a cluster. Writes nothing in it, starts nothing, and goes
//! on behind what it cannot read: a damaged directory is what it is for.

mod catalogue; // the registry, by a copy of it
mod files; // the log and the shards
mod usage; // how much there is of everything

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use meridian_env::{Disk, Env, Lock};
use serde::Serialize;

pub use catalogue::{CatalogueReport, DatabaseReport, NodeReport, ReplicaReport, ShardReport};
pub use files::{FileReport, SegmentReport};
pub use usage::Usage;

const IDENTITY: &str = "identity.toml";
const IDENTITY_BYTES_MAX: u64 = 64 << 10;
const LOCK: &str = "LOCK";
const REGISTRY: &str = "registry";
const LOG: &str = "log";
const SHARDS: &str = "shards";

/// Why nothing can be told of a directory.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// There is no node in it.
    #[error("{} is not the directory of a node: it has no {IDENTITY}{}", dir.display(), among(nodes))]
    NoNode {
        /// The directory.
        dir: PathBuf,
        /// Directories of nodes in it.
        nodes: Vec<String>,
    },
    /// A node runs on it, or something else holds its lock.
    #[error("{} is in use: its {LOCK} is held by another process", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// It cannot be listed or locked.
    #[error("{} cannot be inspected: {error}", dir.display())]
    Io {
        /// The directory.
        dir: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

fn among(nodes: &[String]) -> String {
    if nodes.is_empty() { String::new() } else { format!("; there are nodes in it: {}", nodes.join(", ")) }
}

/// One part of a report, or why it cannot be told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part<T> {
    /// What was read.
    Read(T),
    /// Why it could not be.
    Unreadable(String),
}

impl<T, E: std::fmt::Display> From<Result<T, E>> for Part<T> {
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(read) => Self::Read(read),
            Err(error) => Self::Unreadable(error.to_string()),
        }
    }
}

/// What was found, part by part.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// What `identity.toml` says, by its names.
    pub identity: Part<BTreeMap<String, String>>,
    /// How much there is of everything, the whole last.
    pub usage: Part<Vec<Usage>>,
    /// The catalogue as this node has kept it.
    pub catalogue: Part<CatalogueReport>,
    /// The log's segments, oldest first.
    pub log: Part<Vec<SegmentReport>>,
    /// The files of the replicas of shards.
    pub shards: Part<Vec<FileReport>>,
}

/// Inspects `dir`. Holds its lock meanwhile, unless `force`: then a node may run on it, and what is told may not fit together.
/// `scratch` is a directory that does not exist yet; what is copied there is removed again. Waits for disks: run it in a job.
pub fn inspect(env: &Env, dir: &Path, scratch: &Path, force: bool) -> Result<Report, InspectError> {
    let disk = &*env.disk;
    let io = |error| InspectError::Io { dir: dir.to_owned(), error };
    let names = disk.list(dir).map_err(io)?;
    if !names.iter().any(|name| name == IDENTITY) {
        let has_identity = |name: &String| disk.open(&dir.join(name).join(IDENTITY), meridian_env::Open::Read).is_ok();
        let nodes = names.into_iter().filter(has_identity).collect();
        return Err(InspectError::NoNode { dir: dir.to_owned(), nodes });
    }
    // A lock that is not there is held by nobody, and taking it would make it.
    let _lock = match force || !names.iter().any(|name| name == LOCK) {
        true => None,
        false => Some(lock(disk, dir)?),
    };
    Ok(Report {
        identity: identity(disk, &dir.join(IDENTITY)).into(),
        usage: usage::measure(disk, dir).into(),
        catalogue: catalogue::read_copy(env, &dir.join(REGISTRY), scratch).into(),
        log: files::log(env, &dir.join(LOG)).into(),
        shards: files::shards(env, &dir.join(SHARDS)).into(),
    })
}

fn lock(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn Lock>, InspectError> {
    let dir_owned = || dir.to_owned();
    disk.lock(&dir.join(LOCK)).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => InspectError::InUse { dir: dir_owned() },
        _ => InspectError::Io { dir: dir_owned(), error },
    })
}

/// By its names, whatever they are: a version that this binary does not run can still be told.
fn identity(disk: &dyn Disk, path: &Path) -> Result<BTreeMap<String, String>, String> {
    let bytes = disk.read(path, IDENTITY_BYTES_MAX).map_err(|e| e.to_string())?;
    let text = String::from_utf8(bytes).map_err(|e| e.to_string())?;
    let table: toml::Table = toml::from_str(&text).map_err(|e| e.to_string())?;
    let plain = |value: toml::Value| match value {
        toml::Value::String(text) => text,
        other => other.to_string(),
    };
    Ok(table.into_iter().map(|(name, value)| (name, plain(value))).collect())
}

#[cfg(test)]
mod tests;
