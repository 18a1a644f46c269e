//! What is behind the log's one lock: the queue, the groups' indexes, the cache, and what the segments take.
//!
//! Pure but for the handles of files: never waits and never reads. Never lets a segment go before everything is synced that
//! made it unneeded.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use meridian_env::{File, Halt};

use super::Done;
use super::index::{Amount, Freed, GroupIndex, Location, Slot, step_group};
use super::record::{Key, LogEntry, Record, first_record};
use super::source::Source;
use super::space::Space;

/// What one cached entry costs besides its bytes.
const CACHED_OVERHEAD_BYTES: usize = 128;

/// One queued record.
pub(super) struct Queued {
    /// `None` for a call that only waits for its turn.
    record: Option<(Key, Record)>,
    /// Number among all that ever were queued.
    serial: u64,
    done: Option<Done>,
}

/// What the writer takes at a time.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) queued: Vec<Queued>,
    /// Number of the last one that was queued, of those that are in here or came before.
    upto: u64,
    /// Whether this is the last one.
    pub(super) closes: bool,
}

/// An entry that is to be copied forward.
pub(super) struct Move {
    key: Key,
    from: Location,
    source: Source,
}

/// An entry that was read to be copied forward: with its group and where it was.
pub(super) type Moved = (Key, Location, LogEntry);

/// See the module.
pub(super) struct State {
    pub(super) groups: BTreeMap<Key, GroupIndex>,
    /// The segments in use.
    pub(super) files: BTreeMap<u64, Arc<dyn File>>,
    pub(super) space: Space,
    /// Files beside the chain of segments, to be removed.
    pub(super) unused: Vec<u64>,
    /// Files of segments that are gone, for others to be made of them, with the numbers that they had.
    pub(super) retired: Vec<(u64, Arc<dyn File>)>,
    /// The newest of the oldest segments of which nothing is needed, with how much had been queued when that was seen.
    unneeded: Option<(u64, u64)>,
    pub(super) queue: VecDeque<Queued>,
    /// The newest note of each group that is not yet written, with the serial of what must be written before it.
    committed: BTreeMap<Key, (u64, Bytes)>,
    /// How much was ever queued.
    serial: u64,
    /// How much of it is synced.
    synced: u64,
    pub(super) closing: bool,
    cache: Cache,
}

/// Which synced entries are in memory, oldest first. What was truncated or purged counts until its turn comes.
struct Cache {
    order: VecDeque<(Key, u64, u64, usize)>,
    bytes: usize,
    bytes_max: usize,
}

impl State {
    /// `groups` and the `files` of the segments in use as they were read back, each file with its bytes.
    pub(super) fn new(
        groups: BTreeMap<Key, GroupIndex>,
        files: BTreeMap<u64, (Arc<dyn File>, u64)>,
        cache_bytes: usize,
    ) -> Self {
        let mut space = Space::default();
        for (number, (_, bytes)) in &files {
            space.used(*number, *bytes);
        }
        for (key, group) in &groups {
            for (_, slot) in group.slots(0, u64::MAX) {
                let at = slot.location.expect("what was read back is on disk");
                space.stored(*key, at.segment, slot.len);
            }
        }
        Self {
            groups,
            files: files.into_iter().map(|(number, (file, _))| (number, file)).collect(),
            space,
            unused: Vec::new(),
            retired: Vec::new(),
            unneeded: None,
            queue: VecDeque::new(),
            committed: BTreeMap::new(),
            serial: 0,
            synced: 0,
            closing: false,
            cache: Cache { order: VecDeque::new(), bytes: 0, bytes_max: cache_bytes },
        }
    }

    /// Queues records of one group; `done` belongs to the last.
    pub(super) fn submit(&mut self, key: Key, records: Vec<Record>, done: Done) {
        if records.is_empty() {
            self.push(None);
        }
        for record in records {
            self.push(Some((key, record)));
        }
        self.queue.back_mut().expect("just pushed").done = Some(done);
    }

    /// Queues copies of those entries that still are where they were read: in the order of the queue, what is copied is
    /// there. `done` comes after all of them.
    pub(super) fn submit_copies(&mut self, moved: Vec<Moved>, done: Done) {
        for (key, from, entry) in moved {
            let slot = self.groups.get(&key).and_then(|group| group.slot(entry.index));
            if slot.is_some_and(|slot| slot.location == Some(from)) {
                self.push(Some((key, Record::Copy(entry))));
            }
        }
        self.push(None);
        self.queue.back_mut().expect("just pushed").done = Some(done);
    }

    fn push(&mut self, record: Option<(Key, Record)>) {
        self.serial += 1;
        if let Some((key, record)) = &record {
            let freed = step_group(&mut self.groups, *key, record, self.serial, None);
            assert!(freed.is_ok(), "{}/{}: {freed:?}", key.0, key.1);
            self.space.freed(*key, &freed.unwrap_or_default());
            if matches!(record, Record::GroupRemoved) {
                self.committed.remove(key);
            }
        }
        self.queue.push_back(Queued { record, serial: self.serial, done: None });
    }

    /// Notes how far a group is committed, behind what is queued by now.
    pub(super) fn save_committed(&mut self, key: Key, committed: Bytes) {
        if let Some(group) = self.groups.get_mut(&key) {
            group.points.committed = Some(committed.clone());
            self.committed.insert(key, (self.serial, committed));
        }
    }

