//! Memory, log and files of a node in figures. Names: `docs/metrics.md`.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use meridian_raft::LogFigures;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// What a node holds, and what it does about it.
#[derive(Debug)]
pub(crate) struct StorageMetrics {
    row_bytes: Gauge,
    file_bytes: Gauge,
    blocks: Gauge,
    log_bytes: Gauge,
    leaders: Gauge,
    apply_lag: Gauge,
    damaged: Gauge,
    flush: Histogram,
    compactions: Counter,
    log_commits: Counter,
    log_written: Counter,
    log_seconds: Counter<f64, AtomicU64>,
}

/// What is held now, over all shards of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Levels {
    pub(crate) row_bytes: u64,
    pub(crate) file_bytes: u64,
    pub(crate) blocks: u64,
    pub(crate) log_bytes: u64,
    /// Shards led here.
    pub(crate) leaders: u64,
    /// Entries that are committed and not applied yet, of the shard that lacks most.
    pub(crate) apply_lag: u64,
    /// Replicas that left service.
    pub(crate) damaged: u64,
}

impl Default for StorageMetrics {
    fn default() -> Self {
        Self {
            row_bytes: Gauge::default(),
            file_bytes: Gauge::default(),
            blocks: Gauge::default(),
            log_bytes: Gauge::default(),
            leaders: Gauge::default(),
            apply_lag: Gauge::default(),
            damaged: Gauge::default(),
            flush: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            compactions: Counter::default(),
            log_commits: Counter::default(),
            log_written: Counter::default(),
            log_seconds: Counter::default(),
        }
    }
}

impl StorageMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let mut gauge = |name: &str, help: &str, gauge: &Gauge| registry.register(name, help, gauge.clone());
        gauge("meridian_node_row_bytes", "Memory of rows that are in no file yet", &self.row_bytes);
        gauge("meridian_node_file_bytes", "Bytes of blocks and series tables", &self.file_bytes);
        gauge("meridian_node_blocks", "Block files", &self.blocks);
        gauge("meridian_node_log_bytes", "Bytes of the log's files", &self.log_bytes);
        gauge("meridian_node_leaders", "Shards that this node leads", &self.leaders);
        let help = "Entries that are committed and not applied yet, of the shard that lacks most";
        gauge("meridian_node_apply_lag_entries", help, &self.apply_lag);
        gauge("meridian_node_damaged_replicas", "Replicas that left service because of their files", &self.damaged);
        registry.register_with_unit("meridian_node_flush", "Time of a flush", Unit::Seconds, self.flush.clone());
        registry.register("meridian_node_compactions", "Merges of blocks", self.compactions.clone());
        registry.register("meridian_node_log_commits", "Group commits of the log", self.log_commits.clone());
        let help = "Bytes of group commits of the log";
        registry.register("meridian_node_log_written_bytes", help, self.log_written.clone());
        let help = "Time that group commits took, from the first byte to the end of the sync";
        registry.register_with_unit("meridian_node_log_commit", help, Unit::Seconds, self.log_seconds.clone());
    }

    /// What is held now.
    pub(crate) fn levels(&self, levels: &Levels) {
        let set = |gauge: &Gauge, value: u64| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.row_bytes, levels.row_bytes);
        set(&self.file_bytes, levels.file_bytes);
        set(&self.blocks, levels.blocks);
        set(&self.log_bytes, levels.log_bytes);
        set(&self.leaders, levels.leaders);
        set(&self.apply_lag, levels.apply_lag);
        set(&self.damaged, levels.damaged);
    }

    /// What the log has written between two looks.
    pub(crate) fn logged(&self, before: LogFigures, now: LogFigures) {
        self.log_commits.inc_by(now.commits - before.commits);
        self.log_written.inc_by(now.bytes - before.bytes);
        self.log_seconds.inc_by(now.took.saturating_sub(before.took).as_secs_f64());
    }

    pub(crate) fn flushed(&self, took: Duration) {
        self.flush.observe(took.as_secs_f64());
    }

    pub(crate) fn compacted(&self) {
        self.compactions.inc();
    }
}
