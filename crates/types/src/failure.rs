//! What went wrong, as the caller needs to know it: a stable code, a kind that says what to do, and a sentence.
//!
//! Each operation has its own error enum near it; this is the form in which a failure crosses a process boundary.
//! `proto/src/status.rs` is the only place that maps a [`Kind`] to gRPC, HTTP and exit codes.

/// What the caller must do about a failure.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// Change the request.
    Fix,
    /// What was named does not exist.
    NotFound,
    /// What was to be made exists.
    Exists,
    /// The caller may not do this.
    NotAllowed,
    /// Certainly not applied: send again with the same request id.
    Retry,
    /// Certainly not applied: send again, later, with the same request id.
    Overloaded,
    /// May or may not have been applied: ask again with the same request id.
    Unknown,
    /// A bug or a disk here: report it.
    Broken,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $number:literal, $kind:ident, $help:literal;)*) => {
        /// Stable number of a failure, printed as `E0007`; each has a paragraph in `docs/errors.md`.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u16)]
        pub enum Code { $($(#[doc = $doc])* $name = $number,)* }

        impl Code {
            /// All codes in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What the caller must do.
            pub fn kind(self) -> Kind {
                match self { $(Self::$name => Kind::$kind,)* }
            }

            /// What happened, in general.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*).trim_ascii(),)* }
            }

            /// What to do about it.
            pub fn help(self) -> &'static str {
                match self { $(Self::$name => $help,)* }
            }
        }
    };
}

codes! {
    /// The request is malformed.
    BadRequest = 1, Fix, "Read the message: it names the part that could not be understood.";
    /// Part of the input was refused; the rest is stored.
    PartlyRefused = 2, Fix, "Correct the lines that the reply names and send those again.";
    /// Something is over a limit.
    OverLimit = 3, Fix, "The message names the limit and the size seen: send less at a time.";
    /// A field has another type.
    TypeConflict = 4, Fix, "A field keeps the type of its first value: send that type, or use another field name.";
    /// A timestamp is out of range.
    TimeOutOfRange = 5, Fix, "Check the precision of your timestamps; the database's `future` bounds how far ahead they may be, its retention how old.";
    /// The query cannot be answered as asked.
    BadQuery = 6, Fix, "Read the message: it names the part of the query.";
    /// An integer sum overflowed.
    SumOverflow = 7, Fix, "Ask for a shorter range or smaller windows, or for the mean.";
    /// There is no such database.
    NoDatabase = 8, NotFound, "Create it: meridian db create NAME";
    /// There is no such measurement or field.
    NoMeasurement = 9, NotFound, "Check the name; `meridian query` names are case-sensitive.";
    /// There is no such node, shard or group here.
    NoGroup = 10, NotFound, "See `meridian cluster status`.";
    /// The database exists.
    DatabaseExists = 11, Exists, "Use it, or choose another name.";
    /// The peer or client belongs elsewhere.
    WrongCluster = 12, NotAllowed, "Check the addresses: this process belongs to another cluster or is another node.";
    /// The shard has moved or has another leader.
    Moved = 13, Retry, "Retry; routers and the Rust client do so by themselves.";
    /// The shard has no leader yet.
    NoLeader = 14, Retry, "Retry; if it lasts, see `meridian cluster status` for nodes that are down.";
    /// The process is starting or stopping.
    NotReady = 15, Retry, "Wait until /ready answers 200.";
    /// A node could not be reached.
    Unreachable = 16, Retry, "Retry; if it lasts, see `meridian cluster status`.";
    /// Series numbers are not known to the shard.
    SendKeys = 17, Retry, "Send the frame again with the series' keys.";
    /// The session is too old for the shard to know what became of its requests.
    SessionExpired = 18, Unknown, "Start a new session; what was pending in the old one may or may not be stored.";
    /// Too much is under way.
    Overloaded = 19, Overloaded, "Send again after the time that the reply names.";
    /// The outcome is not known.
    Unknown = 20, Unknown, "Send again with the same request id: it will be applied once.";
    /// A bug or a disk failed here.
    Internal = 21, Broken, "Report it with the log of the process that printed it.";
    /// The peer speaks another version.
    WrongVersion = 22, NotAllowed, "Run the same version of meridian everywhere, or neighbouring minor versions.";
    /// The request id was used for another request.
    RequestIdReused = 23, Fix, "Give every request a fresh id or Idempotency-Key.";
    /// Nothing is served at this path or by this method.
    NoSuchPath = 24, NotFound, "See the README for the paths that are served.";
    /// A directory or an address is in use by another process.
    InUse = 25, Exists, "Stop the process that uses it, or choose another directory or address.";
    /// A node that has run before came back without its data.
    LostDisk = 26, NotAllowed, "Restore the node's directory as it was, or start a new node under another address.";
    /// The cluster is begun already.
    ClusterExists = 27, Exists, "`meridian cluster init` is sent once, to one node: see `meridian cluster status`.";
}

impl Code {
    /// The code with this number, if there is one.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|c| *c as u16 == number)
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "E{:04}", *self as u16)
    }
}

/// A failure as it crosses a process boundary.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Which failure.
    pub code: Code,
    /// The sentence for people: names the limit, the value and the remedy where there is one.
    pub message: String,
    /// When to try again, for kinds that are worth another try.
    pub retry_after_ms: Option<u32>,
}

impl Failure {
    /// A failure without a retry hint.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after_ms: None }
    }

    /// The same failure with the time after which another try makes sense.
    #[must_use]
    pub fn retry_after_ms(mut self, ms: u32) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }

    /// What the caller must do.
    pub fn kind(&self) -> Kind {
        self.code.kind()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_and_read_back() {
        for (i, code) in Code::ALL.iter().enumerate() {
            assert_eq!(*code as usize, i + 1, "numbers are never reused and never skipped");
            assert_eq!(Code::from_number(*code as u16), Some(*code));
            assert!(!code.title().is_empty() && !code.help().is_empty());
        }
        assert_eq!(Code::Moved.to_string(), "E0013");
    }
}
