//! The rows of a run, made from a seed: by default in the shape of TSBS devops "cpu-only".
//!
//! Each series is one host, truck or station; the values of its fields walk at random; a row of every series every 10 s, all
//! series at one time before the next time. Pure: the same shape, seed and start give the same rows in every process. Knows
//! no encoding.

use meridian_env::Rng;
use meridian_types::{KeyError, SeriesKey, Timestamp, ValueRef};

use crate::source::{Source, Tags};

/// Time between two rows of a series, in nanoseconds.
pub(crate) const INTERVAL_NANOS: i64 = 10_000_000_000;
/// Field values of one run: bounds its span of data time to 159 years.
pub(crate) const POINTS_MAX: u64 = 500_000_000;

/// How much of what is sent.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Shape {
    /// What the rows are of.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) source: Source,
    /// Series: hosts, trucks or stations.
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) series: u32,
    /// Fields of each row; where a source has fewer, they begin again under other names.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) fields: u32,
    /// Rows of one request at most; a frame ends at 1 MiB at the latest.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rows_per_batch: u32,
    /// Points (field values) to send, rounded up to whole rows.
    #[arg(long, default_value_t = 20_000_000, value_parser = clap::value_parser!(u64).range(1..=POINTS_MAX))]
    pub(crate) points: u64,
    /// Names the values; the same seed gives the same.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

impl Shape {
    /// Rows of the whole run.
    pub(crate) fn rows(&self) -> u64 {
        self.points.div_ceil(self.fields.into())
    }

    /// Data time from the first row to behind the last, in nanoseconds.
    pub(crate) fn span_nanos(&self) -> i64 {
        let times = self.rows().div_ceil(self.series.into());
        i64::try_from(times).expect("at most POINTS_MAX") * INTERVAL_NANOS
    }

    /// The names of the fields.
    pub(crate) fn field_names(&self) -> Vec<String> {
        (0..self.fields as usize).map(|number| self.source.field_name(number)).collect()
    }
}

/// One series and its newest values.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) source: Source,
    /// Its tags in the order in which they are written.
    pub(crate) tags: Tags,
    /// Its tags as a frame carries them.
    pub(crate) key: SeriesKey,
    /// The value of each field, of a float in units of its last decimal.
    pub(crate) values: Vec<i64>,
}

impl Host {
    fn new(source: Source, number: u32, fields: u32, rng: &Rng) -> Result<Self, KeyError> {
        let tags = source.tags(number, rng);
        let mut pairs: Vec<_> = tags.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let key = SeriesKey::from_tags(&mut pairs)?;
        let start = |number| {
            let [min, max, _] = source.field(number).walk;
            min + rng.below(max.abs_diff(min) + 1).cast_signed()
        };
        let values = (0..fields as usize).map(start).collect();
        Ok(Self { source, tags, key, values })
    }

    /// Moves each value by so many of its steps, mean 0 and variance 1: four coins for each, sixteen values from one draw.
    fn step(&mut self, rng: &Rng) {
        for (first, values) in (0..).step_by(16).zip(self.values.chunks_mut(16)) {
            let mut coins = rng.u64();
            for (number, value) in (first..).zip(values) {
                let [min, max, step] = self.source.field(number).walk;
                *value = (*value + step * (i64::from((coins & 15).count_ones()) - 2)).clamp(min, max);
                coins >>= 4;
            }
        }
    }

    /// Its fields' values.
    pub(crate) fn row(&self) -> impl Iterator<Item = ValueRef<'static>> {
        let value = |(number, units): (usize, &i64)| match self.source.field(number).float(*units) {
            Some(float) => ValueRef::F64(float),
            None => ValueRef::I64(*units),
        };
        self.values.iter().enumerate().map(value)
    }
}

/// The rows of a run, in the order in which they are sent.
#[derive(Debug)]
pub(crate) struct Walk {
    interval: i64,
    hosts: Vec<Host>,
    rng: Rng,
    start: Timestamp,
    next: u64,
    rows: u64,
}

