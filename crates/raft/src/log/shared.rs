//! What handles, writer and keeper share: the state behind its lock, what wakes whom, and whether the log has failed or the disk
//! is full.
//!
//! Never awaits with the lock held and never calls back with it held. Never touches a file but to read entries in a job.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use meridian_env::{Class, File, Halt, Work, run};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::index::{GroupIndex, Points};
use super::record::{Key, LogEntry, Record};
use super::source::Source;
use super::space::{Limits, Plan};
use super::state::{Batch, Move, Moved, Queued, State};
use super::{Done, GroupState};

/// What keeps the log bounded.
pub(super) enum Chore {
    /// Remove these files, in this order.
    Remove(Vec<u64>),
    /// Give back the room of this file, which was kept.
    Discard(u64),
    /// Copy these entries forward.
    Copy(Vec<Move>),
    /// Nothing, until something was synced.
    Rest,
    /// The log is closed or has failed.
    End,
}

/// See the module.
pub(super) struct Shared {
    work: Arc<dyn Work>,
    limits: Limits,
    state: Mutex<State>,
    /// Something is queued, or the log closes or has failed.
    wake: Notify,
    /// There may be a chore.
    chores: Notify,
    failed: watch::Sender<Option<Halt>>,
    /// Whether the log was closed or has failed.
    ended: watch::Sender<bool>,
    /// Whether there is a segment.
    begun: watch::Sender<bool>,
    /// How many wait for space on the disk.
    short: Mutex<usize>,
    full: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    figures: Mutex<LogFigures>,
}

/// What the log has written since it was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogFigures {
    /// Bytes of group commits.
    pub bytes: u64,
    /// Time that they took, each from the first byte to the end of its one sync.
    pub took: Duration,
    /// How many took up to each of [`LogFigures::BOUNDS`] and longer than the one before; at last, how many took longer still.
    pub commits: [u64; LogFigures::BOUNDS.len() + 1],
}

impl LogFigures {
    /// From a quarter of a millisecond on, each twice the one before.
    pub const BOUNDS: [Duration; 16] = {
        let mut bounds = [Duration::from_micros(250); 16];
        let mut at = 1;
        while at < bounds.len() {
            bounds[at] = Duration::from_micros(250 << at);
            at += 1;
        }
        bounds
    };
}

impl Shared {
    pub(super) fn new(work: Arc<dyn Work>, limits: Limits, state: State) -> Self {
        Self {
            work,
            limits,
            begun: watch::Sender::new(!state.files.is_empty()),
            state: Mutex::new(state),
            wake: Notify::new(),
            chores: Notify::new(),
            failed: watch::Sender::new(None),
            ended: watch::Sender::new(false),
            short: Mutex::new(0),
            full: watch::Sender::new(false),
            tasks: Mutex::new(Vec::new()),
            figures: Mutex::default(),
        }
    }

    pub(super) fn figures(&self) -> LogFigures {
        *self.figures.lock()
    }

    /// A group commit is synced.
    pub(super) fn count_commit(&self, bytes: u64, took: Duration) {
        let mut figures = self.figures.lock();
        figures.commits[LogFigures::BOUNDS.partition_point(|bound| *bound < took)] += 1;
        figures.bytes += bytes;
        figures.took += took;
    }

    /// The tasks that [`Shared::close`] waits for, in this order.
    pub(super) fn set_tasks(&self, tasks: Vec<JoinHandle<()>>) {
        *self.tasks.lock() = tasks;
    }

    #[cfg(test)]
    pub(super) fn groups(&self) -> Vec<Key> {
        let state = self.state.lock();
        state.groups.iter().filter(|(_, group)| group.points != Points::default()).map(|(key, _)| *key).collect()
    }

    pub(super) fn create(&self, key: Key) {
        self.state.lock().groups.entry(key).or_default();
    }

    pub(super) fn state(&self, key: Key) -> GroupState {
        let state = self.state.lock();
        let Points { vote, committed, purged, next } =
            state.groups.get(&key).map(|group| group.points.clone()).unwrap_or_default();
        GroupState { vote, committed, purged, last: next.checked_sub(1) }
    }

    /// Bytes of a group's entries that are not purged.
    pub(super) fn bytes_of(&self, key: Key) -> u64 {
        self.state.lock().groups.get(&key).map_or(0, GroupIndex::bytes)
    }

    /// See [`GroupIndex::index_keeping`].
    pub(super) fn index_keeping(&self, key: Key, bytes: u64) -> Option<u64> {
        self.state.lock().groups.get(&key).and_then(|group| group.index_keeping(bytes))
    }

    /// Bytes of all segment files.
    pub(super) fn bytes(&self) -> u64 {
        self.state.lock().space.bytes()
    }

