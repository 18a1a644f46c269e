//! What travels with every request: who asks, until when, and which trace it belongs to.

use std::fmt;
use std::sync::Arc;

use crate::{Instant, Rng};

/// Handed by value through every call of a request's way.
#[derive(Clone, Debug)]
pub struct Context {
    /// Who asks. Until there is authentication, the peer's address.
    pub principal: Arc<str>,
    /// When the caller stops waiting. Nothing is started for it after that.
    pub deadline: Instant,
    /// The trace that it belongs to: routers give one to every request that comes without.
    pub trace: Option<Trace>,
}

impl Context {
    /// A request of this process's own.
    pub fn own(deadline: Instant) -> Self {
        Self { principal: "self".into(), deadline, trace: None }
    }

    /// The header `traceparent` that goes with calls on behalf of this request; empty if there is none.
    pub fn traceparent(&self) -> &str {
        self.trace.as_ref().map_or("", |trace| &trace.0)
    }
}

/// A trace, by which logs of different processes are put together. Shown as its id: 32 hexadecimal digits. Source: W3C Trace
/// Context, version 00.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trace(Arc<str>);

/// Where the id is in a `traceparent`, as `00-<32 digits>-<16 digits>-<2 digits>`.
const ID: std::ops::Range<usize> = 3..35;

impl Trace {
    /// The trace that a `traceparent` names. One of another version or shape names none.
    pub fn named(traceparent: &str) -> Option<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let bytes = traceparent.as_bytes();
        let is_shaped = bytes.len() == 55
            && traceparent.starts_with("00-")
            && bytes.iter().enumerate().all(|(at, byte)| match at {
                2 | 35 | 52 => *byte == b'-',
                _ => is_digit(*byte),
            });
        let is_zero = |range: std::ops::Range<usize>| bytes[range].iter().all(|byte| *byte == b'0');
        (is_shaped && !is_zero(ID) && !is_zero(36..52)).then(|| Self(traceparent.into()))
    }

    /// A new one, drawn from `rng`.
    pub fn new(rng: &Rng) -> Self {
        // An id of zeros is none.
        let [high, low, parent] = [rng.u64(), rng.u64() | 1, rng.u64() | 1];
        Self(format!("00-{high:016x}{low:016x}-{parent:016x}-00").into())
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0[ID])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_taken_as_it_is_or_not_at_all() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = Trace::named(good).expect("the example of the specification");
        assert_eq!(trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let zeros = "00000000000000000000000000000000";
        for bad in [
            "",
            &good[..54],
            &good.replace("00-4", "01-4"),
            &good.to_uppercase(),
            &good.replace('-', "_"),
            &good.replace("4bf92f3577b34da6a3ce929d0e0e4736", zeros),
            &good.replace("00f067aa0ba902b7", &zeros[..16]),
            &format!("{good}-more"),
            &format!("{}é", &good[..53]),
        ] {
            assert_eq!(Trace::named(bad), None, "{bad}");
        }
        let new = Trace::new(&Rng::from_seed(1));
        assert_eq!(Trace::named(&new.0), Some(new));
    }
}
