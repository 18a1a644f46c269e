//! What a shard's directory holds, for people: read, checked and never changed.

use std::path::Path;
use std::sync::Arc;

use meridian_env::Disk;
use meridian_types::DatabaseId;

use crate::error::StoreError;
use crate::manifest::BlockRecord;
use crate::store::{Place, block_name, names_name};

/// A shard's files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inspection {
    /// Whose files they are.
    pub owner: String,
    /// The last entry whose effect they hold.
    pub applied: u64,
    /// Live databases.
    pub databases: Vec<DatabaseId>,
    /// Series that were ever given a number.
    pub series: u32,
    /// Deletes that some block must still honour.
    pub tombstones: usize,
    /// Files of the series table, and what is wrong with each.
    pub names: Vec<(String, Option<String>)>,
    /// Block files.
    pub blocks: Vec<BlockInspection>,
}

/// One block file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockInspection {
    /// Its name.
    pub file: String,
    /// Whose points it holds.
    pub database: DatabaseId,
    /// The entries whose rows it holds, both included.
    pub entries: (u64, u64),
    /// Its first and its last time, in nanoseconds.
    pub times: (i64, i64),
    /// Series in it.
    pub series: u32,
    /// Rows.
    pub rows: u64,
    /// Field values.
    pub points: u64,
    /// Its size.
    pub bytes: u64,
    /// What is wrong with it, after reading all of it.
    pub damage: Option<String>,
}

/// Reads the manifest in `dir` and all that it names; `None` if there is no manifest. Damage to the manifest is an error,
/// damage to a file a part of the answer.
pub fn inspect(disk: Arc<dyn Disk>, dir: &Path) -> Result<Option<Inspection>, StoreError> {
    let place = Place { disk, dir: dir.to_owned() };
    let Some(manifest) = place.read()? else { return Ok(None) };
    let names = manifest.names.iter().map(|record| (names_name(record), place.read_names(record).err()));
    Ok(Some(Inspection {
        owner: manifest.owner.clone(),
        applied: manifest.applied,
        databases: manifest.databases.keys().copied().collect(),
        series: manifest.next_series,
        tombstones: manifest.tombstones.len(),
        names: names.map(|(name, error)| (name, error.map(|error| error.to_string()))).collect(),
        blocks: manifest.blocks.iter().map(|record| block(&place, record)).collect(),
    }))
}

fn block(place: &Place, record: &BlockRecord) -> BlockInspection {
    let checked = place.open_block(record).and_then(|stored| stored.block.verify().map_err(StoreError::from));
    let meta = &record.meta;
    BlockInspection {
        file: block_name(meta),
        database: meta.database,
        entries: (record.first, record.last),
        times: (meta.time_min, meta.time_max),
        series: meta.series,
        rows: meta.rows,
        points: meta.points,
        bytes: meta.bytes,
        damage: checked.err().map(|error| error.to_string()),
    }
}
