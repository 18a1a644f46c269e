//! Any bytes as a segment: what a disk may hold, for tests that throw bytes at the reading side.
//!
//! Never panics, whatever the bytes are: that is all it is for.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use meridian_env::{File, MemoryFile};
use meridian_types::{GroupId, Incarnation};

use super::index::Points;
use super::read::Used;
use super::record::{Key, LogEntry, Record, SECTOR, encode_commit};
use super::recover::Replay;
use super::segment::{self, FirstSector, Header};

/// The number that bytes get which have no header.
const NUMBER: u64 = 1;

/// Reads `bytes` back as the one segment of a log: as they are, and once more as a program of records, in commits that are
/// whole, so that what stands behind the checksums is reached too.
#[doc(hidden)]
pub fn fuzz_segment(bytes: &[u8]) {
    replay(bytes.to_vec());
    replay(program(bytes));
}

/// Four bytes a record: its kind, its group, and two for what it says. The first commit holds checkpoints, as it must.
fn program(bytes: &[u8]) -> Vec<u8> {
    let mut segment = vec![0; SECTOR as usize];
    let mut commit = Vec::new();
    let commits = |commit: &mut Vec<(Key, Record)>, segment: &mut Vec<u8>| {
        let offset = segment.len() as u64;
        encode_commit(NUMBER, offset, 0, commit.iter().map(|(key, record)| (*key, record)), segment);
        commit.clear();
    };
    for step in bytes.as_chunks::<4>().0 {
        let is_first = segment.len() == SECTOR as usize;
        match record(*step, is_first) {
            Some(next) => commit.push(next),
            None => commits(&mut commit, &mut segment),
        }
    }
    commits(&mut commit, &mut segment);
    segment
}

/// `None` ends the commit.
fn record([kind, group, low, more]: [u8; 4], is_checkpoint: bool) -> Option<(Key, Record)> {
    let key = (GroupId(u32::from(group % 3)), Incarnation(1));
    // Small numbers meet each other, and the highest ones overflow.
    let number = |low: u8| if more < 224 { u64::from(low) } else { u64::MAX - u64::from(low) };
    let bytes = Bytes::copy_from_slice(&[low, more]);
    let entry = LogEntry { index: number(low), head: bytes.clone(), payload: Bytes::new() };
    let record = match kind % 9 {
        8 => return None,
        _ if is_checkpoint => {
            let purged = (kind > 128).then(|| (number(low / 2), bytes));
            Record::Checkpoint(Points { vote: None, committed: None, purged, next: number(low) })
        }
        0 => Record::Checkpoint(Points::default()),
        1 => Record::Entry(entry),
        2 => Record::Vote(bytes),
        3 => Record::Committed(bytes),
        4 => Record::Truncate { next: number(low) },
        5 => Record::Purge { upto: number(low), id: bytes },
        6 => Record::GroupRemoved,
        _ => Record::Copy(entry),
    };
    Some((key, record))
}

fn replay(bytes: Vec<u8>) {
    let (path, len) = (PathBuf::from("fuzzed.seg"), bytes.len() as u64);
    let file: Arc<dyn File> = Arc::new(MemoryFile(Bytes::from(bytes)));
    let header = match segment::read_first_sector(&*file, &path, NUMBER) {
        Ok(FirstSector::Used(header)) => header,
        _ => Header { number: NUMBER, previous: 0, previous_end: 0, reserved: 0 },
    };
    let used = Used { header, file, len, path };
    for ends_at in [None, Some(len)] {
        let mut replay = Replay::default();
        if replay.segment(&used, ends_at).is_ok() {
            drop(replay.finish());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_bytes_are_a_segment_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            super::fuzz_segment(&bytes);
        }
    }
}
