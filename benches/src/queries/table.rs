//! The figures of a run of queries, as a table and as JSON. Pure. Holds executions whose answers were right and no others.

use std::fmt::Write as _;
use std::time::Duration;

use meridian_types::TimeRange;
use serde_json::json;

use crate::check::Cluster;
use crate::queries::kinds::Kind;

/// The executions of one query type.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) kind: &'static Kind,
    /// Of each execution but the first.
    pub(crate) took: Vec<Duration>,
    /// Rows of the first answer, which is not timed.
    pub(crate) rows: u64,
    /// What it took on its way.
    pub(crate) bytes: u64,
}

/// A run.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) cluster: Cluster,
    pub(crate) database: String,
    pub(crate) hosts: u32,
    pub(crate) points: u64,
    pub(crate) seed: u64,
    pub(crate) range: TimeRange,
    /// How long the rows took to load, where this run did it.
    pub(crate) loading: Option<Duration>,
    pub(crate) lines: Vec<Line>,
}

impl Table {
    /// The figures as one JSON object on one line.
    pub(crate) fn json(&self) -> String {
        let line = |line: &Line| {
            json!({
                "query": line.kind.name, "executions": line.took.len(),
                "median_ms": millis(quantile(&line.took, 0.5)), "p95_ms": millis(quantile(&line.took, 0.95)),
                "rows": line.rows, "bytes": line.bytes,
            })
        };
        let object = json!({
            "nodes": self.cluster.nodes, "shards": self.cluster.shards, "replicas": self.cluster.replicas,
            "database": self.database, "hosts": self.hosts, "points": self.points, "seed": self.seed,
            "start": self.range.start().to_string(), "end": self.range.end().to_string(),
            "loading_seconds": self.loading.map(|took| took.as_secs_f64()),
            "queries": self.lines.iter().map(line).collect::<Vec<_>>(),
        });
        format!("{object}\n")
    }

    /// The figures for people.
    pub(crate) fn text(&self) -> String {
        let Cluster { nodes, shards, replicas, .. } = self.cluster;
        let loading = match self.loading {
            Some(took) => format!("loaded just before in {:.1} s", took.as_secs_f64()),
            None => "was there before".to_owned(),
        };
        let executions = self.lines.iter().map(|line| line.took.len()).max().unwrap_or(0);
        let mut text = String::new();
        let mut add = |line: String| writeln!(text, "{}", line.trim_end()).expect("a String takes everything");
        add(format!("cluster  {nodes} nodes, {shards} shards, {replicas} replicas; linearizable, one query at a time"));
        add(format!("data     {} points of {} hosts in {:?}, {loading}", self.points, self.hosts, self.database));
        add(format!("         from {} to {}", self.range.start(), self.range.end()));
        add(format!("answers  all compared, value by value, with what the generator's rows make (seed {})", self.seed));
        add(format!(
            "times    of {executions} executions each; rows and bytes are of one more before, which is not timed"
        ));
        add(String::new());
        add(row(["query", "median ms", "p95 ms", "rows", "bytes"]));
        for line in &self.lines {
            let [median, p95] = [0.5, 0.95].map(|q| format!("{:.2}", millis(quantile(&line.took, q))));
            let [rows, bytes] = [line.rows, line.bytes].map(|n| n.to_string());
            add(row([line.kind.name, &median, &p95, &rows, &bytes]));
        }
        text
    }
}

fn row([name, median, p95, rows, bytes]: [&str; 5]) -> String {
    format!("{name:<22}{median:>10}{p95:>10}{rows:>8}{bytes:>11}")
}

fn millis(took: Duration) -> f64 {
    took.as_micros() as f64 / 1e3
}

/// The shortest time within which this share of the executions ended; zero of none.
fn quantile(took: &[Duration], share: f64) -> Duration {
    let mut sorted = took.to_vec();
    sorted.sort_unstable();
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use meridian_types::Timestamp;
    use serde_json::Value;

    use super::*;
    use crate::queries::kinds::named;

    fn table() -> Table {
        let end = Timestamp::new(7_200_000_000_000).expect("in range");
        let line = |name: &str, rows: u64, millis: &[u64]| Line {
            kind: named(name).expect("it is there"),
            took: millis.iter().map(|millis| Duration::from_millis(*millis)).collect(),
            rows,
            bytes: 123_456,
        };
        Table {
            cluster: Cluster { nodes: 3, shards: 8, replicas: 3, http: Vec::new() },
            database: "q".into(),
            hosts: 2,
            points: 14_400,
            seed: 7,
            range: TimeRange::new(Timestamp::default(), end).expect("not empty"),
            loading: None,
            lines: vec![line("cpu-max-all-8", 8, &[9, 1, 2]), line("lastpoint", 77, &[5])],
        }
    }

    #[test]
    fn the_table_reads_well() {
        let expected = "\
cluster  3 nodes, 8 shards, 3 replicas; linearizable, one query at a time
data     14400 points of 2 hosts in \"q\", was there before
         from 1970-01-01T00:00:00Z to 1970-01-01T02:00:00Z
answers  all compared, value by value, with what the generator's rows make (seed 7)
times    of 3 executions each; rows and bytes are of one more before, which is not timed

query                  median ms    p95 ms    rows      bytes
cpu-max-all-8               2.00      9.00       8     123456
lastpoint                   5.00      5.00      77     123456
";
        assert_eq!(table().text(), expected);
    }

    #[test]
    fn json_holds_the_same() {
        let object: Value = serde_json::from_str(&table().json()).expect("JSON");
        assert_eq!(object["queries"][0]["query"], "cpu-max-all-8");
        assert_eq!(object["queries"][0]["median_ms"], 2.0);
        assert_eq!(object["queries"][1]["bytes"], 123_456);
        assert_eq!(object["end"], "1970-01-01T02:00:00Z");
        assert_eq!(object["loading_seconds"], Value::Null);
    }

    #[test]
    fn quantiles_are_times_that_were_measured() {
        let took: Vec<_> = (1..=20).rev().map(Duration::from_millis).collect();
        assert_eq!(quantile(&took, 0.5), Duration::from_millis(10));
        assert_eq!(quantile(&took, 0.95), Duration::from_millis(19));
        assert_eq!(quantile(&took[..1], 0.5), Duration::from_millis(20));
        assert_eq!(quantile(&[], 0.5), Duration::ZERO);
    }
}
