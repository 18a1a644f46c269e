//! What the groups and the log of a node know of themselves, asked for at each scrape. Names: `docs/metrics.md`.
//!
//! It must never wait for a machine: apply holds it for as long as it computes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use meridian_raft::{Group, GroupStatus, Groups, LogFigures};
use meridian_types::{LogIndex, ShardId, limits};
use parking_lot::{Mutex, RwLock};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use tokio::sync::Semaphore;

use crate::damage::Damage;
use crate::meta::Meta;
use crate::shard::Shard;

/// Where the figures are.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) groups: Groups,
    pub(crate) meta: Group<Meta>,
    pub(crate) shards: Arc<RwLock<BTreeMap<ShardId, Group<Shard>>>>,
    pub(crate) damages: Arc<Mutex<BTreeMap<ShardId, Damage>>>,
    /// Bytes of proposals between socket and reply.
    pub(crate) budget: Arc<Semaphore>,
}

/// One group as this node's replica has it.
struct Row {
    name: String,
    status: GroupStatus,
    log_bytes: u64,
}

impl Live {
    fn rows(&self) -> Vec<Row> {
        let shards: Vec<_> = self.shards.read().values().cloned().collect();
        let shards = shards.iter().map(|group| Row {
            name: ShardId(group.spec().group.0).to_string(),
            status: group.status(),
            log_bytes: group.log_bytes(),
        });
        let meta = Row {
            name: self.meta.spec().group.to_string(),
            status: self.meta.status(),
            log_bytes: self.meta.log_bytes(),
        };
        std::iter::once(meta).chain(shards).collect()
    }
}

impl Collector for Live {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let held = limits::NODE_PROPOSAL_BYTES_MAX.saturating_sub(self.budget.available_permits());
        let help = "Bytes of proposals under way, from their arrival until they are applied";
        gauge(&mut encoder, "meridian_node_proposal_bytes", help, held as u64)?;
        let help = "Replicas that left service because of their files";
        gauge(&mut encoder, "meridian_node_damaged_replicas", help, self.damages.lock().len() as u64)?;
        gauge(&mut encoder, "meridian_node_log_bytes", "Bytes of the log's files", self.groups.log_bytes())?;
        log(&mut encoder, &self.groups.log_figures())?;
        groups(&mut encoder, &self.rows())
    }
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
}

fn log(encoder: &mut DescriptorEncoder<'_>, figures: &LogFigures) -> fmt::Result {
    let bounds = LogFigures::BOUNDS.iter().map(std::time::Duration::as_secs_f64).chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = bounds.zip(figures.commits).collect();
    let help = "Time of a group commit of the log, from the first byte to the end of the sync";
    encoder
        .encode_descriptor("meridian_node_log_commit_seconds", help, None, MetricType::Histogram)?
        .encode_histogram::<NoLabelSet>(figures.took.as_secs_f64(), figures.commits.iter().sum(), &buckets, None)?;
    let help = "Bytes of group commits of the log";
    encoder
        .encode_descriptor("meridian_node_log_written_bytes", help, None, MetricType::Counter)?
        .encode_counter::<NoLabelSet, _, u64>(&figures.bytes, None)
}

fn groups(encoder: &mut DescriptorEncoder<'_>, rows: &[Row]) -> fmt::Result {
    let index = |index: Option<LogIndex>| index.map_or(0, |index| index.0);
    let mut family = |name: &str, help: &str, value: &dyn Fn(&Row) -> u64| -> fmt::Result {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        rows.iter().try_for_each(|row| metric.encode_family(&[("group", &*row.name)])?.encode_gauge(&value(row)))
    };
    family("meridian_group_leader", "1 where this node leads the group", &|row| {
        u64::from(row.status.role == "leader")
    })?;
    family("meridian_group_has_leader", "1 where this replica knows a leader", &|row| {
        u64::from(row.status.leader.is_some())
    })?;
    family("meridian_group_term", "Term of the group", &|row| row.status.term)?;
    family("meridian_group_last_index", "Last entry in the log", &|row| index(row.status.last))?;
    family("meridian_group_committed_index", "Last entry known committed", &|row| index(row.status.committed))?;
    family("meridian_group_applied_index", "Last entry applied", &|row| index(row.status.applied))?;
    family("meridian_group_flushed_index", "Last entry whose effect is in files", &|row| index(row.status.snapshot))?;
    family("meridian_group_purged_index", "Last entry removed from the log", &|row| index(row.status.purged))?;
    family("meridian_group_log_bytes", "Bytes of entries in the log", &|row| row.log_bytes)?;
    let help = "On the leader: entries that a replica is not known to have";
    let mut metric =
        encoder.encode_descriptor("meridian_group_replication_lag_entries", help, None, MetricType::Gauge)?;
    for row in rows {
        for (replica, last) in &row.status.replication {
            let lag = index(row.status.last).saturating_sub(last.0);
            let labels = [("group", row.name.clone()), ("replica", replica.to_string())];
            metric.encode_family(&labels)?.encode_gauge(&lag)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::registry::Registry;

    use super::*;

    #[derive(Debug)]
    struct Log(LogFigures);

    impl Collector for Log {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
            log(&mut encoder, &self.0)
        }
    }

    #[test]
    fn the_histogram_of_group_commits_ends_at_infinity() {
        let mut figures = LogFigures { bytes: 7, took: Duration::from_secs(20), ..LogFigures::default() };
        figures.commits[LogFigures::BOUNDS.len()] = 2;
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Log(figures)));
        let text = meridian_metrics::page(Some(&registry), None).text;
        let has = |line: &str| assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        has("meridian_node_log_commit_seconds_bucket{le=\"8.192\"} 0");
        has("meridian_node_log_commit_seconds_bucket{le=\"+Inf\"} 2");
        has("meridian_node_log_written_bytes_total 7");
    }
}
