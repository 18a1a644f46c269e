//! Rows that do not change any more, in one of two forms: in columns, as they are read, or encoded, as they are kept.
//!
//! Which form it is must never show in an answer.

use std::sync::Arc;

use meridian_types::TimeRange;

use crate::block::{Encoded, Flaw, Wanted};
use crate::chunk::Chunk;
use crate::error::StoreError;
use crate::stats::Size;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) enum Sealed {
    Columns(Arc<Chunk>),
    Encoded(Arc<Encoded>),
}

impl Sealed {
    /// First and last time, if there are rows.
    pub(crate) fn span(&self) -> Option<(i64, i64)> {
        match self {
            Self::Columns(chunk) => chunk.span(),
            Self::Encoded(encoded) => Some(encoded.span()),
        }
    }

    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Columns(chunk) => chunk.times().len(),
            Self::Encoded(encoded) => encoded.rows(),
        }
    }

    /// Whether some row may be inside `range`.
    pub(crate) fn overlaps(&self, range: TimeRange) -> bool {
        match self {
            Self::Columns(chunk) => chunk.overlaps(range),
            Self::Encoded(encoded) => encoded.overlaps(range),
        }
    }

    /// In columns, of which those that are decoded anyway may be more than those wanted. Fails on what was read from a file and is not what a block may hold.
    pub(crate) fn chunk(&self, wanted: Wanted<'_>) -> Result<Arc<Chunk>, StoreError> {
        match self {
            Self::Columns(chunk) => Ok(Arc::clone(chunk)),
            Self::Encoded(encoded) => {
                let chunk = encoded.open(wanted).and_then(|opened| opened.decode(wanted));
                chunk.map(Arc::new).map_err(damaged)
            }
        }
    }

    pub(crate) fn size(&self) -> Size {
        match self {
            Self::Columns(chunk) => chunk.size(),
            Self::Encoded(encoded) => encoded.size(),
        }
    }
}

/// What is wrong with a chunk that has no place in a file any more.
pub(crate) fn damaged(flaw: Flaw) -> StoreError {
    StoreError::Damaged(format!("a chunk whose checksum is right: {flaw}"))
}
