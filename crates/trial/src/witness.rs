//! Whether the entries that acknowledgements name can be those of their requests. Pure.
//!
//! A request is applied at one place of a shard's log, between its beginning and its acknowledgement: no two requests share an entry,
//! and one that was acknowledged before another began has the earlier one. Rows need not be read for that, so it also finds
//! what later writes have covered. Costs `n log n` in the acknowledged requests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::history::{Op, Tick, Told};
use crate::registers::Violation;

/// The entry of a shard's log that an acknowledgement names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Witness {
    /// Which shard.
    pub shard: u32,
    /// Which life of it.
    pub incarnation: u32,
    /// Which entry.
    pub index: u64,
}

impl From<&meridian_proto::v1::Witness> for Witness {
    fn from(told: &meridian_proto::v1::Witness) -> Self {
        Self { shard: told.shard, incarnation: told.incarnation, index: told.index }
    }
}

pub(crate) fn check(ops: &[Op]) -> Result<(), Violation> {
    let acked = ops.iter().filter(|op| op.told == Told::Acked);
    let mut named: Vec<(Witness, &Op)> = acked.flat_map(|op| op.witnesses.iter().map(move |at| (*at, op))).collect();
    named.sort_unstable_by_key(|(at, _)| *at);
    // Of the entries of one log so far: which request began last.
    let mut latest: Option<(Witness, Tick)> = None;
    for (at, op) in named {
        let before = latest.filter(|(before, _)| (before.shard, before.incarnation) == (at.shard, at.incarnation));
        if let Some((before, began)) = before {
            if before.index == at.index {
                return Err(Violation::OneEntry { shard: at.shard, index: at.index });
            }
            if began > op.ended {
                return Err(Violation::OutOfOrder { shard: at.shard, first: at.index, second: before.index });
            }
        }
        let later = before.filter(|(_, began)| *began > op.began);
        latest = Some((at, later.map_or(op.began, |(_, began)| began)));
    }
    Ok(())
}

/// The last entry of each shard's newest life that was named.
pub(crate) fn last(ops: &[Op]) -> BTreeMap<u32, u64> {
    let mut named: Vec<Witness> = ops.iter().flat_map(|op| op.witnesses.iter().copied()).collect();
    named.sort_unstable();
    named.into_iter().map(|at| (at.shard, at.index)).collect()
}

#[cfg(test)]
mod tests {
    use meridian_env::Rng;

    use super::*;
    use crate::history::{Deed, History, OpId};

    fn at(index: u64) -> Vec<Witness> {
        vec![Witness { shard: 1, incarnation: 1, index }]
    }

    fn checked(indexes: [u64; 2], act: impl FnOnce(&mut History, [Vec<Witness>; 2])) -> Result<(), Violation> {
        let mut history = History::default();
        act(&mut history, indexes.map(at));
        check(&history.ops)
    }

    fn begin(history: &mut History) -> OpId {
        history.begin(Deed::Write(Vec::new()))
    }

    #[test]
    fn what_was_acknowledged_before_another_began_comes_first() {
        let apart = |history: &mut History, [one, two]: [Vec<Witness>; 2]| {
            let first = begin(history);
            history.acked(first, one);
            let second = begin(history);
            history.acked(second, two);
        };
        assert_eq!(checked([4, 9], apart), Ok(()));
        assert_eq!(checked([9, 4], apart), Err(Violation::OutOfOrder { shard: 1, first: 9, second: 4 }));
        let overlapping = |history: &mut History, [one, two]: [Vec<Witness>; 2]| {
            let (first, second) = (begin(history), begin(history));
            history.acked(first, one);
            history.acked(second, two);
        };
        for (indexes, expected) in [([4, 9], true), ([9, 4], true), ([4, 4], false)] {
            assert_eq!(checked(indexes, overlapping).is_ok(), expected, "{indexes:?}");
        }
    }

    /// Against all pairs.
    #[test]
    fn every_pair_is_compared() {
        let mut seen = [0, 0];
        for seed in 0..2_000 {
            let rng = Rng::from_seed(seed);
            let (mut history, mut open) = (History::default(), Vec::new());
            for _ in 0..12 {
                if open.is_empty() || rng.chance(0.5) {
                    open.push(begin(&mut history));
                } else {
                    let op = open.swap_remove(rng.below(open.len() as u64) as usize);
                    let (shard, now) = (1 + rng.below(2) as u32, history.tick());
                    history.acked(op, vec![Witness { shard, incarnation: 1, index: now * 2 + rng.below(9) }]);
                }
            }
            let acked: Vec<&Op> = history.ops.iter().filter(|op| op.told == Told::Acked).collect();
            let is_bad = |a: &Op, b: &Op| {
                let (x, y) = (a.witnesses[0], b.witnesses[0]);
                x.shard == y.shard
                    && (x.index == y.index && !std::ptr::eq(a, b) || a.ended < b.began && x.index > y.index)
            };
            let bad = acked.iter().any(|a| acked.iter().any(|b| is_bad(a, b)));
            assert_eq!(check(&history.ops).is_err(), bad, "seed {seed}: {:?}", history.ops);
            seen[usize::from(bad)] += 1;
        }
        assert!(seen.iter().all(|count| *count > 100), "{seen:?}");
    }
}
