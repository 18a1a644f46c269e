//! What is in the log's files, for people: reads every segment by itself and says what is there and where it is damaged.
//!
//! Never writes, so that it may look at the log of a node that runs; what that node writes meanwhile may be missing. Never
//! stops at damage: the next file is looked at all the same.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meridian_env::{Disk, File, Halt, Open};
use meridian_types::{GroupId, Incarnation};

use super::read::{Commit, Used, find_witness, read_commit};
use super::record::{KIND_NAMES, Record, SECTOR};
use super::segment::{self, FirstSector, Header};

/// The file of one segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentSummary {
    /// Its number.
    pub number: u64,
    /// Where it is.
    pub path: PathBuf,
    /// Bytes of the file.
    pub bytes: u64,
    /// Whether it is in use, and then the number of the one before it (0 if it is the first ever), which may be removed.
    pub previous: Option<u64>,
    /// Up to where whole commits were read.
    pub end: u64,
    /// How many, the checkpoint included.
    pub commits: u64,
    /// Records of each kind.
    pub records: BTreeMap<&'static str, u64>,
    /// The entries and copies of each group that are in this segment, needed or not.
    pub groups: BTreeMap<(GroupId, Incarnation), EntrySpan>,
    /// What is wrong with it. Behind damage nothing was read.
    pub damage: Option<Damage>,
}

/// Entries of one group in one segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntrySpan {
    /// The lowest index.
    pub first: u64,
    /// The highest index.
    pub last: u64,
    /// How many records. An index counts again when it was truncated and given anew, or copied.
    pub entries: u64,
}

/// What is wrong with a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// From which byte on.
    pub offset: u64,
    /// What it is.
    pub what: String,
}

/// Looks at every segment of the log in `dir`, oldest first. An error is one of the disk's; what the files hold is none.
pub fn inspect_log(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<SegmentSummary>> {
    let names = disk.list(dir)?;
    let mut segments: Vec<(SegmentSummary, Option<Used>)> = Vec::new();
    for number in names.iter().filter_map(|name| segment::number_of(name)) {
        match open(disk, segment::path(dir, number), number) {
            Ok(segment) => segments.push(segment),
            // A node that runs has removed it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let mut followed = None;
    for (summary, used) in segments.iter_mut().rev() {
        match used {
            Some(used) => {
                summary.read(used, followed);
                followed = Some((used.header.previous, used.header.previous_end));
            }
            // The segment after it says that it is in use.
            None if followed.is_some_and(|(number, _)| number == summary.number) => {
                summary.damaged(0, "its header is unreadable");
                followed = None;
            }
            None => {}
        }
    }
    let mut summaries: Vec<SegmentSummary> = segments.into_iter().map(|(summary, _)| summary).collect();
    find_gaps(&mut summaries);
    Ok(summaries)
}

/// Opens one file and reads its first sector.
fn open(disk: &dyn Disk, path: PathBuf, number: u64) -> io::Result<(SegmentSummary, Option<Used>)> {
    let file: Arc<dyn File> = Arc::from(disk.open(&path, Open::Read)?);
    let bytes = file.len()?;
    let mut summary = SegmentSummary {
        number,
        path: path.clone(),
        bytes,
        previous: None,
        end: 0,
        commits: 0,
        records: BTreeMap::new(),
        groups: BTreeMap::new(),
        damage: None,
    };
    let unread = Header { number, previous: 0, previous_end: 0, reserved: 0 };
    let mut used = Used { header: unread, file, len: bytes, path };
    match segment::read_first_sector(&*used.file, &used.path, number) {
        Err(halt) => summary.damaged(0, &halt.reason),
        Ok(FirstSector::Unreadable) => match find_witness(&used, 0) {
            Ok(None) => {}
            Ok(Some(witness)) => summary.damaged(0, &format!("the commit at {witness} knew its header to be synced")),
            Err(halt) => summary.damaged(0, &halt.reason),
        },
        Ok(FirstSector::Used(header)) => {
            summary.previous = Some(header.previous);
            used.header = header;
            return Ok((summary, Some(used)));
        }
    }
    Ok((summary, None))
}

/// Of the segments in use, each must be the one that the next one follows on.
fn find_gaps(summaries: &mut [SegmentSummary]) {
    let mut before = None;
    for summary in summaries.iter_mut().filter(|summary| summary.previous.is_some()) {
        let missing = summary.previous.filter(|previous| before.is_some_and(|before| before != *previous));
        if let Some(missing) = missing {
            summary.damaged(0, &format!("it follows on segment {missing}, which is not there, while an older one is"));
        }
        before = Some(summary.number);
    }
}

impl SegmentSummary {
    /// Notes the first thing that is wrong.
    fn damaged(&mut self, offset: u64, what: &str) {
        self.damage.get_or_insert_with(|| Damage { offset, what: what.to_owned() });
    }

    /// Reads all commits; `followed` is what a later segment says: the number of the one before it, and where that ends.
    fn read(&mut self, used: &Used, followed: Option<(u64, u64)>) {
        if used.len < used.header.reserved {
            self.damaged(used.len, &format!("the file was made with {} bytes", used.header.reserved));
        }
        let ends_at = followed.filter(|(number, _)| *number == self.number).map(|(_, end)| end);
        let limit = ends_at.unwrap_or(used.len).min(used.len);
        self.end = SECTOR;
        match self.read_commits(used, limit, ends_at.is_none()) {
            Err(halt) => self.damaged(self.end, &halt.reason),
            Ok(()) => {
                if let Some(end) = ends_at.filter(|end| *end != self.end) {
                    self.damaged(self.end, &format!("no whole commit, while the next segment vouches for {end} bytes"));
                }
            }
        }
    }

    fn read_commits(&mut self, used: &Used, limit: u64, is_newest: bool) -> Result<(), Halt> {
        while self.end < limit {
            let mut commit = read_commit(used, self.end, limit)?;
            if commit.is_none()
                && is_newest
                && let Some(witness) = find_witness(used, self.end)?
            {
                // A node that runs may have written both after the first look.
                commit = read_commit(used, self.end, limit)?;
                if commit.is_none() {
                    self.damaged(self.end, &format!("the commit at {witness} knew it to be synced"));
                }
            }
            let Some(commit) = commit else { break };
            self.count(&commit);
        }
        Ok(())
    }

    fn count(&mut self, commit: &Commit) {
        self.commits += 1;
        self.end = commit.end;
        for (key, record, _) in &commit.records {
            *self.records.entry(KIND_NAMES[usize::from(record.kind()) - 1]).or_default() += 1;
            if let Record::Entry(entry) | Record::Copy(entry) = record {
                let only = EntrySpan { first: entry.index, last: entry.index, entries: 0 };
                let span = self.groups.entry(*key).or_insert(only);
                span.first = span.first.min(entry.index);
                span.last = span.last.max(entry.index);
                span.entries += 1;
            }
        }
    }
}
