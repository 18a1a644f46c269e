//! What handles and writer share: the queue, the groups' indexes, the cache, and whether the log has failed.
//!
//! Never awaits with the lock held and never calls back with it held. Never touches a file but to read entries in a job.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use meridian_env::{Class, File, Halt, Work, run};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::index::{GroupIndex, Location, Points, Slot, step_group};
use super::record::{ENTRY_OVERHEAD_BYTES, Key, LogEntry, Record, first_record};
use super::{Done, GroupState};

/// What one cached entry costs besides its bytes.
const CACHED_OVERHEAD_BYTES: usize = 128;

/// One queued record.
pub(super) struct Queued {
    key: Key,
    /// `None` for a call that only waits for its turn.
    record: Option<Record>,
    /// Number among all that ever were queued.
    serial: u64,
    done: Option<Done>,
}

/// What the writer takes at a time.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) queued: Vec<Queued>,
    /// Whether this is the last one.
    pub(super) closes: bool,
}

/// See the module.
pub(super) struct Shared {
    work: Arc<dyn Work>,
    inner: Mutex<Inner>,
    /// Something is queued, or the log closes or has failed.
    wake: Notify,
    failed: watch::Sender<Option<Halt>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct Inner {
    groups: BTreeMap<Key, GroupIndex>,
    files: BTreeMap<u64, Arc<dyn File>>,
    queue: VecDeque<Queued>,
    /// The newest note of each group that is not yet written, with the serial of what must be written before it.
    committed: BTreeMap<Key, (u64, Bytes)>,
    /// How much was ever queued.
    serial: u64,
    closing: bool,
    cache: Cache,
}

/// Which synced entries are in memory, oldest first. What was truncated or purged counts until its turn comes.
struct Cache {
    order: VecDeque<(Key, u64, u64, usize)>,
    bytes: usize,
    bytes_max: usize,
}

impl Shared {
    pub(super) fn new(
        work: Arc<dyn Work>,
        groups: BTreeMap<Key, GroupIndex>,
        files: BTreeMap<u64, Arc<dyn File>>,
        cache_bytes: usize,
    ) -> Self {
        let cache = Cache { order: VecDeque::new(), bytes: 0, bytes_max: cache_bytes };
        let (queue, committed) = (VecDeque::new(), BTreeMap::new());
        let inner = Inner { groups, files, queue, committed, serial: 0, closing: false, cache };
        let failed = watch::Sender::new(None);
        Self { work, inner: Mutex::new(inner), wake: Notify::new(), failed, writer: Mutex::new(None) }
    }

    pub(super) fn set_writer(&self, writer: JoinHandle<()>) {
        *self.writer.lock() = Some(writer);
    }

    #[cfg(test)]
    pub(super) fn groups(&self) -> Vec<Key> {
        let inner = self.inner.lock();
        inner.groups.iter().filter(|(_, group)| group.points != Points::default()).map(|(key, _)| *key).collect()
    }

    pub(super) fn create(&self, key: Key) {
        self.inner.lock().groups.entry(key).or_default();
    }

    pub(super) fn state(&self, key: Key) -> GroupState {
        let inner = self.inner.lock();
        let Points { vote, committed, purged, next } =
            inner.groups.get(&key).map(|group| group.points.clone()).unwrap_or_default();
        GroupState { vote, committed, purged, last: next.checked_sub(1) }
    }

    /// Why nothing can be asked of this group.
    fn refusal(&self, inner: &Inner, key: Key) -> Option<Halt> {
        if let Some(halt) = &*self.failed.borrow() {
            return Some(halt.clone());
        }
        if inner.closing {
            return Some(Halt::new("the log is closed"));
        }
        let removed = || Halt::new(format!("{}/{} was removed from the log", key.0, key.1));
        (!inner.groups.contains_key(&key)).then(removed)
    }

    /// Queues records of one group; `done` belongs to the last.
    pub(super) fn submit(&self, key: Key, records: Vec<Record>, done: Done) {
        let mut inner = self.inner.lock();
        if let Some(halt) = self.refusal(&inner, key) {
            drop(inner);
            return done(Err(halt));
        }
        if records.is_empty() {
            inner.push(key, None);
        }
        for record in records {
            inner.push(key, Some(record));
        }
        inner.queue.back_mut().expect("just pushed").done = Some(done);
        drop(inner);
        self.wake.notify_one();
    }