impl Walk {
    /// The rows of `shape`, the first of each series near `start`, the next `interval` nanoseconds later.
    pub(crate) fn new(shape: &Shape, start: Timestamp, interval: i64) -> Result<Self, KeyError> {
        let root = Rng::from_seed(shape.seed);
        let tags = root.child("hosts");
        let hosts = (0..shape.series).map(|number| Host::new(shape.source, number, shape.fields, &tags));
        let hosts = hosts.collect::<Result<_, _>>()?;
        Ok(Self { interval, hosts, rng: root.child("walk"), start, next: 0, rows: shape.rows() })
    }

    /// All series, in the order of their rows.
    pub(crate) fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The next row: a host with its values, and the time.
    pub(crate) fn next_row(&mut self) -> Option<(&Host, Timestamp)> {
        if self.next == self.rows {
            return None;
        }
        let series = self.hosts.len() as u64;
        let host = &mut self.hosts[(self.next % series) as usize];
        host.step(&self.rng);
        let since = i64::try_from(self.next / series).expect("at most POINTS_MAX") * self.interval;
        self.next += 1;
        Some((host, self.start.saturating_add(since)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn shape(series: u32, fields: u32, points: u64, seed: u64) -> Shape {
        Shape { source: Source::Cpu, series, fields, rows_per_batch: 7, points, seed }
    }

    fn rows(shape: &Shape) -> Vec<(SeriesKey, i64, Vec<i64>)> {
        let mut walk = Walk::new(shape, Timestamp::default(), INTERVAL_NANOS).expect("valid tags");
        let mut rows = Vec::new();
        while let Some((host, time)) = walk.next_row() {
            rows.push((host.key.clone(), time.nanos(), host.values.clone()));
        }
        rows
    }

    #[test]
    fn a_seed_names_the_rows() {
        let one = rows(&shape(5, 10, 1_000, 1));
        assert_eq!(one, rows(&shape(5, 10, 1_000, 1)));
        assert_ne!(one, rows(&shape(5, 10, 1_000, 2)));
        assert_eq!(one[..50], rows(&shape(5, 10, 500, 1)), "a longer run begins as a shorter one does");
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { cases: 32, ..Default::default() })]
        #[test]
        fn rows_are_distinct_and_values_stay_within_bounds(
            series in 1_u32..20, fields in 1_u32..40, points in 1_u64..5_000, seed: u64, source in 0..3_usize,
        ) {
            let source = [Source::Cpu, Source::Iot, Source::Sensors][source];
            let shape = Shape { source, ..shape(series, fields, points, seed) };
            let rows = rows(&shape);
            proptest::prop_assert_eq!(rows.len() as u64, points.div_ceil(u64::from(fields)));
            let distinct: BTreeSet<_> = rows.iter().map(|(key, time, _)| (key, time)).collect();
            proptest::prop_assert_eq!(distinct.len(), rows.len());
            proptest::prop_assert!(rows.iter().all(|(_, time, _)| (0..shape.span_nanos()).contains(time)));
            for (_, _, values) in &rows {
                proptest::prop_assert_eq!(values.len(), fields as usize);
                let walks = (0..).map(|number| shape.source.field(number).walk);
                proptest::prop_assert!(values.iter().zip(walks).all(|(v, [min, max, _])| (min..=max).contains(v)));
            }
        }
    }

    #[test]
    fn values_walk() {
        let rows = rows(&shape(1, 1, 10_000, 3));
        let values: BTreeSet<i64> = rows.iter().map(|(_, _, values)| values[0]).collect();
        assert!(values.len() > 50, "it gets around: {values:?}");
        assert!(rows.windows(2).all(|pair| pair[0].2[0].abs_diff(pair[1].2[0]) <= 2), "in small steps");
    }
}
