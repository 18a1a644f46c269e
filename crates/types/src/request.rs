//! Who asked, which request it was, and where in the log its effect stands.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Incarnation, LogIndex, ShardId, Timestamp};

/// Hybrid logical time in nanoseconds: the leader proposes the greater of its clock and the request's; `apply` makes it
/// strictly increasing within a group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stamp(pub i64);

impl Stamp {
    /// The stamp that apply gives an entry that was proposed with `proposed`, after an entry stamped `self`.
    #[must_use]
    pub fn next(self, proposed: Self) -> Self {
        Self(self.0.saturating_add(1).max(proposed.0))
    }
}

/// One life of whoever encodes batches. `birth` orders sessions for eviction; `nonce` tells equal births apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct SessionId {
    /// Wall clock of the maker when the session began.
    pub birth: Timestamp,
    /// Random bits of the maker.
    pub nonce: u64,
}

/// Names one batch for ever: the same id is applied at most once, however often it is sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct RequestId {
    /// Whose batch.
    pub session: SessionId,
    /// Which of the session's batches; increasing.
    pub seq: u64,
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SessionId { birth, nonce } = self.session;
        write!(f, "{}-{nonce:x}-{}", birth.nanos(), self.seq)
    }
}

/// Where an acknowledged write stands, or up to where a read saw: returned with every ack and every read, one per shard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Witness {
    /// The shard that answered.
    pub shard: ShardId,
    /// Its life.
    pub incarnation: Incarnation,
    /// The entry's index (a write) or the applied index (a read).
    pub index: LogIndex,
    /// The stamp of that entry.
    pub stamp: Stamp,
}
