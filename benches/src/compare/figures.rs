//! The figures of a comparison and what is made of them: medians, and ratios of what was measured in the same turn.
//!
//! Pure. Never compares a median with a median of another hour: each run of one product is set against the run of the other
//! that took the same bytes right before or behind it.

use crate::servers::Stored;

/// One run of one product.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Run {
    pub(crate) points: u64,
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_bytes: u64,
    /// Whether the work behind the writes ended while it was waited for.
    pub(crate) is_quiet: bool,
}

/// All of one product.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    pub(crate) version: String,
    /// What an acknowledgement of it means.
    pub(crate) acknowledges: &'static str,
    pub(crate) copies: u64,
    pub(crate) runs: Vec<Run>,
    /// CPU time of the flush at the end, which every point needs.
    pub(crate) closing_cpu_seconds: f64,
    /// On disk, after that flush and the merges behind it.
    pub(crate) stored: Stored,
}

impl Measured {
    /// Points of all runs.
    pub(crate) fn points(&self) -> u64 {
        self.runs.iter().map(|run| run.points).sum()
    }

    fn closing_share(&self) -> f64 {
        self.closing_cpu_seconds / self.points() as f64
    }
}

/// A product that was to be compared with and is not there.
#[derive(Clone, Debug)]
pub(crate) struct Skipped {
    pub(crate) name: &'static str,
    /// The command that brings it here.
    pub(crate) remedy: String,
}

impl Skipped {
    /// For the reader of a report.
    pub(crate) fn note(&self) -> String {
        format!("{}: SKIPPED, it is not installed: {}", self.name, self.remedy)
    }
}

/// All that there is to tell.
#[derive(Clone, Debug)]
pub(crate) struct Comparison {
    /// What was sent, by what, on what.
    pub(crate) setup: Vec<(&'static str, String)>,
    pub(crate) ours: Measured,
    pub(crate) peers: Vec<Measured>,
    pub(crate) skipped: Vec<Skipped>,
}

/// One line of the report.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric {
    /// In words, with its unit.
    pub(crate) name: &'static str,
    /// In JSON.
    pub(crate) key: &'static str,
    pub(crate) more_is_better: bool,
    pub(crate) decimals: usize,
    /// Its value in each run, or the one of them all.
    pub(crate) of: fn(&Measured) -> Vec<f64>,
}

/// What is compared, in the order in which it is told.
pub(crate) const METRICS: [Metric; 5] = [
    Metric {
        name: "million points/s acknowledged",
        key: "million_points_per_second",
        more_is_better: true,
        decimals: 3,
        of: |product| product.runs.iter().map(|run| run.points as f64 / run.seconds / 1e6).collect(),
    },
    Metric {
        name: "CPU-seconds a million points",
        key: "cpu_seconds_per_million_points",
        more_is_better: false,
        decimals: 3,
        of: |product| {
            let share = product.closing_share();
            product.runs.iter().map(|run| (run.cpu_seconds / run.points as f64 + share) * 1e6).collect()
        },
    },
    Metric {
        name: "bytes a point on disk, one copy",
        key: "bytes_per_point_and_copy",
        more_is_better: false,
        decimals: 3,
        of: |product| vec![product.stored.data as f64 / product.points() as f64 / product.copies as f64],
    },
    Metric {
        name: "bytes a point on disk, all copies",
        key: "bytes_per_point",
        more_is_better: false,
        decimals: 3,
        of: |product| vec![product.stored.data as f64 / product.points() as f64],
    },
    Metric {
        name: "peak memory, MB",
        key: "peak_megabytes",
        more_is_better: false,
        decimals: 0,
        of: |product| product.runs.iter().map(|run| run.peak_bytes as f64 / 1e6).collect(),
    },
];

impl Metric {
    /// The metric that JSON calls so.
    pub(crate) fn by_key(key: &str) -> Option<&'static Self> {
        METRICS.iter().find(|metric| metric.key == key)
    }

    /// Its median.
    pub(crate) fn median(&self, product: &Measured) -> f64 {
        median(&(self.of)(product))
    }

    /// Ours by theirs: the median over the turns.
    pub(crate) fn ratio(&self, ours: &Measured, theirs: &Measured) -> f64 {
        let ratios: Vec<_> =
            (self.of)(ours).iter().zip((self.of)(theirs)).map(|(ours, theirs)| ours / theirs).collect();
        median(&ratios)
    }
}

/// The middle of the values; of two in the middle, their mean. Not a number if there are none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A product whose runs took these seconds for two million points each.
    pub(crate) fn measured(name: &'static str, copies: u64, seconds: &[f64]) -> Measured {
        let run = |seconds: &f64| Run {
            points: 2_000_000,
            seconds: *seconds,
            cpu_seconds: seconds * 2.0,
            peak_bytes: 300_000_000,
            is_quiet: true,
        };
        let runs: Vec<_> = seconds.iter().map(run).collect();
        let data = runs.len() as u64 * 1_000_000 * copies;
        let stored = Stored { data, log: 64_000_000 };
        Measured {
            name,
            version: "1.0".into(),
            acknowledges: "at once",
            copies,
            runs,
            closing_cpu_seconds: 0.6,
            stored,
        }
    }

    /// Meridian against one other.
    pub(crate) fn comparison() -> Comparison {
        Comparison {
            setup: vec![("rows", "4000 hosts <&>".into())],
            ours: measured("Meridian", 3, &[1.0, 2.0, 4.0]),
            peers: vec![measured("Other", 1, &[2.0, 2.0, 2.0])],
            skipped: vec![Skipped { name: "Third", remedy: "apt-get install third-deb".into() }],
        }
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_ratio_is_of_turns_and_a_flush_at_the_end_is_every_points() {
        let Comparison { ours, peers, .. } = comparison();
        let [rate, cpu, copy, all, memory] = METRICS.map(|metric| metric.ratio(&ours, &peers[0]));
        assert_eq!(rate, 1.0, "of 2, 1 and 0.5");
        assert_eq!(cpu, 1.0);
        assert_eq!((copy, all, memory), (1.0, 3.0, 1.0));
        let spread = METRICS[1].median(&ours);
        assert!((spread - 2.1).abs() < 1e-9, "{spread}: 4 CPU-seconds for two million, 0.6 for all six");
        assert_eq!(Metric::by_key("bytes_per_point").map(|metric| metric.median(&ours)), Some(1.5));
    }
}
