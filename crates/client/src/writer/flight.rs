//! A frame between its first try and the time at which its fate is known. Pure.

use std::time::Duration;

use meridian_env::Instant;
use meridian_types::{Code, Failure, Kind};

use super::encode::Made;
use crate::session::Pending;

/// A frame on its way.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) made: Made,
    pub(super) pending: Pending,
    /// When its writer stops waiting.
    pub(super) deadline: Instant,
    /// When it may leave; none while a reply is due.
    pub(super) due: Option<Instant>,
    pub(super) tries: u32,
    /// What the last try came to.
    last: Failure,
    /// A try of which nobody knows what it came to.
    may_be_stored: Option<Failure>,
}

impl Flight {
    /// A frame that may leave now.
    pub(super) fn new(made: Made, pending: Pending, now: Instant, deadline: Instant) -> Self {
        let last = Failure::new(Code::Unreachable, "no stream to a router was open in time");
        Self { made, pending, deadline, due: Some(now), tries: 0, last, may_be_stored: None }
    }

    pub(super) fn is_away(&self) -> bool {
        self.due.is_none()
    }

    pub(super) fn may_be_stored(&self) -> bool {
        self.may_be_stored.is_some()
    }

    /// A try failed, and the next one is `wait` from `now`.
    pub(super) fn again(&mut self, failure: Failure, now: Instant, wait: Duration) {
        if failure.kind() == Kind::Unknown {
            self.may_be_stored = Some(failure);
        } else {
            self.last = failure;
        }
        self.due = Some(now + wait);
    }

    /// The stream is gone, or did not come up: what was sent on it may be stored, what waits is as before.
    pub(super) fn lost_stream(&mut self, failure: &Failure, now: Instant) {
        if self.is_away() {
            self.again(failure.clone(), now, Duration::ZERO);
        } else if failure.kind() != Kind::Unknown {
            self.last = failure.clone();
        }
    }

    /// Nobody waits any longer: whether it may be stored, and why it is not known to be.
    pub(super) fn given_up(self) -> (bool, Made, Failure) {
        let silent = || Failure::new(Code::Unknown, "the router did not answer in time");
        match self.may_be_stored.or_else(|| self.due.is_none().then(silent)) {
            Some(unknown) => (true, self.made, unknown),
            None => (false, self.made, self.last),
        }
    }

    /// The outcome is not known, and this is the last that was heard of it.
    pub(super) fn unknown(self, failure: Failure) -> (Made, Failure) {
        let failure = match self.may_be_stored {
            Some(before) if failure.kind() != Kind::Unknown => {
                Failure::new(Code::Unknown, format!("{before}; sent again: {failure}"))
            }
            _ => failure,
        };
        (self.made, failure)
    }
}
