//! Jobs in virtual time: inline on the simulation's one thread, between two drawn waits, no more at a time than real threads
//! would run. A panic in a job takes the host's runtime down, as it would abort a real process.
#![expect(clippy::disallowed_methods, reason = "the waits are drawn and virtual")]

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{Class, Rng, Work};

type Job = (Box<dyn FnOnce() + Send>, oneshot::Sender<()>);

/// Runs each job at once in the thread that hands it in, on a simulated or a real disk alike: for tests without a runtime.
#[derive(Clone, Copy, Debug)]
pub struct InlineWork;

impl Work for InlineWork {
    fn run(&self, _: Class, job: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        job();
        Box::pin(std::future::ready(()))
    }
}

/// The jobs of one life of a host.
#[derive(Debug)]
pub(super) struct SimWork {
    rng: Rng,
    disk_waits: Arc<AtomicU64>,
    queues: [Arc<Mutex<Queue>>; Class::ALL.len()],
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    running: usize,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("jobs", &self.jobs.len()).field("running", &self.running).finish()
    }
}

impl SimWork {
    /// Jobs that write files wait `disk_waits` milliseconds longer than by themselves.
    pub(super) fn new(rng: Rng, disk_waits: Arc<AtomicU64>) -> Self {
        Self { rng, disk_waits, queues: std::array::from_fn(|_| Arc::default()) }
    }
}

impl Work for SimWork {
    fn run(&self, class: Class, job: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let (done, ended) = oneshot::channel();
        let queue = &self.queues[class as usize];
        let mut state = queue.lock();
        state.jobs.push_back((job, done));
        if state.running < class.width() {
            state.running += 1;
            let waits = writes_files(class).then(|| Arc::clone(&self.disk_waits));
            tokio::spawn(serve(Arc::clone(queue), self.rng.clone(), latency_micros(class), waits));
        }
        Box::pin(async move { ended.await.expect("a host outlives its jobs unless one of them panics") })
    }
}

/// One simulated thread: takes jobs in order until there are none.
async fn serve(queue: Arc<Mutex<Queue>>, rng: Rng, micros: Range<u64>, waits: Option<Arc<AtomicU64>>) {
    loop {
        let next = {
            let mut state = queue.lock();
            let next = state.jobs.pop_front();
            state.running -= usize::from(next.is_none());
            next
        };
        let Some((job, done)) = next else { return };
        wait(&rng, &micros).await;
        let longer = waits.as_ref().map_or(0, |millis| millis.load(Ordering::Relaxed));
        if longer > 0 {
            tokio::time::sleep(Duration::from_millis(longer)).await;
        }
        job();
        wait(&rng, &micros).await;
        // Whoever waited may have gone: the job has run all the same.
        let _gone = done.send(());
    }
}

fn writes_files(class: Class) -> bool {
    matches!(class, Class::Log | Class::Flush | Class::Compact)
}

/// Each of a job's two waits, in microseconds.
fn latency_micros(class: Class) -> Range<u64> {
    match class {
        Class::Log => 100..700,
        Class::Answer | Class::Apply => 5..50,
        Class::Scan => 20..200,
        Class::Flush | Class::Compact => 1_000..5_000,
    }
}

/// tokio's timers know whole milliseconds only: the rest is rounded by chance, so that the mean is right.
async fn wait(rng: &Rng, micros: &Range<u64>) {
    let micros = micros.start + rng.below(micros.end - micros.start);
    match micros / 1_000 + u64::from(rng.below(1_000) < micros % 1_000) {
        0 => tokio::task::yield_now().await,
        millis => tokio::time::sleep(Duration::from_millis(millis)).await,
    }
}
