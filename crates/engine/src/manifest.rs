//! The manifest: which files are a shard's, and the replicated state as of the entry up to which they hold everything.
//! Replacing it is the only commit point: files that it does not name do not exist. Layout: docs/formats/manifest.md.
//!
//! It must never be changed in place, and never believed before its checksum was.

use std::collections::{BTreeMap, BTreeSet};

use meridian_types::{DatabaseId, FieldType, SeriesNumber};
use serde::{Deserialize, Serialize};

use crate::block::BlockMeta;
use crate::error::StoreError;

const MAGIC: [u8; 4] = *b"MMAN";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 16;
/// A larger file is none of ours.
pub(crate) const BYTES_MAX: u64 = 1 << 30;

/// See the module.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Whose files these are.
    pub(crate) owner: String,
    /// The last entry whose effect the files and this state hold.
    pub(crate) applied: u64,
    /// What the engine's owner keeps with it: opaque.
    pub(crate) mark: Vec<u8>,
    pub(crate) state: Vec<u8>,
    pub(crate) databases: BTreeMap<DatabaseId, DatabaseState>,
    pub(crate) dropped: BTreeSet<DatabaseId>,
    /// The number that the next series gets.
    pub(crate) next_series: u32,
    pub(crate) tombstones: Vec<TombstoneState>,
    /// The series table, in order of the numbers.
    pub(crate) names: Vec<NamesRecord>,
    /// In order of `first`, then of `file`.
    pub(crate) blocks: Vec<BlockRecord>,
    /// The number that the next file gets.
    pub(crate) next_file: u64,
}

/// One database.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct DatabaseState {
    /// Rows before it are gone, in nanoseconds.
    pub(crate) cutoff: Option<i64>,
    /// The columns of each measurement, by number.
    pub(crate) measurements: BTreeMap<String, Vec<(String, FieldType)>>,
}

/// A delete that some block must still honour.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct TombstoneState {
    pub(crate) database: DatabaseId,
    pub(crate) index: u64,
    /// As crates/query encodes it.
    pub(crate) selection: Vec<u8>,
}

/// A file of the series table.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct NamesRecord {
    pub(crate) file: u64,
    pub(crate) bytes: u64,
    /// xxh3-128 of the file.
    pub(crate) hash: u128,
    pub(crate) first: SeriesNumber,
}

/// A block file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct BlockRecord {
    pub(crate) meta: BlockMeta,
    /// The entries whose rows it holds.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Deletes up to this entry are carried out in it.
    pub(crate) clean: u64,
    /// Length of the time partition that it was cut for, in nanoseconds.
    pub(crate) partition: i64,
}

impl BlockRecord {
    /// Deletes after this entry hide rows of the block.
    pub(crate) fn deletes_after(&self) -> u64 {
        self.last.max(self.clean)
    }

    /// Whether the two may have a row of one time.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.meta.database == other.meta.database
            && self.meta.time_min <= other.meta.time_max
            && other.meta.time_min <= self.meta.time_max
    }
}

impl Manifest {
    /// `"MMAN" version:u32 length:u32 crc:u32 | postcard`.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        let body = postcard::to_stdvec(self).map_err(|e| StoreError::Io(format!("encoding a manifest: {e}")))?;
        let length = u32::try_from(body.len()).ok().filter(|_| body.len() as u64 <= BYTES_MAX - HEAD_BYTES as u64);
        let length =
            length.ok_or_else(|| StoreError::Io(format!("a manifest of {} bytes is too large", body.len())))?;
        let mut bytes = Vec::with_capacity(HEAD_BYTES + body.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c_append(crc32c::crc32c(&bytes), &body).to_le_bytes());
        bytes.extend_from_slice(&body);
        Ok(bytes)
    }

    /// What [`Manifest::encode`] wrote.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let damaged = |what: &str| StoreError::Damaged(format!("the manifest {what}"));
        let (head, body) = bytes.split_at_checked(HEAD_BYTES).ok_or_else(|| damaged("is cut short"))?;
        if head[..4] != MAGIC {
            return Err(damaged("does not begin like one"));
        }
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        if crc32c::crc32c_append(crc32c::crc32c(&head[..12]), body) != number(12) || number(8) as usize != body.len() {
            return Err(damaged("has another checksum or length than it says"));
        }
        // Behind the checksum: a flipped bit of the version is damage, not another version.
        if number(4) != VERSION {
            let found = number(4);
            return Err(StoreError::Io(format!(
                "the manifest has format version {found}, this binary reads version {VERSION}: run the version that wrote it"
            )));
        }
        let manifest: Self = postcard::from_bytes(body).map_err(|e| damaged(&format!("cannot be read: {e}")))?;
        manifest.check().map_err(damaged)?;
        Ok(manifest)
    }

    /// What the code relies on.
    fn check(&self) -> Result<(), &'static str> {
        let numbers = self.blocks.iter().map(|b| b.meta.number).chain(self.names.iter().map(|n| n.file));
        if numbers.clone().any(|number| number >= self.next_file) {
            return Err("names a file of a later number than the next one");
        }
        let log_is_behind =
            self.blocks.iter().all(|b| b.first <= b.last && b.last <= self.applied && b.clean <= self.applied);
        if !log_is_behind || self.blocks.iter().any(|b| b.partition <= 0 || b.meta.time_min > b.meta.time_max) {
            return Err("has a block whose log interval or time range cannot be");
        }
        if !self.names.is_sorted_by(|a, b| a.first < b.first) {
            return Err("has files of the series table out of order");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Manifest {
        let columns = vec![("usage".to_owned(), FieldType::F64), ("count".to_owned(), FieldType::I64)];
        let database = DatabaseState { cutoff: Some(-5), measurements: [("cpu".to_owned(), columns)].into() };
        let meta = BlockMeta {
            number: 3,
            database: DatabaseId(1),
            bytes: 4_096,
            hash: 0x1234_5678_9abc_def0_1122_3344_5566_7788,
            series: 2,
            rows: 10,
            points: 20,
            time_min: -5,
            time_max: 99,
        };
        Manifest {
            owner: "s1/1/r7".into(),
            applied: 42,
            mark: vec![1, 2, 3],
            state: vec![9],
            databases: [(DatabaseId(1), database)].into(),
            dropped: [DatabaseId(2)].into(),
            next_series: 2,
            tombstones: vec![TombstoneState { database: DatabaseId(1), index: 41, selection: vec![7] }],
            names: vec![NamesRecord { file: 1, bytes: 80, hash: 5, first: SeriesNumber(0) }],
            blocks: vec![BlockRecord { meta, first: 1, last: 40, clean: 0, partition: 86_400_000_000_000 }],
            next_file: 4,
        }
    }

    #[test]
    fn golden() {
        let golden = include_str!("../testdata/manifest_v1.txt");
        let hex: String = golden.lines().filter(|line| !line.starts_with('#')).collect();
        let bytes = example().encode().expect("encodes");
        let found: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, hex);
        assert_eq!(Manifest::decode(&bytes).expect("decodes"), example());
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_noticed() {
        let bytes = example().encode().expect("encodes");
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(matches!(Manifest::decode(&flipped), Err(StoreError::Damaged(_))), "bit {bit} of byte {at}");
            }
            assert!(Manifest::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
