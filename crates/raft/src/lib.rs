//! Replication of any [`Machine`]: the node's one log, the network between replicas, and the groups.
//!
//! Alone imports openraft (pinned `=0.10.0-alpha.37`), and no type of it leaves this crate. What to beware of with it:
//!
//! - **Durability is the storage's promise.** `save_vote` returns, and append's callback is called, only after fsync; votes
//!   and entries are one ordered stream; any IO error is [`meridian_env::Halt`], never a retry.
//! - **Reads are ReadIndex.** After a restart the machine is behind what was committed: an answer is given only by a replica that
//!   leads since this process runs, has applied an entry of its own term, and is confirmed by a majority. The majority is asked by
//!   `confirm`, for all groups that are read together at once. A lease is trusted by nobody: clocks drift.
//! - **No leader restarts as one**: in its old term it could give an index twice, and it has forgotten what was committed.
//! - **Applied is synced.** It applies what a majority has synced, this replica or not; the adapter waits for our own sync,
//!   or after a crash a machine's files could be ahead of its log.
//! - **Outcomes.** A write that "forwards to the leader" was certainly not appended; every other error after it was handed
//!   over, a discarded entry among them, is *unknown*.
//! - **Deadlines are ours.** openraft sets none, and a connection may swallow a response and stay open: every call here has
//!   one, streams have an idle limit while requests are under way.
//! - **Hot reconnect.** Its backoff lives in the request stream: see `network`.
//! - **Never hold `metrics().borrow_watched()` across an await**: it deadlocks.
//! - **Membership** changes one at a time; replica ids are never reused; `initialize` on one pristine replica, once.
//! - Its random election timeouts come from [`meridian_env::ambient_rng`], so that a simulation can repeat them.
//! - Its `apply` must not fail for what a client sent: a refusal is a reply.
//! - **Snapshots are the machine's files.** openraft makes and purges nothing by itself: the policy is Never, and what a
//!   snapshot holds is what the last flush left. It purges no further than the snapshot that it was told of.
//! - **Installing cannot fail.** Once openraft was handed a received snapshot it has moved on: an adoption waits for space, and
//!   damage takes the replica out of service. It panics at a snapshot that contradicts its vote or what it knows committed.
//! - **A snapshot's receiver needs the log behind it.** Purged past that during the transfer, it would need another, for ever.
//! - **A failed transfer** is tried again at once after a timeout, and after a wait only if its error is `Unreachable`.
//! - **A stopped raft may still apply**: its worker outlives the shutdown until it has done what it was told.

mod adapter;
mod background;
mod beats;
mod confirm;
mod entry;
mod group;
mod groups;
mod log;
mod machine;
mod membership;
mod network;
mod read;
mod service;
mod snapshot;
mod storage;
mod types;
mod wire;

pub use entry::{EntryError, Header, KIND_MACHINE_MIN};
pub use group::{Group, GroupStatus, ProposeError};
pub use groups::{GroupSpec, Groups, GroupsConfig, SNAPSHOT_BYTES_PER_SECOND, Timing};
pub use log::{Damage, EntrySpan, LogFigures, LogSettings, SegmentSummary, fuzz_segment, inspect_log};
pub use machine::{Answer, Applied, Content, Entry, Job, JobError, Machine, Received, View, ViewFile};
pub use membership::{Members, MembershipError};
pub use read::{ReadError, Reads, Unread};
pub use snapshot::fuzz_offer;
