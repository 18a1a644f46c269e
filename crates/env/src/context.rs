//! What travels with every request: who asks, until when, and which trace it belongs to.

use std::sync::Arc;

use crate::Instant;

/// Handed by value through every call of a request's way.
#[derive(Clone, Debug)]
pub struct Context {
    /// Who asks. Until there is authentication, the peer's address.
    pub principal: Arc<str>,
    /// When the caller stops waiting. Nothing is started for it after that.
    pub deadline: Instant,
    /// W3C `traceparent`, if the caller sent one.
    pub traceparent: Option<Arc<str>>,
}

impl Context {
    /// A request of this process's own.
    pub fn own(deadline: Instant) -> Self {
        Self { principal: "self".into(), deadline, traceparent: None }
    }
}
