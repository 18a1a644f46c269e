//! Election safety: nobody is elected twice for the same reign.
//!
//! Source: Raft paper, figure 3, Election Safety; openraft's simulation tests, `election_safety`, which count by leader
//! id too.
//!
//! Sound: two replicas may lead in one term, since leader ids are ordered by term and replica, and two looks at one
//! reign are no second election. But a candidate takes the term after its own vote and syncs that vote before it asks
//! for others, so that after a restart its term is at least that one, and the next candidacy is in a greater. Nor does
//! a process lead without an election: `enable_leader_restore` is off. So all looks at a reign are at one start of one
//! node's process.

use std::collections::BTreeMap;

use super::{Invariant, Look, Who};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct ElectionSafety {
    /// The start of the process that led, by replica and term.
    led: BTreeMap<(Who, u64), u32>,
}

impl Invariant for ElectionSafety {
    const NAME: &'static str = "election safety";

    fn see(&mut self, look: &Look) -> Result<(), String> {
        for (seen, reign) in look.told().filter_map(|seen| Some((seen, seen.reign()?))) {
            let start = *self.led.entry((seen.who(), reign.term)).or_insert(look.start);
            if start != look.start {
                let (who, term, node) = (seen.who(), reign.term, look.node);
                return Err(format!(
                    "{who} on n{node} leads in term {term} at start {}, and did at {start}",
                    look.start
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{follower, leader, look, see};
    use super::*;

    #[test]
    fn a_reign_ends_with_its_process() {
        let reign = || look(1, leader(1, 5, 9));
        assert_eq!(see::<ElectionSafety>([reign(), look(1, follower(1, 6, None, 9)), reign()]), Ok(()));
        assert_eq!(see::<ElectionSafety>([reign(), look(2, leader(1, 6, 9))]), Ok(()));
        assert_eq!(see::<ElectionSafety>([reign(), look(1, leader(2, 5, 9))]), Ok(()), "the greater of two candidates");
        let why = see::<ElectionSafety>([reign(), look(2, follower(1, 5, None, 9)), look(2, leader(1, 5, 9))]);
        assert_eq!(why, Err("r1 of g1/1 on n1 leads in term 5 at start 2, and did at 1".into()));
    }
}
