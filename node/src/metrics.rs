//! What a node counts, in one vocabulary. Names: `docs/metrics.md`.

use meridian_metrics::Page;
use meridian_types::Kind;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use crate::shard::Reply;

mod live; // asked for at each scrape
mod storage;

pub(crate) use live::Live;
pub(crate) use storage::{Levels, StorageMetrics};

/// The node's counters.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    points: Counter,
    frames: Counter,
    refused: Counter,
    overloaded: Counter,
    deletes: Counter,
    cutoffs: Counter,
    scans: Counter,
    pub(crate) storage: StorageMetrics,
    registry: Registry,
}

impl Metrics {
    pub(crate) fn new(live: Live) -> Self {
        let mut metrics = Self::default();
        metrics.registry.register_collector(Box::new(live));
        let registry = &mut metrics.registry;
        registry.register("meridian_node_points_written", "Field values applied for a router", metrics.points.clone());
        registry.register("meridian_node_frames_written", "Frames applied for a router", metrics.frames.clone());
        registry.register("meridian_node_frames_refused", "Frames that were not applied", metrics.refused.clone());
        let help = "Frames refused because the node held too much already";
        registry.register("meridian_node_frames_overloaded", help, metrics.overloaded.clone());
        registry.register("meridian_node_deletes", "Deletes applied for a router", metrics.deletes.clone());
        let help = "Cutoffs of retention that this node proposed as leader and saw applied";
        registry.register("meridian_node_cutoffs", help, metrics.cutoffs.clone());
        registry.register("meridian_node_scans", "Reads of a shard that were begun", metrics.scans.clone());
        metrics.storage.register(registry);
        metrics
    }

    /// Counts an entry that a shard applied.
    pub(crate) fn applied(&self, reply: &Reply) {
        match reply {
            Reply::Written { points, .. } => {
                self.points.inc_by(*points);
                self.frames.inc();
            }
            Reply::Deleted { .. } => drop(self.deletes.inc()),
            Reply::Cut => drop(self.cutoffs.inc()),
            Reply::Dropped | Reply::Marked { .. } | Reply::Refused(_) => {}
        }
    }

    pub(crate) fn refused(&self, kind: Kind) {
        self.refused.inc();
        if kind == Kind::Overloaded {
            self.overloaded.inc();
        }
    }

    pub(crate) fn scanned(&self) {
        self.scans.inc();
    }

    /// Everything, in the form that a scrape accepts.
    pub(crate) fn page(&self, accept: Option<&str>) -> Page {
        meridian_metrics::page(Some(&self.registry), accept)
    }
}
