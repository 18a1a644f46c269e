//! The figures of a run, as a table and as JSON. Computes nothing that it does not print, and prints nothing that was not
//! measured or asked of the cluster.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::check::Cluster;
use crate::load::{Args, Mode};
use crate::pace::Tally;

/// Above this share of one core the loader, which has one thread, may be what limits the run.
const LOADER_SHARE_MAX: f64 = 0.8;

/// What was measured between the start and the stop of the clock.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) tally: Tally,
    /// From the start to the last answer.
    pub(crate) seconds: f64,
    /// Of each process that was named, in the order of the arguments.
    pub(crate) servers_cpu_seconds: Vec<f64>,
    pub(crate) loader_cpu_seconds: f64,
    /// Whether every batch was sent.
    pub(crate) all_sent: bool,
}

/// A run.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    pub(crate) args: &'a Args,
    pub(crate) cluster: Cluster,
    pub(crate) measured: Measured,
    /// Spent on encoding before the clock started.
    pub(crate) encoding_cpu_seconds: f64,
}

impl Report<'_> {
    /// The figures as one JSON object on one line.
    pub(crate) fn json(&self) -> String {
        let (args, measured, tally) = (self.args, &self.measured, &self.measured.tally);
        let [p50, p90, p99, max] = self.latency_micros();
        let servers = args.to.pid.iter().zip(&measured.servers_cpu_seconds);
        let object = json!({
            "mode": self.mode(), "series": args.shape.series, "fields": args.shape.fields,
            "rows_per_batch": args.shape.rows_per_batch, "concurrency": args.to.concurrency, "seed": args.shape.seed,
            "rate": args.rate,
            "nodes": self.cluster.nodes, "shards": self.cluster.shards, "replicas": self.cluster.replicas,
            "fsync_before_ack": self.majority(),
            "points": tally.points, "rows": tally.rows, "requests": tally.requests, "put_off": tally.put_off, "bytes": tally.bytes,
            "seconds": measured.seconds, "points_per_second": self.per_second(tally.points),
            "bytes_per_second": self.per_second(tally.bytes),
            "latency_micros": {
                "from": if args.rate.is_some() { "intended" } else { "sent" },
                "p50": p50, "p90": p90, "p99": p99, "max": max,
            },
            "cpu_seconds": {
                "servers": servers.map(|(pid, cpu)| json!({ "pid": pid, "cpu": cpu })).collect::<Vec<Value>>(),
                "loader": measured.loader_cpu_seconds, "encoding": self.encoding_cpu_seconds,
            },
            "cpu_seconds_per_million_points": {
                "servers": self.servers_cpu_seconds().map(|cpu| self.per_million_points(cpu)),
                "loader": self.per_million_points(measured.loader_cpu_seconds),
                "encoding": self.per_million_points(self.encoding_cpu_seconds),
            },
            "notes": self.notes(),
        });
        format!("{object}\n")
    }

    /// The figures for people.
    pub(crate) fn table(&self) -> String {
        let (args, measured, tally) = (self.args, &self.measured, &self.measured.tally);
        let [p50, p90, p99, max] = self.latency_micros().map(|micros| micros as f64 / 1_000.0);
        let from = match args.rate {
            Some(rate) => format!("from the intended send time at {rate} points/s"),
            None => "from the send; closed loop: a slow answer delays what follows and hides its wait".to_owned(),
        };
        let shape = &args.shape;
        let cpu = |cpu: f64| format!("{cpu:.2} s, {:.3} s a million points", self.per_million_points(cpu));
        let servers: Vec<_> = args.to.pid.iter().zip(&measured.servers_cpu_seconds).collect();
        let each: Vec<_> = servers.iter().map(|(pid, cpu)| format!("pid {pid}: {cpu:.2} s")).collect();
        let Cluster { nodes, shards, replicas, .. } = self.cluster;
        let put_off = match tally.put_off {
            0 => String::new(),
            some => format!(", {some} of them put off for want of room"),
        };
        let mut lines = vec![
            ("mode", format!("{}, {} under way", self.mode(), args.to.concurrency)),
            (
                "shape",
                format!("{} series, {} fields, {} rows a batch", shape.series, shape.fields, shape.rows_per_batch),
            ),
            ("cluster", format!("{nodes} nodes, {shards} shards, {replicas} replicas")),
            (
                "acknowledged",
                format!("after fsync on {} of {replicas} replicas; all counted by a query", self.majority()),
            ),
            ("points", format!("{} in {} rows and {} requests{put_off}", tally.points, tally.rows, tally.requests)),
            ("time", format!("{:.3} s", measured.seconds)),
            ("points/s", format!("{:.0}", self.per_second(tally.points))),
            ("bytes/s", format!("{:.0} of {} bodies", self.per_second(tally.bytes), self.mode())),
            ("latency", format!("p50 {p50:.2} ms, p90 {p90:.2} ms, p99 {p99:.2} ms, max {max:.2} ms")),
            ("", from),
            ("CPU cluster", self.servers_cpu_seconds().map_or_else(|| "not asked for: --pid".into(), cpu)),
            ("", each.join(", ")),
            ("CPU loader", cpu(measured.loader_cpu_seconds)),
            ("CPU encoding", format!("{}, before the clock started", cpu(self.encoding_cpu_seconds))),
        ];
        lines.extend(self.notes().into_iter().map(|note| ("note", note)));
        let mut table = String::new();
        for (name, text) in lines.iter().filter(|(_, text)| !text.is_empty()) {
            writeln!(table, "{name:<14}{text}").expect("a String takes everything");
        }
        table
    }

    /// What a reader of the figures must know.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let share = self.measured.loader_cpu_seconds / self.measured.seconds;
        if share > LOADER_SHARE_MAX {
            notes.push(format!("the loader used {share:.2} of one core: it may have limited the run"));
        }
        if let Some(seconds) = self.args.seconds.filter(|_| self.measured.all_sent) {
            notes.push(format!("all points were sent before the {seconds} s were over: give more --points"));
        }
        notes
    }

    fn mode(&self) -> &'static str {
        match self.args.mode {
            Mode::Lines => "lines",
            Mode::Frames => "frames",
        }
    }

    fn majority(&self) -> usize {
        self.cluster.replicas / 2 + 1
    }

    fn latency_micros(&self) -> [u64; 4] {
        let latency = &self.measured.tally.latency;
        let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|quantile| latency.value_at_quantile(quantile));
        [p50, p90, p99, latency.max()]
    }

    fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.measured.seconds
    }

    fn servers_cpu_seconds(&self) -> Option<f64> {
        let each = &self.measured.servers_cpu_seconds;
        (!each.is_empty()).then(|| each.iter().sum())
    }

    fn per_million_points(&self, cpu_seconds: f64) -> f64 {
        cpu_seconds * 1e6 / self.measured.tally.points as f64
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use clap::Parser as _;

    use super::*;
    use crate::pace::Batch;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(more: &[&str]) -> Args {
        Line::parse_from(["load", "--mode", "lines"].iter().chain(more)).args
    }

    fn report(args: &Args) -> Report<'_> {
        let start = meridian_env::real::env().expect("threads start").clock.now();
        let batch = Batch {
            body: Bytes::from(vec![0; 500_000]),
            rows: 100_000,
            points: 1_000_000,
            points_before: 0,
            shard: None,
        };
        let mut tally = Tally::new();
        for millis in [1, 4] {
            tally.acknowledged(&batch, start, start + Duration::from_millis(millis));
        }
        let servers_cpu_seconds = args.to.pid.iter().map(|_| 1.5).collect();
        let measured = Measured { tally, seconds: 2.0, servers_cpu_seconds, loader_cpu_seconds: 0.5, all_sent: true };
        let cluster = Cluster { nodes: 3, shards: 8, replicas: 3, http: Vec::new() };
        Report { args, cluster, measured, encoding_cpu_seconds: 0.25 }
    }

    #[test]
    fn the_table_reads_well() {
        let args = args(&["--pid", "7", "--pid", "8"]);
        let expected = "\
mode          lines, 8 under way
shape         4000 series, 10 fields, 1000 rows a batch
cluster       3 nodes, 8 shards, 3 replicas
acknowledged  after fsync on 2 of 3 replicas; all counted by a query
points        2000000 in 200000 rows and 2 requests
time          2.000 s
points/s      1000000
bytes/s       500000 of lines bodies
latency       p50 1.00 ms, p90 4.00 ms, p99 4.00 ms, max 4.00 ms
              from the send; closed loop: a slow answer delays what follows and hides its wait
CPU cluster   3.00 s, 1.500 s a million points
              pid 7: 1.50 s, pid 8: 1.50 s
CPU loader    0.50 s, 0.250 s a million points
CPU encoding  0.25 s, 0.125 s a million points, before the clock started
";
        assert_eq!(report(&args).table(), expected);
    }

    #[test]
    fn json_holds_the_same() {
        let args = args(&["--rate", "500000", "--seconds", "10"]);
        let object: Value = serde_json::from_str(&report(&args).json()).expect("JSON");
        assert_eq!(object["points_per_second"], 1_000_000.0);
        assert_eq!(object["replicas"], 3);
        assert_eq!(object["latency_micros"]["from"], "intended");
        assert_eq!(object["cpu_seconds_per_million_points"]["servers"], Value::Null);
        assert_eq!(object["cpu_seconds_per_million_points"]["loader"], 0.25);
        assert_eq!(object["notes"][0], "all points were sent before the 10 s were over: give more --points");
    }
}