    /// The next batch: at least one record, if there is any, and at most `bytes_max` bytes of them.
    pub(super) fn take(&mut self, bytes_max: usize) -> Batch {
        let (mut queued, mut bytes) = (Vec::new(), 0);
        while let Some(next) = self.queue.front() {
            bytes += next.encoded_len();
            if bytes > bytes_max && !queued.is_empty() {
                break;
            }
            queued.extend(self.queue.pop_front());
        }
        let upto = self.serial - self.queue.len() as u64;
        let notes = self.committed.extract_if(.., |_, (after, _)| *after <= upto);
        queued.extend(notes.map(|(key, (serial, committed))| {
            let record = Some((key, Record::Committed(committed)));
            Queued { record, serial, done: None }
        }));
        Batch { queued, upto, closes: self.closing && self.queue.is_empty() }
    }

    /// The batch is synced: its records are where the commit at `offset` of `segment`, which ends at `end`, has put them.
    pub(super) fn complete(&mut self, batch: &Batch, segment: u64, offset: u64, end: u64) {
        self.space.grown(segment, end);
        let mut at = first_record(offset);
        for queued in &batch.queued {
            let Some((key, record)) = &queued.record else { continue };
            if let Record::Entry(entry) | Record::Copy(entry) = record {
                self.stored(*key, entry, queued.serial, Location { segment, offset: at });
            }
            at += record.encoded_len() as u64;
        }
        self.synced = batch.upto;
    }

    /// An entry is on disk: from here on its cached form may go, and what was there of it before.
    fn stored(&mut self, key: Key, entry: &LogEntry, serial: u64, location: Location) {
        let group = self.groups.get_mut(&key);
        if let Some(slot) = group.and_then(|group| group.slot_mut(entry.index, serial)) {
            if let Some(before) = slot.location.replace(location) {
                self.space.freed(key, &Freed::from([(before.segment, Amount::one(slot.len))]));
            }
            self.space.stored(key, location.segment, slot.len);
            if slot.cached.is_some() {
                let bytes = entry.bytes() + CACHED_OVERHEAD_BYTES;
                self.cache.order.push_back((key, entry.index, serial, bytes));
                self.cache.bytes += bytes;
            }
        }
        while self.cache.bytes > self.cache.bytes_max {
            let (key, index, serial, bytes) =
                self.cache.order.pop_front().expect("it holds the bytes that are counted");
            self.cache.bytes -= bytes;
            if let Some(slot) = self.groups.get_mut(&key).and_then(|group| group.slot_mut(index, serial)) {
                slot.cached = None;
            }
        }
    }

    /// The oldest segments, if nothing in them is needed and everything is synced that made it so. What is needed later is
    /// in later segments: a removed segment is never missed, wherever a crash cuts the log.
    pub(super) fn removable(&mut self) -> Vec<u64> {
        if self.unneeded.is_none() {
            self.unneeded = self.space.unneeded().last().map(|newest| (newest, self.serial));
        }
        let synced = self.synced;
        match self.unneeded.take_if(|(_, serial)| *serial <= synced) {
            Some((newest, _)) => self.files.range(..=newest).map(|(number, _)| *number).collect(),
            None => Vec::new(),
        }
    }

    /// A file that was kept for another segment, with the number that it had; it counts no more.
    pub(super) fn pop_retired(&mut self) -> Option<(u64, Arc<dyn File>)> {
        let retired = self.retired.pop()?;
        self.space.removed(retired.0);
        Some(retired)
    }

    /// What is needed of a segment.
    pub(super) fn remainder(&self, segment: u64) -> Vec<Move> {
        let mut moves = Vec::new();
        for (key, needed) in self.space.needed(segment) {
            let slots = self.groups.get(&key).into_iter().flat_map(|group| group.slots(0, u64::MAX));
            let here = slots.filter_map(|(index, slot)| {
                let from = slot.location.filter(|at| at.segment == segment)?;
                Some(Move { key, from, source: self.source(key, index, slot) })
            });
            moves.extend(here.take(usize::try_from(needed.entries).unwrap_or(usize::MAX)));
        }
        moves
    }

    fn source(&self, key: Key, index: u64, slot: &Slot) -> Source {
        match (&slot.cached, slot.location) {
            (Some(entry), _) => Source::Cached(entry.clone()),
            (None, Some(at)) => {
                let file = Arc::clone(self.files.get(&at.segment).expect("segments with live entries are kept"));
                Source::Stored { key, index, at, len: slot.len, file }
            }
            (None, None) => unreachable!("entry {index} of {key:?} is neither on disk nor in memory"),
        }
    }

    /// Where to get the entries in `range` from, up to `bytes_max` bytes but at least one.
    pub(super) fn sources(&self, key: Key, range: Range<u64>, bytes_max: usize) -> Vec<Source> {
        let (mut sources, mut bytes) = (Vec::new(), 0);
        let slots = self.groups.get(&key).into_iter().flat_map(|group| group.slots(range.start, range.end));
        for (index, slot) in slots {
            let source = self.source(key, index, slot);
            bytes += source.bytes();
            if bytes > bytes_max && !sources.is_empty() {
                break;
            }
            sources.push(source);
        }
        sources
    }
}

impl Batch {
    /// Its records in order.
    pub(super) fn records(&self) -> impl Iterator<Item = (Key, &Record)> {
        self.queued.iter().filter_map(|queued| queued.record.as_ref()).map(|(key, record)| (*key, record))
    }
}

impl Queued {
    /// Takes what is to be called back.
    pub(super) fn done(self) -> Option<Done> {
        self.done
    }

    fn encoded_len(&self) -> usize {
        self.record.as_ref().map_or(0, |(_, record)| record.encoded_len())
    }
}

impl Move {
    /// Reads the entry.
    pub(super) fn load(self) -> Result<Moved, Halt> {
        Ok((self.key, self.from, self.source.load()?))
    }
}

impl fmt::Debug for Queued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queued").field("record", &self.record).finish_non_exhaustive()
    }
}
