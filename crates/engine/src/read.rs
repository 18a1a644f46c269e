//! Where the rows of a series are: blocks in log order, then the head that is being flushed, then the head.
//!
//! It must never change anything, and never read a file for a series that was not asked for.

use std::sync::Arc;

use meridian_types::{DatabaseId, TimeRange, Timestamp};

use crate::Engine;
use crate::block::{Cursor, Wanted};
use crate::cut::Cut;
use crate::error::StoreError;
use crate::merge::Part;
use crate::series::Series;
use crate::store::Stored;
use crate::tombstone::{self, Tombstone};

/// What a database has besides its head, as of one moment. Pins the files.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    /// In log order, where they overlap in time.
    blocks: Vec<Arc<Stored>>,
    cut: Option<Arc<Cut>>,
    tombstones: Vec<Tombstone>,
}

impl Engine {
    /// Everything of a database that may have rows inside `range`, but the head.
    pub(crate) fn sources(&self, database: DatabaseId, range: TimeRange) -> Sources {
        let blocks = self.store.iter().flat_map(|store| &store.blocks);
        let blocks = blocks.filter(|stored| stored.record.meta.database == database && stored.overlaps(range));
        let tombstones = self.tombstones.iter().filter(|tombstone| tombstone.database == database);
        Sources { blocks: blocks.cloned().collect(), cut: self.cut.clone(), tombstones: tombstones.cloned().collect() }
    }

    /// `range` without what retention has cut off; `None` if nothing is left.
    pub(crate) fn after_cutoff(&self, database: DatabaseId, range: TimeRange) -> Option<TimeRange> {
        let cutoff = self.databases.get(&database).and_then(|home| home.cutoff);
        after(cutoff, range)
    }
}

/// `range` from `cutoff` on; `None` if nothing is left.
pub(crate) fn after(cutoff: Option<Timestamp>, range: TimeRange) -> Option<TimeRange> {
    let start = cutoff.map_or(range.start(), |cutoff| cutoff.max(range.start()));
    TimeRange::new(start, range.end()).ok()
}

impl Sources {
    /// Whether a series without rows in the head has none at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.cut.is_none()
    }

    /// Reads series in increasing order of their numbers.
    pub(crate) fn reader(self) -> Reader {
        let cursors = self.blocks.iter().map(|stored| stored.block.cursor()).collect();
        Reader { sources: self, cursors }
    }
}

/// See [`Sources::reader`].
pub(crate) struct Reader {
    sources: Sources,
    cursors: Vec<Cursor>,
}

impl Reader {
    /// All rows of a series that may be inside `range`, in log order, with the wanted columns at least; `head` is the series with
    /// its rows in memory.
    pub(crate) fn parts(
        &mut self,
        head: &Series,
        range: TimeRange,
        wanted: Wanted<'_>,
    ) -> Result<Vec<Part>, StoreError> {
        let mut parts = Vec::new();
        let Sources { blocks, cut, tombstones } = &self.sources;
        for (stored, cursor) in blocks.iter().zip(&mut self.cursors) {
            let chunks = cursor.chunks(head.number(), range, wanted)?;
            if !chunks.is_empty() {
                let hidden: Arc<[TimeRange]> =
                    tombstone::hidden(tombstones, head.identity(), stored.record.deletes_after()).into();
                parts.extend(
                    chunks.into_iter().map(|chunk| Part { chunk: Arc::new(chunk), hidden: Arc::clone(&hidden) }),
                );
            }
        }
        if let Some((cut, frozen)) = cut.as_ref().and_then(|cut| Some((cut, cut.series(head.identity())?))) {
            let hidden: Arc<[TimeRange]> = tombstone::hidden(tombstones, head.identity(), cut.last).into();
            let chunks = frozen.parts(range, wanted).into_iter();
            parts.extend(chunks.map(|chunk| Part { chunk, hidden: Arc::clone(&hidden) }));
        }
        parts.extend(head.parts(range, wanted).into_iter().map(Part::whole));
        Ok(parts)
    }

    /// The last time of all rows of a series, deleted ones among them.
    pub(crate) fn last_time(&mut self, head: &Series) -> Result<Option<i64>, StoreError> {
        let frozen = self.sources.cut.as_ref().and_then(|cut| cut.series(head.identity())?.span());
        let mut spans: Vec<(i64, i64)> = head.span().into_iter().chain(frozen).collect();
        for cursor in &mut self.cursors {
            spans.extend(cursor.span(head.number())?);
        }
        Ok(spans.into_iter().map(|(_, last)| last).max())
    }
}