    /// The group that must be flushed and purged before the log can get smaller, and how much of the oldest segment it needs.
    pub(super) fn pinned(&self) -> Option<(Key, u64)> {
        match self.state.lock().space.plan(&self.limits) {
            Plan::Flush(key, bytes) => Some((key, bytes)),
            Plan::Rest | Plan::Copy(_) => None,
        }
    }

    /// Why nothing can be asked at all.
    fn end(&self, state: &State) -> Option<Halt> {
        let failed = self.failed.borrow().clone();
        failed.or_else(|| state.closing.then(|| Halt::new("the log is closed")))
    }

    /// Why nothing can be asked of this group.
    fn refusal(&self, state: &State, key: Key) -> Option<Halt> {
        if let Some(halt) = self.end(state) {
            return Some(halt);
        }
        let removed = || Halt::new(format!("{}/{} was removed from the log", key.0, key.1));
        (!state.groups.contains_key(&key)).then(removed)
    }

    /// Queues records of one group; `done` belongs to the last.
    pub(super) fn submit(&self, key: Key, records: Vec<Record>, done: Done) {
        let mut state = self.state.lock();
        if let Some(halt) = self.refusal(&state, key) {
            drop(state);
            return done(Err(halt));
        }
        state.submit(key, records, done);
        drop(state);
        self.wake.notify_one();
    }

    /// Queues copies of those entries that still are where they were read; `done` is called once they are synced.
    pub(super) fn submit_copies(&self, moved: Vec<Moved>, done: Done) {
        let mut state = self.state.lock();
        if let Some(halt) = self.end(&state) {
            drop(state);
            return done(Err(halt));
        }
        state.submit_copies(moved, done);
        drop(state);
        self.wake.notify_one();
    }

    pub(super) fn save_committed(&self, key: Key, committed: Bytes) {
        let mut state = self.state.lock();
        if self.end(&state).is_none() {
            state.save_committed(key, committed);
        }
    }

    /// The next batch, as soon as there is one; `None` when the log has failed.
    pub(super) async fn next_batch(&self, bytes_max: usize) -> Option<Batch> {
        loop {
            {
                let mut state = self.state.lock();
                if self.failed.borrow().is_some() {
                    return None;
                }
                if !state.queue.is_empty() || state.closing {
                    return Some(state.take(bytes_max));
                }
            }
            self.wake.notified().await;
        }
    }

    /// A segment of so many bytes is ready for use.
    pub(super) fn prepared(&self, number: u64, bytes: u64) {
        self.state.lock().space.prepared(number, bytes);
        self.begun.send_replace(true);
    }

    /// Resolves when there is a segment on disk, or never will be.
    pub(super) async fn begun(&self) {
        let mut begun = self.begun.subscribe();
        tokio::select! {
            biased;
            there = begun.wait_for(|begun| *begun) => drop(there.expect("the sender lives as long as self")),
            () = self.ended() => {}
        }
    }

    /// A segment of so many bytes is in use from here on.
    pub(super) fn add_file(&self, number: u64, file: Arc<dyn File>, bytes: u64) {
        let mut state = self.state.lock();
        state.files.insert(number, file);
        state.space.used(number, bytes);
        drop(state);
        self.chores.notify_one();
    }

    /// These files are no part of the log and may go.
    pub(super) fn add_unused(&self, numbers: Vec<u64>) {
        self.state.lock().unused.extend(numbers);
        self.chores.notify_one();
    }

    /// The batch is synced: its records are where the commit at `offset` of `segment`, which ends at `end`, has put them.
    pub(super) fn complete(&self, batch: Batch, segment: u64, offset: u64, end: u64) {
        let mut state = self.state.lock();
        state.complete(&batch, segment, offset, end);
        let result = self.failed.borrow().clone().map_or(Ok(()), Err);
        drop(state);
        self.chores.notify_one();
        for done in batch.queued.into_iter().filter_map(Queued::done) {
            done(result.clone());
        }
    }

    /// Nothing is durable any more: everyone who waits is told so, now and later; first those of the batch `under_way`.
    pub(super) fn fail(&self, halt: Halt, under_way: Vec<Queued>) {
        let state = self.state.lock();
        let first = self.failed.send_if_modified(|failed| {
            let first = failed.is_none();
            failed.get_or_insert(halt.clone());
            first
        });
        if first {
            tracing::error!(reason = %halt.reason, "the log has failed");
        }
        drop(state);
        self.ended.send_replace(true);
        self.wake.notify_one();
        self.chores.notify_one();
        self.refuse(&halt, under_way);
    }

