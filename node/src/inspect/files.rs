//! The log's segments and the shards' files: every checksum compared, nothing changed.

use std::path::Path;
use std::sync::Arc;

use meridian_env::Env;
use meridian_raft::{SegmentSummary, inspect_log};
use meridian_types::Timestamp;
use serde::Serialize;

/// One segment of the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SegmentReport {
    /// Its number.
    pub segment: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Whether it is in use; others are made ahead.
    pub used: bool,
    /// Whole group commits in it.
    pub commits: u64,
    /// The groups with entries in it, as `s1 12..34`.
    pub groups: Vec<String>,
    /// What is wrong with it.
    pub damage: Option<String>,
}

/// One file of a shard.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FileReport {
    /// The shard's directory.
    pub shard: String,
    /// The file's name.
    pub file: String,
    /// Whose points it holds; nothing for the manifest and the series table.
    pub database: Option<String>,
    /// The entries whose effect it holds, as `1..20`.
    pub entries: Option<String>,
    /// The range of time of its rows.
    pub times: Option<String>,
    /// Field values in it.
    pub points: Option<u64>,
    /// Its size, where the manifest says one.
    pub bytes: Option<u64>,
    /// What is wrong with it.
    pub damage: Option<String>,
}

/// All segments, oldest first.
pub(super) fn log(env: &Env, dir: &Path) -> std::io::Result<Vec<SegmentReport>> {
    let report = |segment: SegmentSummary| SegmentReport {
        segment: segment.number,
        bytes: segment.bytes,
        used: segment.previous.is_some(),
        commits: segment.commits,
        groups: segment
            .groups
            .iter()
            .map(|((group, _), span)| format!("{group} {}..{}", span.first, span.last))
            .collect(),
        damage: segment.damage.map(|damage| format!("at byte {}: {}", damage.offset, damage.what)),
    };
    Ok(inspect_log(&*env.disk, dir)?.into_iter().map(report).collect())
}

/// All files of all shards, as their manifests name them.
pub(super) fn shards(env: &Env, dir: &Path) -> std::io::Result<Vec<FileReport>> {
    let names = match env.disk.list(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        listed => listed?,
    };
    Ok(names.iter().flat_map(|shard| shard_files(env, shard, &dir.join(shard))).collect())
}

fn shard_files(env: &Env, shard: &str, dir: &Path) -> Vec<FileReport> {
    let plain = |file: &str, damage: Option<String>| FileReport {
        shard: shard.to_owned(),
        file: file.to_owned(),
        database: None,
        entries: None,
        times: None,
        points: None,
        bytes: None,
        damage,
    };
    let found = match meridian_engine::inspect(Arc::clone(&env.disk), dir) {
        Err(error) => return vec![plain("MANIFEST", Some(error.to_string()))],
        Ok(None) => return Vec::new(),
        Ok(Some(found)) => found,
    };
    let entries = (found.applied > 0).then(|| format!("1..{}", found.applied));
    let manifest = FileReport { entries, ..plain("MANIFEST", None) };
    let names = found.names.iter().map(|(name, damage)| plain(name, damage.clone()));
    let blocks = found.blocks.iter().map(|block| FileReport {
        database: Some(block.database.to_string()),
        entries: Some(format!("{}..{}", block.entries.0, block.entries.1)),
        times: Some(format!("{} to {}", time(block.times.0), time(block.times.1))),
        points: Some(block.points),
        bytes: Some(block.bytes),
        ..plain(&block.file, block.damage.clone())
    });
    std::iter::once(manifest).chain(names).chain(blocks).collect()
}

fn time(nanos: i64) -> String {
    Timestamp::new(nanos).map_or_else(|_| format!("{nanos} ns"), |time| time.to_string())
}
