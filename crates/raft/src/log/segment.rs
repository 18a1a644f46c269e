//! Segment files: names, header, how one is made ready and how one begins. Layout: docs/formats/log.md.
//!
//! Runs inside jobs of `Work`. Never reuses a number: bytes of an older life could otherwise read as this one's, as they are left in a
//! file that is used again.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, BufMut};
use meridian_env::{Disk, File, Halt, Open, is_full};
use meridian_types::Mutant;

use super::index::Points;
use super::record::{Key, Record, SECTOR, commit_span, encode_commit};

const MAGIC: [u8; 4] = *b"MLOG";
const VERSION: u32 = 1;
const CRC_AT: usize = SECTOR as usize - 4;
/// Bytes that are read at a time where a whole file is.
pub(super) const PIECE_BYTES: usize = 1 << 20;

/// The first sector of a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Header {
    /// The segment's own number, as in its name.
    pub(super) number: u64,
    /// The used segment before it; 0 if it is the first ever.
    pub(super) previous: u64,
    /// Where that one ends: all of it was synced before this header was written.
    pub(super) previous_end: u64,
    /// Bytes that were reserved and synced before first use: a shorter file has lost some.
    pub(super) reserved: u64,
}

/// What a first sector says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum FirstSector {
    /// A segment in use.
    Used(Header),
    /// All zeros, torn or damaged; what follows in the file tells which.
    Unreadable,
}

impl Header {
    fn encode(&self) -> [u8; SECTOR as usize] {
        let mut bytes = [0; SECTOR as usize];
        let mut out = &mut bytes[..];
        out.put_slice(&MAGIC);
        out.put_u32_le(VERSION);
        out.put_u64_le(self.number);
        out.put_u64_le(self.previous);
        out.put_u64_le(self.previous_end);
        out.put_u64_le(self.reserved);
        let crc = crc32c::crc32c(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(sector: &[u8; SECTOR as usize]) -> Result<FirstSector, u32> {
        let (covered, crc) = sector.split_at(CRC_AT);
        if crc != crc32c::crc32c(covered).to_le_bytes() || covered[..4] != MAGIC {
            return Ok(FirstSector::Unreadable);
        }
        let mut fields = &covered[4..];
        let version = fields.get_u32_le();
        if version != VERSION {
            return Err(version);
        }
        Ok(FirstSector::Used(Self {
            number: fields.get_u64_le(),
            previous: fields.get_u64_le(),
            previous_end: fields.get_u64_le(),
            reserved: fields.get_u64_le(),
        }))
    }
}

/// Where segment `number` is.
pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.seg"))
}

/// Where the file of segment `number` is once the segment is gone, until another one is made of it.
pub(super) fn retired_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.old"))
}

/// The number in a segment's file name; `None` for other names.
pub(super) fn number_of(name: &str) -> Option<u64> {
    number_before(name, ".seg")
}

/// The same of the name of a retired file.
pub(super) fn retired_number_of(name: &str) -> Option<u64> {
    number_before(name, ".old")
}

fn number_before(name: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_suffix(suffix)?;
    let is_number = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten().filter(|number| *number != 0)
}

/// Reads the first sector of segment `number`; refuses another version's and another segment's.
pub(super) fn read_first_sector(file: &dyn File, path: &Path, number: u64) -> Result<FirstSector, Halt> {
    let mut sector = [0; SECTOR as usize];
    match file.read_exact_at(&mut sector, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(FirstSector::Unreadable),
        Err(error) => return Err(Halt::io(format_args!("reading {}", path.display()), &error)),
        Ok(()) => {}
    }
    match Header::decode(&sector) {
        Err(version) => Err(Halt::new(format!(
            "{} has log format version {version}, this binary reads version {VERSION}: run the version that wrote it",
            path.display()
        ))),
        Ok(FirstSector::Used(header)) if header.number != number => Err(Halt::new(format!(
            "{} holds segment {}: files were renamed or swapped; put each back under its own name",
            path.display(),
            header.number
        ))),
        Ok(first) => Ok(first),
    }
}

/// Why there is no segment.
#[derive(Debug)]
pub(super) enum Unprepared {
    /// No space. What was made of it is removed.
    Full(io::Error),
    /// Anything else.
    Failed(Halt),
}

/// What is made of a segment is synced whenever it is so much more: a disk that has more to write at once lets commits wait.
const SYNC_BYTES: u64 = 1 << 20;

