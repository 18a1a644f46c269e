//! The catalogue and placement as a pure machine: commands come in from the meta group's log, replies go out, and the
//! state in between is the same on every replica.
//!
//! This crate does no IO, reads no clock, draws no random number and knows nothing of Raft or the network: whoever makes
//! a command has already drawn what is random in it (the cluster id).

mod apply; // how a command changes it
mod catalogue; // what it holds
mod codec; // version byte and postcard
mod command; // what can be asked of the catalogue
mod fields; // the types of fields, and their log
mod place; // which nodes get the replicas of a shard
mod reply; // what it answers
mod ring;
mod sections; // how it is stored: whole, or by what changed // which shard gets a slot

pub use catalogue::{Catalogue, Database, Dropped, Formation, PLACEMENT_DEFAULT, Placement, Replica, Shard};
pub use codec::DecodeError;
pub use command::{ClusterId, Command, NodeSpec};
pub use fields::{FieldRecord, FieldTypes};
pub use place::{Seats, place, voters};
pub use reply::{FieldConflict, FieldOverLimit, Refused, Reply};
pub use ring::{VIRTUAL_NODES, slot_table};
pub use sections::Change;
