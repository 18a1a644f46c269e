//! Read confirmations: whether a majority of each group still holds the vote by which this node's replica leads it. All groups
//! that are read together are asked for in one call to each other node.
//!
//! A read is right from then on, as after a round of heartbeats (Ongaro, *Consensus: Bridging Theory and Practice*, 6.4): a
//! later leader was elected by another majority, one replica of which held our vote after the read began, so all that was
//! acknowledged before it is in our log. Never counts a vote that is not in its replica's log, nor one that was asked for before
//! the read began.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use meridian_proto::v1;
use meridian_types::{GroupId, NodeId};

use crate::network::Peers;
use crate::types::{Membership, Vote};
use crate::wire;

/// By which vote a replica of this node leads its group, and who has to hold it.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    vote: Vote,
    group: v1::GroupRef,
    /// Every voter but this node's, and where it lives.
    others: BTreeMap<u64, NodeId>,
    /// The voters of each configuration: a majority of every one is needed.
    configs: Vec<BTreeSet<u64>>,
    held: BTreeSet<u64>,
}

impl Claim {
    /// The claim of the replica `group.from`, whose own log holds the vote.
    pub(crate) fn new(vote: Vote, group: v1::GroupRef, membership: &Membership) -> Self {
        let node = |id: &u64| membership.get_node(id).map(|member| (*id, member.node));
        let others = membership.voter_ids().filter(|id| *id != group.from);
        let others = others.filter_map(|id| node(&id)).collect();
        let held = BTreeSet::from([group.from]);
        Self { vote, group, others, configs: membership.get_joint_config().clone(), held }
    }

    fn is_confirmed(&self) -> bool {
        self.configs.iter().all(|voters| 2 * voters.intersection(&self.held).count() > voters.len())
    }

    fn ask(&self, replica: u64) -> v1::Leadership {
        let group = v1::GroupRef { to: replica, ..self.group };
        v1::Leadership { group: Some(group), vote: Some(wire::vote_out(&self.vote)) }
    }
}

/// Asks until every claim is confirmed. Otherwise the group of the first one that is not, when everybody has answered or was
/// waited for, with the last reason.
pub(crate) async fn confirm(peers: &Arc<Peers>, mut claims: Vec<Claim>) -> Result<(), (GroupId, String)> {
    // Which replica of which claim, by node.
    let mut asked: BTreeMap<NodeId, Vec<(usize, u64)>> = BTreeMap::new();
    for (index, claim) in claims.iter().enumerate().filter(|(_, claim)| !claim.is_confirmed()) {
        claim.others.iter().for_each(|(replica, node)| asked.entry(*node).or_default().push((index, *replica)));
    }
    let call = |(node, asked): (NodeId, Vec<(usize, u64)>)| {
        let leaderships = asked.iter().map(|(index, replica)| claims[*index].ask(*replica)).collect();
        let peers = Arc::clone(peers);
        async move { (asked, peers.confirm(node, leaderships).await) }
    };
    let mut replies: FuturesUnordered<_> = asked.into_iter().map(call).collect();
    let mut why = "no majority holds the vote by which it leads".to_owned();
    while !claims.iter().all(Claim::is_confirmed) {
        match replies.next().await {
            Some((asked, Ok(held))) => {
                for ((index, replica), _) in asked.into_iter().zip(held).filter(|(_, held)| *held) {
                    claims[index].held.insert(replica);
                }
            }
            Some((_, Err(error))) => why = error.to_string(),
            None => {
                let claim = claims.iter().find(|claim| !claim.is_confirmed());
                return claim.map_or(Ok(()), |claim| Err((GroupId(claim.group.group), why)));
            }
        }
    }
    if !replies.is_empty() {
        // A call that is dropped resets its stream, and HTTP/2 takes many of those for an attack.
        tokio::spawn(async move { while replies.next().await.is_some() {} });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use openraft::impls::leader_id_adv::LeaderId;

    use super::*;
    use crate::types::Member;

    fn claim(configs: &[&[u64]]) -> Claim {
        let configs: Vec<BTreeSet<u64>> = configs.iter().map(|ids| ids.iter().copied().collect()).collect();
        let ids: BTreeSet<u64> = configs.iter().flatten().copied().collect();
        let nodes: BTreeMap<u64, Member> = ids.iter().map(|id| (*id, Member { node: NodeId(*id as u32) })).collect();
        let membership = Membership::new(configs, nodes).expect("every voter has its node");
        let vote = Vote { leader_id: LeaderId { term: 3, node_id: 1 }, committed: true };
        Claim::new(vote, v1::GroupRef { group: 7, incarnation: 1, from: 1, to: 0 }, &membership)
    }

    fn confirmed(mut claim: Claim, by: &[u64]) -> bool {
        claim.held.extend(by);
        claim.is_confirmed()
    }

    #[test]
    fn a_majority_of_every_configuration_is_needed() {
        assert!(confirmed(claim(&[&[1]]), &[]));
        assert!(!confirmed(claim(&[&[1, 2]]), &[]));
        assert!(!confirmed(claim(&[&[1, 2, 3]]), &[]) && confirmed(claim(&[&[1, 2, 3]]), &[3]));
        assert!(!confirmed(claim(&[&[1, 2, 3, 4]]), &[2]) && confirmed(claim(&[&[1, 2, 3, 4]]), &[2, 3]));
        let joint = claim(&[&[1, 2, 3], &[1, 4, 5]]);
        assert!(!confirmed(joint.clone(), &[2]) && !confirmed(joint.clone(), &[4]) && confirmed(joint, &[2, 4]));
        assert!(!confirmed(claim(&[&[2, 3, 4]]), &[2]), "a leader that is no voter does not count itself");
    }

    #[test]
    fn each_other_voter_is_asked_for_itself() {
        let claim = claim(&[&[1, 2, 3], &[1, 4]]);
        assert_eq!(claim.others.keys().copied().collect::<Vec<_>>(), [2, 3, 4]);
        let asked = claim.ask(4);
        assert_eq!(asked.group.map(|group| (group.group, group.from, group.to)), Some((7, 1, 4)));
        assert_eq!(asked.vote.map(|vote| (vote.term, vote.replica)), Some((3, 1)));
    }
}
