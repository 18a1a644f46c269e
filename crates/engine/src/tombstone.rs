//! Deletes that blocks still have to honour.
//!
//! It must never hide a row that was written after the delete: a part of the data is hidden only if its log interval ends
//! before the delete's index.

use std::sync::Arc;

use meridian_query::Selection;
use meridian_types::{DatabaseId, TimeRange};

use crate::error::StoreError;
use crate::manifest::BlockRecord;
use crate::series::Identity;

/// One delete, at its place in the log.
#[derive(Clone, Debug)]
pub(crate) struct Tombstone {
    pub(crate) database: DatabaseId,
    /// The entry that deleted.
    pub(crate) index: u64,
    pub(crate) selection: Arc<Selection>,
}

impl Tombstone {
    /// As a manifest keeps it.
    pub(crate) fn decode(database: DatabaseId, index: u64, bytes: &[u8]) -> Result<Self, StoreError> {
        let selection = Selection::decode(bytes)
            .map_err(|error| StoreError::Damaged(format!("the tombstone of entry {index}: {error}")))?;
        Ok(Self { database, index, selection: Arc::new(selection) })
    }

    fn covers(&self, series: &Identity) -> bool {
        self.database == series.home.database && self.selection.matches(&series.home.measurement, &series.key)
    }
}

/// The ranges of time that deletes after `after` hide in a part of this series.
pub(crate) fn hidden(tombstones: &[Tombstone], series: &Identity, after: u64) -> Vec<TimeRange> {
    let later = tombstones.iter().filter(|tombstone| tombstone.index > after && tombstone.covers(series));
    later.map(|tombstone| tombstone.selection.range).collect()
}

impl Tombstone {
    /// Whether rows of the block may have to be hidden by this delete.
    pub(crate) fn concerns(&self, block: &BlockRecord) -> bool {
        let range = self.selection.range;
        self.database == block.meta.database
            && self.index > block.deletes_after()
            && block.meta.time_min < range.end().nanos()
            && range.start().nanos() <= block.meta.time_max
    }
}
