//! Time-series storage of one shard: points come in as frames in log order and go out as rows of one series each.
//!
//! What it holds is a pure function of the writes, deletes, cutoffs and drops it was given, in their order; only how rows are
//! cut into chunks and blocks is local, and no answer depends on that. The newest rows are in memory, where the log is what
//! survives a crash; the others are in immutable blocks, which a manifest names.
//!
//! The data takes one way through the files: `write` checks a frame and applies it, `table` names what it meets, `postings` finds it by its tags, `rows`
//! lays the rows out, `tail` takes them, `chunk` is where a full tail is sorted and becomes immutable, `sealed` what is kept of
//! it, `cut` takes all of them at one entry, those of series with `few` rows as words, `flush` brings all of it into `block`s,
//! `compact` makes these fewer. Back out, `read` gathers the parts of one series by the `shortcuts` that a query allows, less what does
//! not fulfil its `conditions`, `merge` reads them as one, `view` hands
//! that to queries and `content` to the comparison of replicas. `manifest` says which files there are, `store` keeps them,
//! `open` makes an engine of them.
//!
//! It must never know Raft, other shards or the network, read a clock, start work by itself, or let the order of a hash map
//! be seen.

mod engine;
mod error;
mod open;

mod block;
mod chunk;
mod compact;
mod conditions;
mod content;
mod cut;
mod few;
mod flush;
#[doc(hidden)]
pub mod fuzz;
mod inspect;
mod manifest;
mod merge;
mod names;
mod postings;
mod read;
mod rechunk;
mod rows;
mod sealed;
mod series;
mod shortcuts;
mod stats;
mod store;
mod table;
mod tail;
mod task;
mod tombstone;
mod view;
mod write;

pub use content::Content;
pub use engine::Engine;
pub use error::StoreError;
pub use flush::Point;
pub use inspect::{BlockInspection, Inspection, inspect};
pub use open::{SnapshotContent, SnapshotFile};
pub use stats::Stats;
pub use task::{Outcome, Task};
pub use view::View;
pub use write::{Accepted, WriteRefused, Written};

#[cfg(test)]
mod tests;
