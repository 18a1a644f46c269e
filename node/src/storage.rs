//! What keeps memory, log and files of a node within their bounds: flushes the heads, purges the log behind them, merges
//! blocks. Looks at the state and does what is most needed, one flush and one merge at a time.
//!
//! It must never decide what a write becomes: where memory is short, writes are refused before they are proposed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use meridian_env::{Class, Halt, Instant};
use meridian_raft::{Group, Groups, JobError, Machine};
use meridian_types::{Code, Failure, GroupId, ShardId};

use crate::config::StorageSettings;
use crate::metrics::Levels;
use crate::service::Node;
use crate::shard::Shard;

/// Between two looks at the state while there is nothing to do.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Between two tries after a disk was full.
const FULL_WAIT: Duration = Duration::from_secs(1);

/// How much of its memory budget a node's rows take. Read by every proposal, written by the driver alone.
#[derive(Debug)]
pub(crate) struct Pressure {
    row_bytes: AtomicU64,
    bytes_max: u64,
}

impl Pressure {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { row_bytes: AtomicU64::new(0), bytes_max }
    }

    /// Bytes of rows in memory, as of the last look.
    pub(crate) fn row_bytes(&self) -> u64 {
        self.row_bytes.load(Ordering::Relaxed)
    }

    /// Rows above this are refused: what is under way and what followers apply still fits.
    fn refuse_above(&self) -> u64 {
        self.bytes_max / 8 * 7
    }

    /// Whether one more write may be proposed.
    pub(crate) fn admit(&self) -> Result<(), Failure> {
        let (bytes, limit) = (self.row_bytes(), self.refuse_above());
        if bytes <= limit {
            return Ok(());
        }
        let message = format!(
            "this node holds {bytes} bytes of rows that are not in files yet, over the limit of {limit} \
             (memory_bytes = {}): wait for the flush, or give the node more memory or a faster disk",
            self.bytes_max
        );
        Err(Failure::new(Code::Overloaded, message).retry_after_ms(250))
    }
}

/// Runs for as long as the node lives; returns only to halt it.
pub(crate) async fn run(node: Node, groups: Groups, settings: StorageSettings) -> Halt {
    let flushes = Flushes { node: node.clone(), groups, settings, since: BTreeMap::new() };
    tokio::select! {
        biased;
        halt = flushes.run() => halt,
        halt = weigh(node.clone()) => halt,
        halt = upkeep(node.clone()) => halt,
        halt = checksums(node) => halt,
    }
}

/// Brings everything that is in memory into files, as before a clean end; what fails is in the log.
pub(crate) async fn flush_all(node: &Node) {
    for (shard, group) in shards(node) {
        if let Err(error) = group.flush().await {
            tracing::warn!(%shard, %error, "not flushed before the end: the next start reads it from the log");
            return;
        }
    }
}

fn shards(node: &Node) -> Vec<(ShardId, Group<Shard>)> {
    node.shards.read().iter().map(|(id, group)| (*id, group.clone())).collect()
}

struct Flushes {
    node: Node,
    groups: Groups,
    settings: StorageSettings,
    /// When each shard was first seen with rows that no file has.
    since: BTreeMap<ShardId, Instant>,
}

/// One shard as the choice needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Load {
    shard: ShardId,
    row_bytes: u64,
    /// Bytes of the group's entries that are still in the log.
    log_bytes: u64,
    /// Whether anything is newer than the files.
    is_dirty: bool,
    /// Whether that has waited long enough.
    is_due: bool,
}

/// The shard to flush next, if one should be.
fn choose(loads: &[Load], memory_max: u64, log_used: u64, log_max: u64, keep: u64) -> Option<ShardId> {
    let rows: u64 = loads.iter().map(|load| load.row_bytes).sum();
    let dirty = || loads.iter().filter(|load| load.is_dirty);
    if rows > memory_max / 2 {
        return dirty().max_by_key(|load| load.row_bytes).map(|load| load.shard);
    }
    if log_used > log_max / 4 * 3 {
        // What a flush leaves in the log for slow followers is no reason for another one.
        let pins = dirty().filter(|load| load.log_bytes > 2 * keep).max_by_key(|load| load.log_bytes);
        if let Some(load) = pins {
            return Some(load.shard);
        }
    }
    dirty().find(|load| load.is_due).map(|load| load.shard)
}

