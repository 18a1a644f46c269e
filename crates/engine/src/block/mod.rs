//! Block files: the sealed rows of one database and one span of time, series by series, immutable once written. Layout:
//! `docs/formats/block.md`.
//!
//! The data takes one way: `writer` lays chunks out as `body` says, `layout` holds the parts of fixed size around them,
//! `reader` finds and reads the chunks of a series again, through a `window`, and hands them on
//! `opened`, before they are decoded; series with few rows have a chunk that is `shared`; a `walk` goes through all
//! of them; what need not be decoded stays `encoded`. Blocks are written and read in jobs that may wait for a disk.
//!
//! It must never rewrite a byte, know which block is newer than another, or give bytes whose checksum it did not compare.
//! Any bytes in a file give rows or a [`BlockError`].

mod body;
mod encoded;
mod layout;
mod meta;
mod opened;
mod reader;
mod shared;
mod statistics;
mod walk;
mod window;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) use body::{Flaw, Wanted};
pub(crate) use encoded::Encoded;
pub(crate) use meta::BlockMeta;
pub(crate) use opened::Opened;
pub(crate) use reader::{Block, Cursor, Found, Place};
pub(crate) use shared::SharedRows;
pub(crate) use walk::Walk;
pub(crate) use writer::{BlockWriter, Piece};

/// Rows of one chunk.
pub(crate) const CHUNK_ROWS_MAX: usize = meridian_frame::codec::VALUES_MAX;

/// Why a block cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlockError {
    /// The disk failed, and says where.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Other bytes than were written: this replica is to be replaced.
    #[error("block {} is damaged at byte {offset}: {what}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where the part begins that is damaged.
        offset: u64,
        /// What is wrong there.
        what: Flaw,
    },
    /// A version that this program does not know.
    #[error("block {} has version {version}, and this program reads version {}", file.display(), layout::VERSION)]
    Version {
        /// The file.
        file: PathBuf,
        /// Its version.
        version: u8,
    },
}

/// Reads `bytes` as a whole block file, and as the body of one chunk: for fuzzing, whatever they are. Returns the points,
/// or why there are none.
pub fn read_any(bytes: &[u8]) -> Result<u64, String> {
    let name = PathBuf::from("memory");
    // The checksums keep most bytes away from what they protect, so it is tried without them too.
    let _ = body::decode_any(bytes);
    let open = || {
        let file: Arc<dyn meridian_env::File> =
            Arc::new(meridian_env::MemoryFile(bytes::Bytes::copy_from_slice(bytes)));
        let meta = BlockMeta::of_file(&*file, &name)?;
        let block = Block::from_file(file, &name, &meta)?;
        block.verify()?;
        Ok(block.meta().points)
    };
    open().map_err(|error: BlockError| error.to_string())
}

#[cfg(test)]
mod tests;
