//! What the manifest keeps of a block file.

use std::io;
use std::path::Path;

use meridian_env::File;
use meridian_types::DatabaseId;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::body::Flaw;
use super::layout::{self, FOOTER_BYTES, Footer, HEADER_BYTES, NoHeader};
use super::{BlockError, writer::PIECE_BYTES};

/// What the manifest keeps of a block file. A block without series, which is of no use, has its times the wrong way round.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct BlockMeta {
    /// Never reused; every checksum in the file is made with it.
    pub(crate) number: u64,
    /// Whose points it holds.
    pub(crate) database: DatabaseId,
    /// Its size.
    pub(crate) bytes: u64,
    /// 128-bit xxh3 of the whole file.
    pub(crate) hash: u128,
    /// Series that have rows in it.
    pub(crate) series: u32,
    /// Rows of all series.
    pub(crate) rows: u64,
    /// Values of all rows.
    pub(crate) points: u64,
    /// Of the earliest row.
    pub(crate) time_min: i64,
    /// Of the latest row.
    pub(crate) time_max: i64,
}

impl BlockMeta {
    /// What a file says of itself, for those who have no manifest; `name` is for errors.
    pub(crate) fn of_file(file: &dyn File, name: &Path) -> Result<Self, BlockError> {
        let damaged = |offset, what| BlockError::Damaged { file: name.to_owned(), offset, what: Flaw::Layout(what) };
        let bytes = file.len()?;
        let Some(footer_at) = bytes.checked_sub(FOOTER_BYTES as u64).filter(|at| *at >= HEADER_BYTES as u64) else {
            return Err(damaged(0, "it is too short for a block"));
        };
        let (number, database) = read_header(file, name)?;
        let mut footer = [0; FOOTER_BYTES];
        file.read_exact_at(&mut footer, footer_at)?;
        let footer = Footer::take(number, footer_at, &footer).ok_or_else(|| damaged(footer_at, "this is no footer"))?;
        let Footer { series, rows, points, time_min, time_max, .. } = footer;
        let hash = hash(file, bytes)?;
        Ok(Self { number, database, bytes, hash, series, rows, points, time_min, time_max })
    }
}

/// Number and database of a file.
pub(super) fn read_header(file: &dyn File, name: &Path) -> Result<(u64, DatabaseId), BlockError> {
    let mut header = [0; HEADER_BYTES];
    file.read_exact_at(&mut header, 0)?;
    let file = name.to_owned();
    layout::take_header(&header).map_err(|error| match error {
        NoHeader::Version(version) => BlockError::Version { file, version },
        NoHeader::Damaged => {
            BlockError::Damaged { file, offset: 0, what: Flaw::Layout("this is no header of a block") }
        }
    })
}

/// The hash of the first `bytes` bytes.
pub(super) fn hash(file: &dyn File, bytes: u64) -> io::Result<u128> {
    let mut hasher = Xxh3::new();
    let mut buffer = vec![0; bytes.min(PIECE_BYTES as u64) as usize];
    let mut at = 0;
    while at < bytes {
        let piece = &mut buffer[..(bytes - at).min(PIECE_BYTES as u64) as usize];
        file.read_exact_at(piece, at)?;
        hasher.update(piece);
        at += piece.len() as u64;
    }
    Ok(hasher.digest128())
}
