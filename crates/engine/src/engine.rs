//! The engine: which databases a shard holds, and every series of the shard by its number.
//!
//! It must never look into rows: a series does that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meridian_types::{DatabaseId, MapHasher};

use crate::Stats;
use crate::series::Series;
use crate::table::Database;

/// Rows of a sealed chunk, unless its bytes fill it before.
const CHUNK_ROWS_MAX: usize = 1_024;

/// All points of one shard, in memory.
pub struct Engine {
    pub(crate) hasher: MapHasher,
    pub(crate) chunk_rows_max: usize,
    pub(crate) databases: BTreeMap<DatabaseId, Database>,
    pub(crate) dropped: BTreeSet<DatabaseId>,
    /// By number, over all databases. A dropped series leaves `None`, because numbers are never reused. Each series is
    /// shared with the views that read it: a write copies the open rows of a series only while a view holds it.
    pub(crate) series: Vec<Option<Arc<Series>>>,
}

impl Engine {
    /// An engine without points. `seed` keys the hash of the series tables, whose keys are chosen by clients; nothing that
    /// the engine answers depends on it.
    pub fn new(seed: u64) -> Self {
        Self {
            hasher: MapHasher::seeded(seed),
            chunk_rows_max: CHUNK_ROWS_MAX,
            databases: BTreeMap::new(),
            dropped: BTreeSet::new(),
            series: Vec::new(),
        }
    }

    /// Removes all points and series of the database. Every later write to this id is refused, because ids are never
    /// reused. Views taken before still see what they saw.
    pub fn drop_database(&mut self, database: DatabaseId) {
        self.dropped.insert(database);
        let gone = self.databases.remove(&database).unwrap_or_default();
        for number in gone.measurements.values().flat_map(|m| m.series()) {
            self.series[number.0 as usize] = None;
        }
    }

    /// Whether the database was dropped here: it has no points, and never will have.
    pub fn is_dropped(&self, database: DatabaseId) -> bool {
        self.dropped.contains(&database)
    }

    /// How much the engine holds now, over all databases.
    pub fn stats(&self) -> Stats {
        self.databases.values().map(|d| d.stats).sum()
    }

    /// An engine whose chunks are cut elsewhere, to show that no answer depends on it.
    #[cfg(test)]
    pub(crate) fn with_chunk_rows(seed: u64, chunk_rows_max: usize) -> Self {
        Self { chunk_rows_max, ..Self::new(seed) }
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
