//! Virtual time with an error per host.
#![expect(clippy::disallowed_methods, reason = "the simulated clock is tokio's, which turmoil advances")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::future::BoxFuture;
use meridian_types::Timestamp;
use parking_lot::Mutex;

use crate::{Clock, Instant};

/// 2026-01-01T00:00:00Z, when every simulation starts, in nanoseconds since 1970.
pub const START_NANOS: i64 = 1_767_225_600_000_000_000;

/// A host's clocks: tokio's for waiting, and a wall clock that starts at 2026-01-01. Clones are the same clock.
#[derive(Clone, Debug, Default)]
pub struct SimClock {
    offset_nanos: Arc<AtomicI64>,
    /// Where no turmoil counts: when this clock was first read.
    start: Arc<Mutex<Option<Instant>>>,
}

impl SimClock {
    /// Sets by how much the wall clock is ahead of the simulation's true time.
    pub fn set_offset_nanos(&self, nanos: i64) {
        self.offset_nanos.store(nanos, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    /// Without any runtime, time stands still.
    fn wall(&self) -> Timestamp {
        let elapsed = turmoil::sim_elapsed().unwrap_or_else(|| match tokio::runtime::Handle::try_current() {
            Ok(_) => self.start.lock().get_or_insert_with(Instant::now).elapsed(),
            Err(_) => std::time::Duration::ZERO,
        });
        let elapsed = i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX);
        let offset = self.offset_nanos.load(Ordering::Relaxed);
        Timestamp::default().saturating_add(START_NANOS).saturating_add(elapsed).saturating_add(offset)
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep_until(at))
    }
}
