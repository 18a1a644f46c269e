//! What a directory of `meridian dev` was made with, and where its nodes listened last.

use std::io;
use std::path::Path;

use meridian_env::{Class, Env, Lock, Open};
use meridian_types::{Code, Failure, limits};
use serde::{Deserialize, Serialize};

use crate::failure::CliError;

const FILE: &str = "dev.toml";
const FILE_BYTES_MAX: u64 = 64 << 10;
const VERSION: u32 = 2;

/// What the data directory was made with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    version: u32,
    /// Whether the cluster took writes once: from then on a node's directory without a node is a lost disk.
    pub(super) formed: bool,
    pub(super) shards: u32,
    pub(super) nodes: Vec<NodeRecord>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeRecord {
    pub(super) region: String,
    /// `host:port` of its three listeners at its last start.
    pub(super) data: String,
    pub(super) raft: String,
    pub(super) http: String,
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Record {
    /// The nodes with the names of their directories.
    pub(super) fn named(&self) -> impl Iterator<Item = (String, &NodeRecord)> {
        (1..).map(|n| format!("n{n}")).zip(&self.nodes)
    }
}

/// Locks the directory and reads what it was made with, or decides it.
pub(super) async fn open(
    env: &Env,
    dir: &Path,
    regions: Option<Vec<String>>,
    shards: Option<u32>,
) -> Result<(Box<dyn Lock>, Record), CliError> {
    let (job_env, dir) = (env.clone(), dir.to_owned());
    meridian_env::run(&*env.work, Class::Flush, move || {
        let shown = dir.display();
        let io = |error: io::Error| Failure::new(Code::Internal, format!("{shown} cannot be used: {error}"));
        job_env.disk.create_dir(&dir).map_err(io)?;
        let lock = job_env.disk.lock(&dir.join("LOCK")).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                let text = format!("{shown} is in use by another `meridian dev`: stop it, or choose another --data");
                Failure::new(Code::InUse, text)
            }
            _ => io(error),
        })?;
        let record = match job_env.disk.read(&dir.join(FILE), FILE_BYTES_MAX) {
            Ok(bytes) => read(&bytes, &dir, regions, shards)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => new(regions, shards)?,
            Err(error) => return Err(io(error).into()),
        };
        Ok((lock, record))
    })
    .await
}

fn new(regions: Option<Vec<String>>, shards: Option<u32>) -> Result<Record, CliError> {
    let regions = regions.unwrap_or_else(|| ["a", "b", "c"].map(str::to_owned).to_vec());
    if regions.is_empty() || regions.iter().any(|r| r.trim().is_empty()) {
        return Err(CliError::usage("--regions names a node without a region", "as in --regions a,b,c"));
    }
    let shards = shards.unwrap_or(8);
    if !(1..=limits::SHARDS_MAX).contains(&shards) {
        let message = format!("--shards {shards} is outside 1 to {}", limits::SHARDS_MAX);
        return Err(CliError::usage(message, "eight, the default, serve most machines"));
    }
    let any = || "127.0.0.1:0".to_owned();
    let node = |region| NodeRecord { region, data: any(), raft: any(), http: any() };
    Ok(Record { version: VERSION, formed: false, shards, nodes: regions.into_iter().map(node).collect() })
}

fn read(bytes: &[u8], dir: &Path, regions: Option<Vec<String>>, shards: Option<u32>) -> Result<Record, CliError> {
    let shown = dir.join(FILE);
    let damaged = |reason: String| Failure::new(Code::Internal, format!("{} is damaged: {reason}", shown.display()));
    let text = std::str::from_utf8(bytes).map_err(|e| damaged(e.to_string()))?;
    let Versioned { version } = toml::from_str(text).map_err(|e| damaged(e.to_string()))?;
    if version != VERSION {
        let message = format!(
            "{} was made by another version of meridian: its format is {version}, this one's {VERSION}",
            dir.display()
        );
        let help = "run the version that made it, or choose another --data";
        return Err(CliError::with_help(Failure::new(Code::WrongVersion, message), help));
    }
    let record: Record = toml::from_str(text).map_err(|e| damaged(e.to_string()))?;
    let made: Vec<_> = record.nodes.iter().map(|n| n.region.clone()).collect();
    if regions.is_some_and(|regions| regions != made) || shards.is_some_and(|shards| shards != record.shards) {
        let made = format!("--regions {} --shards {}", made.join(","), record.shards);
        let message = format!("{} was made with {made}", dir.display());
        return Err(CliError::usage(message, "leave these out, or choose another --data"));
    }
    Ok(record)
}

/// Writes what the directory is made with.
pub(super) async fn save(env: &Env, dir: &Path, record: &Record) -> Result<(), Failure> {
    let (job_env, path) = (env.clone(), dir.join(FILE));
    let text = toml::to_string(record).map_err(|e| Failure::new(Code::Internal, e.to_string()))?;
    let job = move || job_env.disk.replace(&path, text.as_bytes());
    let written = meridian_env::run(&*env.work, Class::Flush, job).await;
    written.map_err(|e| Failure::new(Code::Internal, format!("{FILE} cannot be written: {e}")))
}

/// Refuses a node's directory that has lost its node: it would come back as another one, and take a place of its own.
pub(super) async fn check_kept(env: &Env, dir: &Path, name: &str) -> Result<(), Failure> {
    let (disk, node) = (std::sync::Arc::clone(&env.disk), dir.join(name));
    let identity = node.join("identity.toml");
    let opened = meridian_env::run(&*env.work, Class::Flush, move || disk.open(&identity, Open::Read).map(drop)).await;
    match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = format!(
                "{} has lost its node, and with it what the node promised to keep: restore the directory, or choose another \
                 --data",
                node.display()
            );
            Err(Failure::new(Code::LostDisk, text))
        }
        Err(error) => Err(Failure::new(Code::Internal, error.to_string())),
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(text: &str) -> String {
        read(text.as_bytes(), Path::new("d"), None, None).expect_err(text).render()
    }

    #[test]
    fn a_directory_of_another_version_or_with_other_settings_is_refused() {
        let made = new(Some(vec!["x".into(), "y".into()]), Some(4)).expect("made");
        let text = toml::to_string(&made).expect("plain fields");
        assert_eq!(read(text.as_bytes(), Path::new("d"), None, Some(4)).expect("the same"), made);
        let other = read(text.as_bytes(), Path::new("d"), None, Some(5)).expect_err("another number");
        assert!(other.render().starts_with("error: d was made with --regions x,y --shards 4\n"), "{}", other.render());
        let old = says("version = 1\ncluster = \"5f\"\nformed = true\nshards = 8\nnodes = []\n");
        assert!(old.starts_with("error[E0022]: d was made by another version of meridian: its format is 1"), "{old}");
        assert!(says("version = 2\n").contains("is damaged"));
    }
}
