//! What a group's records add up to: its points (vote, committed, purge point, next index) and where its entries are.
//!
//! Pure. The same rules serve the calls, the writer's checkpoints and the replay, so they cannot disagree. Never reads a
//! segment and never decides what is durable.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

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
    /// What is copied must be there.
    #[error("a copy of entry {index}, while the group has entries {kept} to {next}, the last one excluded")]
    CopyOfNothing { index: u64, kept: u64, next: u64 },
    /// Checkpoints stand at a segment's start and nowhere else.
    #[error("a checkpoint in the middle of a segment")]
    Checkpoint,
    /// No records add up to it.
    #[error("a checkpoint of a group that purged up to {purged}, although entry {next} comes next")]
    ImpossibleCheckpoint { purged: u64, next: u64 },
}

impl Points {
    /// Index of the first entry that is not purged.
    pub(super) fn first_kept(&self) -> u64 {
        self.purged.as_ref().map_or(0, |(index, _)| index + 1)
    }

    /// Whether a group can be like this: what a checkpoint says was read from a disk.
    pub(super) fn check(&self) -> Result<(), StepError> {
        match self.purged {
            Some((purged, _)) if purged >= self.next => {
                Err(StepError::ImpossibleCheckpoint { purged, next: self.next })
            }
            _ => Ok(()),
        }
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
            Record::Copy(entry) if entry.index < self.first_kept() || entry.index >= self.next => {
                return Err(StepError::CopyOfNothing { index: entry.index, kept: self.first_kept(), next: self.next });
            }
            Record::Copy(_) => {}
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
}

/// One entry: on disk, in memory, or both; never neither.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    /// Number of this entry among all that ever were queued: tells it from an entry of the same index that was truncated. A
    /// copy gives it a new one.
    pub(super) serial: u64,
    /// Bytes of its record, header included.
    pub(super) len: u32,
    /// Bytes of the records of this entry and of those before it, from some entry on: what counts is the difference of two.
    sum: u64,
    /// Where it is, once synced.
    pub(super) location: Option<Location>,
    /// The entry itself while it is cached.
    pub(super) cached: Option<LogEntry>,
}

/// Some records of one group in one segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Amount {
    /// How many.
    pub(super) entries: u64,
    /// Their bytes, headers included.
    pub(super) bytes: u64,
}

impl Amount {
    /// One record of `len` bytes.
    pub(super) fn one(len: u32) -> Self {
        Self { entries: 1, bytes: u64::from(len) }
    }
}

/// What is stored and no longer needed: segment by segment, in runs.
pub(super) type Freed = Vec<(u64, Amount)>;

/// One group: its points and its entries from the first kept one on.
#[derive(Clone, Debug, Default)]
pub(super) struct GroupIndex {
    /// All but the entries.
    pub(super) points: Points,
    slots: VecDeque<Slot>,
    /// While the log is read back: what was read as a copy and comes before `slots`, because its own segment is gone.
    copies: BTreeMap<u64, Slot>,
}

impl GroupIndex {
    /// A group of which an older segment's checkpoint tells.
    pub(super) fn from_points(points: Points) -> Self {
        Self { points, ..Self::default() }
    }

    /// Index of the first entry that is here; the next one's if there is none.
    pub(super) fn first(&self) -> u64 {
        self.points.next - self.slots.len() as u64
    }

    /// Bytes of the entries' records.
    pub(super) fn bytes(&self) -> u64 {
        let before = self.slots.front().map_or(0, |slot| slot.sum - u64::from(slot.len));
        self.sum() - before
    }

    /// The highest index behind which at least `bytes` bytes of entries stay, if any entry can be purged then.
    pub(super) fn index_keeping(&self, bytes: u64) -> Option<u64> {
        let all = self.sum();
        let purgeable = self.slots.partition_point(|slot| all - slot.sum >= bytes);
        purgeable.checked_sub(1).map(|last| self.first() + last as u64)
    }

    fn sum(&self) -> u64 {
        self.slots.back().map_or(0, |slot| slot.sum)
    }

    /// The first run of entries that are neither purged nor here. Read to its end, a log has none.
    pub(super) fn missing(&self) -> Option<RangeInclusive<u64>> {
        let mut next = self.points.first_kept();
        let here = self.copies.keys().copied().chain([self.first()]);
        for index in here {
            if index > next {
                return Some(next..=index - 1);
            }
            next = index.saturating_add(1);
        }
        None
    }

