//! Counters of one router, as `/metrics` shows them. Nothing is decided by them.

use std::time::Duration;

use meridian_metrics::Page;
use meridian_types::{Failure, Kind};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

type Labels = [(&'static str, &'static str); 2];

/// All counters and their names.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    pub(crate) points_written: Counter,
    pub(crate) lines_refused: Counter,
    pub(crate) body_bytes: Counter,
    pub(crate) rows_read: Counter,
    write_seconds: Histogram,
    query_seconds: Histogram,
    in_flight: Gauge,
    map_version: Gauge,
}

/// A request under way; dropping it without [`InFlight::done`] counts it as cut off by its client.
#[derive(Debug)]
pub(crate) struct InFlight<'a> {
    metrics: &'a Metrics,
    endpoint: &'static str,
    outcome: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.000_5, 2.0, 17));
        let mut metrics = Self {
            registry: Registry::with_prefix("meridian_router"),
            requests: Family::default(),
            points_written: Counter::default(),
            lines_refused: Counter::default(),
            body_bytes: Counter::default(),
            rows_read: Counter::default(),
            write_seconds: seconds(),
            query_seconds: seconds(),
            in_flight: Gauge::default(),
            map_version: Gauge::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("requests", "Requests by endpoint and outcome", self.requests.clone());
        registry.register("points_written", "Field values acknowledged", self.points_written.clone());
        registry.register("lines_refused", "Lines and rows refused", self.lines_refused.clone());
        registry.register(
            "body_bytes",
            "Bytes of bodies and messages of writes, as they arrived",
            self.body_bytes.clone(),
        );
        registry.register("rows_read", "Rows of answers", self.rows_read.clone());
        let (write, query) = (self.write_seconds.clone(), self.query_seconds.clone());
        registry.register_with_unit("write", "From arrival to answer of a write", Unit::Seconds, write);
        registry.register_with_unit("query", "From arrival to the last row of a query", Unit::Seconds, query);
        registry.register("in_flight", "Requests under way", self.in_flight.clone());
        registry.register("map_version", "Version of the catalogue that this router knows", self.map_version.clone());
    }

    /// Counts a request in.
    pub(crate) fn begin(&self, endpoint: &'static str) -> InFlight<'_> {
        self.in_flight.inc();
        InFlight { metrics: self, endpoint, outcome: "cut_off" }
    }

    /// Notes how long a query took.
    pub(crate) fn query_took(&self, span: Duration) {
        self.query_seconds.observe(span.as_secs_f64());
    }

    /// Notes how long a write took.
    pub(crate) fn write_took(&self, span: Duration) {
        self.write_seconds.observe(span.as_secs_f64());
    }

    /// Everything, in the form that a scrape accepts.
    pub(crate) fn page(&self, map_version: u64, accept: Option<&str>) -> Page {
        self.map_version.set(i64::try_from(map_version).unwrap_or(i64::MAX));
        meridian_metrics::page(Some(&self.registry), accept)
    }
}

impl InFlight<'_> {
    /// Counts the request as done, with an outcome of a fixed list.
    pub(crate) fn done(&mut self, outcome: &'static str) {
        self.outcome = outcome;
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        self.metrics.requests.get_or_create(&[("endpoint", self.endpoint), ("outcome", self.outcome)]).inc();
    }
}

/// A failure's kind in one word.
pub(crate) fn outcome_of(failure: &Failure) -> &'static str {
    match failure.kind() {
        Kind::Fix => "fix",
        Kind::NotFound => "not_found",
        Kind::Exists => "exists",
        Kind::NotAllowed => "not_allowed",
        Kind::Retry => "retry",
        Kind::Overloaded => "overloaded",
        Kind::Unknown => "unknown",
        Kind::Broken => "broken",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_operators_scrape_has_the_names_that_the_docs_name() {
        let metrics = Metrics::default();
        metrics.begin("write").done("ok");
        drop(metrics.begin("query"));
        metrics.points_written.inc_by(7);
        let text = metrics.page(3, None).text;
        for line in [
            "meridian_router_requests_total{endpoint=\"write\",outcome=\"ok\"} 1",
            "meridian_router_requests_total{endpoint=\"query\",outcome=\"cut_off\"} 1",
            "meridian_router_points_written_total 7",
            "meridian_router_in_flight 0",
            "meridian_router_map_version 3",
            "meridian_router_write_seconds_count 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }
}
