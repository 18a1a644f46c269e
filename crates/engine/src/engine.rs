//! The engine: which databases a shard holds, every series of the shard by its number, and which files are in use.
//!
//! It must never look into rows: a series does that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meridian_query::Selection;
use meridian_types::{DatabaseId, MapHasher, Mutant, SeriesNumber, Timestamp};

use crate::Stats;
use crate::cut::Cut;
use crate::series::{Marks, Series, keys};
use crate::store::Store;
use crate::table::Database;
use crate::tombstone::Tombstone;

/// Rows of a sealed chunk, unless its bytes fill it before.
const CHUNK_ROWS_MAX: usize = 1_024;
/// Rows that a series has open, uncompressed: few, because most of the memory of a shard is these. Encoded they take a tenth.
const TAIL_ROWS_MAX: usize = 128;

/// All points of one shard.
pub struct Engine {
    pub(crate) hasher: MapHasher,
    pub(crate) chunk_rows_max: usize,
    pub(crate) tail_rows_max: usize,
    pub(crate) databases: BTreeMap<DatabaseId, Database>,
    pub(crate) dropped: BTreeSet<DatabaseId>,
    /// By number, over all databases. A dropped series leaves `None`, because numbers are never reused. Each series is
    /// shared with the views that read it: a write copies the open rows of a series only while a view holds it.
    pub(crate) series: Vec<Option<Arc<Series>>>,
    pub(crate) marks: Marks,
    /// The series that have rows in the head, dropped ones among them.
    pub(crate) filled: Vec<SeriesNumber>,
    /// Deletes that blocks, or what becomes blocks, must honour.
    pub(crate) tombstones: Vec<Tombstone>,
    /// The head that is being flushed.
    pub(crate) cut: Option<Arc<Cut>>,
    /// Series below this number stand in files.
    pub(crate) listed: u32,
    /// The files; `None` for an engine that lives in memory alone.
    pub(crate) store: Option<Store>,
}

impl Engine {
    /// An engine without points and without files. `seed` keys the hash of the series tables, whose keys are chosen by
    /// clients; nothing that the engine answers depends on it.
    pub fn new(seed: u64) -> Self {
        Self {
            hasher: MapHasher::seeded(seed),
            chunk_rows_max: CHUNK_ROWS_MAX,
            tail_rows_max: TAIL_ROWS_MAX,
            databases: BTreeMap::new(),
            dropped: BTreeSet::new(),
            series: Vec::new(),
            marks: Marks::default(),
            filled: Vec::new(),
            tombstones: Vec::new(),
            cut: None,
            listed: 0,
            store: None,
        }
    }

    /// Removes all points and series of the database. Every later write to this id is refused, because ids are never
    /// reused. Views taken before still see what they saw; files go with the next flush.
    pub fn drop_database(&mut self, database: DatabaseId) {
        self.dropped.insert(database);
        self.tombstones.retain(|tombstone| tombstone.database != database);
        let gone = self.databases.remove(&database).unwrap_or_default();
        for number in gone.measurements.values().flat_map(|m| m.postings().series()) {
            self.series[number.0 as usize] = None;
        }
    }

    /// Whether the database was dropped here: it has no points, and never will have.
    pub fn is_dropped(&self, database: DatabaseId) -> bool {
        self.dropped.contains(&database)
    }

    /// Removes the rows of a database that the selection covers, all of their fields: those that entries before `index`
    /// wrote. What is in memory goes at once; what is in files, or on its way there, is hidden until it is compacted.
    pub fn delete(&mut self, index: u64, database: DatabaseId, selection: Selection) {
        let Some(home) = self.databases.get_mut(&database) else { return };
        for (_, measurement) in home.measurements.iter().filter(|(name, _)| selection.is_of(name)) {
            for number in measurement.postings().matching(&selection.matchers, &keys(&self.series)) {
                let Some(series) = self.series[number.0 as usize].as_mut() else { continue };
                if series.overlaps(selection.range) {
                    let before = series.size();
                    Arc::make_mut(series).remove(selection.range);
                    home.stats.replace(before, series.size());
                }
            }
        }
        // A series that was emptied is listed again when it is filled again.
        self.filled.retain(|number| self.series[number.0 as usize].as_ref().is_some_and(|series| !series.is_empty()));
        let tombstone = Tombstone { database, index, selection: Arc::new(selection) };
        let waits = self.cut.is_some()
            || self.store.iter().flat_map(|store| &store.manifest.blocks).any(|block| tombstone.concerns(block));
        if waits && !Mutant::ForgetDelete.is_planted() {
            self.tombstones.push(tombstone);
        }
    }

    /// From here on rows before `cutoff` are gone. A cutoff never goes back.
    pub fn cut_off(&mut self, database: DatabaseId, cutoff: Timestamp) {
        if self.dropped.contains(&database) {
            return;
        }
        let home = self.databases.entry(database).or_default();
        home.cutoff = home.cutoff.max(Some(cutoff));
    }

    /// How much the engine holds now, over all databases.
    pub fn stats(&self) -> Stats {
        let mut stats: Stats = self.databases.values().map(|d| d.stats).sum();
        if let Some(cut) = &self.cut {
            stats.points += cut.size.points;
            stats.bytes += cut.size.bytes;
            stats.row_bytes += cut.size.bytes;
        }
        if let Some(store) = &self.store {
            let blocks = &store.manifest.blocks;
            stats.points += blocks.iter().map(|block| block.meta.points).sum::<u64>();
            stats.file_bytes += blocks.iter().map(|block| block.meta.bytes).sum::<u64>();
            stats.file_bytes += store.manifest.names.iter().map(|names| names.bytes).sum::<u64>();
            stats.blocks += blocks.len() as u64;
        }
        stats
    }

    /// An engine whose chunks are cut elsewhere, to show that no answer depends on it.
    #[cfg(test)]
    pub(crate) fn with_chunk_rows(seed: u64, chunk_rows_max: usize) -> Self {
        Self { chunk_rows_max, tail_rows_max: chunk_rows_max.min(TAIL_ROWS_MAX), ..Self::new(seed) }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("databases", &self.databases.keys())
            .field("dropped", &self.dropped)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
