//! Reads of several nodes, confirmed by the votes that these nodes told: each was asked after the reads had begun.
//!
//! Counts no vote but those, and the leader's own, which is in its log. Why that is enough stands in `crates/raft`, `confirm.rs`.

use std::collections::BTreeMap;

use meridian_proto::v1;

/// The last votes of replicas, by shard and replica: for which leader, and in which term.
#[derive(Debug)]
pub(crate) struct Votes(BTreeMap<(u32, u64), (u64, u64)>);

impl Votes {
    pub(crate) fn of<'a>(told: impl Iterator<Item = &'a v1::HeldVote>) -> Self {
        Self(told.map(|held| ((held.shard, held.replica), (held.leader, held.term))).collect())
    }

    /// Whether a majority of each configuration holds the vote.
    pub(crate) fn confirm(&self, claim: &v1::Claim) -> bool {
        let own = (claim.replica, claim.term);
        let holds = |replica: &u64| *replica == claim.replica || self.0.get(&(claim.shard, *replica)) == Some(&own);
        let is_held = |voters: &v1::Voters| {
            2 * voters.replicas.iter().filter(|replica| holds(replica)).count() > voters.replicas.len()
        };
        !claim.configurations.is_empty() && claim.configurations.iter().all(is_held)
    }

    /// For whom the newest vote on a shard is, if it is of a later term than the claim.
    pub(crate) fn newest(&self, claim: &v1::Claim) -> Option<u64> {
        let told = self.0.range((claim.shard, 0)..=(claim.shard, u64::MAX)).map(|(_, vote)| *vote);
        told.filter(|(_, term)| *term > claim.term).max_by_key(|(_, term)| *term).map(|(leader, _)| leader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether replica 1 leads shard 7 in term 3 by these votes of others: of which replica, for whom, in which term.
    fn confirmed(configurations: &[&[u64]], votes: &[(u64, u64, u64)]) -> bool {
        let voters = |ids: &&[u64]| v1::Voters { replicas: ids.to_vec() };
        let configurations = configurations.iter().map(voters).collect();
        let held = |(replica, leader, term): &(u64, u64, u64)| v1::HeldVote {
            shard: 7,
            replica: *replica,
            leader: *leader,
            term: *term,
        };
        let votes: Vec<_> = votes.iter().map(held).collect();
        Votes::of(votes.iter()).confirm(&v1::Claim { shard: 7, replica: 1, term: 3, configurations })
    }

    #[test]
    fn a_majority_of_every_configuration_is_needed() {
        assert!(confirmed(&[&[1]], &[]));
        assert!(!confirmed(&[&[1, 2]], &[]) && !confirmed(&[&[1, 2, 3]], &[]));
        assert!(confirmed(&[&[1, 2, 3]], &[(3, 1, 3)]));
        assert!(!confirmed(&[&[1, 2, 3, 4]], &[(2, 1, 3)]) && confirmed(&[&[1, 2, 3, 4]], &[(2, 1, 3), (4, 1, 3)]));
        let joint: &[&[u64]] = &[&[1, 2, 3], &[1, 4, 5]];
        assert!(!confirmed(joint, &[(2, 1, 3)]) && !confirmed(joint, &[(4, 1, 3)]));
        assert!(confirmed(joint, &[(2, 1, 3), (4, 1, 3)]));
        assert!(!confirmed(&[&[2, 3, 4]], &[(2, 1, 3)]), "a leader that is no voter does not count itself");
        assert!(!confirmed(&[], &[(2, 1, 3)]), "nobody has voted");
    }

    #[test]
    fn only_the_same_vote_of_a_voter_counts() {
        let voters: &[&[u64]] = &[&[1, 2, 3]];
        assert!(!confirmed(voters, &[(2, 1, 4)]), "of a later term");
        assert!(!confirmed(voters, &[(2, 1, 2), (3, 3, 3)]), "of an earlier term, or for another");
        assert!(!confirmed(voters, &[(4, 1, 3)]), "of a learner");
        let other = v1::HeldVote { shard: 8, replica: 2, leader: 1, term: 3 };
        let configurations = vec![v1::Voters { replicas: vec![1, 2, 3] }];
        let claim = v1::Claim { shard: 7, replica: 1, term: 3, configurations };
        assert!(!Votes::of([other].iter()).confirm(&claim), "of another shard");
        let told = [(7, 2, 3), (7, 3, 5), (7, 9, 4), (8, 4, 9)].map(|(shard, leader, term)| v1::HeldVote {
            shard,
            replica: leader,
            leader,
            term,
        });
        assert_eq!(Votes::of(told.iter()).newest(&claim), Some(3), "who has deposed it, of this shard");
        assert_eq!(Votes::of(told[..1].iter()).newest(&claim), None);
    }
}
