//! Read confirmations: whether a majority of each group still holds the vote by which this node's replica leads it. All groups
//! that are read together are asked for in one call to each node that it takes.
//!
//! A read is right from then on, as after a round of heartbeats (Ongaro, *Consensus: Bridging Theory and Practice*, 6.4): a
//! later leader was elected by another majority, one replica of which held our vote after the read began, so all that was
//! acknowledged before it is in our log. Never counts a vote that is not in its replica's log, nor one that was asked for before
//! the read began.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use meridian_env::{Elapsed, Instant, deadline};
use meridian_proto::v1;
use meridian_types::{GroupId, NodeId};
use parking_lot::Mutex;

use crate::network::{Peers, RpcError};
use crate::types::{Membership, Vote};
use crate::wire;

/// After so long, and four times what it took before, an answer is late.
const PATIENCE_MIN: Duration = Duration::from_millis(2);
/// What a call that failed counts as.
const FAILED: Duration = Duration::from_secs(1);
/// How long what is known of a node is good for.
const OLD: Duration = Duration::from_secs(1);

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

    /// The vote by which it leads.
    pub(crate) fn vote(&self) -> &Vote {
        &self.vote
    }

    /// For whoever confirms it by votes that were told.
    pub(crate) fn told(&self) -> v1::Claim {
        let voters = |ids: &BTreeSet<u64>| v1::Voters { replicas: ids.iter().copied().collect() };
        let (shard, replica, term) = (self.group.group, self.group.from, self.vote.leader_id.term);
        v1::Claim { shard, replica, term, configurations: self.configs.iter().map(voters).collect() }
    }

    fn is_confirmed(&self) -> bool {
        self.configs.iter().all(|voters| 2 * voters.intersection(&self.held).count() > voters.len())
    }

    fn ask(&self, replica: u64) -> v1::Leadership {
        let group = v1::GroupRef { to: replica, ..self.group };
        v1::Leadership { group: Some(group), vote: Some(wire::vote_out(&self.vote)) }
    }
}

/// The replicas on a node that are asked: which claim each belongs to, and which one it is.
type Asked = Vec<(usize, u64)>;

/// Asks until every claim is confirmed. Otherwise the group of the first one that is not, when everybody has answered or was
/// waited for, with the last reason.
///
/// No more nodes are asked than it takes, the quickest ones; the others as soon as one of these does not confirm, or is late.
pub(crate) async fn confirm(peers: &Arc<Peers>, mut claims: Vec<Claim>) -> Result<(), (GroupId, String)> {
    let mut by_node: BTreeMap<NodeId, Asked> = BTreeMap::new();
    for (index, claim) in claims.iter().enumerate().filter(|(_, claim)| !claim.is_confirmed()) {
        claim.others.iter().for_each(|(replica, node)| by_node.entry(*node).or_default().push((index, *replica)));
    }
    let clock = Arc::clone(peers.clock());
    let (now, pace) = (clock.now(), peers.pace());
    let mut others: Vec<(NodeId, Asked)> = by_node.into_iter().collect();
    others.sort_by_key(|(node, _)| pace.of(*node));
    let enough = enough(&claims, &others);
    let patience = others[..enough].last().map_or(Duration::ZERO, |(node, _)| PATIENCE_MIN + 4 * pace.of(*node));
    let mut place = 0..;
    let (first, mut others): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|(node, _)| place.next() < Some(enough) || pace.is_old(*node, now));
    let mut replies: FuturesUnordered<_> = first.into_iter().map(|asked| ask(peers, &claims, asked)).collect();
    let mut why = "no majority holds the vote by which it leads".to_owned();
    while !claims.iter().all(Claim::is_confirmed) {
        let reply = match others.is_empty() {
            true => Ok(replies.next().await),
            false => deadline(&*clock, now + patience, replies.next()).await,
        };
        let is_enough = match reply {
            Ok(Some((asked, Ok(held)))) => {
                let all = held.iter().all(|held| *held);
                for ((index, replica), _) in asked.into_iter().zip(held).filter(|(_, held)| *held) {
                    claims[index].held.insert(replica);
                }
                all
            }
            Ok(Some((_, Err(error)))) => {
                why = error.to_string();
                false
            }
            Ok(None) if others.is_empty() => {
                let claim = claims.iter().find(|claim| !claim.is_confirmed());
                return claim.map_or(Ok(()), |claim| Err((GroupId(claim.group.group), why)));
            }
            Ok(None) | Err(Elapsed) => false,
        };
        if !is_enough {
            replies.extend(others.drain(..).map(|asked| ask(peers, &claims, asked)));
        }
    }
    if !replies.is_empty() {
        // A call that is dropped resets its stream, and HTTP/2 takes many of those for an attack.
        tokio::spawn(async move { while replies.next().await.is_some() {} });
    }
    Ok(())
}

