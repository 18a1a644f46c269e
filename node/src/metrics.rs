//! What a node counts, in one vocabulary. Names: `docs/metrics.md`.

use meridian_types::Kind;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// The node's counters.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    points: Counter,
    frames: Counter,
    refused: Counter,
    overloaded: Counter,
    scans: Counter,
    registry: Registry,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self::default();
        let registry = &mut metrics.registry;
        registry.register("meridian_node_points_written", "Field values applied for a router", metrics.points.clone());
        registry.register("meridian_node_frames_written", "Frames applied for a router", metrics.frames.clone());
        registry.register("meridian_node_frames_refused", "Frames that were not applied", metrics.refused.clone());
        let help = "Frames refused because the node held too much already";
        registry.register("meridian_node_frames_overloaded", help, metrics.overloaded.clone());
        registry.register("meridian_node_scans", "Reads of a shard that were begun", metrics.scans.clone());
        metrics
    }

    pub(crate) fn written(&self, points: u64) {
        self.points.inc_by(points);
        self.frames.inc();
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

    /// The text that Prometheus reads.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(error) => format!("# the metrics could not be written: {error}\n"),
        }
    }
}
