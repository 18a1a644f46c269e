//! Request ids: who hands them out, and which are still pending.

use std::collections::BTreeSet;
use std::sync::Arc;

use meridian_env::Env;
use meridian_types::{RequestId, SessionId};
use parking_lot::Mutex;

/// One life of a maker of batches.
#[derive(Clone, Debug)]
pub struct Session {
    id: SessionId,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    pending: BTreeSet<u64>,
}

/// A request id in use. Dropping it says that its outcome was taken, or that nobody waits for it any more.
#[derive(Debug)]
pub struct Pending {
    /// The id.
    pub id: RequestId,
    state: Arc<Mutex<State>>,
}

impl Session {
    /// A new session, born now.
    pub fn begin(env: &Env) -> Self {
        let id = SessionId { birth: env.clock.wall(), nonce: env.rng.u64() };
        Self { id, state: Arc::default() }
    }

    /// The next request's id.
    pub fn request(&self) -> Pending {
        let mut state = self.state.lock();
        let seq = state.next;
        state.next += 1;
        state.pending.insert(seq);
        Pending { id: RequestId { session: self.id, seq }, state: Arc::clone(&self.state) }
    }
}

impl Pending {
    /// The lowest seq of the session that is still pending: shards forget outcomes below it.
    pub fn pending_from(&self) -> u64 {
        self.state.lock().pending.first().copied().unwrap_or(self.id.seq)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.state.lock().pending.remove(&self.id.seq);
    }
}
