//! What others speak, turned into rows: line protocol first.
//!
//! Pure: takes bytes, gives rows or typed refusals. It never does IO, never reads a clock (a line without a time stays
//! without one), never knows databases, shards or frames, and never panics on what a client can send.

pub mod line_protocol;
