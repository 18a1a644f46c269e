//! What can go wrong with a shard's files.

use std::fmt::Display;
use std::io;

use crate::block::BlockError;

/// Why files could not be read or written. Nothing was put to use.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full. What was written for nothing is removed; the same work may be done again later.
    #[error("the disk is full: {0}")]
    Full(String),
    /// The files are not what was written: they are never read again, and the replica is to be replaced.
    #[error("damaged: {0}")]
    Damaged(String),
    /// The files belong to somebody else: another life of the shard, or another replica of it.
    #[error("the files in {dir} belong to {found}, not to {wanted}")]
    Foreign {
        /// The shard's directory.
        dir: String,
        /// Who they belong to.
        found: String,
        /// Who asked.
        wanted: String,
    },
    /// The operating system failed: whoever owns the files must halt.
    #[error("{0}")]
    Io(String),
}

impl StoreError {
    /// An error of the operating system while doing `what`.
    pub(crate) fn io(what: impl Display, error: &io::Error) -> Self {
        match error.kind() {
            _ if meridian_env::is_full(error) => Self::Full(format!("{what}: {error}")),
            io::ErrorKind::UnexpectedEof => Self::Damaged(format!("{what}: the file is cut short")),
            io::ErrorKind::NotFound => Self::Damaged(format!("{what}: {error}")),
            _ => Self::Io(format!("{what}: {error}")),
        }
    }
}

impl From<BlockError> for StoreError {
    fn from(error: BlockError) -> Self {
        match error {
            BlockError::Io(error) => Self::io("a block", &error),
            BlockError::Damaged { .. } => Self::Damaged(error.to_string()),
            BlockError::Version { .. } => Self::Io(error.to_string()),
        }
    }
}
