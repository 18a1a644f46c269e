//! What the segments take, what in them is still needed, and what follows: a segment that can go, a remainder to copy forward, or
//! a group to flush.
//!
//! Pure: never touches a file. Never lets the newest segment go, and never has one copied that holds much: the owner of the
//! group that holds it is told instead.

use std::collections::BTreeMap;

use meridian_types::Mutant;

use super::index::{Amount, Freed};
use super::record::Key;

/// From when on the log gets smaller, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Limits {
    /// Bytes of all segments over which something is done.
    pub(super) bytes_max: u64,
    /// What is needed of the oldest segment is copied if it is at most this much: so a copy frees more than it takes.
    pub(super) copy_bytes_max: u64,
}

/// Files that are kept for other segments take at most this part of the budget.
const RETIRED_SHARE: u64 = 8;

/// What brings the log back into its budget.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Plan {
    /// It is within its budget, or will be once the segments are gone of which nothing is needed.
    Rest,
    /// What is needed of this segment is little: copy it forward.
    Copy(u64),
    /// The oldest segment holds too much to copy; this group has the most in it, so many bytes.
    Flush(Key, u64),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// The segments in use.
    segments: BTreeMap<u64, Segment>,
    /// Bytes of those that are made ahead.
    prepared: BTreeMap<u64, u64>,
    /// Bytes of files that are kept for others to be made of them, by the numbers of the segments that they were.
    retired: BTreeMap<u64, u64>,
}

#[derive(Debug)]
struct Segment {
    bytes: u64,
    /// What is needed of it. Groups that need nothing are not here.
    needed: BTreeMap<Key, Amount>,
}

impl Space {
    /// A segment of `bytes` bytes is ready for use.
    pub(super) fn prepared(&mut self, number: u64, bytes: u64) {
        self.prepared.insert(number, bytes);
    }

    /// A segment of `bytes` bytes is in use.
    pub(super) fn used(&mut self, number: u64, bytes: u64) {
        self.prepared.remove(&number);
        self.segments.insert(number, Segment { bytes, needed: BTreeMap::new() });
    }

    /// The file of a segment has at least this many bytes.
    pub(super) fn grown(&mut self, number: u64, bytes: u64) {
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.bytes = segment.bytes.max(bytes);
        }
    }

    /// A segment is gone, and its file, which may have been kept for a while.
    pub(super) fn removed(&mut self, number: u64) {
        self.segments.remove(&number);
        self.retired.remove(&number);
    }

    /// A segment is gone, and its file is kept.
    pub(super) fn retired(&mut self, number: u64) {
        if let Some(segment) = self.segments.remove(&number) {
            self.retired.insert(number, segment.bytes);
        }
    }

    /// Whether another segment of `segment_bytes` bytes could be made of the file of this one, which is not needed any more. Such files
    /// take no more than their share of the budget, in which they are counted.
    pub(super) fn may_retire(&self, number: u64, segment_bytes: u64, limits: &Limits) -> bool {
        let is_one = self.segments.get(&number).is_some_and(|segment| segment.bytes == segment_bytes);
        is_one && self.retired.values().sum::<u64>() + segment_bytes <= limits.bytes_max / RETIRED_SHARE
    }

    /// A record of `len` bytes that is needed is in a segment.
    pub(super) fn stored(&mut self, key: Key, number: u64, len: u32) {
        let segment = self.segments.get_mut(&number).expect("a segment is in use before something is written to it");
        let needed = segment.needed.entry(key).or_default();
        needed.entries += 1;
        needed.bytes += u64::from(len);
    }

    /// A group needs some records no more.
    pub(super) fn freed(&mut self, key: Key, freed: &Freed) {
        for (number, amount) in freed {
            let segment = self.segments.get_mut(number);
            let needed = &mut segment.expect("a segment stays while something in it is needed").needed;
            let of_group = needed.get_mut(&key).expect("what is freed was stored");
            of_group.entries -= amount.entries;
            of_group.bytes -= amount.bytes;
            if of_group.entries == 0 {
                needed.remove(&key);
            }
        }
    }

    /// Bytes of all segments, and of files that one is made of or can be.
    pub(super) fn bytes(&self) -> u64 {
        let used = self.segments.values().map(|segment| segment.bytes);
        used.chain(self.prepared.values().copied()).chain(self.retired.values().copied()).sum()
    }

    /// How much of a segment each group needs.
    pub(super) fn needed(&self, number: u64) -> impl Iterator<Item = (Key, Amount)> {
        let segment = self.segments.get(&number).into_iter();
        segment.flat_map(|segment| segment.needed.iter().map(|(key, amount)| (*key, *amount)))
    }

    /// The oldest segments of which nothing is needed, oldest first.
    pub(super) fn unneeded(&self) -> impl Iterator<Item = u64> {
        let is_unneeded = |segment: &Segment| segment.needed.is_empty() || Mutant::PurgeTooEarly.is_planted();
        self.but_newest().take_while(move |(_, segment)| is_unneeded(segment)).map(|(number, _)| number)
    }

    /// What to do about the bytes that there are.
    pub(super) fn plan(&self, limits: &Limits) -> Plan {
        let mut bytes = self.bytes();
        for (number, segment) in self.but_newest() {
            if bytes <= limits.bytes_max {
                return Plan::Rest;
            }
            // Of those with the same amount, the first one by its key.
            let most = segment.needed.iter().rev().max_by_key(|(_, amount)| amount.bytes);
            if let Some((key, amount)) = most {
                let needed: u64 = segment.needed.values().map(|amount| amount.bytes).sum();
                let is_little = needed <= limits.copy_bytes_max;
                return if is_little { Plan::Copy(number) } else { Plan::Flush(*key, amount.bytes) };
            }
            bytes -= segment.bytes;
        }
        Plan::Rest
    }

    fn but_newest(&self) -> impl Iterator<Item = (u64, &Segment)> {
        let before_newest = self.segments.len().saturating_sub(1);
        self.segments.iter().take(before_newest).map(|(number, segment)| (*number, segment))
    }
}

#[cfg(test)]
mod tests;
