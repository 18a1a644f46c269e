//! Merges the ordered batches of several nodes into the rows of the answer. Holds only what has been pushed and is not yet
//! certain, and never gives out a row that a batch still to come could change.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};

use meridian_types::{Timestamp, Value};

use crate::batch::{Entry, Place, follows};
use crate::cell::Kind;
use crate::plan::columns;
use crate::{Batch, ExecError, Plan};

/// One row of the answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// Raw: the row's time. Aggregates: the start of the window, or of the range if there are no windows.
    pub time: Timestamp,
    /// Raw: all tags of the series, by name. Aggregates: the tags of `group_by` in its order, empty where the series have
    /// none.
    pub tags: Vec<(String, String)>,
    /// One for each of [`columns`]; `None` where there is no value.
    pub values: Vec<Option<Value>>,
}

/// Merges the batches of several inputs (nodes, or shards), each of which comes in order.
///
/// ```text
/// while !merge.done() {
///     match merge.wants() { Some(input) => push its next batch, or finish_input(input), None => {} }
///     send(merge.take()?);
/// }
/// ```
#[derive(Debug)]
pub struct Merge {
    plan: Plan,
    kinds: Vec<Kind>,
    inputs: Vec<Input>,
    /// The first entry of each input that has one.
    heads: BinaryHeap<Reverse<(Place, usize)>>,
    /// Inputs that have none and are not finished: as long as there are any, no row is certain.
    waiting: BTreeSet<usize>,
    left: u64,
    failed: Option<ExecError>,
}

#[derive(Clone, Default, Debug)]
struct Input {
    entries: VecDeque<Entry>,
    finished: bool,
    /// Where its last entry stands, pushed so far.
    last: Option<Place>,
}

impl Merge {
    /// A merge of `inputs` inputs, numbered from 0; none of them gives an empty answer.
    pub fn new(plan: Plan, inputs: usize) -> Self {
        Self {
            kinds: plan.kinds(),
            inputs: vec![Input::default(); inputs],
            heads: BinaryHeap::new(),
            waiting: (0..inputs).collect(),
            left: plan.limit.unwrap_or(u64::MAX),
            failed: None,
            plan,
        }
    }

    /// Takes the next batch of an input. Batches of different inputs may come in any order, and before they are wanted.
    /// Batches out of order make [`Merge::take`] fail. Panics if the input is finished.
    pub fn push(&mut self, input: usize, batch: Batch) {
        let state = &mut self.inputs[input];
        assert!(!state.finished, "input {input} has more batches after its end");
        let Some(first) = batch.first_place() else { return };
        if state.last.as_ref().is_some_and(|last| !follows(self.plan.is_raw(), last, first)) {
            self.failed = Some(ExecError::OutOfOrder { input });
            return;
        }
        if self.waiting.remove(&input) {
            self.heads.push(Reverse((first.clone(), input)));
        }
        state.entries.extend(batch.into_entries());
        state.last = state.entries.back().map(|entry| entry.place.clone());
    }

    /// Says that an input has no more batches.
    pub fn finish_input(&mut self, input: usize) {
        self.inputs[input].finished = true;
        self.waiting.remove(&input);
    }

    /// An input that must deliver a batch or finish before more rows are certain; none if [`Merge::take`] has something to
    /// say, or all is done.
    pub fn wants(&self) -> Option<usize> {
        if self.failed.is_some() || self.done() { None } else { self.waiting.first().copied() }
    }

    /// All rows that are certain by now, after those taken before. After an error the answer has failed as a whole.
    pub fn take(&mut self) -> Result<Vec<Row>, ExecError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let mut rows = Vec::new();
        while self.left > 0 && self.waiting.is_empty() {
            let Some(mut entry) = self.pop() else { break };
            if !self.plan.is_raw() {
                self.merge_equal(&mut entry);
            }
            match self.finish(entry) {
                Ok(row) => rows.push(row),
                Err(error) => {
                    self.failed = Some(error.clone());
                    return Err(error);
                }
            }
            self.left -= 1;
        }
        Ok(rows)
    }

    /// Whether all rows have been taken: the limit is reached, or all inputs are finished and empty. A failed merge is
    /// never done, so that [`Merge::take`] is asked and says so.
    pub fn done(&self) -> bool {
        self.failed.is_none() && (self.left == 0 || self.waiting.is_empty() && self.heads.is_empty())
    }

    fn pop(&mut self) -> Option<Entry> {
        let Reverse((_, input)) = self.heads.pop()?;
        let state = &mut self.inputs[input];
        let entry = state.entries.pop_front()?;
        match state.entries.front() {
            Some(next) => self.heads.push(Reverse((next.place.clone(), input))),
            None if state.finished => {}
            None => {
                self.waiting.insert(input);
            }
        }
        Some(entry)
    }

    /// Adds what other inputs have of the same window. An input has a window once, so those that wait now have no more
    /// of it.
    fn merge_equal(&mut self, entry: &mut Entry) {
        while self.heads.peek().is_some_and(|Reverse((place, _))| *place == entry.place) {
            let Some(other) = self.pop() else { return };
            entry.merge(other, &self.kinds);
        }
    }

    fn finish(&self, entry: Entry) -> Result<Row, ExecError> {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let tags = if self.plan.is_raw() {
            entry.place.key.tags().map(owned).collect()
        } else {
            self.plan.group_by.iter().cloned().zip(entry.place.group.iter().cloned()).collect()
        };
        let values = entry.cells.into_iter().zip(&self.kinds).enumerate().map(|(index, (cell, kind))| {
            cell.finish(*kind).map_err(|_| ExecError::SumOverflow { column: columns(&self.plan).swap_remove(index) })
        });
        Ok(Row {
            // What a peer sent is brought into range instead of trusted.
            time: Timestamp::default().saturating_add(self.plan.flip(entry.place.order)),
            tags,
            values: values.collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests;
