//! Who the data in a directory belongs to: written once, at the first start, before anything is promised.

use std::io;
use std::path::Path;

use meridian_env::Env;
use meridian_types::{Code, NodeId};
use serde::{Deserialize, Serialize};

const FILE: &str = "identity.toml";
const FILE_BYTES_MAX: u64 = 64 << 10;

#[derive(Serialize, Deserialize, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
struct Identity {
    /// Format version of the whole data directory.
    version: u32,
    cluster: String,
    node: u32,
    created: String,
}

const VERSION: u32 = 1;

/// Why a data directory is not this node's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error("{file} could not be read or written: {error}")]
    Io { file: String, error: io::Error },
    #[error("{file} is damaged: {reason}; if the other files are whole, restore it from a backup of the directory")]
    Damaged { file: String, reason: String },
    #[error(
        "{dir} has data of format version {found}, this binary reads version {VERSION}: use the release that wrote it"
    )]
    Version { dir: String, found: u32 },
    #[error(
        "{dir} belongs to n{found_node} of cluster {found_cluster}, but this is {node} of cluster {cluster}: \
         give each node its own directory"
    )]
    Foreign { dir: String, found_node: u32, found_cluster: String, node: NodeId, cluster: String },
    #[error(
        "{dir} is empty, but {node} has run before: with its disk it has lost what it promised to keep, and must not come \
         back under its old name. Restore the directory, or start a new cluster in another one"
    )]
    Lost { dir: String, node: NodeId },
}

impl IdentityError {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Io { .. } | Self::Damaged { .. } => Code::Internal,
            Self::Version { .. } => Code::WrongVersion,
            Self::Foreign { .. } => Code::WrongCluster,
            Self::Lost { .. } => Code::LostDisk,
        }
    }
}

/// Makes sure that `dir` is this node's, writing its identity at the first start.
pub(crate) fn check(env: &Env, dir: &Path, cluster: &str, node: NodeId, first: bool) -> Result<(), IdentityError> {
    let path = dir.join(FILE);
    let file = path.display().to_string();
    match env.disk.read(&path, FILE_BYTES_MAX) {
        Ok(bytes) => {
            let damaged = |reason: String| IdentityError::Damaged { file: file.clone(), reason };
            let text = String::from_utf8(bytes).map_err(|e| damaged(e.to_string()))?;
            let found: Identity = toml::from_str(&text).map_err(|e| damaged(e.to_string()))?;
            matches(&found, dir, cluster, node)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && first => {
            let created = env.clock.wall().to_string();
            let identity = Identity { version: VERSION, cluster: cluster.to_owned(), node: node.0, created };
            let text = toml::to_string(&identity).expect("four plain fields are TOML");
            env.disk.replace(&path, text.as_bytes()).map_err(|error| IdentityError::Io { file, error })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(IdentityError::Lost { dir: dir.display().to_string(), node })
        }
        Err(error) => Err(IdentityError::Io { file, error }),
    }
}

fn matches(found: &Identity, dir: &Path, cluster: &str, node: NodeId) -> Result<(), IdentityError> {
    let dir = dir.display().to_string();
    if found.version != VERSION {
        return Err(IdentityError::Version { dir, found: found.version });
    }
    if found.cluster != cluster || found.node != node.0 {
        let (found_node, found_cluster) = (found.node, found.cluster.clone());
        return Err(IdentityError::Foreign { dir, found_node, found_cluster, node, cluster: cluster.to_owned() });
    }
    Ok(())
}
