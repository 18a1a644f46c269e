//! Background work as values: a task is handed out by the engine, run anywhere, and its outcome put to use by
//! [`Engine::install`] alone. One at a time: a task is planned on the manifest that it replaces.

use crate::Engine;
use crate::compact::Compacted;
use crate::error::StoreError;
use crate::flush::Flushed;

/// Work that owns its inputs and may die at any byte.
pub struct Task(Box<dyn FnOnce() -> Result<Outcome, StoreError> + Send>);

impl Task {
    pub(crate) fn new(job: impl FnOnce() -> Result<Outcome, StoreError> + Send + 'static) -> Self {
        Self(Box::new(job))
    }

    /// Reads and writes files, and commits what it made. After an error nothing has changed.
    pub fn run(self) -> Result<Outcome, StoreError> {
        (self.0)()
    }
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Task")
    }
}

/// What a task has made and committed.
pub struct Outcome(pub(crate) Made);

pub(crate) enum Made {
    Flushed(Flushed),
    Compacted(Compacted),
    /// The engine that a received snapshot is.
    Adopted(Box<Engine>),
}

impl Outcome {
    /// The engine that will take over, if the whole content is replaced.
    pub fn adopted(&self) -> Option<&Engine> {
        match &self.0 {
            Made::Adopted(engine) => Some(engine),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.0 {
            Made::Flushed(_) => "Flushed",
            Made::Compacted(_) => "Compacted",
            Made::Adopted(_) => "Adopted",
        })
    }
}

impl Engine {
    /// Puts to use what a task of this engine has made. Memory only. Whether the whole content was replaced, so that the
    /// owner must take its own state from [`Engine::durable`].
    pub fn install(&mut self, outcome: Outcome) -> bool {
        match outcome.0 {
            Made::Flushed(flushed) => self.flushed(flushed),
            Made::Compacted(compacted) => self.compacted(compacted),
            Made::Adopted(engine) => {
                *self = *engine;
                return true;
            }
        }
        false
    }
}
