//! Within one life of its process a replica's vote never goes back: its term rises, and in one term it follows lesser
//! leaders first.
//!
//! Source: openraft's simulation tests, `monotonic` (MonotonicTerm and MonotonicVote, after Vanlightly's TLA+ spec).
//!
//! Sound: the vote in memory is replaced by greater ones only, greater by term, then by candidate, then by having won.
//! Of the candidate a look tells only once it has won; in between, a vote that names nobody is no step back. Over a
//! restart nothing is said here: the vote that was seen may not have been synced.

use std::collections::BTreeMap;

use super::{Invariant, Look, Who};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct VoteOrder {
    /// Each replica's start, term, and the greatest leader that it followed in it.
    votes: BTreeMap<Who, (u32, u64, Option<u64>)>,
}

impl Invariant for VoteOrder {
    const NAME: &'static str = "vote order";

    fn see(&mut self, look: &Look) -> Result<(), String> {
        for seen in look.told() {
            let before = self.votes.insert(seen.who(), (look.start, seen.term, seen.leader));
            let Some((_, term, leader)) = before.filter(|(start, ..)| *start == look.start) else { continue };
            let follows_less = seen.term == term && seen.leader.is_some() && seen.leader < leader;
            if seen.term < term || follows_less {
                let now = format!("term {} and leader {:?}", seen.term, seen.leader);
                return Err(format!("{} had term {term} and leader {leader:?}, now {now}", seen.who()));
            }
            if seen.term == term {
                self.votes.insert(seen.who(), (look.start, term, leader.max(seen.leader)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{blank, follower, look, see};
    use super::*;

    fn holds(votes: &[(u32, u64, Option<u64>)]) -> bool {
        let seen = votes.iter().map(|(start, term, leader)| look(*start, follower(1, *term, *leader, 9)));
        see::<VoteOrder>(seen).is_ok()
    }

    #[test]
    fn votes_rise_within_a_process() {
        assert!(holds(&[(1, 5, None), (1, 5, Some(2)), (1, 5, None), (1, 5, Some(3)), (1, 6, Some(2))]));
        assert!(!holds(&[(1, 5, Some(2)), (1, 4, Some(2))]));
        assert!(!holds(&[(1, 5, Some(3)), (1, 5, Some(2))]));
        assert!(!holds(&[(1, 5, Some(3)), (1, 5, None), (1, 5, Some(2))]));
        assert!(holds(&[(1, 5, Some(3)), (2, 4, Some(2))]), "it was not synced");
    }

    #[test]
    fn a_process_that_shows_nothing_yet_says_nothing() {
        let looks = [look(1, follower(1, 5, None, 9)), look(2, blank(1)), look(2, follower(1, 5, None, 9))];
        assert_eq!(see::<VoteOrder>(looks), Ok(()));
    }
}
