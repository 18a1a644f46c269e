//! Reads the log back: which segments are in use, what their commits say, where the last one ends, and a fresh one to go on in.
//!
//! Runs inside one job. Never trusts what was not synced, never cuts what was, and never guesses: damage is a [`Halt`] that
//! names file and offset. Why each rule is safe: docs/formats/log.md.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use meridian_env::{Disk, File, Halt, Open};

use super::index::{GroupIndex, Location, Points, Slot, step_group};
use super::record::{CommitHeader, DecodeError, Key, Record, SECTOR, first_record};
use super::segment::{self, FirstSector, Header};

/// Bytes that the search for later commits reads at a time.
const SEARCH_BYTES: usize = 1 << 20;

/// A log that was read back and can be appended to.
#[derive(Debug)]
pub(super) struct Recovered {
    /// All live groups.
    pub(super) groups: BTreeMap<Key, GroupIndex>,
    /// All segments in use.
    pub(super) files: BTreeMap<u64, Arc<dyn File>>,
    /// The fresh segment, and where its first group commit goes.
    pub(super) fresh: (Header, Arc<dyn File>, u64),
}

/// Reads the log in `dir`, which is made if absent, and begins a fresh segment of `segment_bytes` bytes.
pub(super) fn recover(disk: &dyn Disk, dir: &Path, segment_bytes: u64) -> Result<Recovered, Halt> {
    let found = Found::look(disk, dir)?;
    let mut replay = Replay { groups: BTreeMap::new(), has_base: false };
    let mut end = 0;
    for (at, used) in found.chain.iter().enumerate() {
        let ends_at = found.chain.get(at + 1).map(|next| next.header.previous_end);
        end = replay.segment(used, ends_at)?;
    }
    replay.check_complete()?;
    let last = found.chain.last();
    if let Some(last) = last {
        // What was read may still be in the page cache only: the fresh segment's header is going to vouch for it.
        last.file.sync_data().map_err(|e| Halt::io(format_args!("syncing {}", last.name()), &e))?;
    }
    let number = found.highest.checked_add(1).ok_or_else(|| Halt::new("segment numbers are used up"))?;
    let file = segment::prepare(disk, dir, number, segment_bytes)?;
    let previous = last.map_or(0, |last| last.header.number);
    let header = Header { number, previous, previous_end: end, reserved: segment_bytes };
    let offset = segment::begin(&*file, &header, &replay.points())
        .map_err(|e| Halt::io(format_args!("beginning log segment {number}"), &e))?;
    // Only now: the highest number must be on disk at any time, or it would be given twice.
    for number in found.unused {
        let path = segment::path(dir, number);
        disk.remove(&path).map_err(|e| Halt::io(format_args!("removing {}", path.display()), &e))?;
    }
    let mut files: BTreeMap<_, _> = found.chain.into_iter().map(|used| (used.header.number, used.file)).collect();
    files.insert(number, Arc::clone(&file));
    Ok(Recovered { groups: replay.groups, files, fresh: (header, file, offset) })
}

/// One segment in use.
#[derive(Debug)]
struct Used {
    header: Header,
    file: Arc<dyn File>,
    len: u64,
    path: std::path::PathBuf,
}

impl Used {
    fn name(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    fn damaged(&self, offset: u64, what: impl std::fmt::Display) -> Halt {
        Halt::new(format!(
            "log segment {} is damaged at byte {offset}: {what}. Synced data is gone: give this node an empty directory and \
             let the cluster replace its replicas",
            self.name()
        ))
    }
}

/// What is in the directory.
#[derive(Debug)]
struct Found {
    /// Segments in use, oldest first; each names the one before it.
    chain: Vec<Used>,
    /// Segments that were prepared, or whose first write was torn.
    unused: Vec<u64>,
    /// The highest number seen, 0 if none.
    highest: u64,
}

impl Found {
    /// Follows the chain from the newest segment in use backwards.
    fn look(disk: &dyn Disk, dir: &Path) -> Result<Self, Halt> {
        let listed = disk.create_dir(dir).and_then(|()| disk.list(dir));
        let names = listed.map_err(|e| Halt::io(format_args!("opening the log in {}", dir.display()), &e))?;
        let numbers: Vec<u64> = names.iter().filter_map(|name| segment::number_of(name)).collect();
        let highest = numbers.iter().copied().max().unwrap_or(0);
        let mut found = Self { chain: Vec::new(), unused: Vec::new(), highest };
        for &number in numbers.iter().rev() {
            found.add(disk, segment::path(dir, number), number)?;
        }
        found.chain.reverse();
        Ok(found)
    }

