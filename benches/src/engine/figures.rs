//! What each stage took, as a table and as JSON. Prints nothing that was not measured.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Args;

/// What the engine does with points, in the order in which they pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// Bytes become a frame.
    Check,
    /// A frame that names series by their keys goes into the head, most of them new, and from there into blocks, with their names.
    Register,
    /// Any other frame goes into the head.
    Write,
    /// The head becomes blocks.
    Flush,
    /// Blocks become fewer.
    Compact,
}

impl Stage {
    pub(super) const ALL: [Self; 5] = [Self::Check, Self::Register, Self::Write, Self::Flush, Self::Compact];

    fn name(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Register => "register",
            Self::Write => "write",
            Self::Flush => "flush",
            Self::Compact => "compact",
        }
    }
}

/// What all calls of one stage took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    pub(super) calls: u64,
    /// That passed through it.
    pub(super) points: u64,
    pub(super) cpu_nanos: u64,
    pub(super) wall_nanos: u64,
}

/// A run.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(super) points: u64,
    pub(super) rows: u64,
    /// By stage.
    pub(super) costs: [Cost; 5],
    /// Of all files at the end.
    pub(super) file_bytes: u64,
    pub(super) blocks: u64,
    /// The most bytes of rows that the head and what was cut from it held.
    pub(super) row_bytes_max: u64,
    /// The most memory beyond what the process held before, which includes the encoded frames.
    pub(super) peak_bytes: u64,
}

impl Figures {
    /// CPU and wall time of a point that passes through a stage.
    pub(crate) fn nanos_a_point(&self, stage: Stage) -> [f64; 2] {
        let cost = self.costs[stage as usize];
        [cost.cpu_nanos, cost.wall_nanos].map(|nanos| nanos as f64 / cost.points.max(1) as f64)
    }

    /// CPU time of what the storage itself does with a point of a known series: a frame is checked whoever applies it.
    pub(crate) fn storage_nanos(&self) -> f64 {
        [Stage::Write, Stage::Flush, Stage::Compact].map(|stage| self.nanos_a_point(stage)[0]).iter().sum()
    }

    /// All that was measured, new series and checks too.
    fn all_nanos(&self) -> f64 {
        self.costs.iter().map(|cost| cost.cpu_nanos).sum::<u64>() as f64 / self.points as f64
    }

    fn bytes_a_point(&self) -> f64 {
        self.file_bytes as f64 / self.points as f64
    }

    /// One object on one line.
    pub(super) fn json(&self, args: &Args) -> String {
        let stage = |stage: Stage| {
            let cost = self.costs[stage as usize];
            let [cpu, wall] = self.nanos_a_point(stage);
            json!({
                "stage": stage.name(), "calls": cost.calls, "points": cost.points,
                "cpu_nanos_a_point": cpu, "wall_nanos_a_point": wall,
            })
        };
        let shape = &args.shape;
        let object = json!({
            "series": shape.series, "fields": shape.fields, "rows_per_batch": shape.rows_per_batch, "seed": shape.seed,
            "by_key": args.keys, "flush_bytes": args.flush_bytes, "flush_points": args.flush_points,
            "points": self.points, "rows": self.rows,
            "stages": Stage::ALL.map(stage).into_iter().collect::<Value>(),
            "points_per_second": 1e9 / self.storage_nanos(),
            "points_per_second_in_all": 1e9 / self.all_nanos(),
            "file_bytes_a_point": self.bytes_a_point(), "blocks": self.blocks,
            "row_bytes_max": self.row_bytes_max, "peak_bytes": self.peak_bytes,
        });
        format!("{object}\n")
    }

    /// For people.
    pub(super) fn table(&self, args: &Args) -> String {
        let mut lines = Vec::new();
        let shape = &args.shape;
        let (series, fields, rows) = (shape.series, shape.fields, shape.rows_per_batch);
        let named = if args.keys { "keys" } else { "numbers" };
        lines.push(("shape", format!("{series} series by their {named}, {fields} fields, {rows} rows a frame")));
        lines.push(("points", format!("{} in {} rows, all counted by a view", self.points, self.rows)));
        for stage in Stage::ALL {
            let cost = self.costs[stage as usize];
            let [cpu, wall] = self.nanos_a_point(stage);
            lines.push((
                stage.name(),
                format!("{cpu:.1} ns of CPU a point, {wall:.1} ns of time, {} calls", cost.calls),
            ));
        }
        let [storage, all] = [self.storage_nanos(), self.all_nanos()];
        let text = "write, flush and compact";
        lines.push((
            "storage",
            format!("{storage:.1} ns of CPU a point: {:.0} points/s on one core by {text}", 1e9 / storage),
        ));
        lines.push(("in all", format!("{all:.1} ns of CPU a point: {:.0} points/s on one core", 1e9 / all)));
        lines.push(("files", format!("{:.3} bytes a point in {} blocks", self.bytes_a_point(), self.blocks)));
        let [rows, peak] = [self.row_bytes_max, self.peak_bytes].map(|bytes| bytes as f64 / f64::from(1 << 20));
        lines.push(("memory", format!("{rows:.0} MiB of rows, {peak:.0} MiB resident beyond the frames")));
        let mut table = String::new();
        for (name, text) in lines {
            writeln!(table, "{name:<14}{text}").expect("a String takes everything");
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn figures() -> Figures {
        let cost = |calls, nanos| Cost { calls, points: 1_000, cpu_nanos: nanos, wall_nanos: 2 * nanos };
        Figures {
            points: 1_000,
            rows: 100,
            costs: [cost(4, 5_000), Cost::default(), cost(4, 10_000), cost(2, 20_000), cost(1, 10_000)],
            file_bytes: 700,
            blocks: 1,
            row_bytes_max: 3 << 20,
            peak_bytes: 9 << 20,
        }
    }

    #[test]
    fn the_table_reads_well() {
        let args = Line::parse_from(["engine"]).args;
        let expected = "\
shape         4000 series by their numbers, 10 fields, 10000 rows a frame
points        1000 in 100 rows, all counted by a view
check         5.0 ns of CPU a point, 10.0 ns of time, 4 calls
register      0.0 ns of CPU a point, 0.0 ns of time, 0 calls
write         10.0 ns of CPU a point, 20.0 ns of time, 4 calls
flush         20.0 ns of CPU a point, 40.0 ns of time, 2 calls
compact       10.0 ns of CPU a point, 20.0 ns of time, 1 calls
storage       40.0 ns of CPU a point: 25000000 points/s on one core by write, flush and compact
in all        45.0 ns of CPU a point: 22222222 points/s on one core
files         0.700 bytes a point in 1 blocks
memory        3 MiB of rows, 9 MiB resident beyond the frames
";
        assert_eq!(figures().table(&args), expected);
    }

    #[test]
    fn json_holds_the_same() {
        let args = Line::parse_from(["engine", "--keys", "--flush-points", "5"]).args;
        let object: Value = serde_json::from_str(&figures().json(&args)).expect("JSON");
        assert_eq!(object["stages"][3]["stage"], "flush");
        assert_eq!(object["stages"][3]["cpu_nanos_a_point"], 20.0);
        assert_eq!(object["points_per_second"], 25_000_000.0);
        assert_eq!((&object["by_key"], &object["flush_points"]), (&Value::Bool(true), &json!(5)));
    }
}
