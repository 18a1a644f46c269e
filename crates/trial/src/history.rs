//! What clients asked and what they were told. Pure.
//!
//! Order is counted, not timed: an operation that was told its end before another began came first, whatever a clock says.
//! An outcome is acked, refused or unknown; a timeout is unknown, never refused, and an unknown operation may take effect
//! at any later time.

use serde::{Deserialize, Serialize};

use crate::rows::{Delete, Row};
use crate::witness::Witness;

/// What a client was told of what it asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Told {
    /// It is done, and seen by every read from here on.
    Acked,
    /// It certainly is not done, and never will be.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// What was asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Deed {
    /// Rows of one request.
    Write(Vec<Row>),
    /// A delete.
    Delete(Delete),
}

/// Names an operation in its history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpId(usize);

/// A point in the order of beginnings and ends.
pub(crate) type Tick = u64;

/// What was asked, when, and what came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Op {
    pub(crate) deed: Deed,
    pub(crate) began: Tick,
    /// When the outcome was told; of no meaning while that is unknown.
    pub(crate) ended: Tick,
    pub(crate) told: Told,
    /// The entries that the acknowledgement names, as far as it does.
    pub(crate) witnesses: Vec<Witness>,
}

/// All operations of a trial.
#[derive(Debug, Default)]
pub struct History {
    pub(crate) ops: Vec<Op>,
    tick: Tick,
}

impl History {
    /// The next point in the order of beginnings and ends.
    pub fn tick(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    /// An operation begins: call it before anything is sent. What is never told stays unknown.
    pub fn begin(&mut self, deed: Deed) -> OpId {
        let began = self.tick();
        self.ops.push(Op { deed, began, ended: began, told: Told::Unknown, witnesses: Vec::new() });
        OpId(self.ops.len() - 1)
    }

    /// What an operation came to: call it after the last answer has arrived.
    pub fn told(&mut self, op: OpId, told: Told) {
        let ended = self.tick();
        let op = &mut self.ops[op.0];
        (op.ended, op.told) = (ended, told);
    }

    /// As [`History::told`], of what was acknowledged with the entries that have it.
    pub fn acked(&mut self, op: OpId, witnesses: Vec<Witness>) {
        self.ops[op.0].witnesses = witnesses;
        self.told(op, Told::Acked);
    }

    /// Rows of writes with this outcome.
    pub fn rows(&self, told: Told) -> usize {
        let rows = |op: &Op| match &op.deed {
            Deed::Write(rows) => rows.len(),
            Deed::Delete(_) => 0,
        };
        self.ops.iter().filter(|op| op.told == told).map(rows).sum()
    }

    /// Deletes with this outcome.
    pub fn deletes(&self, told: Told) -> usize {
        self.ops.iter().filter(|op| op.told == told && matches!(op.deed, Deed::Delete(_))).count()
    }
}

impl std::fmt::Display for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [acked, unknown, refused] = [Told::Acked, Told::Unknown, Told::Refused].map(|told| self.rows(told));
        write!(f, "rows: {acked} acked, {unknown} unknown, {refused} refused")?;
        let [acked, unknown, refused] = [Told::Acked, Told::Unknown, Told::Refused].map(|told| self.deletes(told));
        if acked + unknown + refused > 0 {
            write!(f, "; deletes: {acked} acked, {unknown} unknown, {refused} refused")?;
        }
        Ok(())
    }
}
