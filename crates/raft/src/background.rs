//! The background work of one replica: flushes, upkeep, adopting a snapshot. One job at a time, each in three steps: plan and
//! install hold the machine's lock for a moment, and in between the job runs with files alone.
//!
//! A job that has begun is always finished, whoever waits for it: its files are committed, and a machine that did not hear of
//! it would be another one than its files. Never decides when there is something to do: that is the caller's.

use std::sync::Arc;
use std::time::Duration;

use meridian_env::{Class, Env, Halt, run};
use parking_lot::RwLock;
use tokio::sync::{Mutex, watch};

use crate::groups::halt;
use crate::machine::{Job, JobError, Machine, Received, View};
use crate::types::LogId;

/// Between two tries to adopt a snapshot for which there is no space.
const ADOPT_AGAIN: Duration = Duration::from_secs(1);

/// Why no more jobs begin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    /// The replica was stopped.
    Stopped,
    /// Its files are damaged.
    Damaged(String),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Jobs<M> {
    machine: RwLock<M>,
    /// What the machine has applied since it was opened.
    applied: parking_lot::Mutex<Option<LogId>>,
    env: Env,
    turn: Mutex<()>,
    ended: watch::Sender<Option<Ended>>,
    halted: watch::Sender<Option<Halt>>,
}

impl<M: Machine> Jobs<M> {
    pub(crate) fn new(machine: M, env: Env, halted: watch::Sender<Option<Halt>>) -> Arc<Self> {
        let ended = watch::Sender::new(None);
        let (machine, applied) = (RwLock::new(machine), parking_lot::Mutex::default());
        Arc::new(Self { machine, applied, env, turn: Mutex::new(()), ended, halted })
    }

    pub(crate) fn machine(&self) -> &RwLock<M> {
        &self.machine
    }

    /// The last entry that the machine has applied since it was opened, or is applying under its lock after it answered it. Known
    /// before anybody is answered who waits for the entry, and without waiting for apply.
    pub(crate) fn applied(&self) -> Option<LogId> {
        *self.applied.lock()
    }

    pub(crate) fn note_applied(&self, id: LogId) {
        *self.applied.lock() = Some(id);
    }

    pub(crate) fn ended(&self) -> Option<Ended> {
        self.ended.borrow().clone()
    }

    /// From now on no job begins.
    pub(crate) fn note_end(&self, why: Ended) {
        self.ended.send_if_modified(|ended| ended.is_none() && ended.replace(why).is_none());
    }

    /// Waits for the job that runs.
    pub(crate) async fn finished(&self) {
        drop(self.turn.lock().await);
    }

    /// The machine's files, looked at off the async threads: apply may hold the lock for as long as a disk takes.
    pub(crate) async fn view(self: &Arc<Self>) -> Option<View> {
        let jobs = Arc::clone(self);
        run(&*self.env.work, Class::Apply, move || jobs.machine.read().view()).await
    }

    /// Brings the files up to what is applied. Whether there was anything to write.
    pub(crate) async fn flush(self: &Arc<Self>) -> Result<bool, JobError> {
        self.to_the_end(|jobs| async move { jobs.next(Class::Flush, M::freeze).await }).await
    }

    /// The machine's next piece of upkeep. Whether there was any.
    pub(crate) async fn upkeep(self: &Arc<Self>) -> Result<bool, JobError> {
        self.to_the_end(|jobs| async move { jobs.next(Class::Compact, M::upkeep).await }).await
    }

    /// Makes received files the machine's. Waits for space if there is none: openraft cannot go back behind a snapshot that
    /// it has begun to install.
    pub(crate) async fn adopt(self: &Arc<Self>, received: Received) -> Result<(), JobError> {
        self.to_the_end(|jobs| async move {
            let _turn = jobs.turn.lock().await;
            loop {
                if let Some(ended) = jobs.ended() {
                    return Err(refusal(ended));
                }
                let files = received.clone();
                let job = jobs.on_machine(move |machine| machine.adopt(files)).await;
                match jobs.finish(Class::Flush, job).await {
                    Err(JobError::Full(reason)) => tracing::warn!(reason, "a snapshot waits for space"),
                    done => return done,
                }
                jobs.env.clock.sleep(ADOPT_AGAIN).await;
            }
        })
        .await
    }

    /// Runs `work` to its end even if the caller goes away.
    async fn to_the_end<T, F>(self: &Arc<Self>, work: impl FnOnce(Arc<Self>) -> F) -> Result<T, JobError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, JobError>> + Send + 'static,
    {
        match tokio::spawn(work(Arc::clone(self))).await {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(Halt::new("the runtime goes down").into()),
        }
    }

    async fn next(self: &Arc<Self>, class: Class, plan: fn(&mut M) -> Option<Job<M::Done>>) -> Result<bool, JobError> {
        let _turn = self.turn.lock().await;
        match self.ended() {
            Some(Ended::Stopped) => return Ok(false),
            Some(damaged) => return Err(refusal(damaged)),
            None => {}
        }
        let Some(job) = self.on_machine(plan).await else { return Ok(false) };
        self.finish(class, job).await.map(|()| true)
    }

    async fn finish(self: &Arc<Self>, class: Class, job: Job<M::Done>) -> Result<(), JobError> {
        match run(&*self.env.work, class, job).await {
            Ok(done) => {
                self.on_machine(move |machine| machine.install(done)).await;
                Ok(())
            }
            Err(error) => {
                match &error {
                    JobError::Full(_) => {}
                    JobError::Damaged(reason) => self.note_end(Ended::Damaged(reason.clone())),
                    JobError::Halt(reason) => halt(&self.halted, reason.clone()),
                }
                Err(error)
            }
        }
    }

    async fn on_machine<T: Send + 'static>(self: &Arc<Self>, change: impl FnOnce(&mut M) -> T + Send + 'static) -> T {
        let jobs = Arc::clone(self);
        run(&*self.env.work, Class::Apply, move || change(&mut jobs.machine.write())).await
    }
}

fn refusal(ended: Ended) -> JobError {
    match ended {
        Ended::Stopped => Halt::new("the replica was stopped").into(),
        Ended::Damaged(reason) => JobError::Damaged(reason),
    }
}
