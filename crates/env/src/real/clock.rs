//! The system's clocks.
#![expect(clippy::disallowed_methods, reason = "the place that the bans name")]

use std::time::{SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use meridian_types::Timestamp;

use crate::{Clock, Instant};

#[derive(Debug)]
pub(super) struct SystemClock;

impl Clock for SystemClock {
    /// A system clock outside 1678 to 2262 gives the nearest time that can be stored.
    fn wall(&self) -> Timestamp {
        let nanos = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos),
        };
        Timestamp::default().saturating_add(nanos)
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep_until(at))
    }
}
