//! Virtual time with an error per host.
#![expect(clippy::disallowed_methods, reason = "the simulated clock is tokio's, which turmoil advances")]

use std::sync::Arc;

use futures::future::BoxFuture;
use meridian_types::Timestamp;
use parking_lot::Mutex;

use crate::{Clock, Instant};

/// 2026-01-01T00:00:00Z, when every simulation starts, in nanoseconds since 1970.
pub const START_NANOS: i64 = 1_767_225_600_000_000_000;

/// A host's clocks: tokio's for waiting, and a wall clock that starts at 2026-01-01. Clones are the same clock.
#[derive(Clone, Debug, Default)]
pub struct SimClock {
    error: Arc<Mutex<Error>>,
    /// Where no turmoil counts: when this clock was first read.
    start: Arc<Mutex<Option<Instant>>>,
}

/// By how much a wall clock is ahead.
#[derive(Clone, Copy, Debug, Default)]
struct Error {
    /// At `since`, in nanoseconds.
    offset: i64,
    /// How much is added in a second.
    drift: i64,
    /// In nanoseconds of true time.
    since: i64,
}

impl Error {
    fn at(self, elapsed: i64) -> i64 {
        let drifted = i128::from(elapsed.saturating_sub(self.since)) * i128::from(self.drift) / 1_000_000_000;
        self.offset.saturating_add(i64::try_from(drifted).unwrap_or(i64::MAX))
    }
}

impl SimClock {
    /// Sets by how much the wall clock is ahead of the simulation's true time; from then on it runs right.
    pub fn set_offset_nanos(&self, nanos: i64) {
        *self.error.lock() = Error { offset: nanos, drift: 0, since: 0 };
    }

    /// From now on the wall clock gains so many nanoseconds a second.
    pub fn drift(&self, nanos_a_second: i64) {
        let elapsed = self.elapsed();
        let mut error = self.error.lock();
        *error = Error { offset: error.at(elapsed), drift: nanos_a_second, since: elapsed };
    }

    /// True time since the start, in nanoseconds. Without any runtime, it stands still.
    fn elapsed(&self) -> i64 {
        let elapsed = turmoil::sim_elapsed().unwrap_or_else(|| match tokio::runtime::Handle::try_current() {
            Ok(_) => self.start.lock().get_or_insert_with(Instant::now).elapsed(),
            Err(_) => std::time::Duration::ZERO,
        });
        i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX)
    }
}

impl Clock for SimClock {
    fn wall(&self) -> Timestamp {
        let elapsed = self.elapsed();
        let ahead = self.error.lock().at(elapsed);
        Timestamp::default().saturating_add(START_NANOS).saturating_add(elapsed).saturating_add(ahead)
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep_until(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_drifts_goes_on_from_where_it_was() {
        let mut error = Error { offset: 5, drift: -500_000_000, since: 1_000_000_000 };
        assert_eq!([1, 2, 4].map(|seconds| error.at(seconds * 1_000_000_000)), [5, -499_999_995, -1_499_999_995]);
        error.drift = i64::MAX;
        assert_eq!(error.at(i64::MAX), i64::MAX);
    }
}
