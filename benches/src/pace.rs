//! When batches leave, and the count of what became of them. Both ways of sending share this, so that their figures mean the
//! same.
//!
//! Never hides waiting: with a rate, a latency starts when the batch should have left, however late it did.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hdrhistogram::Histogram;
use meridian_env::{Class, Env, Instant, run};
use meridian_types::ShardId;

/// Longest wait for one answer: past it the run has failed.
pub(crate) const ANSWER_WAIT_MAX: Duration = Duration::from_secs(60);

/// How long until a request that was refused for want of room is sent again.
pub(crate) const PUT_OFF: Duration = Duration::from_millis(100);

/// Latencies up to this many microseconds are told apart; longer ones count as this.
const LATENCY_MICROS_MAX: u64 = 600_000_000;

/// One request's body, encoded before the clock starts.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) body: Bytes,
    pub(crate) rows: u64,
    pub(crate) points: u64,
    /// Points of all batches before this one.
    pub(crate) points_before: u64,
    /// The one shard of a frame whose series go by number.
    pub(crate) shard: Option<ShardId>,
}

/// When batches may leave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    start: Instant,
    end: Option<Instant>,
    points_per_second: Option<u64>,
}

impl Pace {
    /// The clock starts at `start`; with `lasts` no batch leaves after that time, with `points_per_second` none leaves
    /// earlier than this rate has it.
    pub(crate) fn new(start: Instant, lasts: Option<Duration>, points_per_second: Option<u64>) -> Self {
        Self { start, end: lasts.map(|lasts| start + lasts), points_per_second }
    }

    /// When the batch should leave: at its time, or now if there is no rate. None once the run is over.
    pub(crate) fn intended(&self, batch: &Batch, now: Instant) -> Option<Instant> {
        let at = match self.points_per_second {
            None => now,
            Some(rate) => self.start + Duration::from_secs_f64(batch.points_before as f64 / rate as f64),
        };
        self.end.is_none_or(|end| at.max(now) < end).then_some(at)
    }
}

/// How much of a wait goes without the runtime's timer, which counts whole milliseconds and may come one too late.
const TIMER_MAX: Duration = Duration::from_millis(2);

/// Waits until `at`, to some tens of microseconds.
pub(crate) async fn wait_until(env: &Env, at: Instant) {
    let clock = Arc::clone(&env.clock);
    if at.saturating_duration_since(clock.now()) > TIMER_MAX {
        clock.sleep_until(at - TIMER_MAX).await;
    }
    if at > clock.now() {
        // Looked at again when it begins: waits that were given up may be in front of it, for the same time.
        #[expect(clippy::disallowed_methods, reason = "the clock of Env is the timer that is too coarse")]
        let rest = move || std::thread::sleep(at.saturating_duration_since(clock.now()));
        run(&*env.work, Class::Scan, rest).await;
    }
}

/// Durations in microseconds, none yet.
pub(crate) fn micros() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MICROS_MAX, 3).expect("the bounds are good constants")
}

/// What was acknowledged.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) rows: u64,
    pub(crate) points: u64,
    pub(crate) bytes: u64,
    /// Requests that were refused for want of room, and sent again.
    pub(crate) put_off: u64,
    /// Microseconds from the intended send time to the answer.
    pub(crate) latency: Histogram<u64>,
}

impl Tally {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self { requests: 0, rows: 0, points: 0, bytes: 0, put_off: 0, latency: micros() }
    }

    /// Adds what another one has counted.
    pub(crate) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.rows += other.rows;
        self.points += other.points;
        self.bytes += other.bytes;
        self.put_off += other.put_off;
        self.latency.add(&other.latency).expect("both have the same bounds");
    }

    /// Counts an acknowledged batch.
    pub(crate) fn acknowledged(&mut self, batch: &Batch, intended: Instant, now: Instant) {
        self.requests += 1;
        self.rows += batch.rows;
        self.points += batch.points;
        self.bytes += batch.body.len() as u64;
        let micros = now.saturating_duration_since(intended).as_micros();
        self.latency.saturating_record(u64::try_from(micros).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(points_before: u64) -> Batch {
        Batch { body: Bytes::from_static(b"12345"), rows: 10, points: 100, points_before, shard: None }
    }

    #[test]
    fn a_rate_gives_each_batch_its_time() {
        let start = meridian_env::real::env().expect("threads start").clock.now();
        let late = start + Duration::from_secs(9);
        let pace = Pace::new(start, None, Some(1_000));
        assert_eq!(pace.intended(&batch(0), start), Some(start));
        assert_eq!(pace.intended(&batch(500), late), Some(start + Duration::from_millis(500)), "also when it is late");
        assert_eq!(Pace::new(start, None, None).intended(&batch(500), late), Some(late));
    }

    #[test]
    fn nothing_leaves_after_the_end() {
        let start = meridian_env::real::env().expect("threads start").clock.now();
        let lasts = Some(Duration::from_secs(2));
        for rate in [None, Some(1_000)] {
            assert!(Pace::new(start, lasts, rate).intended(&batch(0), start).is_some());
            assert_eq!(Pace::new(start, lasts, rate).intended(&batch(0), start + Duration::from_secs(2)), None);
        }
        assert_eq!(Pace::new(start, lasts, Some(1_000)).intended(&batch(2_000), start), None);
    }

    #[test]
    fn a_latency_starts_at_the_intended_time() {
        let start = meridian_env::real::env().expect("threads start").clock.now();
        let mut tally = Tally::new();
        tally.acknowledged(&batch(0), start, start + Duration::from_micros(700));
        tally.acknowledged(&batch(0), start + Duration::from_secs(9), start);
        assert_eq!((tally.requests, tally.rows, tally.points, tally.bytes), (2, 20, 200, 10));
        assert_eq!((tally.latency.min(), tally.latency.max()), (0, 700));
    }
}
