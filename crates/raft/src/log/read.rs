//! Reads one segment: its commits one after the other, and whether what cannot be read was damaged or torn.
//!
//! Never writes, and never takes a length for true before it was compared with the file's.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use meridian_env::{File, Halt};

use super::index::Location;
use super::record::{CommitHeader, DecodeError, Key, Record, SECTOR, first_record};
use super::segment::{Header, PIECE_BYTES};

/// One segment in use.
#[derive(Debug)]
pub(super) struct Used {
    pub(super) header: Header,
    pub(super) file: Arc<dyn File>,
    pub(super) len: u64,
    pub(super) path: PathBuf,
}

impl Used {
    pub(super) fn name(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    /// The halt over damage at `offset`.
    pub(super) fn damaged(&self, offset: u64, what: impl std::fmt::Display) -> Halt {
        Halt::new(format!(
            "log segment {} is damaged at byte {offset}: {what}. Synced data is gone: give this node an empty directory and \
             let the cluster replace its replicas",
            self.name()
        ))
    }
}

/// One whole commit.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) records: Vec<(Key, Record, Location)>,
    /// Where the next one begins.
    pub(super) end: u64,
}

/// Reads the commit at `offset` if it is there as a whole, before `limit`.
pub(super) fn read_commit(used: &Used, offset: u64, limit: u64) -> Result<Option<Commit>, Halt> {
    let io = |error| Halt::io(format_args!("reading {} at byte {offset}", used.name()), &error);
    let room = limit - offset;
    if room < SECTOR {
        return Ok(None);
    }
    let number = used.header.number;
    let mut sector = [0; SECTOR as usize];
    used.file.read_exact_at(&mut sector, offset).map_err(io)?;
    let Some(header) = CommitHeader::decode(number, offset, &sector).filter(|header| header.span() <= room) else {
        return Ok(None);
    };
    // The length is within the file, as the filter has seen.
    let mut body = vec![0; header.length as usize];
    used.file.read_exact_at(&mut body, first_record(offset)).map_err(io)?;
    let mut rest = Bytes::from(body);
    let mut records = Vec::new();
    while !rest.is_empty() {
        let at = first_record(offset) + u64::from(header.length) - rest.len() as u64;
        match Record::decode(number, &mut rest) {
            Ok((key, record)) => records.push((key, record, Location { segment: number, offset: at })),
            Err(DecodeError::Damaged) => return Ok(None),
            Err(foreign) => return Err(Halt::new(format!("{} at byte {at}: {foreign}", used.name()))),
        }
    }
    if records.len() != header.count as usize {
        return Ok(None);
    }
    Ok(Some(Commit { records, end: offset + header.span() }))
}

/// Looks behind `damage` for a commit that was written when `damage` was known synced; gives its offset.
pub(super) fn find_witness(used: &Used, damage: u64) -> Result<Option<u64>, Halt> {
    find_commit(used, damage, |header| header.synced_upto > damage)
}

/// Whether nothing in a file reads as a part of its segment: it has never begun, nor was its beginning torn.
pub(super) fn is_untouched(unreadable: &Used) -> Result<bool, Halt> {
    let mut sector = [0; SECTOR as usize];
    let header = unreadable.file.read_exact_at(&mut sector[..SECTOR.min(unreadable.len) as usize], 0);
    header.map_err(|error| Halt::io(format_args!("reading {}", unreadable.name()), &error))?;
    Ok(sector.iter().all(|byte| *byte == 0) && find_commit(unreadable, 0, |_| true)?.is_none())
}

/// Looks behind `offset` for the header of a commit of this kind.
fn find_commit(used: &Used, behind: u64, is_it: impl Fn(&CommitHeader) -> bool) -> Result<Option<u64>, Halt> {
    let mut chunk = vec![0; PIECE_BYTES];
    let mut offset = behind + SECTOR;
    while offset + CommitHeader::BYTES as u64 <= used.len {
        let len = (used.len - offset).min(PIECE_BYTES as u64) as usize;
        used.file
            .read_exact_at(&mut chunk[..len], offset)
            .map_err(|error| Halt::io(format_args!("reading {} at byte {offset}", used.name()), &error))?;
        for (sector, at) in chunk[..len].chunks(SECTOR as usize).zip((offset..).step_by(SECTOR as usize)) {
            let header = CommitHeader::decode(used.header.number, at, sector);
            if header.is_some_and(|header| is_it(&header)) {
                return Ok(Some(at));
            }
        }
        offset += len as u64;
    }
    Ok(None)
}
