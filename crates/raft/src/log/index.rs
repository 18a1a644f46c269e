//! What a group's records add up to: its points (vote, committed, purge point, next index) and where its entries are.
//!
//! Pure. The same rules serve the calls, the writer's checkpoints and the replay, so they cannot disagree. Never reads a
//! segment and never decides what is durable.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::record::{Key, LogEntry, Record};

/// All about a group but its entries.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Points {
    /// The last vote.
    pub(super) vote: Option<Bytes>,
    /// How far the group was last known to be committed.
    pub(super) committed: Option<Bytes>,
    /// Index and log id of the last purged entry.
    pub(super) purged: Option<(u64, Bytes)>,
    /// Index that the next entry gets; never at or below the purge point.
    pub(super) next: u64,
}

/// Why a record cannot follow what is there.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum StepError {
    /// A hole or an overlap.
    #[error("entry {got} where entry {expected} must follow")]
    NotContiguous { got: u64, expected: u64 },
    /// What is purged is committed and stays.
    #[error("cannot truncate to {next}: entries below {kept} are purged, hence committed")]
    TruncatesPurged { next: u64, kept: u64 },
    /// There is no index after it.
    #[error("cannot purge up to {0}: no index would be left")]
    PurgesAll(u64),
    /// Checkpoints stand at a segment's start and nowhere else.
    #[error("a checkpoint in the middle of a segment")]
    Checkpoint,
}

impl Points {
    /// Index of the first entry that is not purged.
    pub(super) fn first_kept(&self) -> u64 {
        self.purged.as_ref().map_or(0, |(index, _)| index + 1)
    }

    fn step(&mut self, record: &Record) -> Result<(), StepError> {
        match record {
            Record::Entry(entry) if entry.index != self.next || entry.index == u64::MAX => {
                return Err(StepError::NotContiguous { got: entry.index, expected: self.next });
            }
            Record::Entry(_) => self.next += 1,
            Record::Vote(vote) => self.vote = Some(vote.clone()),
            Record::Committed(committed) => self.committed = Some(committed.clone()),
            Record::Truncate { next } if *next < self.first_kept() => {
                return Err(StepError::TruncatesPurged { next: *next, kept: self.first_kept() });
            }
            Record::Truncate { next } => self.next = self.next.min(*next),
            Record::Purge { upto: u64::MAX, .. } => return Err(StepError::PurgesAll(u64::MAX)),
            // Purging less than was purged is nothing to do.
            Record::Purge { upto, .. } if *upto < self.first_kept() => {}
            Record::Purge { upto, id } => {
                self.purged = Some((*upto, id.clone()));
                self.next = self.next.max(upto + 1);
            }
            Record::GroupRemoved | Record::Checkpoint(_) => return Err(StepError::Checkpoint),
        }
        Ok(())
    }
}

/// Where a record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Location {
    /// Number of the segment.
    pub(super) segment: u64,
    /// Where in it the record's header begins.
    pub(super) offset: u64,
    /// Bytes of the record, header included.
    pub(super) len: u32,
}

/// One entry: on disk, in memory, or both; never neither.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    /// Number of this entry among all that ever were queued: tells it from an entry of the same index that was truncated.
    pub(super) serial: u64,
    /// Where it is, once synced.
    pub(super) location: Option<Location>,
    /// The entry itself while it is cached.
    pub(super) cached: Option<LogEntry>,
}

/// One group: its points and its entries from the first kept one on.
#[derive(Clone, Debug, Default)]
pub(super) struct GroupIndex {
    /// All but the entries.
    pub(super) points: Points,
    slots: VecDeque<Slot>,
}

impl GroupIndex {
    /// A group of which an older segment's checkpoint tells.
    pub(super) fn from_points(points: Points) -> Self {
        Self { points, slots: VecDeque::new() }
    }

    /// Index of the first entry that is here; the next one's if there is none.
    pub(super) fn first(&self) -> u64 {
        self.points.next - self.slots.len() as u64
    }

    /// Whether all entries that are not purged are here.
    pub(super) fn is_complete(&self) -> bool {
        self.first() == self.points.first_kept()
    }

    /// Takes one record into account; `slot` is the entry's, if it is one.
    pub(super) fn step(&mut self, record: &Record, slot: impl FnOnce() -> Slot) -> Result<(), StepError> {
        let (first, next) = (self.first(), self.points.next);
        self.points.step(record)?;
        match record {
            Record::Entry(_) => self.slots.push_back(slot()),
            Record::Truncate { .. } => {
                let gone = usize::try_from(next - self.points.next).unwrap_or(usize::MAX);
                self.slots.truncate(self.slots.len().saturating_sub(gone));
            }
            Record::Purge { .. } => {
                let gone = self.points.first_kept().saturating_sub(first);
                let gone = usize::try_from(gone).unwrap_or(usize::MAX).min(self.slots.len());
                self.slots.drain(..gone);
            }
            _ => {}
        }
        Ok(())
    }

    fn position(&self, index: u64) -> Option<usize> {
        index.checked_sub(self.first()).and_then(|at| usize::try_from(at).ok())
    }

    /// The slot of the entry that was queued as `serial` at `index`, unless it has been truncated or purged since.
    pub(super) fn slot_mut(&mut self, index: u64, serial: u64) -> Option<&mut Slot> {
        let at = self.position(index)?;
        self.slots.get_mut(at).filter(|slot| slot.serial == serial)
    }

    /// Index and slot of the entries in `[from, to)` that are here.
    pub(super) fn slots(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, &Slot)> {
        let first = self.first();
        let start = self.position(from.max(first)).unwrap_or(0).min(self.slots.len());
        let entries = self.slots.range(start..).zip(first + start as u64..);
        entries.map(|(slot, index)| (index, slot)).take_while(move |(index, _)| *index < to)
    }
}

/// Takes one record of any group into account, in points alone.
pub(super) fn step_points(groups: &mut BTreeMap<Key, Points>, key: Key, record: &Record) -> Result<(), StepError> {
    if matches!(record, Record::GroupRemoved) {
        groups.remove(&key);
        return Ok(());
    }
    groups.entry(key).or_default().step(record)
}

/// Takes one record of any group into account.
pub(super) fn step_group(
    groups: &mut BTreeMap<Key, GroupIndex>,
    key: Key,
    record: &Record,
    slot: impl FnOnce() -> Slot,
) -> Result<(), StepError> {
    if matches!(record, Record::GroupRemoved) {
        groups.remove(&key);
        return Ok(());
    }
    groups.entry(key).or_default().step(record, slot)
}
