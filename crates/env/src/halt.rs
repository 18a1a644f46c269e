//! A local fault as a value.

/// This process can no longer promise anything: its disk failed or lied, or an entry is beyond its version. From where it
/// arises no reply and no ack leaves; `node::run` returns it, `main` aborts, the simulation crashes the host.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("halt: {reason}")]
pub struct Halt {
    /// What failed, for the operator.
    pub reason: String,
}

impl Halt {
    /// A halt with its reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }

    /// A halt because of an IO error while doing `what`.
    pub fn io(what: impl std::fmt::Display, error: &std::io::Error) -> Self {
        Self::new(format!("{what}: {error}"))
    }
}
