//! Every number has a type of its own. Ids print as operators read them: `n3`, `s12`, `g0`.

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(/// A database. Given by the meta log and never reused: drop and re-create gives a new one.
    DatabaseId(u32), "d");
id!(/// One storage node. Given by the meta log and never reused.
    NodeId(u32), "n");
id!(/// One Raft group as the log and the network know it: `g0` is the meta group, `gN` is shard `sN`.
    GroupId(u32), "g");
id!(/// One shard: a Raft group that holds points. Counted from 1, because `g0` is the meta group.
    ShardId(u32), "s");
id!(/// One copy of a group on one node, and Raft's id inside the group. Never reused.
    ReplicaId(u64), "r");
id!(/// One life of a shard; raised by unsafe recovery or restore.
    Incarnation(u32), "i");
id!(/// One version of a placement's table slot -> shard.
    EpochId(u32), "e");
id!(/// Position in one group's Raft log. The first entry has index 0, as openraft counts.
    LogIndex(u64), "");
id!(/// Number of a series inside one shard incarnation; given in `apply`, dense, never reused.
    SeriesNumber(u32), "");
id!(/// The top 16 bits of a series' 128-bit hash.
    Slot(u16), "");

impl GroupId {
    /// The group that holds the catalogue.
    pub const META: Self = Self(0);
}

impl From<ShardId> for GroupId {
    fn from(shard: ShardId) -> Self {
        assert_ne!(shard.0, 0, "s0 would be the meta group");
        Self(shard.0)
    }
}