/// Makes the first `to` of `of` bytes of segment `number`, with nothing in them that could be read as a part of it. With all of them it is
/// durable under its name, and not yet in use. `spare` is its file if one is there.
pub(super) fn prepare(
    disk: &dyn Disk,
    dir: &Path,
    number: u64,
    (to, of): (u64, u64),
    spare: Option<Arc<dyn File>>,
) -> Result<Arc<dyn File>, Unprepared> {
    let path = path(dir, number);
    let halt = |error: &io::Error| Unprepared::Failed(Halt::io(format_args!("preparing {}", path.display()), error));
    let make = || {
        let file = match spare {
            Some(file) => file,
            None => Arc::from(disk.open(&path, Open::Create)?),
        };
        file.reserve_zeroed(to)?;
        if to == of || to.is_multiple_of(SYNC_BYTES) {
            file.sync_data()?;
        }
        if to == of && !Mutant::SkipDirectorySync.is_planted() {
            disk.sync_dir(dir)?;
        }
        Ok(file)
    };
    match make() {
        Ok(file) => Ok(file),
        Err(error) if is_full(&error) => {
            disk.remove(&path).or_else(unless_missing).map_err(|left| halt(&left))?;
            Err(Unprepared::Full(error))
        }
        Err(error) => Err(halt(&error)),
    }
}

/// Removes a segment's file, durably. One that is not there is fine.
pub(super) fn remove(disk: &dyn Disk, dir: &Path, number: u64) -> io::Result<()> {
    disk.remove(&path(dir, number)).or_else(unless_missing)?;
    disk.sync_dir(dir)
}

/// Gives the room of a retired file back.
pub(super) fn discard(disk: &dyn Disk, dir: &Path, number: u64) -> io::Result<()> {
    disk.remove(&retired_path(dir, number)).or_else(unless_missing)?;
    disk.sync_dir(dir)
}

/// A file that is to go and is not there is gone.
fn unless_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Takes a segment out of the log, durably as [`remove`] does, and keeps its file for another one. One that is not there is fine.
pub(super) fn retire(disk: &dyn Disk, dir: &Path, number: u64) -> io::Result<()> {
    disk.rename(&path(dir, number), &retired_path(dir, number)).or_else(unless_missing)?;
    disk.sync_dir(dir)
}

/// Makes segment `number` of the retired `file` of another one, as [`prepare`] does: what that one has left is read as nothing under
/// the new number, once its header is gone. What was made under that name goes.
pub(super) fn reuse(disk: &dyn Disk, dir: &Path, number: u64, retired: u64, file: &dyn File) -> Result<(), Unprepared> {
    let (from, to) = (retired_path(dir, retired), path(dir, number));
    let make = || {
        file.write_at(&[0; SECTOR as usize], 0)?;
        file.sync_data()?;
        disk.rename(&from, &to)?;
        disk.sync_dir(dir)
    };
    let halt = |error: &io::Error| {
        Unprepared::Failed(Halt::io(format_args!("making {} of {}", to.display(), from.display()), error))
    };
    match make() {
        Err(error) if is_full(&error) => {
            for name in [&from, &to] {
                disk.remove(name).or_else(unless_missing).map_err(|left| halt(&left))?;
            }
            Err(Unprepared::Full(error))
        }
        made => made.map_err(|error| halt(&error)),
    }
}

/// Bytes that a segment begins with: header and checkpoint.
pub(super) fn opening_bytes(checkpoint: &BTreeMap<Key, Points>) -> u64 {
    SECTOR + commit_span(checkpoint_records(checkpoint).map(|(_, record)| record.encoded_len()).sum())
}

/// Puts a prepared segment to use: header and checkpoint, synced. Gives the offset of its first group commit.
pub(super) fn begin(file: &dyn File, header: &Header, checkpoint: &BTreeMap<Key, Points>) -> io::Result<u64> {
    let records: Vec<(Key, Record)> = checkpoint_records(checkpoint).collect();
    let mut buffer = header.encode().to_vec();
    encode_commit(header.number, SECTOR, 0, records.iter().map(|(key, record)| (*key, record)), &mut buffer);
    file.write_at(&buffer, 0)?;
    file.sync_data()?;
    Ok(buffer.len() as u64)
}

fn checkpoint_records(checkpoint: &BTreeMap<Key, Points>) -> impl Iterator<Item = (Key, Record)> {
    let told = checkpoint.iter().filter(|(_, points)| **points != Points::default());
    told.map(|(key, points)| (*key, Record::Checkpoint(points.clone())))
}
