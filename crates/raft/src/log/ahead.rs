//! Makes the next segment while the current one fills: of a file whose segment is gone, if there is one, and else of zeros, twice as
//! fast as the current one fills; waits while there is no space for it.
//!
//! Never begins a segment: that is the writer's. A full disk is no failure here, since it passes: whoever needs space tries
//! again every second, and the log says meanwhile that the disk is full. Every other error ends the log.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use meridian_env::{Class, Clock, Disk, File, Halt, Work, is_full, run};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::segment::{self, Unprepared};
use super::shared::Shared;

/// How long until space is looked for again.
const RETRY: Duration = Duration::from_secs(1);

/// Zeros that are written at a time: commits of the log, which clients wait for, come in between.
const STEP_BYTES: u64 = 128 << 10;

/// Why the writer stops.
#[derive(Debug)]
pub(super) enum Stop {
    /// Something is wrong, and the log has failed.
    Failed(Halt),
    /// The log was closed, or has failed already, before there was space.
    Ended,
}

/// Waits for space on behalf of one caller. Dropped, it waits no more.
pub(super) struct SpaceWait {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    is_short: bool,
}

impl SpaceWait {
    pub(super) fn new(shared: &Arc<Shared>, clock: &Arc<dyn Clock>) -> Self {
        Self { shared: Arc::clone(shared), clock: Arc::clone(clock), is_short: false }
    }

    /// There is space again, as far as anybody needs it now.
    fn over(&mut self) {
        if std::mem::take(&mut self.is_short) {
            self.shared.waits_for_space(false);
        }
    }

    /// Call it when there was no space, and try again when it returns.
    pub(super) async fn wait(&mut self, why: &io::Error) -> Result<(), Stop> {
        if !self.is_short {
            self.is_short = true;
            self.shared.waits_for_space(true);
        }
        tracing::debug!(%why, "no space yet");
        tokio::select! {
            biased;
            () = self.shared.ended() => Err(Stop::Ended),
            () = self.clock.sleep(RETRY) => Ok(()),
        }
    }
}

impl Drop for SpaceWait {
    fn drop(&mut self) {
        self.over();
    }
}

/// A step in which a segment is made.
type Job = Box<dyn FnOnce() -> Result<Arc<dyn File>, Unprepared> + Send>;

/// Makes segments.
#[derive(Clone)]
pub(super) struct Maker {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) work: Arc<dyn Work>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) dir: PathBuf,
    /// Bytes of a segment.
    pub(super) bytes: u64,
    pub(super) shared: Arc<Shared>,
}

/// A segment that is being made.
pub(super) struct Making {
    pub(super) number: u64,
    task: JoinHandle<Result<Arc<dyn File>, Stop>>,
    /// How many bytes of it there should be.
    wanted: watch::Sender<u64>,
}

impl Making {
    /// The segment before it is written up to `offset`.
    pub(super) fn keep_ahead_of(&self, offset: u64) {
        self.wanted.send_replace(2 * offset);
    }

    /// Waits for all of it.
    pub(super) async fn made(self) -> Result<Arc<dyn File>, Stop> {
        self.wanted.send_replace(u64::MAX);
        let stopped = |_| Err(Stop::Failed(Halt::new("the job that makes log segments was stopped")));
        self.task.await.unwrap_or_else(stopped)
    }

    /// Leaves it as it is, once nothing is done to it any more.
    pub(super) async fn stop(self) {
        drop(self.wanted);
        // Whether it was made is no matter by now.
        drop(self.task.await);
    }
}

impl Maker {
    /// Begins to make segment `number`, of the file `spare` if there is one. Call within a runtime.
    pub(super) fn start(&self, number: u64, spare: Option<Arc<dyn File>>) -> Making {
        let (wanted, asked) = watch::channel(0);
        Making { number, task: tokio::spawn(self.clone().make(number, spare, asked)), wanted }
    }

    async fn make(
        self,
        number: u64,
        mut spare: Option<Arc<dyn File>>,
        mut wanted: watch::Receiver<u64>,
    ) -> Result<Arc<dyn File>, Stop> {
        let mut space = SpaceWait::new(&self.shared, &self.clock);
        let mut made = 0;
        loop {
            if made > 0 && wanted.wait_for(|wanted| *wanted >= made).await.is_err() {
                return Err(Stop::Ended);
            }
            let (disk, dir) = (Arc::clone(&self.disk), self.dir.clone());
            let (of, file) = (self.bytes, spare.take());
            let (to, job): (u64, Job) = match self.shared.take_retired() {
                Some((old, file)) => {
                    (of, Box::new(move || segment::reuse(&*disk, &dir, number, old, &*file).map(|()| file)))
                }
                None => {
                    let to = of.min(made + STEP_BYTES);
                    (to, Box::new(move || segment::prepare(&*disk, &dir, number, (to, of), file)))
                }
            };
            // Not among the files that are written in the background: what acks wait for must not queue behind a flush.
            match run(&*self.work, Class::Log, job).await {
                Ok(file) if to == self.bytes => {
                    self.shared.prepared(number, self.bytes);
                    return Ok(file);
                }
                Ok(file) => {
                    // The rest is made once the log has been written to: so it must not say that it is full.
                    space.over();
                    (made, spare) = (to, Some(file));
                }
                Err(Unprepared::Failed(halt)) => return Err(Stop::Failed(halt)),
                Err(Unprepared::Full(why)) => {
                    made = 0;
                    space.wait(&why).await?;
                }
            }
        }
    }

    /// Grows a file to `to` bytes, so that what is written next only overwrites. For what does not fit a whole segment.
    pub(super) async fn grow(&self, file: &Arc<dyn File>, number: u64, to: u64) -> Result<(), Stop> {
        let mut space = SpaceWait::new(&self.shared, &self.clock);
        loop {
            let file = Arc::clone(file);
            match run(&*self.work, Class::Log, move || file.reserve_zeroed(to)).await {
                Ok(()) => return Ok(()),
                Err(error) if is_full(&error) => space.wait(&error).await?,
                Err(error) => {
                    let path = segment::path(&self.dir, number);
                    return Err(Stop::Failed(Halt::io(format_args!("growing {}", path.display()), &error)));
                }
            }
        }
    }
}
