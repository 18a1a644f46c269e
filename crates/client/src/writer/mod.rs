//! Rows in, frames out: a writer learns the numbers that shards give to series and sends one frame a shard, which routers
//! only check and pass on.
//!
//! Never loses a row silently: each one that was taken is reported once, as stored, refused or not known. Never sends rows
//! that may be stored under another request id.

mod series; // what is known of a series

mod encode; // rows into frames

mod stream; // frames to a router

mod fate; // what a failure means for a frame

mod flight; // a frame until its fate is known

mod report; // what became of rows

mod driver; // the task that sends

use std::sync::Arc;
use std::time::Duration;

use meridian_env::Env;
use meridian_types::{Code, Failure, SeriesKey, Timestamp, ValueRef};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tonic::transport::Channel;

pub use encode::{Bounds, Encoder, Made};
pub use report::{Report, Unstored};
pub use series::Series;
pub use stream::FrameStream;

use driver::{Driver, Job};
use series::Known;

/// Rows without a place in the database that a writer keeps count of: with more it takes no row before they were told.
const UNSTORED_MAX: usize = 10_000;

/// How a writer works.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WriterSettings {
    /// When a frame leaves by itself.
    pub frame: Bounds,
    /// Frames under way at a time, at least one. Routers take 64 of one stream.
    pub window: usize,
    /// How long a frame is tried before its rows are reported as refused, or as not known.
    pub patience: Duration,
    /// Series whose numbers are kept. With more, some go by key again.
    pub series: usize,
}

impl Default for WriterSettings {
    fn default() -> Self {
        let frame = Bounds { bytes: 256 << 10, rows: usize::MAX };
        Self { frame, window: 8, patience: Duration::from_secs(60), series: 1_000_000 }
    }
}

/// Writes rows to one database through one router.
///
/// Rows of one frame are stored in the order in which they were pushed. Frames may overtake each other: of two values for the
/// same point, the later one counts for certain only if a [`Writer::flush`] ended between them.
///
/// Memory: a frame of each shard and one by key are being made, and `window` and two more are made, each of
/// `frame.bytes` or of its only row. While rows that were refused are sent apart, or by key, their keys come to that. Besides,
/// some 150 bytes and the tags of each of `series` series, and the numbers and failures of the rows that are not stored.
///
/// Dropped without a flush, it leaves it open what became of the rows since the last one.
#[derive(Debug)]
pub struct Writer {
    known: Known,
    encoder: Encoder,
    /// A frame that is full and found no room.
    leaving: Option<Made>,
    jobs: mpsc::Sender<Job>,
    report: Arc<Mutex<Report>>,
}

impl Writer {
    /// A writer to `database` through the router behind a channel, which [`crate::connect`] makes. Connects when there is
    /// something to send, from a task of the runtime that this is called in.
    pub fn open(env: &Env, router: Channel, database: &str, settings: WriterSettings) -> Self {
        let (known, encoder) = (Known::new(&env.rng, settings.series), Encoder::new(settings.frame));
        let (jobs, receiver) = mpsc::channel(1);
        let report = Arc::<Mutex<Report>>::default();
        tokio::spawn(Driver::new(env, router, database, &settings, receiver, Arc::clone(&report)).run());
        Self { known, encoder, leaving: None, jobs, report }
    }

    /// Takes a row: the values that `fields` gives to the series `key` of `measurement` at `time`. Waits while the window is
    /// full. Gives the row's number, counted from 0, by which a [`Report`] names it. After a failure, or if it is dropped
    /// before it ends, the row was not taken.
    pub async fn push(
        &mut self,
        measurement: &str,
        key: &SeriesKey,
        time: Timestamp,
        fields: &[(&str, ValueRef<'_>)],
    ) -> Result<u64, Failure> {
        let series = self.series(measurement, key);
        self.push_to(&series, time, fields).await
    }

    /// The series, for those who push many rows to it and would spare the search.
    pub fn series(&mut self, measurement: &str, key: &SeriesKey) -> Arc<Series> {
        self.known.meet(measurement, key)
    }

    /// Like [`Writer::push`], for a series that this writer gave.
    pub async fn push_to(
        &mut self,
        series: &Arc<Series>,
        time: Timestamp,
        fields: &[(&str, ValueRef<'_>)],
    ) -> Result<u64, Failure> {
        self.leave().await?;
        let row = self.encoder.rows();
        let full = self.encoder.push(series, time, fields);
        if let Some(made) = full.map_err(|error| Failure::new(error.code(), error.to_string()))? {
            match self.jobs.try_reserve() {
                Ok(room) => room.send(Job::Frame(made)),
                Err(_) => self.leaving = Some(made),
            }
        }
        Ok(row)
    }

    /// Lets the frame that waits for room leave, unless too much was refused already.
    async fn leave(&mut self) -> Result<(), Failure> {
        let unstored = self.report.lock().unstored();
        if unstored >= UNSTORED_MAX {
            let text = format!("{unstored} rows are refused or not known to be stored: flush tells which, and why");
            return Err(Failure::new(Code::PartlyRefused, text));
        }
        if self.leaving.is_none() {
            return Ok(());
        }
        let room = self.jobs.reserve().await.map_err(|_| ended())?;
        if let Some(made) = self.leaving.take() {
            room.send(Job::Frame(made));
        }
        Ok(())
    }

    /// Sends all rows that were taken, waits until the fate of each is known or its time is over, and tells it. If this is
    /// dropped before it ends, the next one tells it.
    pub async fn flush(&mut self) -> Result<Report, Failure> {
        loop {
            let room = self.jobs.reserve().await.map_err(|_| ended())?;
            match self.leaving.take().or_else(|| self.encoder.close()) {
                Some(made) => room.send(Job::Frame(made)),
                None => {
                    let (settled, all) = oneshot::channel();
                    room.send(Job::Settle(settled));
                    all.await.map_err(|_| ended())?;
                    return Ok(std::mem::take(&mut *self.report.lock()));
                }
            }
        }
    }
}

/// A task ends before its writer only when its runtime does.
fn ended() -> Failure {
    Failure::new(Code::Unknown, "the writer's task has ended: what became of its rows is not known")
}

#[cfg(test)]
mod tests;
