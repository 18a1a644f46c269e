//! The node's one write-ahead log, for all Raft groups: votes, entries, truncations and purges are one ordered stream, and
//! one sync serves whatever was queued meanwhile. It is bounded: segments of which nothing is needed go, and what little is
//! needed of an old one is copied forward. Layout and recovery: docs/formats/log.md.
//!
//! Never says that something is durable before it is synced. Never goes on after a write or a sync failed: everyone who waits
//! gets the [`Halt`], and the owner stops the process. A full disk is no such failure: the log waits, and says so. Knows
//! nothing of openraft: votes, log ids and entries are bytes.

mod ahead; // the next segment, and waiting for space
mod fuzz; // any bytes as a segment
mod index; // what records add up to
mod inspect; // what is in the files, for people
mod keeper; // the one task that removes and copies
mod read; // one segment, commit by commit
mod record; // bytes of records and group commits
mod recover; // reading all back
mod segment; // files
mod shared; // what handles, writer and keeper share
mod source; // where an entry comes from
mod space; // what can go, what to copy, whom to tell
mod state; // what is behind the lock
mod writer; // the one task that writes

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use meridian_env::{Class, Env, Halt, run};
use meridian_types::{GroupId, Incarnation};
use tokio::sync::{oneshot, watch};

use ahead::Maker;
pub use fuzz::fuzz_segment;
pub use inspect::{Damage, EntrySpan, SegmentSummary, inspect_log};
use keeper::Keeper;
pub(crate) use record::LogEntry;
use record::{Key, Record, SECTOR};
pub use shared::LogFigures;
use shared::Shared;
use space::Limits;
use state::State;
use writer::Writer;

/// Called once, after the sync or with the reason why there will be none.
pub(crate) type Done = Box<dyn FnOnce(Result<(), Halt>) + Send>;

/// Sizes of the log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Bytes of a segment; rounded up to whole sectors. A commit that is larger still gets a segment, which grows.
    pub segment_bytes: u64,
    /// Bytes of synced entries that stay in memory over all groups; entries that are not yet synced come on top.
    pub cache_bytes: usize,
    /// Bytes of records after which a group commit is full; one record always goes.
    pub batch_bytes_max: usize,
    /// Bytes of all segments over which the log gets smaller: it copies forward what is needed of the oldest segment if that
    /// is at most an eighth of one, and else names the group that must be flushed and purged.
    pub bytes_max: u64,
}

/// What is copied forward is at most this part of a segment.
const COPY_SHARE: u64 = 8;

impl Default for LogSettings {
    fn default() -> Self {
        Self { segment_bytes: 32 << 20, cache_bytes: 64 << 20, batch_bytes_max: 4 << 20, bytes_max: 1 << 30 }
    }
}

/// What the log knows of a group besides its entries.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct GroupState {
    /// The last vote.
    pub(crate) vote: Option<Bytes>,
    /// How far the group was last known to be committed. May be older than what was saved last before a crash.
    pub(crate) committed: Option<Bytes>,
    /// Index and log id of the last purged entry.
    pub(crate) purged: Option<(u64, Bytes)>,
    /// Index of the last entry, which may be purged; `None` if there never was one.
    pub(crate) last: Option<u64>,
}

/// The log. Clones are the same log. One that is dropped without [`Log::close`] loses nothing that was acked; its writer task
/// then waits until the runtime ends.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    shared: Arc<Shared>,
}

impl Log {
    /// Reads back the log in `dir` (made if absent) and starts to write behind it on the current runtime. An IO error or
    /// damage to what was synced is a [`Halt`]; a tail that was never synced is cut. Needs no space: on a full disk the log can
    /// be read, and waits for space before it writes.
    pub(crate) async fn open(env: &Env, dir: &Path, settings: LogSettings) -> Result<Self, Halt> {
        let segment_bytes = settings.segment_bytes.max(2 * SECTOR).next_multiple_of(SECTOR);
        let (disk, at) = (Arc::clone(&env.disk), dir.to_owned());
        let recovered = run(&*env.work, Class::Log, move || recover::recover(&*disk, &at, segment_bytes)).await?;
        tracing::info!(
            dir = %dir.display(),
            segments = recovered.files.len(),
            groups = recovered.groups.len(),
            "log is open"
        );
        let points = recovered.groups.iter().map(|(key, group)| (*key, group.points.clone())).collect();
        let limits = Limits { bytes_max: settings.bytes_max, copy_bytes_max: segment_bytes / COPY_SHARE };
        let state = State::new(recovered.groups, recovered.files, settings.cache_bytes);
        let shared = Arc::new(Shared::new(Arc::clone(&env.work), limits, state));
        let maker = Maker {
            disk: Arc::clone(&env.disk),
            work: Arc::clone(&env.work),
            clock: Arc::clone(&env.clock),
            dir: dir.to_owned(),
            bytes: segment_bytes,
            shared: Arc::clone(&shared),
        };
        let keeper = Keeper::new(&maker);
        let writer = Writer::new(maker, settings.batch_bytes_max, points);
        shared.set_tasks(vec![tokio::spawn(writer.run(recovered.resume)), tokio::spawn(keeper.run())]);
        Ok(Self { shared })
    }

    /// All groups of which the log holds something.
    #[cfg(test)]
    pub(crate) fn groups(&self) -> Vec<(GroupId, Incarnation)> {
        self.shared.groups()
    }

    /// One group, created at first use; nothing is written until there is something to say.
    pub(crate) fn group(&self, group: GroupId, incarnation: Incarnation) -> GroupLog {
        let key = (group, incarnation);
        self.shared.create(key);
        GroupLog { shared: Arc::clone(&self.shared), key }
    }

