//! Which times an answer can still need: narrowed while it is made, so that whoever reads the rows leaves the others alone.
//!
//! It must never leave out a time of which a row could change the answer.

use std::cell::Cell;

use meridian_types::{TimeRange, Timestamp};

use crate::Plan;

/// See the module. Shared by who reads the rows and who makes the answer of them.
#[derive(Debug)]
pub struct Needed(Cell<Option<TimeRange>>);

impl Needed {
    /// All that the plan asks for.
    pub fn of(plan: &Plan) -> Self {
        Self(Cell::new(Some(plan.range)))
    }

    /// What is still needed of `range`; `None` if nothing is.
    pub fn within(&self, range: TimeRange) -> Option<TimeRange> {
        let needed = self.0.get()?;
        TimeRange::new(range.start().max(needed.start()), range.end().min(needed.end())).ok()
    }

    /// The answer has as many rows as it may, and the last of them is of `time`, a window's label or a row's own: what comes
    /// behind it in the answer's order is not needed. Groups come one after the other, so that of them all times are.
    pub(crate) fn up_to(&self, plan: &Plan, time: i64) {
        if !plan.group_by.is_empty() {
            return;
        }
        let (start, end) = if plan.is_raw() { (time, time.saturating_add(1)) } else { plan.window_around(time) };
        let at = |nanos| Timestamp::default().saturating_add(nanos);
        let narrowed = match plan.descending {
            true => TimeRange::new(at(start), Timestamp::END),
            false => TimeRange::new(Timestamp::MIN, at(end)),
        };
        self.0.set(narrowed.ok().and_then(|narrowed| self.within(narrowed)));
    }
}
