//! The request ids that this router gives to what came without one.

use meridian_client::{Pending, Session};
use meridian_env::Env;
use meridian_types::{SessionId, limits};
use parking_lot::Mutex;

/// How far the oldest pending request may lag before a session is begun anew: a shard remembers only so many outcomes of one
/// session, and what falls off could not be told from what was never there.
const LAG_MAX: u64 = limits::SESSION_OUTCOMES_MAX as u64 / 2;

/// The current session.
#[derive(Debug)]
pub(crate) struct Sessions {
    env: Env,
    current: Mutex<Session>,
}

impl Sessions {
    pub(crate) fn new(env: &Env) -> Self {
        Self { env: env.clone(), current: Mutex::new(Session::begin(env)) }
    }

    /// The next request's id.
    pub(crate) fn request(&self) -> Pending {
        let mut current = self.current.lock();
        let pending = current.request();
        if pending.id.seq - pending.pending_from() < LAG_MAX {
            return pending;
        }
        *current = Session::begin(&self.env);
        current.request()
    }

    /// Ends a session that a shard has forgotten, unless that is done.
    pub(crate) fn renew(&self, expired: SessionId) {
        let mut current = self.current.lock();
        if current.request().id.session == expired {
            *current = Session::begin(&self.env);
        }
    }
}
