//! An answer of one shard, or of several, as batches that are made when they are taken. Never holds a batch that nobody has
//! asked for.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::iter::{Peekable, Take};

use crate::batch::{BATCH_BYTES_MAX, BATCH_ROWS_MAX, Entry, Place};
use crate::cell::Kind;
use crate::group_limit::GroupLimit;
use crate::{Batch, Plan};

/// Rows in the answer's order, still to be made.
pub(crate) type Entries = Box<dyn Iterator<Item = Entry> + Send>;

/// The batches of an answer, in its order.
pub struct Batches {
    raw: bool,
    entries: Peekable<Take<Entries>>,
    rows_max: usize,
}

impl Batches {
    /// Those of these rows, up to the plan's limits.
    pub(crate) fn new(plan: &Plan, entries: Entries) -> Self {
        let entries: Entries = match GroupLimit::of(plan) {
            Some(mut groups) => Box::new(entries.filter(move |entry| groups.takes(&entry.place.group))),
            None => entries,
        };
        let limit = plan.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        Self { raw: plan.is_raw(), entries: entries.take(limit).peekable(), rows_max: BATCH_ROWS_MAX }
    }

    /// The answers of several shards to one plan as that of one shard: what they have of one window is merged.
    pub fn merged(plan: &Plan, mut answers: Vec<Self>) -> Self {
        // Most shards have nothing of what a short query is about.
        answers.retain(|answer| answer.rows_at_most() != Some(0));
        if answers.len() == 1 {
            return answers.remove(0);
        }
        let parts = answers.into_iter().map(|answer| answer.entries).collect();
        Self::new(plan, Box::new(Merged::new(plan, parts)))
    }

    /// How many rows are left at most, if that is known.
    pub fn rows_at_most(&self) -> Option<usize> {
        self.entries.size_hint().1
    }

    /// Whether all of them have been taken.
    pub fn is_done(&mut self) -> bool {
        self.entries.peek().is_none()
    }

    /// The same with smaller batches, so that tests see many.
    #[cfg(test)]
    pub(crate) fn rows_max(self, rows_max: usize) -> Self {
        Self { rows_max, ..self }
    }
}

impl Iterator for Batches {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while entries.len() < self.rows_max {
            let fits = |entry: &Entry| entries.is_empty() || bytes + entry.encoded_len() <= BATCH_BYTES_MAX;
            let Some(entry) = self.entries.next_if(fits) else { break };
            bytes += entry.encoded_len();
            entries.push(entry);
        }
        (!entries.is_empty()).then(|| Batch::new(self.raw, entries))
    }
}

impl std::fmt::Debug for Batches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batches").field("raw", &self.raw).finish_non_exhaustive()
    }
}

/// The rows of several answers, each in order, in order.
struct Merged {
    raw: bool,
    kinds: Vec<Kind>,
    parts: Vec<Peekable<Take<Entries>>>,
    /// Where the next row of each part stands.
    heads: BinaryHeap<Reverse<(Place, usize)>>,
}

impl Merged {
    fn new(plan: &Plan, mut parts: Vec<Peekable<Take<Entries>>>) -> Self {
        let head = |(part, entries): (usize, &mut Peekable<Take<Entries>>)| {
            entries.peek().map(|entry| Reverse((entry.place.clone(), part)))
        };
        let heads = parts.iter_mut().enumerate().filter_map(head).collect();
        Self { raw: plan.is_raw(), kinds: plan.kinds(), parts, heads }
    }

    fn pop(&mut self) -> Option<Entry> {
        let mut head = self.heads.peek_mut()?;
        let Reverse((place, part)) = &mut *head;
        let part = &mut self.parts[*part];
        let entry = part.next();
        match part.peek() {
            Some(next) => *place = next.place.clone(),
            None => drop(PeekMut::pop(head)),
        }
        entry
    }
}

impl Iterator for Merged {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        let mut entry = self.pop()?;
        while !self.raw && self.heads.peek().is_some_and(|Reverse((place, _))| *place == entry.place) {
            let Some(other) = self.pop() else { break };
            entry.merge(other, &self.kinds);
        }
        Some(entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // Without a limit, and of rows that nobody has counted, there may be as many as a number holds.
        let add =
            |sum: usize, part: &Peekable<Take<Entries>>| part.size_hint().1.and_then(|rows| sum.checked_add(rows));
        (0, self.parts.iter().try_fold(0, add))
    }
}
