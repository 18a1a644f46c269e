//! The rows of several runs that follow each other on one walk: the same series all the time, and no row twice.
//!
//! Never lets the values begin anew: an engine whose compression finds repetitions would be flattered by that.

use std::sync::Arc;

use meridian_client::Series;
use meridian_env::Env;
use meridian_frame::PushError;
use meridian_types::{TimeRange, Timestamp};
use tonic::transport::Channel;

use crate::generate::{INTERVAL_NANOS, Shape, Walk};
use crate::load::{LoadError, lines_batch};
use crate::numbers::{self, Request, Rows};
use crate::pace::Batch;
use crate::servers::DATABASE;

/// How far before now the newest row lies: products hold back, or refuse, what is too new.
const AGE_NANOS: i64 = 120_000_000_000;
/// Products that count in seconds are asked about whole seconds.
const SECOND_NANOS: i64 = 1_000_000_000;

/// One run, encoded.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) batches: Vec<Batch>,
    /// All its rows, and no other run's, lie in this.
    pub(crate) range: TimeRange,
    pub(crate) points: u64,
}

/// Where the rows come from.
#[derive(Debug)]
pub(crate) struct Feed {
    /// What the shards call the series, for rows that travel as frames.
    series: Option<Vec<Arc<Series>>>,
    shape: Shape,
    walk: Walk,
    next: Timestamp,
}

impl Feed {
    /// A walk over the series of `shape` that is long enough for rounds of `points` field values each. It ends now. Its rows
    /// travel as lines.
    pub(crate) fn lines(env: &Env, shape: &Shape, points: &[u64]) -> Result<Self, LoadError> {
        let times: u64 = points.iter().map(|points| times(shape, *points)).sum();
        let points = times * u64::from(shape.series) * u64::from(shape.fields);
        let shape = Shape { points, ..shape.clone() };
        let start = env.clock.wall().nanos() - AGE_NANOS - shape.span_nanos();
        let start = Timestamp::new(start - start.rem_euclid(SECOND_NANOS))?;
        let walk = Walk::new(&shape, start, INTERVAL_NANOS)?;
        Ok(Self { series: None, shape, walk, next: start })
    }

    /// The same as frames, to a router that learns of the series by a row of each, in front of all rounds.
    pub(crate) async fn frames(env: &Env, router: Channel, shape: &Shape, points: &[u64]) -> Result<Self, LoadError> {
        let feed = Self::lines(env, shape, points)?;
        let before = feed.next.saturating_add(-INTERVAL_NANOS);
        let series = numbers::learn(env, router, DATABASE, &feed.shape, before).await?;
        Ok(Self { series: Some(series), ..feed })
    }

    /// The next round: `points` field values, rounded up to one row of every series. Encodes on this thread: nothing is under
    /// way that waits for it.
    pub(crate) fn round(&mut self, points: u64) -> Result<Round, LoadError> {
        let times = times(&self.shape, points);
        let rows = times * u64::from(self.shape.series);
        let made = match &self.series {
            None => lines(&mut self.walk, &self.shape, rows),
            Some(series) => frames(&mut self.walk, &self.shape, rows, series)?,
        };
        let points = |rows: u64| rows * u64::from(self.shape.fields);
        let (mut batches, mut done) = (Vec::with_capacity(made.len()), 0);
        for (shard, body, rows) in made {
            batches.push(Batch { body, rows, points: points(rows), points_before: points(done), shard });
            done += rows;
        }
        assert_eq!(done, rows, "the walk was made long enough for all its rounds");
        let points = points(rows);
        let span = i64::try_from(times).expect("bounded by the span of a shape") * INTERVAL_NANOS;
        let range = TimeRange::new(self.next, self.next.saturating_add(span))?;
        self.next = range.end();
        Ok(Round { batches, range, points })
    }
}

fn lines(walk: &mut Walk, shape: &Shape, rows: u64) -> Vec<Request> {
    let (fields, mut made, mut left) = (shape.field_names(), Vec::new(), rows);
    while left > 0 {
        let most = u32::try_from(left).unwrap_or(u32::MAX).min(shape.rows_per_batch);
        let (body, rows) = lines_batch(walk, &fields, most);
        if rows == 0 {
            break;
        }
        made.push((None, body, rows));
        left -= rows;
    }
    made
}

/// Whole times: the first row is the first series'.
fn frames(walk: &mut Walk, shape: &Shape, rows: u64, series: &[Arc<Series>]) -> Result<Vec<Request>, PushError> {
    let (mut made, mut encoding) = (Vec::new(), Rows::new(shape, series));
    for _ in 0..rows {
        let Some((host, time)) = walk.next_row() else { break };
        made.extend(encoding.push(host, time)?);
    }
    made.extend(encoding.finish());
    Ok(made)
}

/// Rows of each series that make `points` field values.
fn times(shape: &Shape, points: u64) -> u64 {
    points.div_ceil(u64::from(shape.fields) * u64::from(shape.series)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;

    #[test]
    fn rounds_follow_each_other_and_hold_whole_times() {
        let env = meridian_env::real::env().expect("threads start");
        let shape = Shape { source: Source::Cpu, series: 30, fields: 2, rows_per_batch: 7, points: 1, seed: 1 };
        let mut feed = Feed::lines(&env, &shape, &[100, 600]).expect("small");
        let first = feed.round(100).expect("small");
        let second = feed.round(600).expect("small");
        assert_eq!((first.points, second.points), (120, 600), "rounded up to one row of each series");
        assert_eq!(first.range.end(), second.range.start());
        assert_eq!(first.range.start().nanos() % SECOND_NANOS, 0);
        assert!(second.range.end() < env.clock.wall());
        for round in [&first, &second] {
            assert_eq!(round.batches.iter().map(|batch| batch.points).sum::<u64>(), round.points);
            let ahead: u64 = round.batches.last().map(|batch| batch.points_before + batch.points).expect("some");
            assert_eq!(ahead, round.points);
        }
        assert_ne!(first.batches[0].body, second.batches[0].body);
    }
}
