//! The words of the domain: ids, time, series, values, placement, limits, and what a failure asks of its caller.
//!
//! Everything else in Meridian is written in these types. This crate does no IO, knows no async, reads no clock, and
//! depends on no other crate of the workspace.

mod failure;
mod ids;
pub mod limits;
mod map;
mod mutant;
mod placement;
mod request;
mod series;
mod time;
mod value;

pub use failure::{Code, Failure, Kind};
pub use ids::{DatabaseId, EpochId, GroupId, Incarnation, LogIndex, NodeId, ReplicaId, SeriesNumber, ShardId, Slot};
pub use map::{Map, MapHasher, Set};
pub use mutant::Mutant;
pub use placement::{Epoch, SLOTS, SlotTable, SlotTableError, slot_of};
pub use request::{RequestId, SessionId, Stamp, Witness};
pub use series::{KeyError, SeriesKey, database_name_is_valid, name_is_valid};
pub use time::{Duration, TimeError, TimeRange, Timestamp, parse_duration, parse_time};
pub use value::{FieldType, Value, ValueRef};
