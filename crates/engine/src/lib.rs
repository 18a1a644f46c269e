//! Time-series storage of one shard: points come in as frames in log order and go out as rows of one series each.
//!
//! What it holds is a pure function of the writes and drops it was given, in their order; only how rows are cut into
//! chunks is local, and no answer depends on that. It is all in memory: the log is what survives a crash.
//!
//! The data takes one way through the files: `write` checks a frame and applies it, `table` names what it meets, `tail`
//! takes the rows, `chunk` is where a full tail is sorted and becomes immutable, `merge` reads tails and chunks of one
//! series as one, `view` hands that to queries and `content` to the comparison of replicas.
//!
//! It must never know Raft, shards, files or the network, read a clock, or let the order of a hash map be seen.

mod engine;

mod chunk;
mod content;
mod merge;
mod series;
mod stats;
mod table;
mod tail;
mod view;
mod write;

pub use engine::Engine;
pub use stats::Stats;
pub use view::View;
pub use write::{WriteRefused, Written};

#[cfg(test)]
mod tests;
