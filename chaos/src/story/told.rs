//! Whether the rows that are there are what clients were told. Pure.
//!
//! Each row of a story has one field, so that it is a register: what was done to it and what is read must be linearizable,
//! which is searched for, row by row.

use std::collections::BTreeMap;

use meridian_trial::audit::{self, Verdict, audit};
use meridian_trial::{Broken, Told, Violation};

/// Steps after which the search for one row gives up.
const STEPS_MAX: usize = 1_000_000;

/// A measurement, and tags by their keys.
pub(super) type Key = (String, BTreeMap<String, String>);
/// What a read shows: the value of each row by its series and time.
pub(super) type Rows = BTreeMap<(Key, i64), i64>;

/// What was asked.
#[derive(Clone, Debug)]
pub(super) enum Deed {
    /// Rows of one request.
    Write(Rows),
    /// All rows of all series with this measurement and these tags, from a time up to another.
    Delete(Key, i64, i64),
}

impl Deed {
    /// What it does to a row, if anything.
    fn to(&self, row: &(Key, i64)) -> Option<audit::Deed> {
        let ((measurement, tags), time) = row;
        match self {
            Self::Write(rows) => rows.get(row).map(|value| audit::Deed::Write(*value)),
            Self::Delete((of, with), from, to) => {
                let covers = of == measurement
                    && (*from..*to).contains(time)
                    && with.iter().all(|(key, value)| tags.get(key) == Some(value));
                covers.then_some(audit::Deed::Delete)
            }
        }
    }
}

#[derive(Debug)]
struct Op {
    deed: Deed,
    began: u64,
    /// When it was told first that it is done.
    ended: u64,
    told: Option<Told>,
}

/// All that clients asked and were told.
#[derive(Debug, Default)]
pub(super) struct Asked {
    ops: Vec<Op>,
    tick: u64,
}

impl Asked {
    /// The next point in the order of questions and answers.
    pub(super) fn tick(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    /// Something is sent for the first time; its number.
    pub(super) fn begin(&mut self, deed: Deed) -> usize {
        let began = self.tick();
        self.ops.push(Op { deed, began, ended: began, told: None });
        self.ops.len() - 1
    }

    /// An answer to it. What was unknown once may have arrived, whatever is said of a repetition that is refused.
    pub(super) fn told(&mut self, op: usize, told: Told) {
        let tick = self.tick();
        let Some(op) = self.ops.get_mut(op) else { return };
        let known = match (op.told, told) {
            (Some(Told::Acked), _) => return,
            (_, Told::Acked) => Told::Acked,
            (Some(Told::Unknown), _) => Told::Unknown,
            (_, told) => told,
        };
        (op.told, op.ended) = (Some(known), tick);
    }

    /// The measurements that anything was asked of.
    pub(super) fn measurements(&self) -> Vec<String> {
        let of = |op: &Op| match &op.deed {
            Deed::Write(rows) => rows.keys().map(|((measurement, _), _)| measurement.clone()).collect(),
            Deed::Delete((measurement, _), ..) => vec![measurement.clone()],
        };
        let mut all: Vec<String> = self.ops.iter().flat_map(of).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Judges what a read of everything showed that was asked at a tick and has just been answered.
    pub(super) fn check(&self, asked: u64, seen: &Rows) -> Result<(), Broken> {
        let written = self.ops.iter().filter_map(|op| match &op.deed {
            Deed::Write(rows) => Some(rows.keys()),
            Deed::Delete(..) => None,
        });
        let mut rows: Vec<_> = written.flatten().chain(seen.keys()).collect();
        rows.sort_unstable();
        rows.dedup();
        rows.into_iter().try_for_each(|row| self.check_row(row, asked, seen.get(row).copied()))
    }

    fn check_row(&self, row: &(Key, i64), asked: u64, value: Option<i64>) -> Result<(), Broken> {
        let done = self.ops.iter().filter(|op| op.told != Some(Told::Refused)).filter_map(|op| {
            let ended = (op.told == Some(Told::Acked)).then_some(op.ended);
            Some(audit::Op { began: op.began, ended, deed: op.deed.to(row)? })
        });
        let read = audit::Op { began: asked, ended: Some(u64::MAX), deed: audit::Deed::Read(value) };
        let ops: Vec<_> = done.chain([read]).collect();
        let ((measurement, tags), time) = row;
        match audit(&ops, STEPS_MAX) {
            Verdict::Linearizable => Ok(()),
            Verdict::GaveUp(_) => {
                Err(Broken::Crash(format!("{measurement} {tags:?} at {time}: too much was done to it")))
            }
            Verdict::Stuck(stuck) => {
                Err(unlike(format!("{measurement} {tags:?} at {time} ns is not what clients were told: {stuck}")))
            }
        }
    }
}

/// A broken promise, in words.
pub(super) fn unlike(what: String) -> Broken {
    Broken::Safety(Violation::Other(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: &[(i64, i64)]) -> Rows {
        values.iter().map(|(time, value)| ((("cpu".to_owned(), BTreeMap::new()), *time), *value)).collect()
    }

    fn check(asked: &mut Asked, seen: &[(i64, i64)]) -> bool {
        let tick = asked.tick();
        asked.check(tick, &rows(seen)).is_ok()
    }

    #[test]
    fn what_was_told_decides_what_may_be_there() {
        let mut asked = Asked::default();
        let first = asked.begin(Deed::Write(rows(&[(1, 10), (2, 20)])));
        asked.told(first, Told::Acked);
        assert!(check(&mut asked, &[(1, 10), (2, 20)]));
        assert!(!check(&mut asked, &[(1, 10)]), "an acknowledged row is missing");
        assert!(!check(&mut asked, &[(1, 10), (2, 20), (3, 30)]), "nobody wrote that");
        let second = asked.begin(Deed::Write(rows(&[(1, 11)])));
        assert!(check(&mut asked, &[(1, 11), (2, 20)]) && check(&mut asked, &[(1, 10), (2, 20)]));
        asked.told(second, Told::Refused);
        assert!(!check(&mut asked, &[(1, 11), (2, 20)]), "refused");
        asked.told(second, Told::Unknown);
        asked.told(second, Told::Refused);
        assert!(check(&mut asked, &[(1, 11), (2, 20)]), "it may have arrived");
        let delete = asked.begin(Deed::Delete(("cpu".to_owned(), BTreeMap::new()), 2, 3));
        asked.told(delete, Told::Acked);
        assert!(check(&mut asked, &[(1, 10)]));
        assert!(!check(&mut asked, &[(1, 10), (2, 20)]), "deleted");
    }
}
