//! Reads the log back: which segments are in use, what their commits say, where the last one ends, and how to go on.
//!
//! Runs inside one job. Never trusts what was not synced, never cuts what was, and never guesses: damage is a [`Halt`] that
//! names file and offset. Never needs space on the disk. Why each rule is safe: docs/formats/log.md.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use meridian_env::{Disk, File, Halt, Open, is_full};

use super::index::{GroupIndex, Points, step_group};
use super::read::{Commit, Used, find_witness, is_untouched, read_commit};
use super::record::{Key, Record, SECTOR};
use super::segment::{self, FirstSector, Header};

/// A log that was read back and can be appended to.
#[derive(Debug)]
pub(super) struct Recovered {
    /// All live groups.
    pub(super) groups: BTreeMap<Key, GroupIndex>,
    /// All segments in use, with their bytes.
    pub(super) files: BTreeMap<u64, (Arc<dyn File>, u64)>,
    /// Where to go on.
    pub(super) resume: Resume,
}

/// What a fresh segment follows on, and what it is made of. All before is synced.
#[derive(Debug)]
pub(super) struct Resume {
    /// Number of the newest segment in use; 0 if there is none.
    pub(super) previous: u64,
    /// Where that one ends.
    pub(super) previous_end: u64,
    /// Number of the fresh segment.
    pub(super) number: u64,
    /// Its file, if one was made ahead and never used.
    pub(super) spare: Option<Arc<dyn File>>,
    /// Files to remove once the fresh segment has begun. Not before: the highest number that a segment began with must be on
    /// disk at any time, or it would be given twice.
    pub(super) unused: Vec<u64>,
}

/// Reads the log in `dir`, which is made if absent. Segments are going to have `segment_bytes` bytes.
pub(super) fn recover(disk: &dyn Disk, dir: &Path, segment_bytes: u64) -> Result<Recovered, Halt> {
    let mut found = Found::look(disk, dir)?;
    let mut replay = Replay::default();
    let mut end = 0;
    for (at, used) in found.chain.iter().enumerate() {
        let ends_at = found.chain.get(at + 1).map(|next| next.header.previous_end);
        end = replay.segment(used, ends_at)?;
    }
    if let Some(oldest) = found.chain.first() {
        replay.check_base(oldest)?;
    }
    let groups = replay.finish()?;
    if let Some(newest) = found.chain.last() {
        // What was read may still be in the page cache only: the fresh segment's header is going to vouch for it.
        newest.file.sync_data().map_err(|e| Halt::io(format_args!("syncing {}", newest.name()), &e))?;
    }
    let (number, spare) = found.next(segment_bytes)?;
    let previous = found.chain.last().map_or(0, |newest| newest.header.number);
    let resume = Resume { previous, previous_end: end, number, spare, unused: numbers(&found.unused) };
    let files = found.chain.into_iter().map(|used| (used.header.number, (used.file, used.len))).collect();
    Ok(Recovered { groups, files, resume })
}

fn numbers(files: &[Used]) -> Vec<u64> {
    files.iter().map(|file| file.header.number).collect()
}

/// What is in the directory.
#[derive(Debug)]
struct Found {
    /// Segments in use, oldest first; each names the one before it.
    chain: Vec<Used>,
    /// Segments that were prepared, or whose first write was torn.
    unused: Vec<Used>,
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
        for retired in names.iter().filter_map(|name| segment::retired_number_of(name)) {
            let path = segment::retired_path(dir, retired);
            match disk.remove(&path) {
                Err(error) if !is_full(&error) => {
                    return Err(Halt::io(format_args!("removing {}", path.display()), &error));
                }
                // If it comes back, or stays, the next start finds it.
                _ => {}
            }
        }
        let mut found = Self { chain: Vec::new(), unused: Vec::new(), highest };
        for &number in numbers.iter().rev() {
            found.add(disk, segment::path(dir, number), number)?;
        }
        found.chain.reverse();
        if found.chain.is_empty() && highest != 0 && !numbers.contains(&1) {
            // The first segment ever goes only when a later one is in use.
            return Err(Halt::new(format!(
                "no log segment in {} can be read as one in use, although there are files up to number {highest}, and \
                 without the first one: what was in use is damaged or missing. Give this node an empty directory and let the \
                 cluster replace its replicas",
                dir.display()
            )));
        }
        Ok(found)
    }

    /// Number of the segment to go on in, and its file if one was made ahead: it has never been in use, so that nothing in it is of an
    /// older life of this number. On a full disk it is what a node can start with.
    fn next(&mut self, segment_bytes: u64) -> Result<(u64, Option<Arc<dyn File>>), Halt> {
        let highest = self.unused.iter().position(|unused| unused.header.number == self.highest);
        if let Some(at) = highest.filter(|at| self.unused[*at].len <= segment_bytes)
            && is_untouched(&self.unused[at])?
        {
            return Ok((self.highest, Some(self.unused.remove(at).file)));
        }
        let number = self.highest.checked_add(1).ok_or_else(|| Halt::new("segment numbers are used up"))?;
        Ok((number, None))
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
                self.unused.push(unreadable);
            }
        }
        Ok(())
    }
}

/// The groups as the commits read so far leave them.
#[derive(Debug, Default)]
pub(super) struct Replay {
    groups: BTreeMap<Key, GroupIndex>,
    /// Whether the oldest segment's checkpoint was taken over.
    has_base: bool,
}

impl Replay {
    /// Replays one segment up to `ends_at`; the last segment's end is found, not known. Gives the end.
    pub(super) fn segment(&mut self, used: &Used, ends_at: Option<u64>) -> Result<u64, Halt> {
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
                Record::Checkpoint(of_group) => {
                    let checked = of_group.check();
                    checked.map_err(|why| used.damaged(SECTOR, format_args!("{}/{}: {why}", key.0, key.1)))?;
                    points.insert(*key, of_group.clone())
                }
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
            step_group(&mut self.groups, *key, record, 0, Some(*location))
                .map_err(|why| used.damaged(offset, format_args!("{}/{}: {why}", key.0, key.1)))?;
        }
        Ok(())
    }

    /// The points of all groups of which there is something to say.
    fn points(&self) -> BTreeMap<Key, Points> {
        let groups = self.groups.iter().map(|(key, group)| (*key, group.points.clone()));
        groups.filter(|(_, points)| *points != Points::default()).collect()
    }

    /// Without any checkpoint there is nothing only if there never was a segment before.
    fn check_base(&self, oldest: &Used) -> Result<(), Halt> {
        if self.has_base || oldest.header.previous == 0 {
            return Ok(());
        }
        Err(oldest.damaged(SECTOR, "its checkpoint is unreadable, and the segments that it sums up are gone"))
    }

    /// The groups, of which nothing may be missing.
    pub(super) fn finish(mut self) -> Result<BTreeMap<Key, GroupIndex>, Halt> {
        for ((group, incarnation), index) in &mut self.groups {
            if let Some(missing) = index.missing() {
                return Err(Halt::new(format!(
                    "entries {} to {} of {group}/{incarnation} are in no log segment: the oldest segment is missing. Put the \
                     file back, or give this node an empty directory and let the cluster replace its replicas",
                    missing.start(),
                    missing.end()
                )));
            }
            index.settle();
        }
        Ok(self.groups)
    }
}
