//! The one task that writes the log: takes what is queued, one write and one sync for all of it, calls back, and again.
//!
//! Never has two writes under way, so that nothing later reaches the disk before something earlier. Never tries again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meridian_env::{Class, Disk, Env, File, Halt, Work, run};
use tokio::task::JoinHandle;

use super::index::{Points, step_points};
use super::record::{Key, commit_span, encode_commit};
use super::segment::{self, Header};
use super::shared::{Batch, Shared};

/// See the module.
pub(super) struct Writer {
    disk: Arc<dyn Disk>,
    work: Arc<dyn Work>,
    dir: PathBuf,
    batch_bytes_max: usize,
    shared: Arc<Shared>,
    /// The groups as of what is written, which is what a checkpoint must say.
    points: BTreeMap<Key, Points>,
    current: Current,
    /// The segment after the current one, made while this one fills; `None` once it could not be made.
    next: Option<JoinHandle<Result<Arc<dyn File>, Halt>>>,
    /// Reused from commit to commit.
    buffer: Vec<u8>,
}

/// The segment that is being written.
struct Current {
    header: Header,
    file: Arc<dyn File>,
    /// Where the next commit goes; everything before is synced.
    offset: u64,
}

impl Writer {
    /// A writer that goes on in the `fresh` segment, at the offset beside it. Call within a runtime.
    pub(super) fn new(
        env: &Env,
        dir: &Path,
        batch_bytes_max: usize,
        shared: Arc<Shared>,
        fresh: (Header, Arc<dyn File>, u64),
        points: BTreeMap<Key, Points>,
    ) -> Self {
        let (header, file, offset) = fresh;
        let (disk, work) = (Arc::clone(&env.disk), Arc::clone(&env.work));
        let next = Some(prepare_ahead(&work, &disk, dir, header.number + 1, header.reserved));
        let current = Current { header, file, offset };
        Self { disk, work, dir: dir.to_owned(), batch_bytes_max, shared, points, current, next, buffer: Vec::new() }
    }

    /// Writes until the log is closed or has failed.
    pub(super) async fn run(mut self) {
        while let Some(batch) = self.shared.next_batch(self.batch_bytes_max).await {
            let closes = batch.closes;
            if let Err((halt, batch)) = self.write(batch).await {
                self.shared.fail(halt, batch.queued);
            }
            if closes {
                break;
            }
        }
        // Whoever opens this log next must not meet a file that is still being made. Whether it was is no matter by now.
        if let Some(next) = self.next {
            drop(next.await);
        }
    }

    /// One group commit. An empty one, as `close` may write, tells the next start that all before it was synced.
    async fn write(&mut self, batch: Batch) -> Result<(), (Halt, Batch)> {
        let records = batch.records().map(|(_, record)| record.encoded_len()).sum();
        if self.current.offset + commit_span(records) > self.current.header.reserved
            && let Err(halt) = self.rotate().await
        {
            return Err((halt, batch));
        }
        let (number, offset) = (self.current.header.number, self.current.offset);
        let file = Arc::clone(&self.current.file);
        let mut buffer = std::mem::take(&mut self.buffer);
        let job = move || {
            buffer.clear();
            encode_commit(number, offset, offset, batch.records(), &mut buffer);
            let written = file.write_at(&buffer, offset).and_then(|()| file.sync_data());
            (written, batch, buffer)
        };
        let (written, batch, buffer) = run(&*self.work, Class::Log, job).await;
        if let Err(error) = written {
            let path = segment::path(&self.dir, number);
            return Err((Halt::io(format_args!("writing {} at byte {offset}", path.display()), &error), batch));
        }
        self.current.offset += buffer.len() as u64;
        self.buffer = buffer;
        for (key, record) in batch.records() {
            step_points(&mut self.points, key, record).expect("it was checked when it was queued");
        }
        self.shared.complete(batch, number, offset);
        Ok(())
    }

    /// Goes on in the next segment. All of the current one is synced.
    async fn rotate(&mut self) -> Result<(), Halt> {
        let made = self.next.take().expect("the writer ends when a segment could not be made").await;
        let file = made.unwrap_or_else(|_| Err(Halt::new("the job that makes log segments was stopped")))?;
        let Header { number: previous, reserved, .. } = self.current.header;
        let header = Header { number: previous + 1, previous, previous_end: self.current.offset, reserved };
        self.next = Some(prepare_ahead(&self.work, &self.disk, &self.dir, header.number + 1, reserved));
        let (begun, into, points) = (header.clone(), Arc::clone(&file), self.points.clone());
        let offset = run(&*self.work, Class::Log, move || segment::begin(&*into, &begun, &points)).await;
        let offset = offset.map_err(|error| {
            let path = segment::path(&self.dir, header.number);
            Halt::io(format_args!("beginning {}", path.display()), &error)
        })?;
        self.shared.add_file(header.number, Arc::clone(&file));
        self.current = Current { header, file, offset };
        Ok(())
    }
}

/// Makes a segment in the background.
fn prepare_ahead(
    work: &Arc<dyn Work>,
    disk: &Arc<dyn Disk>,
    dir: &Path,
    number: u64,
    bytes: u64,
) -> JoinHandle<Result<Arc<dyn File>, Halt>> {
    let (work, disk, dir) = (Arc::clone(work), Arc::clone(disk), dir.to_owned());
    tokio::spawn(async move { run(&*work, Class::Flush, move || segment::prepare(&*disk, &dir, number, bytes)).await })
}