impl Flushes {
    async fn run(mut self) -> Halt {
        let clock = std::sync::Arc::clone(&self.node.env.clock);
        loop {
            let loads = self.look().await;
            let log_keep = self.settings.log_keep_bytes;
            let chosen =
                choose(&loads, self.settings.memory_bytes, self.groups.log_bytes(), self.settings.log_bytes, log_keep);
            if let Err(halt) = self.unpin().await {
                return halt;
            }
            let Some(shard) = chosen else {
                if let Err(halt) = self.purge_meta().await {
                    return halt;
                }
                clock.sleep(LOOK_EVERY).await;
                continue;
            };
            match self.flush(shard).await {
                Ok(()) => drop(self.since.remove(&shard)),
                Err(JobError::Halt(halt)) => return halt,
                Err(JobError::Full(why)) => {
                    tracing::warn!(%shard, why, "the disk is full: the flush is tried again");
                    clock.sleep(FULL_WAIT).await;
                }
                Err(JobError::Damaged(why)) => {
                    self.node.damaged(shard, &why);
                    clock.sleep(LOOK_EVERY).await;
                }
            }
        }
    }

    /// All shards in service as they are now.
    async fn look(&mut self) -> Vec<Load> {
        let groups: Vec<_> = {
            let damages = self.node.damages.lock();
            shards(&self.node).into_iter().filter(|(shard, _)| !damages.contains_key(shard)).collect()
        };
        // Apply holds a machine's lock for as long as it computes: no async thread waits for it.
        let job = move || groups.into_iter().map(|(shard, group)| look_at(shard, &group)).collect::<Vec<_>>();
        let looked = meridian_env::run(&*self.node.env.work, Class::Scan, job).await;
        let (mut loads, shards): (Vec<Load>, Vec<Levels>) = looked.into_iter().unzip();
        self.tell(&shards);
        let now = self.node.env.clock.now();
        for load in &mut loads {
            if load.is_dirty {
                let since = *self.since.entry(load.shard).or_insert(now);
                load.is_due = now - since >= self.settings.flush_after;
            } else {
                self.since.remove(&load.shard);
            }
        }
        loads
    }

    /// Brings the metrics up to date.
    fn tell(&mut self, shards: &[Levels]) {
        let metrics = &self.node.metrics.storage;
        let sum = |of: fn(&Levels) -> u64| shards.iter().map(of).sum();
        metrics.levels(&Levels {
            row_bytes: sum(|levels| levels.row_bytes),
            file_bytes: sum(|levels| levels.file_bytes),
            blocks: sum(|levels| levels.blocks),
        });
    }

    async fn flush(&self, shard: ShardId) -> Result<(), JobError> {
        let Some(group) = self.node.shards.read().get(&shard).cloned() else { return Ok(()) };
        let start = self.node.env.clock.now();
        if group.flush().await? {
            self.node.metrics.storage.flushed(self.node.env.clock.now() - start);
            tracing::debug!(%shard, took = ?(self.node.env.clock.now() - start), "flushed");
        }
        group.purge(self.settings.log_keep_bytes).await?;
        Ok(())
    }

