//! What others speak, turned into rows and conditions: line protocol, and what InfluxDB's clients say of rows to delete.
//!
//! Pure: takes bytes, gives rows or typed refusals. It never does IO, never reads a clock (a line without a time stays
//! without one), never knows databases, shards or frames, and never panics on what a client can send.

pub mod delete_predicate;
pub mod line_protocol;
