//! A chunk as a block holds it, without a place in a file: what is not to be changed is moved from block to block, and kept
//! in memory, in a tenth of the room and without being decoded.
//!
//! It must never be written under other types than it was encoded with, and never be changed.

use std::io;

use meridian_types::{FieldType, TimeRange};

use super::body::{self, Flaw, Rows, Wanted};
use super::layout::Slot;
use super::opened::Opened;
use crate::chunk::Chunk;
use crate::stats::Size;
use crate::tail::overlaps;

/// See the module.
#[derive(Debug)]
pub(crate) struct Encoded {
    time_min: i64,
    time_max: i64,
    rows: u16,
    columns: u16,
    points: u32,
    /// Without a checksum, which belongs to a place.
    body: Box<[u8]>,
}

impl Encoded {
    /// Encodes a chunk that has rows, at most [`super::CHUNK_ROWS_MAX`]. `types` gives the type of each of its columns.
    pub(crate) fn of(chunk: &Chunk, types: &dyn Fn(u16) -> FieldType) -> io::Result<Self> {
        let (time_min, time_max) = chunk.span().ok_or(io::ErrorKind::InvalidInput)?;
        let mut body = Vec::new();
        body::encode(chunk, Rows::OfOne, types, &mut body)?;
        Ok(Self {
            time_min,
            time_max,
            rows: chunk.times().len() as u16,      // at most CHUNK_ROWS_MAX
            columns: chunk.columns().len() as u16, // their numbers differ and have 16 bits
            points: chunk.size().points as u32,    // at most 2^16 columns of CHUNK_ROWS_MAX rows
            body: body.into(),
        })
    }

    /// A chunk as it was read: `body` is what its checksum covers.
    pub(super) fn read(slot: &Slot, body: &[u8]) -> Result<Self, Flaw> {
        let points = body::points(body, (Rows::OfOne, slot.rows.into()), slot.columns.into())?;
        let Slot { time_min, time_max, rows, columns, .. } = *slot;
        Ok(Self { time_min, time_max, rows, columns, points, body: body.into() })
    }

    /// As it is before its columns are decoded, of which no others will be asked for than those wanted.
    pub(crate) fn open(&self, wanted: Wanted<'_>) -> Result<Opened<'_>, Flaw> {
        let Self { time_min, time_max, rows, columns, .. } = *self;
        Opened::new(&self.body, &Slot { time_min, time_max, rows, columns, bytes: 0 }, wanted)
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    pub(super) fn columns(&self) -> u16 {
        self.columns
    }

    /// First and last time.
    pub(crate) fn span(&self) -> (i64, i64) {
        (self.time_min, self.time_max)
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows.into()
    }

    /// Whether some row may be inside `range`.
    pub(crate) fn overlaps(&self, range: TimeRange) -> bool {
        overlaps(self.time_min, self.time_max, range)
    }

    pub(crate) fn size(&self) -> Size {
        Size { points: self.points.into(), bytes: (size_of::<Self>() + self.body.len()) as u64 }
    }
}
