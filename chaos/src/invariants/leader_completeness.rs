//! A leader has in its log whatever was committed in the reigns before its own.
//!
//! Source: Raft paper, figure 3, Leader Completeness; openraft's simulation tests, `leader_completeness`. They compare
//! log ids; a look has indexes only, so that a leader that lacks the end of the log is found, and one with other
//! entries is not.
//!
//! Sound: who says that an entry is committed, or has applied it, has it from a leader that reigned no later than its
//! vote at that moment, which is in the same look; after a restart too, since a vote is synced before anything is
//! applied under it. By the property, every leader of a later reign had that entry when it was elected, **whenever**
//! the look at it was, for its voters refuse the earlier leader from then on. And it appended an entry of its own
//! before it was first seen, so that its log ends beyond. Replicas that come and go change nothing: membership changes
//! keep majorities overlapping, and one that lost its files comes back under another id, without a vote.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::{Invariant, Life, Look, Reign};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct LeaderCompleteness {
    groups: BTreeMap<Life, Known>,
}

/// What is known of a group.
#[derive(Debug, Default)]
struct Known {
    /// The greatest entry known committed, by the latest reign in which that may have been.
    committed: BTreeMap<Reign, u64>,
    /// The least last entry that each leader was seen with.
    leaders: BTreeMap<Reign, u64>,
}

impl Known {
    /// An entry is committed in a reign up to `reign`: later leaders have it.
    fn commit(&mut self, reign: Reign, index: u64) -> Result<(), String> {
        let known = self.committed.entry(reign).or_insert(index);
        *known = index.max(*known);
        let mut later = self.leaders.range((Bound::Excluded(reign), Bound::Unbounded));
        later.find(|(_, last)| **last <= index).map_or(Ok(()), |(later, last)| Err(lacks(*later, *last, index, reign)))
    }

    /// Somebody leads: it has what was committed before.
    fn lead(&mut self, reign: Reign, last: u64) -> Result<(), String> {
        let least = self.leaders.entry(reign).or_insert(last);
        *least = last.min(*least);
        let mut before = self.committed.range(..reign);
        before
            .find(|(_, index)| last <= **index)
            .map_or(Ok(()), |(before, index)| Err(lacks(reign, last, *index, *before)))
    }
}

fn lacks(leads: Reign, last: u64, index: u64, reign: Reign) -> String {
    let by = if reign.leader == u64::MAX { format!("term {}", reign.term) } else { reign.to_string() };
    format!(
        "{leads} has a log up to {last}, its own entry included, and entry {index} was committed by {by} at the latest"
    )
}

impl Invariant for LeaderCompleteness {
    const NAME: &'static str = "leader completeness";

    fn see(&mut self, look: &Look) -> Result<(), String> {
        for seen in look.told() {
            let known = self.groups.entry(seen.life()).or_default();
            let led = seen.reign().map_or(Ok(()), |reign| known.lead(reign, seen.last.unwrap_or(0)));
            let committed = seen.committed.max(seen.applied);
            let held = led.and_then(|()| committed.map_or(Ok(()), |index| known.commit(seen.reign_max(), index)));
            held.map_err(|why| format!("{}: {why}", seen.life()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Seen;
    use super::super::made::{follower, leader, look, see};
    use super::*;

    fn holds(replicas: impl IntoIterator<Item = Seen>) -> bool {
        see::<LeaderCompleteness>(replicas.into_iter().map(|seen| look(1, seen))).is_ok()
    }

    #[test]
    fn a_later_leader_has_it_whenever_it_was_seen() {
        let knows = |leader| Seen { committed: Some(9), ..follower(1, 5, leader, 9) };
        assert!(holds([knows(Some(2)), leader(3, 6, 10)]));
        assert!(!holds([knows(Some(2)), leader(3, 6, 9)]), "its own entry is the ninth");
        assert!(!holds([leader(3, 6, 9), knows(Some(2))]));
        assert!(holds([leader(3, 6, 12), leader(3, 6, 15), knows(Some(2))]));
        let applied = Seen { applied: Some(9), ..follower(1, 5, Some(2), 9) };
        assert!(!holds([applied, leader(3, 6, 9)]));
    }

    #[test]
    fn reigns_are_ordered_by_term_and_replica() {
        let knows = |leader| Seen { committed: Some(9), ..follower(1, 5, leader, 9) };
        assert!(holds([knows(Some(2)), leader(2, 5, 4)]), "an older look at the one who committed it");
        assert!(!holds([knows(Some(2)), leader(3, 5, 4)]));
        assert!(holds([knows(Some(3)), leader(2, 5, 4)]), "the lesser one may have been first");
        assert!(holds([knows(None), leader(3, 5, 4)]), "anybody in the term may have told it");
        assert!(!holds([knows(None), leader(3, 6, 4)]));
    }

    #[test]
    fn every_life_of_a_group_begins_anew() {
        let knows = Seen { committed: Some(9), ..follower(1, 5, Some(2), 9) };
        let other = [Seen { group: 2, ..leader(3, 6, 1) }, Seen { incarnation: 2, ..leader(3, 6, 1) }];
        assert!(holds([knows].into_iter().chain(other)));
    }
}