    /// Puts the copies that were read where they belong; nothing may be missing.
    pub(super) fn settle(&mut self) {
        assert_eq!(self.missing(), None, "entries are missing");
        for slot in std::mem::take(&mut self.copies).into_values().rev() {
            self.slots.push_front(slot);
        }
        let mut sum = 0;
        for slot in &mut self.slots {
            sum += u64::from(slot.len);
            slot.sum = sum;
        }
    }

    /// Takes one record into account, the `serial`th that was queued; `location` is where it is, if it is on disk. Gives
    /// what is no longer needed.
    pub(super) fn step(
        &mut self,
        record: &Record,
        serial: u64,
        location: Option<Location>,
    ) -> Result<Freed, StepError> {
        let (first, next) = (self.first(), self.points.next);
        self.points.step(record)?;
        let freed = match record {
            Record::Entry(entry) => {
                let len = record.encoded_len_u32();
                let sum = self.sum() + u64::from(len);
                let cached = location.is_none().then(|| entry.clone());
                self.slots.push_back(Slot { serial, len, sum, location, cached });
                Freed::new()
            }
            Record::Copy(entry) => {
                self.copied(entry, record.encoded_len_u32(), serial, location);
                Freed::new()
            }
            Record::Truncate { .. } => {
                drop(self.copies.split_off(&self.points.next));
                let gone = usize::try_from(next - self.points.next).unwrap_or(usize::MAX);
                let kept = self.slots.len().saturating_sub(gone);
                freed(self.slots.drain(kept..))
            }
            Record::Purge { .. } => {
                let kept = self.points.first_kept();
                self.copies = self.copies.split_off(&kept);
                let gone = usize::try_from(kept.saturating_sub(first)).unwrap_or(usize::MAX).min(self.slots.len());
                freed(self.slots.drain(..gone))
            }
            _ => Freed::new(),
        };
        Ok(freed)
    }

    /// An entry that is here, or that was in a segment that is gone, is at `location` as well. One without a location has
    /// yet to be written: until then the old place serves.
    fn copied(&mut self, entry: &LogEntry, len: u32, serial: u64, location: Option<Location>) {
        if let Some(at) = self.position(entry.index) {
            let slot = &mut self.slots[at];
            slot.serial = serial;
            slot.location = location.or(slot.location);
        } else {
            let cached = location.is_none().then(|| entry.clone());
            self.copies.insert(entry.index, Slot { serial, len, sum: 0, location, cached });
        }
    }

    fn position(&self, index: u64) -> Option<usize> {
        index.checked_sub(self.first()).and_then(|at| usize::try_from(at).ok())
    }

    /// The entry at `index`, if it is here.
    pub(super) fn slot(&self, index: u64) -> Option<&Slot> {
        self.slots.get(self.position(index)?)
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

/// What entries that go leave on disk.
fn freed(slots: impl IntoIterator<Item = Slot>) -> Freed {
    let mut freed = Freed::new();
    for slot in slots {
        let Some(at) = slot.location else { continue };
        match freed.last_mut() {
            Some((segment, amount)) if *segment == at.segment => {
                amount.entries += 1;
                amount.bytes += u64::from(slot.len);
            }
            _ => freed.push((at.segment, Amount::one(slot.len))),
        }
    }
    freed
}

/// Takes one record of any group into account, in points alone.
pub(super) fn step_points(groups: &mut BTreeMap<Key, Points>, key: Key, record: &Record) -> Result<(), StepError> {
    if matches!(record, Record::GroupRemoved) {
        groups.remove(&key);
        return Ok(());
    }
    groups.entry(key).or_default().step(record)
}

/// Takes one record of any group into account: see [`GroupIndex::step`].
pub(super) fn step_group(
    groups: &mut BTreeMap<Key, GroupIndex>,
    key: Key,
    record: &Record,
    serial: u64,
    location: Option<Location>,
) -> Result<Freed, StepError> {
    if matches!(record, Record::GroupRemoved) {
        return Ok(groups.remove(&key).map(|group| freed(group.slots)).unwrap_or_default());
    }
    groups.entry(key).or_default().step(record, serial, location)
}

#[cfg(test)]
mod tests;
