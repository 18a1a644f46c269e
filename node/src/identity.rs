//! A node's directory: who it belongs to, and whom it knew when it last ran. The identity is written once, when the directory
//! becomes a node's, before anything is promised in its name; a directory without one belongs to nobody yet.

use std::io;
use std::path::{Path, PathBuf};

use meridian_env::{Class, Env, Lock};
use meridian_proto::v1;
use meridian_types::{Code, Failure, NodeId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

const IDENTITY: &str = "identity.toml";
/// What a directory drew before it asked to join, so that it is known again if the answer gets lost.
const JOINING: &str = "joining.toml";
/// The nodes of the cluster as last heard of: whom to call before there is a leader to ask.
const NODES: &str = "nodes.toml";
/// Where the log and the catalogue are, below the directory.
pub(crate) const LOG: &str = "log";
pub(crate) const REGISTRY: &str = "registry";
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Format version of the whole data directory.
const VERSION: u32 = 2;

/// Who a directory belongs to.
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    version: u32,
    /// 32 hexadecimal digits.
    pub(crate) cluster: String,
    node: u32,
    region: String,
    #[serde(with = "hex")]
    nonce: u64,
    created: String,
    /// Only while this node begins its cluster: until its catalogue has these as its first command.
    pub(crate) founding: Option<Founding>,
}

/// With what a cluster begins.
#[derive(Clone, Copy, Serialize, Deserialize, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Founding {
    pub(crate) nodes: u32,
    pub(crate) shards: u32,
    pub(crate) replication: u8,
}

impl Identity {
    pub(crate) fn node(&self) -> NodeId {
        NodeId(self.node)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Joining {
    version: u32,
    #[serde(with = "hex")]
    nonce: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nodes {
    version: u32,
    node: Vec<NodeRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeRecord {
    id: u32,
    region: String,
    data: String,
    raft: String,
    http: String,
}

/// TOML's integers have a sign.
mod hex {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{number:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        let text = String::deserialize(from)?;
        u64::from_str_radix(&text, 16).map_err(|_| D::Error::custom("a nonce is 16 hexadecimal digits"))
    }
}

/// Why a directory is no node's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HomeError {
    #[error("{0} is in use by another process: stop it, or use another directory")]
    InUse(String),
    #[error("{path} cannot be used: {error}")]
    Io { path: String, error: io::Error },
    #[error("{file} is damaged: {reason}; if the other files are whole, restore it from a backup of the directory")]
    Damaged { file: String, reason: String },
    #[error(
        "{file} has format version {found}, this binary reads version {VERSION}: use the release that wrote it, or begin \
         anew in another directory"
    )]
    Version { file: String, found: u32 },
    #[error(
        "{dir} belongs to {node} in region {stored:?}, not {given:?}: a node never changes its region; correct the setting, \
         or use another directory"
    )]
    Region { dir: String, node: NodeId, stored: String, given: String },
    #[error(
        "{dir} belongs to {node}, but its log is gone: the node has forgotten its votes and what it acknowledged, and must \
         not come back under its old name. Restore the directory, or start a new node in an empty one under another address"
    )]
    LostLog { dir: String, node: NodeId },
}

impl From<HomeError> for Failure {
    fn from(error: HomeError) -> Self {
        let code = match error {
            HomeError::InUse(_) => Code::InUse,
            HomeError::Io { .. } | HomeError::Damaged { .. } => Code::Internal,
            HomeError::Version { .. } => Code::WrongVersion,
            HomeError::Region { .. } => Code::WrongCluster,
            HomeError::LostLog { .. } => Code::LostDisk,
        };
        Self::new(code, error.to_string())
    }
}

/// The directory while this process has it. Nobody else does.
#[derive(Debug)]
pub(crate) struct Home {
    env: Env,
    dir: PathBuf,
    /// Who it belongs to; `None` until it is a node's.
    pub(crate) identity: Option<Identity>,
    /// What it drew, now or before it joined.
    pub(crate) nonce: u64,
    /// The nodes that it knew when it last ran.
    pub(crate) nodes: Vec<v1::Node>,
    _lock: Box<dyn Lock>,
}

impl Home {
    /// Takes the directory, which is made if absent, and reads whose it is.
    pub(crate) async fn open(env: &Env, dir: &Path, region: &str) -> Result<Self, HomeError> {
        let (job_env, dir, region) = (env.clone(), dir.to_owned(), region.to_owned());
        meridian_env::run(&*env.work, Class::Flush, move || Self::read(job_env, dir, region)).await
    }

