//! Where a series lives: its slot, and the table that an epoch gives each slot's shard.

use std::collections::BTreeSet;

use xxhash_rust::xxh3::Xxh3;

use serde::{Deserialize, Serialize};

use crate::{DatabaseId, EpochId, SeriesKey, ShardId, Slot, TimeRange};

/// Slots of an epoch's table: all values of the top 16 bits of a series' hash.
pub const SLOTS: usize = 1 << 16;

/// The slot of a series. `shard_by` names the tags that decide; `None` means all of them. Frozen by a golden test: 128-bit
/// xxh3 over `database:u32 | measurement_len:u32 | measurement | canonical key of the deciding tags`, little-endian.
pub fn slot_of(database: DatabaseId, measurement: &str, key: &SeriesKey, shard_by: Option<&[String]>) -> Slot {
    let mut hash = Xxh3::new();
    hash.update(&database.0.to_le_bytes());
    hash.update(&(measurement.len() as u32).to_le_bytes());
    hash.update(measurement.as_bytes());
    match shard_by {
        None => hash.update(key.as_bytes()),
        Some(names) => {
            let mut tags: Vec<_> = key.tags().filter(|(k, _)| names.iter().any(|n| n == k)).collect();
            let part = SeriesKey::from_tags(&mut tags).expect("a subset of a valid key's tags is a valid key");
            hash.update(part.as_bytes());
        }
    }
    Slot((hash.digest128() >> 112) as u16)
}

/// Which shard owns each of the [`SLOTS`] slots.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u32>", into = "Vec<u32>")]
pub struct SlotTable {
    owners: Box<[ShardId]>,
    /// Each owner once, ascending: asked for by every query.
    shards: Box<[ShardId]>,
}

/// A list that is no table.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a slot table has {SLOTS} slots of shards from s1 on, not {0}")]
pub struct SlotTableError(usize);

impl SlotTable {
    /// The table that gives slot `i` the shard `owners[i]`.
    pub fn new(owners: Vec<ShardId>) -> Result<Self, SlotTableError> {
        if owners.len() != SLOTS || owners.iter().any(|s| s.0 == 0) {
            return Err(SlotTableError(owners.len()));
        }
        let shards: BTreeSet<_> = owners.iter().copied().collect();
        Ok(Self { owners: owners.into(), shards: shards.into_iter().collect() })
    }

    /// The owner of a slot.
    pub fn shard(&self, slot: Slot) -> ShardId {
        self.owners[usize::from(slot.0)]
    }

    /// All owners in slot order.
    pub fn owners(&self) -> &[ShardId] {
        &self.owners
    }

    /// All owners, each once, in order.
    pub fn shards(&self) -> &[ShardId] {
        &self.shards
    }
}

impl TryFrom<Vec<u32>> for SlotTable {
    type Error = SlotTableError;

    fn try_from(owners: Vec<u32>) -> Result<Self, SlotTableError> {
        Self::new(owners.into_iter().map(ShardId).collect())
    }
}

impl From<SlotTable> for Vec<u32> {
    fn from(table: SlotTable) -> Self {
        table.owners.iter().map(|s| s.0).collect()
    }
}

impl std::fmt::Debug for SlotTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SlotTable").field(&self.shards).finish()
    }
}

/// One version of a placement's table, with the interval of data time in which it decides.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Epoch {
    /// Its number.
    pub id: EpochId,
    /// The data time in which this table decides.
    pub range: TimeRange,
    /// The owners.
    pub table: SlotTable,
}
