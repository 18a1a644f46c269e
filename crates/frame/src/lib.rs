//! The frame: the one form in which a batch of points travels from whoever encodes it to the engine that applies it.
//!
//! Pure: bytes in, values out. It never reads a clock or a file, never decides where a shard lives, and never looks at
//! a database or its catalogue. Nothing that a client, a peer or a disk can hand to [`Frame::check`] makes it panic or
//! allocate more than a small multiple of the frame's size. Layout: `docs/formats/frame.md`.

// In reading order: what a frame holds, how rows become one, how bytes become one again, how it is cut; and how columns
// are made small where they stay.
mod table;

mod column;

mod blocks;

mod builder;

mod size;

mod write;

mod check;

mod reader;

mod split;

pub mod codec;

pub use builder::{FrameBuilder, Place, PushError};
pub use check::FrameError;
pub use column::{Column, Strings, Values};
pub use split::SplitError;
pub use table::{Field, Frame, Run, SeriesRef, Table, series_check, series_check_after};

/// The frame version that this crate writes, and the only one that it reads.
pub const VERSION: u8 = 2;

#[cfg(test)]
mod tests;