    fn read(env: Env, dir: PathBuf, region: String) -> Result<Self, HomeError> {
        let disk = &*env.disk;
        let shown = dir.display().to_string();
        disk.create_dir(&dir).map_err(|error| io_at(&dir, error))?;
        let lock = disk.lock(&dir.join("LOCK")).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => HomeError::InUse(shown.clone()),
            _ => io_at(&dir, error),
        })?;
        let identity: Option<Identity> = read(&env, &dir.join(IDENTITY))?;
        let Some(identity) = identity else {
            let nonce = match read::<Joining>(&env, &dir.join(JOINING))? {
                Some(joining) => joining.nonce,
                None => {
                    let nonce = env.rng.u64();
                    write(&env, &dir.join(JOINING), &Joining { version: VERSION, nonce })?;
                    nonce
                }
            };
            return Ok(Self { env, dir, identity: None, nonce, nodes: Vec::new(), _lock: lock });
        };
        if identity.region != region {
            let (node, stored) = (identity.node(), identity.region);
            return Err(HomeError::Region { dir: shown, node, stored, given: region });
        }
        // The catalogue's directory is made once the log has its first segment.
        let is_empty = |name: &str| disk.list(&dir.join(name)).map_or(true, |names| names.is_empty());
        if disk.list(&dir.join(REGISTRY)).is_ok() && is_empty(LOG) {
            return Err(HomeError::LostLog { dir: shown, node: identity.node() });
        }
        let nodes = match read::<Nodes>(&env, &dir.join(NODES)) {
            Ok(nodes) => nodes.map_or_else(Vec::new, |nodes| nodes.node),
            Err(error) => {
                // The catalogue has them, too.
                tracing::warn!(%error, "the list of nodes is not used");
                Vec::new()
            }
        };
        let nodes = nodes.into_iter().map(node_in).collect();
        Ok(Self { env, dir, nonce: identity.nonce, identity: Some(identity), nodes, _lock: lock })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes the directory a node's: first whom it knows, then, at one instant, who it is.
    pub(crate) async fn settle(
        &mut self,
        (cluster, node, region): (String, NodeId, String),
        founding: Option<Founding>,
        nodes: Vec<v1::Node>,
    ) -> Result<Identity, HomeError> {
        let created = self.env.clock.wall().to_string();
        let (nonce, node) = (self.nonce, node.0);
        let identity = Identity { version: VERSION, cluster, node, region, nonce, created, founding };
        self.save_nodes(nodes).await?;
        self.save_identity(identity.clone()).await?;
        Ok(identity)
    }

    /// The cluster is begun, and begins no second time.
    pub(crate) async fn founded(&mut self) -> Result<(), HomeError> {
        match self.identity.clone() {
            Some(identity) => self.save_identity(Identity { founding: None, ..identity }).await,
            None => Ok(()),
        }
    }

    async fn save_identity(&mut self, identity: Identity) -> Result<(), HomeError> {
        let (env, path, written) = (self.env.clone(), self.dir.join(IDENTITY), identity.clone());
        meridian_env::run(&*self.env.work, Class::Flush, move || write(&env, &path, &written)).await?;
        self.identity = Some(identity);
        Ok(())
    }

    /// Keeps the nodes of the cluster for the next start.
    pub(crate) async fn save_nodes(&mut self, nodes: Vec<v1::Node>) -> Result<(), HomeError> {
        if nodes == self.nodes {
            return Ok(());
        }
        let (env, path) = (self.env.clone(), self.dir.join(NODES));
        let file = Nodes { version: VERSION, node: nodes.iter().cloned().map(node_out).collect() };
        meridian_env::run(&*self.env.work, Class::Flush, move || write(&env, &path, &file)).await?;
        self.nodes = nodes;
        Ok(())
    }
}

fn node_in(node: NodeRecord) -> v1::Node {
    let NodeRecord { id, region, data, raft, http } = node;
    v1::Node { id, region, data_address: data, raft_address: raft, http_address: http }
}

fn node_out(node: v1::Node) -> NodeRecord {
    let v1::Node { id, region, data_address, raft_address, http_address } = node;
    NodeRecord { id, region, data: data_address, raft: raft_address, http: http_address }
}

fn io_at(path: &Path, error: io::Error) -> HomeError {
    HomeError::Io { path: path.display().to_string(), error }
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

fn read<T: DeserializeOwned>(env: &Env, path: &Path) -> Result<Option<T>, HomeError> {
    let bytes = match env.disk.read(path, FILE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_at(path, error)),
    };
    let file = path.display().to_string();
    let damaged = |reason: String| HomeError::Damaged { file: file.clone(), reason };
    let text = String::from_utf8(bytes).map_err(|e| damaged(e.to_string()))?;
    // The version first: the rest of another one has another shape.
    let Versioned { version } = toml::from_str(&text).map_err(|e| damaged(e.to_string()))?;
    if version != VERSION {
        return Err(HomeError::Version { file, found: version });
    }
    toml::from_str(&text).map(Some).map_err(|e| damaged(e.to_string()))
}

fn write<T: Serialize>(env: &Env, path: &Path, value: &T) -> Result<(), HomeError> {
    let text = toml::to_string(value).expect("plain fields and lists of them are TOML");
    env.disk.replace(path, text.as_bytes()).map_err(|error| io_at(path, error))
}

#[cfg(test)]
mod tests;
