//! Merges the ordered batches of several nodes into the rows of the answer. Holds only what has been pushed and is not yet
//! certain, and never gives out a row that a batch still to come could change.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;

use meridian_types::{SeriesKey, Timestamp, Value};

use crate::batch::{Entry, Place, follows};
use crate::cell::Kind;
use crate::group_limit::GroupLimit;
use crate::plan::columns;
use crate::{Batch, ExecError, Plan};

/// One row of the answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// Raw: the row's time. Aggregates: the start of the window, or of the range if there are no windows.
    pub time: Timestamp,
    /// Whose row it is.
    pub tags: Tags,
    /// One for each of [`columns`]; `None` where there is no value.
    pub values: Vec<Option<Value>>,
}

/// The tags of a row. Those of one series or group share their memory within a batch.
#[derive(Clone, PartialEq, Debug)]
pub enum Tags {
    /// Raw rows: all of the series.
    Series(Arc<SeriesKey>),
    /// Aggregates: the values of `group_by` in its order, empty where the series have none.
    Group(Arc<[String]>),
}

impl Tags {
    /// Names and values, of an answer to `plan`.
    pub fn pairs<'a>(&'a self, plan: &'a Plan) -> Box<dyn Iterator<Item = (&'a str, &'a str)> + 'a> {
        match self {
            Self::Series(key) => Box::new(key.tags()),
            Self::Group(values) => Box::new(plan.group_by.iter().zip(&**values).map(|(k, v)| (k.as_str(), v.as_str()))),
        }
    }

    /// The same for tags that share their memory, as long as any of them lives.
    pub fn address(&self) -> usize {
        match self {
            Self::Series(key) => Arc::as_ptr(key).addr(),
            Self::Group(values) => Arc::as_ptr(values).addr(),
        }
    }
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
    /// Where the first entry of each input stands that has one; of an input that is alone, where one of its entries stood.
    heads: BinaryHeap<Reverse<(Place, usize)>>,
    /// Inputs that have none and are not finished: as long as there are any, no row is certain.
    waiting: BTreeSet<usize>,
    groups: Option<GroupLimit>,
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
            groups: GroupLimit::of(&plan),
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
            let is_alone = self.is_alone();
            let Some(mut entry) = self.pop() else { break };
            if !self.plan.is_raw() && !is_alone {
                self.merge_equal(&mut entry);
            }
            if self.groups.as_mut().is_some_and(|groups| !groups.takes(&entry.place.group)) {
                continue;
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

    /// Whether one input has entries, and all others have ended: there is nothing to compare its entries with, nor will there be.
    fn is_alone(&self) -> bool {
        self.heads.len() == 1 && self.waiting.is_empty()
    }

    fn pop(&mut self) -> Option<Entry> {
        let is_alone = self.is_alone();
        let mut head = self.heads.peek_mut()?;
        let Reverse((place, input)) = &mut *head;
        let state = &mut self.inputs[*input];
        let entry = state.entries.pop_front()?;
        match state.entries.front() {
            Some(_) if is_alone => {}
            Some(next) => *place = next.place.clone(),
            None => {
                if !state.finished {
                    self.waiting.insert(*input);
                }
                PeekMut::pop(head);
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
        let Place { group, order, key } = entry.place;
        let tags = if self.plan.is_raw() { Tags::Series(key) } else { Tags::Group(group) };
        let mut values = Vec::with_capacity(self.kinds.len());
        for (index, (cell, kind)) in entry.cells.into_iter().zip(&self.kinds).enumerate() {
            let overflow = |_| ExecError::SumOverflow { column: columns(&self.plan).swap_remove(index) };
            values.push(cell.finish(*kind).map_err(overflow)?);
        }
        Ok(Row {
            // What a peer sent is brought into range instead of trusted.
            time: Timestamp::default().saturating_add(self.plan.flip(order)),
            tags,
            values,
        })
    }
}

#[cfg(test)]
mod tests;