/// How many of these nodes, from the first, it takes until every claim is confirmed if all of them confirm.
fn enough(claims: &[Claim], others: &[(NodeId, Asked)]) -> usize {
    let mut claims = claims.to_vec();
    let takes = others.iter().take_while(|(_, asked)| {
        let is_missing = !claims.iter().all(Claim::is_confirmed);
        for (index, replica) in asked {
            claims[*index].held.insert(*replica);
        }
        is_missing
    });
    takes.count()
}

/// One call, whose time is noted however it ends.
fn ask(
    peers: &Arc<Peers>,
    claims: &[Claim],
    (node, asked): (NodeId, Asked),
) -> impl Future<Output = (Asked, Result<Vec<bool>, RpcError>)> + use<> {
    let leaderships = asked.iter().map(|(index, replica)| claims[*index].ask(*replica)).collect();
    let peers = Arc::clone(peers);
    async move {
        let begun = peers.clock().now();
        let held = peers.confirm(node, leaderships).await;
        let now = peers.clock().now();
        let took = if held.is_ok() { now.saturating_duration_since(begun) } else { FAILED };
        peers.pace().note(node, took, now);
        (asked, held)
    }
}

/// How long nodes take to confirm.
#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<BTreeMap<NodeId, (Duration, Instant)>>);

impl Pace {
    /// What is known of a node; nothing of one that has never answered.
    fn of(&self, node: NodeId) -> Duration {
        self.0.lock().get(&node).map_or(Duration::ZERO, |(took, _)| *took)
    }

    /// Whether nothing was heard of a node for so long that it is asked for that alone.
    fn is_old(&self, node: NodeId, now: Instant) -> bool {
        self.0.lock().get(&node).is_none_or(|(_, at)| now.saturating_duration_since(*at) > OLD)
    }

    fn note(&self, node: NodeId, took: Duration, now: Instant) {
        let mut known = self.0.lock();
        let before = known.get(&node).map_or(took, |(before, _)| *before);
        known.insert(node, ((before + took) / 2, now));
    }
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
    fn no_more_nodes_are_asked_than_it_takes() {
        let all = |node: u32, claims: &[usize]| -> (NodeId, Asked) {
            (NodeId(node), claims.iter().map(|claim| (*claim, node.into())).collect())
        };
        let three = claim(&[&[1, 2, 3]]);
        let five = claim(&[&[1, 2, 3, 4, 5]]);
        assert_eq!(enough(&[], &[]), 0);
        assert_eq!(enough(std::slice::from_ref(&three), &[all(3, &[0]), all(2, &[0])]), 1);
        assert_eq!(enough(&[three.clone(), claim(&[&[1, 2, 4]])], &[all(3, &[0]), all(2, &[0, 1]), all(4, &[1])]), 2);
        assert_eq!(enough(&[five], &[2, 3, 4, 5].map(|node| all(node, &[0]))), 2);
        assert_eq!(enough(&[claim(&[&[1, 2, 3], &[1, 4, 5]])], &[2, 3, 4, 5].map(|node| all(node, &[0]))), 3);
        assert_eq!(enough(&[three], &[]), 0, "nobody can be asked");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn the_quickest_is_known_until_it_is_long_ago() {
        let (pace, begin) = (Pace::default(), Instant::now());
        let at = |millis| begin + Duration::from_millis(millis);
        assert!(pace.of(NodeId(1)).is_zero() && pace.is_old(NodeId(1), begin));
        pace.note(NodeId(1), Duration::from_millis(4), at(0));
        pace.note(NodeId(1), Duration::from_millis(2), at(10));
        pace.note(NodeId(2), FAILED, at(10));
        assert_eq!((pace.of(NodeId(1)), pace.of(NodeId(2))), (Duration::from_millis(3), FAILED));
        assert!(!pace.is_old(NodeId(2), at(1_010)) && pace.is_old(NodeId(2), at(1_011)));
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
