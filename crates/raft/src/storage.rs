//! One group's part of the node's log, as openraft asks for it.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use meridian_env::Halt;
use meridian_types::limits;
use openraft::OptionalSend;
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use tokio::sync::watch;

use crate::entry;
use crate::log::{GroupLog, LogEntry};
use crate::types::{Entry, LogId, TypeConfig, Vote};

/// The first index that is not known synced, or why nothing will be any more. Truncations lower it, since an index then gets
/// another entry.
pub(crate) type Synced = Result<u64, Halt>;

/// openraft's view of a [`GroupLog`]. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Storage {
    log: GroupLog,
    synced: watch::Sender<Synced>,
    committed: Arc<AtomicU64>,
}

impl Storage {
    pub(crate) fn new(log: GroupLog) -> Self {
        let committed = log.state().committed.and_then(|id| entry::decode_log_id(&id).ok());
        let committed = Arc::new(AtomicU64::new(committed.map_or(0, |id| id.index)));
        let storage = Self { log, synced: watch::Sender::new(Ok(0)), committed };
        // An earlier life of the group in this process may have left something in the queue.
        let next = storage.log.state().last.map_or(0, |last| last + 1);
        let done = storage.raise_synced(next);
        storage.log.append(Vec::new(), Box::new(move |result| done(&result)));
        storage
    }

    /// openraft applies what a majority has synced, this replica or not. A machine that keeps its state must wait for this
    /// replica too: after a crash it would be ahead of its own log.
    pub(crate) fn synced(&self) -> watch::Receiver<Synced> {
        self.synced.subscribe()
    }

    /// The last entry that openraft knows to be committed; it says so before it has it applied.
    pub(crate) fn committed(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.committed)
    }

    /// What to do when all before `next` is synced, or failed.
    fn raise_synced(&self, next: u64) -> impl FnOnce(&Result<(), Halt>) + Send + use<> {
        let synced = self.synced.clone();
        move |result| {
            synced.send_modify(|at| *at = result.clone().and(at.clone()).map(|at| at.max(next)));
        }
    }

    async fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let entries = self.log.read(from, to, bytes_max).await.map_err(io::Error::other)?;
        entries.into_iter().map(|e| entry::decode(&e.head, e.payload).map_err(io::Error::other)).collect()
    }

    async fn id_at(&self, index: u64) -> io::Result<LogId> {
        let entries = self.read(index, index + 1, 0).await?;
        let entry = entries.first().ok_or_else(|| io::Error::other(format!("entry {index} is not in the log")))?;
        let (leader, index) = entry.log_id_parts();
        Ok(LogId::new(*leader, index))
    }
}

impl RaftLogReader<TypeConfig> for Storage {
    async fn try_get_log_entries<R>(&mut self, range: R) -> io::Result<Vec<Entry>>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let from = match range.start_bound() {
            Bound::Included(at) => *at,
            Bound::Excluded(at) => at + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(at) => at + 1,
            Bound::Excluded(at) => *at,
            Bound::Unbounded => u64::MAX,
        };
        self.read(from, to, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let entries = self.read(start, end, limits::APPEND_BYTES_MAX).await?;
        // A stream that is behind may ask for what was purged since it began: it gets nothing, and its link ends it for that.
        // Later entries in their place would be a hole.
        let is_whole = entries.first().is_none_or(|first| first.log_id_parts().1 == start);
        Ok(if is_whole { entries } else { Vec::new() })
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        let vote = self.log.state().vote;
        vote.map(|bytes| entry::decode_vote(&bytes).map_err(io::Error::other)).transpose()
    }
}

impl RaftLogStorage<TypeConfig> for Storage {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let state = self.log.state();
        let purged = state.purged.map(|(_, id)| entry::decode_log_id(&id).map_err(io::Error::other)).transpose()?;
        let last = match state.last {
            Some(index) if purged.as_ref().is_none_or(|p| p.index < index) => Some(self.id_at(index).await?),
            _ => purged,
        };
        Ok(LogState { last_purged_log_id: purged, last_log_id: last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.log.save_vote(entry::encode_vote(vote)).await.map_err(io::Error::other)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        if let Some(id) = committed {
            self.log.save_committed(entry::encode_log_id(&id));
            self.committed.store(id.index, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        let committed = self.log.state().committed;
        committed.map(|id| entry::decode_log_id(&id).map_err(io::Error::other)).transpose()
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<LogEntry> = entries
            .into_iter()
            .map(|entry| {
                let (head, payload) = entry::encode(&entry);
                LogEntry { index: entry.log_id_parts().1, head, payload }
            })
            .collect();
        let done = self.raise_synced(entries.last().map_or(0, |entry| entry.index + 1));
        let done = move |result: Result<(), Halt>| {
            done(&result);
            callback.io_completed(result.map_err(io::Error::other));
        };
        self.log.append(entries, Box::new(done));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let next = last.as_ref().map_or(0, |id| id.index + 1);
        self.log.truncate_after(last.map(|id| id.index)).await.map_err(io::Error::other)?;
        // Whatever was queued before has been called back by now, and nothing was queued since.
        self.synced.send_modify(|at| *at = at.clone().map(|at| at.min(next)));
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let result = self.log.purge(upto.index, entry::encode_log_id(&upto)).await;
        self.raise_synced(upto.index + 1)(&result);
        result.map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests;
