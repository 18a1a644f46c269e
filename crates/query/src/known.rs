//! What is known of some rows without their values: what whoever keeps rows told of them when it laid them down. And which answers
//! need no more than that.
//!
//! Exact, or not there at all: an answer that is made of it is, bit for bit, the one that the values would give.

use meridian_types::Value;

use crate::cell::Kind;
use crate::{Aggregate, Plan, Window};

/// What is known of the values of one field in some rows of a series.
#[derive(Clone, PartialEq, Debug)]
pub struct Known {
    /// How many values there are, NaN included.
    pub count: u64,
    /// How many of them are not NaN. Without any, `min` and `max` mean nothing.
    pub numbers: u64,
    /// The least number; of floats in the total order of IEEE 754.
    pub min: Value,
    /// The greatest.
    pub max: Value,
    /// The values of the first and of the last row, if both have one that is not NaN.
    pub ends: Option<(Value, Value)>,
    /// Of integers.
    pub sum: Option<i128>,
}

impl Known {
    /// Whether some value is NaN.
    pub(crate) fn has_nan(&self) -> bool {
        self.numbers < self.count
    }
}

/// Some rows of a series without their values.
#[derive(Clone, PartialEq, Debug)]
pub struct KnownRows {
    /// Time of the first row.
    pub first: i64,
    /// Time of the last row.
    pub last: i64,
    /// One for each of [`Plan::read_fields`]; `None`: no value of that field, but not of all.
    pub columns: Vec<Option<Known>>,
}

/// Answers that may need no more of some rows than what is known of them.
#[derive(Clone, Debug)]
pub struct Whole {
    window: Option<Window>,
    kinds: Vec<Kind>,
}

impl Whole {
    /// `None` for a plan that needs single rows.
    pub(crate) fn of(plan: &Plan) -> Option<Self> {
        let is_one = !plan.is_raw() && plan.conditions.is_empty() && plan.newest().is_none();
        is_one.then(|| Self { window: plan.window, kinds: plan.kinds() })
    }

    /// Whether rows between these times, inside the plan's range, all go into one window.
    pub fn is_one_window(&self, first: i64, last: i64) -> bool {
        self.window.is_none_or(|window| last < window.around(first).1)
    }

    /// Whether all that the answer takes of such rows is known.
    pub fn suffices(&self, columns: &[Option<Known>]) -> bool {
        self.kinds.iter().all(|kind| {
            columns[kind.field].as_ref().is_none_or(|known| match kind.aggregate {
                Some(Aggregate::Count | Aggregate::Min | Aggregate::Max) => true,
                Some(Aggregate::Sum | Aggregate::Mean) => known.sum.is_some(),
                Some(Aggregate::First | Aggregate::Last) => known.ends.is_some(),
                None => false,
            })
        })
    }
}
