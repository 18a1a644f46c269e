//! On a leader, what is committed is in its log, and once it has committed an entry of its own it never goes back.
//!
//! Source: openraft's simulation tests, `state_ordering` (`committed <= last`) and `monotonic` (MonotonicCommitIndex,
//! after Vanlightly's TLA+ spec). There both hold of every node, since they read openraft's local figure; ours is the
//! cluster's, which on a follower may be beyond the log, and goes back when a new leader knows less.
//!
//! Sound: what a leader knows committed it counted itself, among entries of its log, or heard from an earlier reign, so
//! that it is in its log by leader completeness. What it heard may still be replaced by what another earlier leader
//! said, or forgotten. But what it has counted is of its own reign: nothing but more of that replaces it. It has
//! counted itself if the entry is not before the end of its log when it was first seen to lead, for that is not before
//! the entry with which it began.

use std::collections::BTreeMap;

use super::{Invariant, Look, Reign, Seen, Who};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct LeaderCommits {
    reigns: BTreeMap<Who, Own>,
}

/// A replica's latest reign.
#[derive(Debug)]
struct Own {
    reign: Reign,
    start: u32,
    /// The end of its log when it was first seen.
    from: Option<u64>,
    /// What it has committed itself.
    committed: Option<u64>,
}

impl Own {
    fn step(&mut self, seen: &Seen) -> Result<(), String> {
        let (now, before) = (seen.committed, self.committed);
        if now > seen.last {
            return Err(format!(
                "{}, {}: {now:?} is committed beyond its log, {:?}",
                seen.who(),
                self.reign,
                seen.last
            ));
        }
        if now < before {
            return Err(format!("{}, {}: {before:?} was committed, now {now:?}", seen.who(), self.reign));
        }
        if now >= self.from {
            self.committed = now;
        }
        Ok(())
    }
}

impl Invariant for LeaderCommits {
    const NAME: &'static str = "leader commits";

    fn see(&mut self, look: &Look) -> Result<(), String> {
        for (seen, reign) in look.told().filter_map(|seen| Some((seen, seen.reign()?))) {
            let new = || Own { reign, start: look.start, from: seen.last, committed: None };
            let own = self.reigns.entry(seen.who()).or_insert_with(new);
            if (own.reign, own.start) != (reign, look.start) {
                *own = new();
            }
            own.step(seen)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{follower, leader, look, see};
    use super::*;

    fn holds(looks: &[(u64, Option<u64>)]) -> bool {
        let seen = |(last, committed): &(u64, _)| Seen { committed: *committed, ..leader(1, 5, *last) };
        see::<LeaderCommits>(looks.iter().map(|at| look(1, seen(at)))).is_ok()
    }

    #[test]
    fn what_it_counted_stays() {
        assert!(holds(&[(9, None), (12, Some(9)), (12, Some(12))]));
        assert!(!holds(&[(9, None), (12, Some(10)), (12, Some(9))]));
        assert!(!holds(&[(9, None), (12, Some(10)), (12, None)]));
        assert!(!holds(&[(9, Some(10))]), "nobody commits what is not there");
    }

    #[test]
    fn what_it_heard_may_be_forgotten() {
        assert!(holds(&[(9, Some(8)), (9, Some(5)), (9, None), (9, Some(9))]));
        let follows = Seen { committed: Some(12), ..follower(1, 6, Some(2), 9) };
        assert_eq!(
            see::<LeaderCommits>([look(1, leader(1, 5, 9)), look(1, follows)]),
            Ok(()),
            "told, and not there yet"
        );
    }
}