    /// Adds the segment below all that were added.
    fn add(&mut self, disk: &dyn Disk, path: std::path::PathBuf, number: u64) -> Result<(), Halt> {
        let io = |error: std::io::Error| Halt::io(format_args!("reading {}", path.display()), &error);
        let file: Arc<dyn File> = Arc::from(disk.open(&path, Open::Write).map_err(io)?);
        let len = file.len().map_err(io)?;
        let newer = self.chain.last();
        let named = newer.map(|newer| newer.header.previous);
        match (segment::read_first_sector(&*file, &path, number)?, named) {
            (FirstSector::Used(header), _) if named.is_none_or(|named| named == number) => {
                let used = Used { header, file, len, path };
                if len < used.header.reserved {
                    return Err(used.damaged(len, format_args!("it was made with {} bytes", used.header.reserved)));
                }
                self.chain.push(used);
            }
            (FirstSector::Used(_), named) => {
                return Err(Halt::new(format!(
                    "log segment {} is missing: the one after it follows on it, and {} is still there. Put the file back, or \
                     give this node an empty directory and let the cluster replace its replicas",
                    named.unwrap_or(0),
                    path.display()
                )));
            }
            (FirstSector::Unreadable, Some(named)) if named == number => {
                let header = Header { number, previous: 0, previous_end: 0, reserved: 0 };
                return Err(Used { header, file, len, path }.damaged(0, "its header is unreadable"));
            }
            (FirstSector::Unreadable, named) => {
                let header = Header { number, previous: 0, previous_end: 0, reserved: 0 };
                let unreadable = Used { header, file, len, path };
                if named.is_none()
                    && let Some(witness) = find_witness(&unreadable, 0)?
                {
                    return Err(unreadable.damaged(0, format_args!("the commit at {witness} knew it to be synced")));
                }
                self.unused.push(number);
            }
        }
        Ok(())
    }
}

/// The groups as the commits read so far leave them.
#[derive(Debug)]
struct Replay {
    groups: BTreeMap<Key, GroupIndex>,
    /// Whether the oldest segment's checkpoint was taken over.
    has_base: bool,
}

impl Replay {
    /// Replays one segment up to `ends_at`; the last segment's end is found, not known. Gives the end.
    fn segment(&mut self, used: &Used, ends_at: Option<u64>) -> Result<u64, Halt> {
        let mut offset = SECTOR;
        let limit = ends_at.unwrap_or(used.len).min(used.len);
        while offset < limit {
            let Some(commit) = read_commit(used, offset, limit)? else {
                break;
            };
            if offset == SECTOR {
                self.checkpoint(used, &commit)?;
            } else {
                self.commit(used, offset, &commit)?;
            }
            offset = commit.end;
        }
        match ends_at {
            Some(ends_at) if offset != ends_at => Err(used.damaged(
                offset,
                format_args!("no whole commit here, while the next segment vouches for {ends_at} bytes"),
            )),
            Some(_) => Ok(offset),
            None => {
                if let Some(witness) = find_witness(used, offset)? {
                    return Err(used.damaged(offset, format_args!("the commit at {witness} knew it to be synced")));
                }
                Ok(offset)
            }
        }
    }

    /// The first commit of a segment: the base if it is the oldest one's, else it must say what the replay says.
    fn checkpoint(&mut self, used: &Used, commit: &Commit) -> Result<(), Halt> {
        let mut points = BTreeMap::new();
        for (key, record, _) in &commit.records {
            match record {
                Record::Checkpoint(of_group) => points.insert(*key, of_group.clone()),
                _ => return Err(used.damaged(SECTOR, "a segment must open with a checkpoint")),
            };
        }
        if !self.has_base {
            self.has_base = true;
            self.groups = points.into_iter().map(|(key, points)| (key, GroupIndex::from_points(points))).collect();
        } else if points != self.points() {
            return Err(used.damaged(SECTOR, "its checkpoint is not what the segments before it add up to"));
        }
        Ok(())
    }

    fn commit(&mut self, used: &Used, offset: u64, commit: &Commit) -> Result<(), Halt> {
        for (key, record, location) in &commit.records {
            let slot = || Slot { serial: 0, location: Some(*location), cached: None };
            step_group(&mut self.groups, *key, record, slot)
                .map_err(|why| used.damaged(offset, format_args!("{}/{}: {why}", key.0, key.1)))?;
        }
        Ok(())
    }

    /// The points of all groups of which there is something to say.
    fn points(&self) -> BTreeMap<Key, Points> {
        let groups = self.groups.iter().map(|(key, group)| (*key, group.points.clone()));
        groups.filter(|(_, points)| *points != Points::default()).collect()
    }

    fn check_complete(&self) -> Result<(), Halt> {
        match self.groups.iter().find(|(_, group)| !group.is_complete()) {
            None => Ok(()),
            Some(((group, incarnation), index)) => Err(Halt::new(format!(
                "entries {} to {} of {group}/{incarnation} are in no log segment: the oldest segment is missing. Put the file \
                 back, or give this node an empty directory and let the cluster replace its replicas",
                index.points.first_kept(),
                index.first().saturating_sub(1)
            ))),
        }
    }
}

/// One whole commit.
#[derive(Debug)]
struct Commit {
    records: Vec<(Key, Record, Location)>,
    end: u64,
}

/// Reads the commit at `offset` if it is there as a whole, before `limit`.
fn read_commit(used: &Used, offset: u64, limit: u64) -> Result<Option<Commit>, Halt> {
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
        let before = rest.len();
        match Record::decode(number, &mut rest) {
            Ok((key, record)) => {
                let len = u32::try_from(before - rest.len()).expect("within a commit, whose length is a u32");
                records.push((key, record, Location { segment: number, offset: at, len }));
            }
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
fn find_witness(used: &Used, damage: u64) -> Result<Option<u64>, Halt> {
    let mut chunk = vec![0; SEARCH_BYTES];
    let mut offset = damage + SECTOR;
    while offset + CommitHeader::BYTES as u64 <= used.len {
        let len = (used.len - offset).min(SEARCH_BYTES as u64) as usize;
        used.file
            .read_exact_at(&mut chunk[..len], offset)
            .map_err(|error| Halt::io(format_args!("reading {} at byte {offset}", used.name()), &error))?;
        for (sector, at) in chunk[..len].chunks(SECTOR as usize).zip((offset..).step_by(SECTOR as usize)) {
            let header = CommitHeader::decode(used.header.number, at, sector);
            if header.is_some_and(|header| header.synced_upto > damage) {
                return Ok(Some(at));
            }
        }
        offset += len as u64;
    }
    Ok(None)
}