    pub(super) fn save_committed(&self, key: Key, committed: Bytes) {
        let mut inner = self.inner.lock();
        let serial = inner.serial;
        if self.refusal(&inner, key).is_none()
            && let Some(group) = inner.groups.get_mut(&key)
        {
            group.points.committed = Some(committed.clone());
            inner.committed.insert(key, (serial, committed));
        }
    }

    /// The next batch, as soon as there is one; `None` when the log has failed.
    pub(super) async fn next_batch(&self, bytes_max: usize) -> Option<Batch> {
        loop {
            {
                let mut inner = self.inner.lock();
                if self.failed.borrow().is_some() {
                    return None;
                }
                if !inner.queue.is_empty() || inner.closing {
                    return Some(inner.take(bytes_max));
                }
            }
            self.wake.notified().await;
        }
    }

    /// A segment is in use from here on.
    pub(super) fn add_file(&self, number: u64, file: Arc<dyn File>) {
        self.inner.lock().files.insert(number, file);
    }

    /// The batch is synced: its records are where the commit at `offset` of `segment` has put them.
    pub(super) fn complete(&self, batch: Batch, segment: u64, offset: u64) {
        let mut inner = self.inner.lock();
        let result = self.failed.borrow().clone().map_or(Ok(()), Err);
        let mut at = first_record(offset);
        for queued in &batch.queued {
            let Some(record) = &queued.record else { continue };
            let len = u32::try_from(record.encoded_len()).expect("it is encoded, with its length in a u32");
            if let Record::Entry(entry) = record {
                inner.stored(queued, entry, Location { segment, offset: at, len });
            }
            at += u64::from(len);
        }
        drop(inner);
        for done in batch.queued.into_iter().filter_map(|queued| queued.done) {
            done(result.clone());
        }
    }

    /// Nothing is durable any more: everyone who waits is told so, now and later; first those of the batch `under_way`.
    pub(super) fn fail(&self, halt: Halt, under_way: Vec<Queued>) {
        let mut inner = self.inner.lock();
        let first = self.failed.send_if_modified(|failed| {
            let first = failed.is_none();
            failed.get_or_insert(halt.clone());
            first
        });
        if first {
            tracing::error!(reason = %halt.reason, "the log has failed");
        }
        let waiting = std::mem::take(&mut inner.queue);
        drop(inner);
        for done in under_way.into_iter().chain(waiting).filter_map(|queued| queued.done) {
            done(Err(halt.clone()));
        }
        self.wake.notify_one();
    }

    pub(super) async fn failed(&self) -> Halt {
        let mut failed = self.failed.subscribe();
        let halt = failed.wait_for(Option::is_some).await.expect("the sender lives as long as self");
        halt.clone().expect("waited for")
    }

    pub(super) async fn close(&self) {
        self.inner.lock().closing = true;
        self.wake.notify_one();
        let writer = self.writer.lock().take();
        if let Some(writer) = writer {
            match writer.await {
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // Otherwise an error means that the runtime goes down: nothing more was acked.
                _ => {}
            }
        }
    }

    pub(super) async fn read(&self, key: Key, range: Range<u64>, bytes_max: usize) -> Result<Vec<LogEntry>, Halt> {
        let sources = {
            let inner = self.inner.lock();
            if let Some(halt) = self.refusal(&inner, key) {
                return Err(halt);
            }
            inner.sources(key, range, bytes_max)
        };
        let is_cached = sources.iter().all(|source| matches!(source, Source::Cached(_)));
        let load = move || sources.into_iter().map(Source::load).collect::<Result<Vec<_>, _>>();
        let loaded = if is_cached { load() } else { run(&*self.work, Class::Scan, load).await };
        loaded.inspect_err(|halt| self.fail(halt.clone(), Vec::new()))
    }
}

impl Inner {
    fn push(&mut self, key: Key, record: Option<Record>) {
        self.serial += 1;
        let serial = self.serial;
        if let Some(record) = &record {
            let cached = if let Record::Entry(entry) = record { Some(entry.clone()) } else { None };
            let stepped = step_group(&mut self.groups, key, record, || Slot { serial, location: None, cached });
            assert_eq!(stepped, Ok(()), "{}/{}", key.0, key.1);
            if matches!(record, Record::GroupRemoved) {
                self.committed.remove(&key);
            }
        }
        self.queue.push_back(Queued { key, record, serial, done: None });
    }

