//! Request ids: who hands them out, which are still pending, and when a session has to end.

use std::collections::BTreeSet;
use std::sync::Arc;

use meridian_env::Env;
use meridian_types::{RequestId, SessionId, limits};
use parking_lot::Mutex;

/// How far the oldest pending request may lag before a session is begun anew: a shard remembers only so many outcomes of one
/// session, and what falls off could not be told from what was never there.
const LAG_MAX: u64 = limits::SESSION_OUTCOMES_MAX as u64 / 2;

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

/// The sessions of a process that goes on for longer than shards remember one: a new one when it must be.
#[derive(Debug)]
pub struct Sessions {
    env: Env,
    current: Mutex<Session>,
}

impl Sessions {
    /// Begins with a new session.
    pub fn new(env: &Env) -> Self {
        Self { env: env.clone(), current: Mutex::new(Session::begin(env)) }
    }

    /// The next request's id.
    pub fn request(&self) -> Pending {
        let mut current = self.current.lock();
        let pending = current.request();
        if pending.id.seq - pending.pending_from() < LAG_MAX {
            return pending;
        }
        *current = Session::begin(&self.env);
        current.request()
    }

    /// Ends a session that a shard has forgotten, unless that is done.
    pub fn renew(&self, expired: SessionId) {
        let mut current = self.current.lock();
        if current.id == expired {
            *current = Session::begin(&self.env);
        }
    }
}
