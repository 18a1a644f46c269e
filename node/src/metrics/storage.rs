//! Memory and files of a node in figures. Names: `docs/metrics.md`.

use std::time::Duration;

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
    flush: Histogram,
    compactions: Counter,
}

/// What is held now, over all shards of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Levels {
    pub(crate) row_bytes: u64,
    pub(crate) file_bytes: u64,
    pub(crate) blocks: u64,
}

impl Default for StorageMetrics {
    fn default() -> Self {
        Self {
            row_bytes: Gauge::default(),
            file_bytes: Gauge::default(),
            blocks: Gauge::default(),
            flush: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            compactions: Counter::default(),
        }
    }
}

impl StorageMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let mut gauge = |name: &str, help: &str, gauge: &Gauge| registry.register(name, help, gauge.clone());
        gauge("meridian_node_row_bytes", "Memory of rows that are in no file yet", &self.row_bytes);
        gauge("meridian_node_file_bytes", "Bytes of blocks and series tables", &self.file_bytes);
        gauge("meridian_node_blocks", "Block files", &self.blocks);
        registry.register_with_unit("meridian_node_flush", "Time of a flush", Unit::Seconds, self.flush.clone());
        registry.register("meridian_node_compactions", "Merges of blocks", self.compactions.clone());
    }

    /// What is held now.
    pub(crate) fn levels(&self, levels: &Levels) {
        let set = |gauge: &Gauge, value: u64| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.row_bytes, levels.row_bytes);
        set(&self.file_bytes, levels.file_bytes);
        set(&self.blocks, levels.blocks);
    }

    pub(crate) fn flushed(&self, took: Duration) {
        self.flush.observe(took.as_secs_f64());
    }

    pub(crate) fn compacted(&self) {
        self.compactions.inc();
    }
}