    fn take(&mut self, bytes_max: usize) -> Batch {
        let (mut queued, mut bytes) = (Vec::new(), 0);
        while let Some(next) = self.queue.front() {
            bytes += next.encoded_len();
            if bytes > bytes_max && !queued.is_empty() {
                break;
            }
            queued.extend(self.queue.pop_front());
        }
        let written = self.serial - self.queue.len() as u64;
        let notes = self.committed.extract_if(.., |_, (after, _)| *after <= written);
        queued.extend(notes.map(|(key, (serial, committed))| {
            let record = Some(Record::Committed(committed));
            Queued { key, record, serial, done: None }
        }));
        Batch { queued, closes: self.closing && self.queue.is_empty() }
    }

    /// An entry is on disk: from here on its cached form may go.
    fn stored(&mut self, queued: &Queued, entry: &LogEntry, location: Location) {
        let group = self.groups.get_mut(&queued.key);
        if let Some(slot) = group.and_then(|group| group.slot_mut(entry.index, queued.serial)) {
            slot.location = Some(location);
            let bytes = entry.bytes() + CACHED_OVERHEAD_BYTES;
            self.cache.order.push_back((queued.key, entry.index, queued.serial, bytes));
            self.cache.bytes += bytes;
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

    /// Where to get the entries in `range` from, up to `bytes_max` bytes but at least one.
    fn sources(&self, key: Key, range: Range<u64>, bytes_max: usize) -> Vec<Source> {
        let (mut sources, mut bytes) = (Vec::new(), 0);
        let slots = self.groups.get(&key).into_iter().flat_map(|group| group.slots(range.start, range.end));
        for (index, slot) in slots {
            let source = match (&slot.cached, slot.location) {
                (Some(entry), _) => Source::Cached(entry.clone()),
                (None, Some(at)) => {
                    let file = Arc::clone(self.files.get(&at.segment).expect("segments with live entries are kept"));
                    Source::Stored { key, index, at, file }
                }
                (None, None) => unreachable!("entry {index} of {key:?} is neither on disk nor in memory"),
            };
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
        self.queued.iter().filter_map(|queued| Some((queued.key, queued.record.as_ref()?)))
    }
}

impl Queued {
    fn encoded_len(&self) -> usize {
        self.record.as_ref().map_or(0, Record::encoded_len)
    }
}

/// Where one entry comes from.
enum Source {
    Cached(LogEntry),
    Stored { key: Key, index: u64, at: Location, file: Arc<dyn File> },
}

impl Source {
    fn bytes(&self) -> usize {
        match self {
            Self::Cached(entry) => entry.bytes(),
            Self::Stored { at, .. } => at.len as usize - ENTRY_OVERHEAD_BYTES,
        }
    }

    fn load(self) -> Result<LogEntry, Halt> {
        let (key, index, at, file) = match self {
            Self::Cached(entry) => return Ok(entry),
            Self::Stored { key, index, at, file } => (key, index, at, file),
        };
        let place =
            format_args!("entry {index} of {}/{} at byte {} of log segment {}", key.0, key.1, at.offset, at.segment);
        let mut bytes = vec![0; at.len as usize];
        file.read_exact_at(&mut bytes, at.offset).map_err(|error| Halt::io(format_args!("reading {place}"), &error))?;
        match Record::decode(at.segment, &mut Bytes::from(bytes)) {
            Ok((found, Record::Entry(entry))) if found == key && entry.index == index => Ok(entry),
            Ok(_) => Err(Halt::new(format!("{place}: another record is there"))),
            Err(error) => Err(Halt::new(format!("{place}: {error}"))),
        }
    }
}

impl fmt::Debug for Queued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queued").field("key", &self.key).field("record", &self.record).finish_non_exhaustive()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("failed", &*self.failed.borrow()).finish_non_exhaustive()
    }
}
