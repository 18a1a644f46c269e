//! The one task that writes the log: takes what is queued, one write and one sync for all of it, calls back, and again.
//!
//! Never has two writes under way, so that nothing later reaches the disk before something earlier. Never tries a write again,
//! and never begins one that could find the disk full: the space is taken before.

use std::collections::BTreeMap;
use std::sync::Arc;

use meridian_env::{Class, File, Halt, run};
use meridian_types::Mutant;

use super::ahead::{Maker, Making, Stop};
use super::index::{Points, step_points};
use super::record::{Key, commit_span, encode_commit};
use super::recover::Resume;
use super::segment::{self, Header};
use super::state::{Batch, Queued};

/// See the module.
pub(super) struct Writer {
    maker: Maker,
    batch_bytes_max: usize,
    /// The groups as of what is written, which is what a checkpoint must say.
    points: BTreeMap<Key, Points>,
    /// The segment after the current one, which is made while that one fills; `None` once it could not be made.
    next: Option<Making>,
    /// Reused from commit to commit.
    buffer: Vec<u8>,
}

/// The segment that is being written.
struct Current {
    number: u64,
    file: Arc<dyn File>,
    /// Where the next commit goes; everything before is synced.
    offset: u64,
    /// Bytes of the file.
    len: u64,
}

/// Why nothing more is written, and the calls that were under way.
type Stopped = (Stop, Vec<Queued>);

impl Writer {
    /// A writer that goes on with `points`, in the segments of `maker`.
    pub(super) fn new(maker: Maker, batch_bytes_max: usize, points: BTreeMap<Key, Points>) -> Self {
        Self { maker, batch_bytes_max, points, next: None, buffer: Vec::new() }
    }

    /// Writes until the log is closed or has failed.
    pub(super) async fn run(mut self, resume: Resume) {
        let shared = Arc::clone(&self.maker.shared);
        match self.write_all(resume).await {
            Ok(()) => {}
            Err((Stop::Failed(halt), under_way)) => shared.fail(halt, under_way),
            Err((Stop::Ended, under_way)) => shared.give_up(under_way),
        }
        // Whoever opens this log next must not meet a file that is still being made.
        if let Some(next) = self.next {
            next.stop().await;
        }
    }

    async fn write_all(&mut self, resume: Resume) -> Result<(), Stopped> {
        let shared = Arc::clone(&self.maker.shared);
        let Resume { previous, previous_end, number, spare, unused } = resume;
        self.next = Some(self.maker.start(number, spare));
        let mut current = self.begin(previous, previous_end).await.map_err(|stop| (stop, Vec::new()))?;
        shared.add_unused(unused);
        while let Some(batch) = shared.next_batch(self.batch_bytes_max).await {
            let closes = batch.closes;
            self.write(&mut current, batch).await?;
            if closes {
                break;
            }
        }
        Ok(())
    }

    /// One group commit. An empty one, as `close` may write, tells the next start that all before it was synced.
    async fn write(&mut self, current: &mut Current, batch: Batch) -> Result<(), Stopped> {
        let records = batch.records().map(|(_, record)| record.encoded_len()).sum();
        if let Err(stop) = self.make_room(current, commit_span(records)).await {
            return Err((stop, batch.queued));
        }
        let (number, offset) = (current.number, current.offset);
        let file = Arc::clone(&current.file);
        let mut buffer = std::mem::take(&mut self.buffer);
        let job = move || {
            buffer.clear();
            encode_commit(number, offset, offset, batch.records(), &mut buffer);
            let sync = || if Mutant::SkipSync.is_planted() { Ok(()) } else { file.sync_data() };
            let written = file.write_at(&buffer, offset).and_then(|()| sync());
            (written, batch, buffer)
        };
        let begun = self.maker.clock.now();
        let (written, batch, buffer) = run(&*self.maker.work, Class::Log, job).await;
        if let Err(error) = written {
            let path = segment::path(&self.maker.dir, number);
            let halt = Halt::io(format_args!("writing {} at byte {offset}", path.display()), &error);
            return Err((Stop::Failed(halt), batch.queued));
        }
        self.maker.shared.count_commit(buffer.len() as u64, self.maker.clock.now() - begun);
        current.offset += buffer.len() as u64;
        self.next.iter().for_each(|next| next.keep_ahead_of(current.offset));
        self.buffer = buffer;
        for (key, record) in batch.records() {
            step_points(&mut self.points, key, record).expect("it was checked when it was queued");
        }
        self.maker.shared.complete(batch, number, offset, current.len);
        Ok(())
    }

    /// Sees to it that `span` bytes fit behind what is written: in the next segment if not in this one, and in one that grows
    /// if in none.
    async fn make_room(&mut self, current: &mut Current, span: u64) -> Result<(), Stop> {
        if current.offset + span > current.len {
            *current = self.begin(current.number, current.offset).await?;
        }
        let end = current.offset + span;
        if end > current.len {
            self.maker.grow(&current.file, current.number, end).await?;
            current.len = end;
        }
        Ok(())
    }

    /// Goes on in the next segment, as soon as there is space for one. All of the one before is synced.
    async fn begin(&mut self, previous: u64, previous_end: u64) -> Result<Current, Stop> {
        let next = self.next.take().expect("the writer ends when a segment could not be made");
        let number = next.number;
        let file = next.made().await?;
        self.next = Some(self.maker.start(number + 1, None));
        let reserved = self.maker.bytes;
        let opening = segment::opening_bytes(&self.points);
        if opening > reserved {
            self.maker.grow(&file, number, opening).await?;
        }
        let header = Header { number, previous, previous_end, reserved };
        let (into, points) = (Arc::clone(&file), self.points.clone());
        let begun = run(&*self.maker.work, Class::Log, move || segment::begin(&*into, &header, &points)).await;
        let offset = begun.map_err(|error| {
            let path = segment::path(&self.maker.dir, number);
            Stop::Failed(Halt::io(format_args!("beginning {}", path.display()), &error))
        })?;
        let len = reserved.max(opening);
        self.maker.shared.add_file(number, Arc::clone(&file), len);
        Ok(Current { number, file, offset, len })
    }
}
