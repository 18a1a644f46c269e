//! Where an entry comes from: memory, or a place in a segment.
//!
//! Never gives another entry than the one that was asked for: damage is a [`Halt`].

use std::sync::Arc;

use bytes::Bytes;
use meridian_env::{File, Halt};

use super::index::Location;
use super::record::{ENTRY_OVERHEAD_BYTES, Key, LogEntry, Record};

/// Where one entry comes from.
pub(super) enum Source {
    /// It is here.
    Cached(LogEntry),
    /// It is on disk: in a record of `len` bytes.
    Stored { key: Key, index: u64, at: Location, len: u32, file: Arc<dyn File> },
}

impl Source {
    /// Bytes of the entry's head and payload.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Cached(entry) => entry.bytes(),
            Self::Stored { len, .. } => *len as usize - ENTRY_OVERHEAD_BYTES,
        }
    }

    /// The entry; reads a file if it must.
    pub(super) fn load(self) -> Result<LogEntry, Halt> {
        let (key, index, at, len, file) = match self {
            Self::Cached(entry) => return Ok(entry),
            Self::Stored { key, index, at, len, file } => (key, index, at, len, file),
        };
        let place =
            format_args!("entry {index} of {}/{} at byte {} of log segment {}", key.0, key.1, at.offset, at.segment);
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, at.offset).map_err(|error| Halt::io(format_args!("reading {place}"), &error))?;
        match Record::decode(at.segment, &mut Bytes::from(bytes)) {
            Ok((found, Record::Entry(entry) | Record::Copy(entry))) if found == key && entry.index == index => {
                Ok(entry)
            }
            Ok(_) => Err(Halt::new(format!("{place}: another record is there"))),
            Err(error) => Err(Halt::new(format!("{place}: {error}"))),
        }
    }
}
