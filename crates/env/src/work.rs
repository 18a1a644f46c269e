//! Where computing and waiting for a disk happen: bounded threads per class in production, virtual time in simulation.

use std::fmt::Debug;

use futures::future::BoxFuture;

/// What a job is for; each class has its own threads, so that a scan never holds up the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Class {
    /// Appending to and syncing the log: what acks wait for.
    Log,
    /// Checking and applying what an answer waits for, or what is behind.
    Answer,
    /// Applying the rest.
    Apply,
    /// Writing files in the background.
    Flush,
    /// Merging files in the background.
    Compact,
    /// Reading for queries.
    Scan,
}

impl Class {
    /// All classes.
    pub const ALL: [Self; 6] = [Self::Log, Self::Answer, Self::Apply, Self::Flush, Self::Compact, Self::Scan];

    /// The class in one lower-case word, for thread names and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Answer => "answer",
            Self::Apply => "apply",
            Self::Flush => "flush",
            Self::Compact => "compact",
            Self::Scan => "scan",
        }
    }

    /// How many of its jobs run at a time, on real threads and in simulation. They are taken in the order in which they were
    /// handed in; where more than one runs at a time, a later one may overtake.
    pub const fn width(self) -> usize {
        match self {
            Self::Log | Self::Answer | Self::Apply | Self::Scan => 2,
            Self::Flush | Self::Compact => 1,
        }
    }
}

/// Runs jobs off the async threads.
pub trait Work: Send + Sync + Debug + 'static {
    /// Queues `job` at once; the future ends after it has run. Dropping the future does not stop the job. Jobs own their
    /// inputs.
    fn run(&self, class: Class, job: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()>;
}

/// Runs `job` and gives back what it returns.
pub async fn run<T: Send + 'static>(work: &dyn Work, class: Class, job: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let done = work.run(class, Box::new(move || drop(sender.send(job()))));
    done.await;
    receiver.await.expect("the job has run and sent its result: a panic in it aborts the process")
}
