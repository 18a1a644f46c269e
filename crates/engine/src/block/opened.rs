//! A chunk of one series whose checksum was compared, before its columns are decoded: what is known of them may be all that is needed.
//!
//! It must never be made of bytes whose checksum was not compared.

use meridian_query::Known;

use super::body::{Body, Decoded, Flaw, Rows, Wanted};
use super::layout::Slot;
use crate::chunk::Chunk;
use crate::table::Column;

/// See the module.
#[derive(Debug)]
pub(crate) struct Opened<'a> {
    body: Body<'a>,
    span: (i64, i64),
}

impl<'a> Opened<'a> {
    /// `content` is what the checksum covers, `slot` what the directory says of it, and of the columns no others will be asked for
    /// than those wanted.
    pub(super) fn new(content: &'a [u8], slot: &Slot, wanted: Wanted<'_>) -> Result<Self, Flaw> {
        let body = Body::open(content, (Rows::OfOne, slot.rows.into()), slot.columns.into(), wanted)?;
        Ok(Self { body, span: (slot.time_min, slot.time_max) })
    }

    /// First and last time.
    pub(crate) fn span(&self) -> (i64, i64) {
        self.span
    }

    /// The columns that are wanted now.
    pub(crate) fn decode(&self, wanted: Wanted<'_>) -> Result<Chunk, Flaw> {
        Ok(self.decode_known(wanted)?.chunk)
    }

    /// The same, with what is known of them.
    pub(super) fn decode_known(&self, wanted: Wanted<'_>) -> Result<Decoded, Flaw> {
        let decoded = self.body.decode(wanted)?;
        match decoded.chunk.span() == Some(self.span) {
            true => Ok(decoded),
            false => Err(Flaw::Layout("the times of this chunk are not those of the directory")),
        }
    }

    /// Whether some row has a value of the column.
    pub(crate) fn has(&self, column: Column) -> bool {
        self.body.head(column.number).is_some()
    }

    /// What is known of a column.
    pub(crate) fn known(&self, column: Column) -> Option<Known> {
        let head = self.body.head(column.number).filter(|head| head.field_type == column.field_type)?;
        let seen = head.statistics.as_ref()?;
        let (count, numbers) = (head.count as u64, u64::from(seen.numbers));
        let value = |cell| column.value(cell);
        let has_ends = count == self.body.rows() as u64 && numbers == count;
        let ends = if has_ends { Some((value(seen.first)?, value(seen.last)?)) } else { None };
        Some(Known { count, numbers, min: value(seen.min)?, max: value(seen.max)?, ends, sum: seen.sum })
    }
}