    /// The log ends without having failed: tells those of the batch `under_way` and all who wait that nothing of theirs was
    /// written, for want of space.
    pub(super) fn give_up(&self, under_way: Vec<Queued>) {
        let unwritten = || Halt::new("the log was closed while there was no space for its next segment");
        let halt = self.failed.borrow().clone().unwrap_or_else(unwritten);
        self.refuse(&halt, under_way);
    }

    fn refuse(&self, halt: &Halt, under_way: Vec<Queued>) {
        let waiting = std::mem::take(&mut self.state.lock().queue);
        for done in under_way.into_iter().chain(waiting).filter_map(Queued::done) {
            done(Err(halt.clone()));
        }
    }

    pub(super) async fn failed(&self) -> Halt {
        let mut failed = self.failed.subscribe();
        let halt = failed.wait_for(Option::is_some).await.expect("the sender lives as long as self");
        halt.clone().expect("waited for")
    }

    /// Resolves when the log was closed or has failed.
    pub(super) async fn ended(&self) {
        self.ended.subscribe().wait_for(|ended| *ended).await.expect("the sender lives as long as self");
    }

    pub(super) async fn close(&self) {
        self.state.lock().closing = true;
        self.ended.send_replace(true);
        self.wake.notify_one();
        self.chores.notify_one();
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            match task.await {
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // Otherwise an error means that the runtime goes down: nothing more was acked.
                _ => {}
            }
        }
    }

    /// What is to be done to keep the log bounded. Nothing is copied while the disk is full: what is left of the current
    /// segment is for votes and purges.
    pub(super) fn chore(&self) -> Chore {
        let mut state = self.state.lock();
        if state.closing || self.failed.borrow().is_some() {
            return Chore::End;
        }
        let mut removable = std::mem::take(&mut state.unused);
        removable.extend(state.removable());
        if !removable.is_empty() {
            return Chore::Remove(removable);
        }
        if *self.full.borrow()
            && let Some((number, _)) = state.pop_retired()
        {
            return Chore::Discard(number);
        }
        match state.space.plan(&self.limits) {
            Plan::Copy(segment) if !*self.full.borrow() => Chore::Copy(state.remainder(segment)),
            _ => Chore::Rest,
        }
    }

    /// Resolves when there may be another chore.
    pub(super) async fn wait_for_chore(&self) {
        self.chores.notified().await;
    }

    /// The file of a segment that goes, if another one can be made of it: it has their size, nobody reads it, and there are few of
    /// them. Nothing in it is read from here on. On a full disk it must go.
    pub(super) fn retire(&self, number: u64, segment_bytes: u64) -> Option<Arc<dyn File>> {
        let is_full = *self.full.borrow();
        let mut state = self.state.lock();
        let file = state.files.remove(&number)?;
        let may_stay = state.space.may_retire(number, segment_bytes, &self.limits) && !is_full;
        (may_stay && Arc::strong_count(&file) == 1).then_some(file)
    }

    /// A segment is gone; its file may be kept.
    pub(super) fn removed(&self, number: u64, retired: Option<Arc<dyn File>>) {
        let mut state = self.state.lock();
        match retired {
            Some(file) => {
                state.space.retired(number);
                state.retired.push((number, file));
            }
            None => state.space.removed(number),
        }
    }

    /// A file to make a segment of.
    pub(super) fn take_retired(&self) -> Option<(u64, Arc<dyn File>)> {
        self.state.lock().pop_retired()
    }

    /// Whether the disk is full.
    pub(super) fn full(&self) -> watch::Receiver<bool> {
        self.full.subscribe()
    }

    /// One more, or one less, who waits for space.
    pub(super) fn waits_for_space(&self, begins: bool) {
        let mut short = self.short.lock();
        *short = if begins { *short + 1 } else { *short - 1 };
        let is_full = *short > 0;
        if self.full.send_if_modified(|full| std::mem::replace(full, is_full) != is_full) {
            if is_full {
                tracing::warn!("the disk is full: nothing is acked beyond what the current log segment holds");
            } else {
                tracing::info!("the disk has space again");
            }
            self.chores.notify_one();
        }
    }

    pub(super) async fn read(&self, key: Key, range: Range<u64>, bytes_max: usize) -> Result<Vec<LogEntry>, Halt> {
        let sources = {
            let state = self.state.lock();
            if let Some(halt) = self.refusal(&state, key) {
                return Err(halt);
            }
            state.sources(key, range, bytes_max)
        };
        let is_cached = sources.iter().all(|source| matches!(source, Source::Cached(_)));
        let load = move || sources.into_iter().map(Source::load).collect::<Result<Vec<_>, _>>();
        let loaded = if is_cached { load() } else { run(&*self.work, Class::Scan, load).await };
        loaded.inspect_err(|halt| self.fail(halt.clone(), Vec::new()))
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("failed", &*self.failed.borrow()).finish_non_exhaustive()
    }
}
