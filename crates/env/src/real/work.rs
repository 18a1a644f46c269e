//! Bounded threads, a queue per class. The queues themselves have no bound: whoever hands in jobs bounds its own.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures::future::BoxFuture;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::{Class, Work};

type Job = (Box<dyn FnOnce() + Send>, oneshot::Sender<()>);

/// Dropping it lets the threads finish what is queued and end.
#[derive(Debug)]
pub(super) struct Threads {
    queues: [Arc<Queue>; Class::ALL.len()],
}

#[derive(Debug)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("jobs", &self.jobs.len()).field("closed", &self.closed).finish()
    }
}

impl Threads {
    pub(super) fn start() -> io::Result<Self> {
        let queue = || {
            let state = Mutex::new(State { jobs: VecDeque::new(), closed: false });
            Arc::new(Queue { state, changed: Condvar::new() })
        };
        let threads = Self { queues: std::array::from_fn(|_| queue()) };
        for class in Class::ALL {
            for number in 0..class.width() {
                let queue = Arc::clone(&threads.queues[class as usize]);
                std::thread::Builder::new()
                    .name(format!("meridian-{}-{number}", class.name()))
                    .spawn(move || queue.serve(class))?;
            }
        }
        Ok(threads)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        for queue in &self.queues {
            queue.state.lock().closed = true;
            queue.changed.notify_all();
        }
    }
}

impl Work for Threads {
    fn run(&self, class: Class, job: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let (done, ended) = oneshot::channel();
        let queue = &self.queues[class as usize];
        queue.state.lock().jobs.push_back((job, done));
        queue.changed.notify_one();
        Box::pin(async move { ended.await.expect("queued jobs run, and a panic in one aborts the process") })
    }
}

impl Queue {
    fn serve(&self, class: Class) {
        while let Some((job, done)) = self.next() {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(job)) {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
                tracing::error!(class = class.name(), "a job panicked, so this process aborts: {text}");
                std::process::abort();
            }
            // Whoever waited may have gone: the job has run all the same.
            let _gone = done.send(());
        }
    }

    /// The next job; `None` when there is none and will be none.
    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            self.changed.wait(&mut state);
        }
    }
}
