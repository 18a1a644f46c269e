//! A vote that won an election outlives every crash: after a restart the replica is in that term at least, and follows
//! nobody lesser in it.
//!
//! Source: Raft paper, figure 2, persistent state; items 1 and 3 of our openraft checklist (a vote is on disk before it
//! counts, in one stream with the log).
//!
//! Sound: openraft saves a candidate's vote, and our log syncs it, before the first request for votes is sent, and only
//! a reply to one makes a leader. So who was seen leading has the vote on disk. No other vote that is seen is sure to
//! be kept: it is published while its sync may still wait behind other writes.

use std::collections::BTreeMap;

use super::{Invariant, Look, Reign, Who};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct VoteKept {
    /// The latest reign that each replica was seen in, and the start that it was in.
    led: BTreeMap<Who, (Reign, u32)>,
}

impl Invariant for VoteKept {
    const NAME: &'static str = "vote kept";

    fn see(&mut self, look: &Look) -> Result<(), String> {
        for seen in look.told() {
            if let Some((reign, start)) = self.led.get(&seen.who())
                && *start < look.start
                && seen.reign_max() < *reign
            {
                let (who, now, leader) = (seen.who(), seen.term, seen.leader);
                return Err(format!(
                    "{who} led in {reign} at start {start}, now it is in term {now} with leader {leader:?}"
                ));
            }
            if let Some(reign) = seen.reign() {
                self.led.insert(seen.who(), (reign, look.start));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{blank, follower, leader, look, see};
    use super::*;

    fn holds(term: u64, leader_then: Option<u64>) -> bool {
        see::<VoteKept>([look(1, leader(2, 5, 9)), look(2, blank(2)), look(2, follower(2, term, leader_then, 9))])
            .is_ok()
    }

    #[test]
    fn a_leader_comes_back_with_its_vote() {
        assert!(holds(5, None) && holds(6, Some(1)) && holds(5, Some(3)));
        assert!(!holds(4, Some(3)));
        assert!(!holds(4, None));
        assert!(!holds(5, Some(1)), "it had voted for itself, who is greater");
    }

    #[test]
    fn what_was_never_led_may_be_lost() {
        let looks = [look(1, leader(2, 5, 9)), look(1, follower(2, 8, Some(1), 9)), look(2, follower(2, 5, None, 9))];
        assert_eq!(see::<VoteKept>(looks), Ok(()));
    }
}
