//! Wall time (for data) and monotonic time (for waiting), and the one way to bound a wait.

use std::fmt::Debug;
use std::future::Future;

use futures::future::BoxFuture;
use meridian_types::Timestamp;

/// Monotonic time. It is tokio's, which a simulation advances by itself.
pub type Instant = tokio::time::Instant;

/// The two clocks of a process.
pub trait Clock: Send + Sync + Debug + 'static {
    /// Wall time: only for stamps and default timestamps, never for waiting. May jump.
    fn wall(&self) -> Timestamp;

    /// Monotonic time.
    fn now(&self) -> Instant;

    /// Waits until `at`.
    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()>;

    /// Waits for `span` from now.
    fn sleep(&self, span: std::time::Duration) -> BoxFuture<'static, ()> {
        self.sleep_until(self.now() + span)
    }
}

/// The deadline passed first. What was waited for may still happen: its outcome is unknown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the deadline passed")]
pub struct Elapsed;

/// Waits for `future`, but not past `at`.
pub async fn deadline<F: Future>(clock: &dyn Clock, at: Instant, future: F) -> Result<F::Output, Elapsed> {
    tokio::select! {
        biased;
        output = future => Ok(output),
        () = clock.sleep_until(at) => Err(Elapsed),
    }
}