    /// Forgets a group, durably once the future ends; queued at the call. For groups that run no more: what is asked of
    /// their old handles afterwards is refused, until [`Log::group`] creates the group anew.
    pub(crate) fn remove_group(
        &self,
        group: GroupId,
        incarnation: Incarnation,
    ) -> impl Future<Output = Result<(), Halt>> + Send + use<> {
        submit(&self.shared, (group, incarnation), Record::GroupRemoved)
    }

    /// What was written since the log was opened.
    pub(crate) fn figures(&self) -> LogFigures {
        self.shared.figures()
    }

    /// Bytes of all segment files.
    pub(crate) fn bytes(&self) -> u64 {
        self.shared.bytes()
    }

    /// The group that keeps a log that is over its budget from getting smaller, with the bytes that it needs of the oldest
    /// segment. Flush it and purge it whole, without a tail for slow followers, then ask again.
    pub(crate) fn pinned(&self) -> Option<(GroupId, Incarnation, u64)> {
        self.shared.pinned().map(|((group, incarnation), bytes)| (group, incarnation, bytes))
    }

    /// Whether there is no space for the next segment. Meanwhile what is left of the current one serves, and what does not
    /// fit it waits; so take no proposals and no entries from peers, to leave it to votes and purges. It passes by itself.
    pub(crate) fn full(&self) -> watch::Receiver<bool> {
        self.shared.full()
    }

    /// Resolves when the directory has a segment, which a new log on a full disk waits for, or when the log has ended. A
    /// directory without any is that of a new log, or of one that was lost: nothing may be kept beside it before.
    pub(crate) async fn begun(&self) {
        self.shared.begun().await;
    }

    /// Resolves when the log has failed: the owner halts the process.
    pub(crate) async fn failed(&self) -> Halt {
        self.shared.failed().await
    }

    /// Waits for what is queued, writes what rode along unsynced, and stops. All that comes later is refused, and so is what
    /// waits for space.
    pub(crate) async fn close(self) {
        self.shared.close().await;
    }
}

/// One group's part of the log. Clones are the same group.
#[derive(Clone, Debug)]
pub(crate) struct GroupLog {
    shared: Arc<Shared>,
    key: Key,
}

impl GroupLog {
    /// Whether the entry at `index` was there once and is purged.
    pub(crate) fn has_purged(&self, index: u64) -> bool {
        self.state().purged.is_some_and(|(purged, _)| purged >= index)
    }

    /// What is known of the group, including what is queued and not yet synced.
    pub(crate) fn state(&self) -> GroupState {
        self.shared.state(self.key)
    }

    /// Queues entries, which must follow the last one without a hole (asserted) and can be read at once. `done` is called
    /// after their sync. Over all groups `done`s are called in the order of the calls.
    pub(crate) fn append(&self, entries: Vec<LogEntry>, done: Done) {
        self.shared.submit(self.key, entries.into_iter().map(Record::Entry).collect(), done);
    }

    /// Replaces the vote, durably once the future ends; queued at the call.
    pub(crate) fn save_vote(&self, vote: Bytes) -> impl Future<Output = Result<(), Halt>> + Send + use<> {
        submit(&self.shared, self.key, Record::Vote(vote))
    }

    /// Drops the entries after `last_kept` (all for `None`), durably once the future ends; queued at the call. Asserts that
    /// none of them is purged.
    pub(crate) fn truncate_after(
        &self,
        last_kept: Option<u64>,
    ) -> impl Future<Output = Result<(), Halt>> + Send + use<> {
        submit(&self.shared, self.key, Record::Truncate { next: last_kept.map_or(0, |last| last + 1) })
    }

    /// Drops the entries up to and including `upto`, whose log id is `id`, durably once the future ends; queued at the call.
    /// `upto` may be beyond the last entry: the next one then is `upto + 1`. Segments of which nothing is needed then go.
    pub(crate) fn purge(&self, upto: u64, id: Bytes) -> impl Future<Output = Result<(), Halt>> + Send + use<> {
        submit(&self.shared, self.key, Record::Purge { upto, id })
    }

    /// Bytes that the entries which are not purged take in the log.
    pub(crate) fn bytes(&self) -> u64 {
        self.shared.bytes_of(self.key)
    }

    /// The highest index up to which may be purged so that at least `bytes` bytes of entries stay; `None` if that leaves
    /// nothing to purge.
    pub(crate) fn index_keeping(&self, bytes: u64) -> Option<u64> {
        self.shared.index_keeping(self.key, bytes)
    }

    /// Notes how far the group is committed. Rides along with the next commit of anything else, or with `close`: it causes
    /// no write of its own, and a crash before that leaves an older note.
    pub(crate) fn save_committed(&self, committed: Bytes) {
        self.shared.save_committed(self.key, committed);
    }

    /// The entries in `[from, to_exclusive)` that the log holds, in order, up to `bytes_max` bytes of heads and payloads; at
    /// least one if any is in range. From memory, or from the segments.
    pub(crate) async fn read(&self, from: u64, to_exclusive: u64, bytes_max: usize) -> Result<Vec<LogEntry>, Halt> {
        self.shared.read(self.key, from..to_exclusive, bytes_max).await
    }
}

/// Queues one record now; the future ends after its sync.
fn submit(shared: &Arc<Shared>, key: Key, record: Record) -> impl Future<Output = Result<(), Halt>> + Send + use<> {
    let (sender, receiver) = oneshot::channel();
    shared.submit(key, vec![record], Box::new(move |result| drop(sender.send(result))));
    async { receiver.await.unwrap_or_else(|_| Err(Halt::new("the log's writer task was stopped"))) }
}

#[cfg(test)]
mod tests;