    /// A group whose entries keep the oldest part of a log that is over its budget gives them up whole, with no tail for slow
    /// followers: those get a snapshot.
    async fn unpin(&self) -> Result<(), Halt> {
        let Some(pinned) = self.groups.log_pinned() else { return Ok(()) };
        let shard = self.node.shards.read().get(&ShardId(pinned.0)).cloned();
        let outcome = match shard {
            Some(group) => flush_and_purge(&group, 0).await,
            None if pinned == GroupId::META => flush_and_purge(&self.node.meta, 0).await,
            None => return Ok(()),
        };
        match outcome {
            Err(JobError::Halt(halt)) => Err(halt),
            Err(JobError::Damaged(why)) if pinned != GroupId::META => {
                self.node.damaged(ShardId(pinned.0), &why);
                Ok(())
            }
            Err(error) => {
                tracing::warn!(group = %pinned, %error, "the log stays over its budget for now");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// The catalogue changes seldom: its log is cut whenever it has grown.
    async fn purge_meta(&self) -> Result<(), Halt> {
        let meta = &self.node.meta;
        if meta.log_bytes() <= 2 * self.settings.log_keep_bytes {
            return Ok(());
        }
        match flush_and_purge(meta, self.settings.log_keep_bytes).await {
            Err(JobError::Halt(halt)) => Err(halt),
            Err(error) => {
                tracing::warn!(%error, "the catalogue was not written to its file");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

fn look_at(shard: ShardId, group: &Group<Shard>) -> (Load, Levels) {
    let machine = group.machine().read();
    let (stats, is_dirty) = (machine.engine().stats(), machine.is_dirty());
    drop(machine);
    let levels = Levels { row_bytes: stats.row_bytes, file_bytes: stats.file_bytes, blocks: stats.blocks };
    let log_bytes = group.log_bytes();
    (Load { shard, row_bytes: stats.row_bytes, log_bytes, is_dirty, is_due: false }, levels)
}

async fn flush_and_purge<M: Machine>(group: &Group<M>, keep: u64) -> Result<(), JobError> {
    group.flush().await?;
    group.purge(keep).await?;
    Ok(())
}

/// Tells proposals how much memory is taken, also while a flush takes its time and scans hold the threads that read.
async fn weigh(node: Node) -> Halt {
    loop {
        let groups = shards(&node);
        let job = move || groups.iter().map(|(_, group)| group.machine().read().engine().stats().row_bytes).sum();
        let rows = meridian_env::run(&*node.env.work, Class::Apply, job).await;
        node.pressure.row_bytes.store(rows, Ordering::Relaxed);
        node.env.clock.sleep(LOOK_EVERY).await;
    }
}

/// Merges blocks for as long as the node lives.
async fn upkeep(node: Node) -> Halt {
    loop {
        let mut worked = false;
        for (shard, group) in shards(&node) {
            if let Some(why) = group.take_suspicion() {
                node.damaged(shard, &why);
                continue;
            }
            match group.upkeep().await {
                Ok(done) => {
                    worked |= done;
                    if done {
                        node.metrics.storage.compacted();
                    }
                }
                Err(JobError::Halt(halt)) => return halt,
                Err(JobError::Full(why)) => {
                    tracing::warn!(%shard, why, "the disk is full: blocks are merged later");
                    node.env.clock.sleep(FULL_WAIT).await;
                }
                Err(JobError::Damaged(why)) => node.damaged(shard, &why),
            }
        }
        if !worked {
            node.env.clock.sleep(LOOK_EVERY).await;
        }
    }
}

/// Hashes what checksum entries ask for.
async fn checksums(node: Node) -> Halt {
    loop {
        for (shard, group) in shards(&node) {
            match meridian_env::run(&*node.env.work, Class::Scan, move || hash(&group)).await {
                Ok(()) => {}
                Err(JobError::Halt(halt)) => return halt,
                Err(error) => node.damaged(shard, &error.to_string()),
            }
        }
        node.env.clock.sleep(LOOK_EVERY).await;
    }
}

fn hash(group: &Group<Shard>) -> Result<(), JobError> {
    if !group.machine().read().is_hash_due() {
        return Ok(());
    }
    let Some((index, content)) = group.machine().write().take_to_hash() else { return Ok(()) };
    let hash = content.hash().map_err(crate::shard::failed)?;
    group.machine().write().hashed(index, hash);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(shard: u32, row_bytes: u64, log_bytes: u64, is_due: bool) -> Load {
        Load { shard: ShardId(shard), row_bytes, log_bytes, is_dirty: row_bytes > 0 || is_due, is_due }
    }

    #[test]
    fn memory_comes_first_then_the_log_then_age() {
        let loads = [load(1, 10, 500, false), load(2, 30, 90, false), load(3, 5, 5, true)];
        assert_eq!(choose(&loads, 80, 0, 1_000, 10), Some(ShardId(2)), "the largest, over half of the memory");
        assert_eq!(choose(&loads, 1_000, 800, 1_000, 10), Some(ShardId(1)), "the one that pins most of the log");
        assert_eq!(choose(&loads, 1_000, 800, 1_000, 400), Some(ShardId(3)), "a kept tail pins nothing");
        assert_eq!(choose(&loads, 1_000, 0, 1_000, 10), Some(ShardId(3)), "the one that has waited");
        assert_eq!(choose(&loads[..2], 1_000, 0, 1_000, 10), None);
    }

    #[test]
    fn writes_are_refused_before_memory_is_full() {
        let pressure = Pressure::new(800);
        assert!(pressure.admit().is_ok());
        pressure.row_bytes.store(701, Ordering::Relaxed);
        let refused = pressure.admit().expect_err("over seven eighths");
        assert_eq!(refused.code, Code::Overloaded);
        assert!(refused.message.contains("memory_bytes = 800"), "{}", refused.message);
    }
}
