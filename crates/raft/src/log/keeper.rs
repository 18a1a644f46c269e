//! The one task that keeps the log bounded: it removes segments of which nothing is needed, or keeps their files for others, and
//! copies forward what little is needed of the oldest one while the log is over its budget.
//!
//! Never decides: what to do follows from the state, see `space`. Never has two chores under way, so that segments go one after
//! the other, oldest first.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use meridian_env::{Class, Clock, Disk, Halt, Work, is_full, run};
use tokio::sync::oneshot;

use super::ahead::{Maker, SpaceWait};
use super::segment;
use super::shared::{Chore, Shared};
use super::state::Move;

/// See the module.
pub(super) struct Keeper {
    disk: Arc<dyn Disk>,
    work: Arc<dyn Work>,
    clock: Arc<dyn Clock>,
    dir: PathBuf,
    segment_bytes: u64,
    shared: Arc<Shared>,
}

impl Keeper {
    /// A keeper of the directory in which `maker` makes segments.
    pub(super) fn new(maker: &Maker) -> Self {
        let Maker { disk, work, clock, dir, bytes: segment_bytes, shared } = maker.clone();
        Self { disk, work, clock, dir, segment_bytes, shared }
    }

    /// Works until the log is closed or has failed.
    pub(super) async fn run(self) {
        loop {
            let result = match self.shared.chore() {
                Chore::End => return,
                Chore::Rest => {
                    self.shared.wait_for_chore().await;
                    Ok(())
                }
                Chore::Remove(numbers) => self.remove(&numbers).await,
                Chore::Discard(number) => self.take_out(number, segment::discard).await.map(drop),
                Chore::Copy(moves) => self.copy(moves).await,
            };
            if let Err(halt) = result {
                return self.shared.fail(halt, Vec::new());
            }
        }
    }

    /// Removes segments, each durably before the next: a hole in the chain of segments would be damage.
    async fn remove(&self, numbers: &[u64]) -> Result<(), Halt> {
        for number in numbers {
            let retired = self.shared.retire(*number, self.segment_bytes);
            let take_out = if retired.is_some() { segment::retire } else { segment::remove };
            if !self.take_out(*number, take_out).await? {
                return Ok(());
            }
            tracing::debug!(segment = number, is_kept = retired.is_some(), "log segment removed");
            self.shared.removed(*number, retired);
        }
        Ok(())
    }

    /// Whether it is done: it is not if the log ends while there is no space for it, which some file systems need even for this.
    async fn take_out(&self, number: u64, how: fn(&dyn Disk, &Path, u64) -> std::io::Result<()>) -> Result<bool, Halt> {
        let mut space = SpaceWait::new(&self.shared, &self.clock);
        loop {
            let (disk, dir) = (Arc::clone(&self.disk), self.dir.clone());
            match run(&*self.work, Class::Flush, move || how(&*disk, &dir, number)).await {
                Ok(()) => return Ok(true),
                Err(error) if is_full(&error) => {
                    if space.wait(&error).await.is_err() {
                        return Ok(false);
                    }
                }
                Err(error) => {
                    let path = segment::path(&self.dir, number);
                    return Err(Halt::io(format_args!("removing {}", path.display()), &error));
                }
            }
        }
    }

    /// Copies entries forward, through the queue like everything else. When it returns they are synced, or the log has ended.
    async fn copy(&self, moves: Vec<Move>) -> Result<(), Halt> {
        let entries = moves.len();
        let load = move || moves.into_iter().map(Move::load).collect::<Result<Vec<_>, Halt>>();
        let moved = run(&*self.work, Class::Scan, load).await?;
        let (sender, done) = oneshot::channel();
        self.shared.submit_copies(moved, Box::new(move |result| drop(sender.send(result))));
        // An error is the end of the log: whoever ended it has said why.
        let _ended = done.await;
        tracing::debug!(entries, "log entries copied forward");
        Ok(())
    }
}
