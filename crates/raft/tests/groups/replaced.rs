//! Replicas that come and go: a new one follows, votes, and takes the place of another.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use meridian_raft::MembershipError;
use meridian_types::{GroupId, NodeId, ReplicaId};

use crate::node::{GROUPS, NODES, replica};
use crate::simulated::{ELECTION_MAX, HEAL_MAX, World};

const GROUP: GroupId = GROUPS[2];
const NEW: ReplicaId = ReplicaId(99);

fn voters(nodes: &[NodeId]) -> BTreeMap<ReplicaId, NodeId> {
    nodes.iter().map(|node| (replica(GROUP, *node), *node)).collect()
}

impl World<'_> {
    /// Asks the leader to make these the voters.
    fn set_voters(&mut self, voters: &BTreeMap<ReplicaId, NodeId>) -> Result<(), MembershipError> {
        let leader = self.lead();
        let voters = voters.clone();
        self.on(leader, async move |node| node.replicas[&GROUP].set_voters(&voters, node.patience()).await)
    }

    fn add_learner(&mut self, new: ReplicaId, on: NodeId) -> Result<(), MembershipError> {
        let leader = self.lead();
        self.on(leader, async move |node| node.replicas[&GROUP].add_learner(new, on, node.patience()).await)
    }

    /// The leader as a majority sees it.
    fn lead(&mut self) -> NodeId {
        let leader = |world: &World<'_>| {
            let leads = |node: &&crate::node::Node| node.replicas[&GROUP].is_leader();
            world.nodes().iter().find(leads).map(|node| node.id)
        };
        self.run_until(ELECTION_MAX, "there is a leader", |world| leader(world).is_some());
        leader(self).expect("there is one")
    }
}

#[test]
fn a_new_replica_takes_the_place_of_another_while_writes_go_on() {
    let mut world = World::new(8);
    world.await_nodes();
    world.await_leaders(&NODES);
    world.is_maintained.store(true, Ordering::Relaxed);
    world.await_acks(100);
    let leader = world.lead();
    let at = NODES.into_iter().find(|node| *node != leader).expect("three nodes");
    let others: Vec<NodeId> = NODES.into_iter().filter(|node| *node != at).collect();

    // The old one goes, for good.
    assert_eq!(world.set_voters(&voters(&others)), Ok(()));
    assert_eq!(world.set_voters(&voters(&others)), Ok(()), "asked for again, nothing changes");
    let members = world.running.lock()[&leader].replicas[&GROUP].members();
    assert_eq!((members.voters, members.learners, members.is_changing), (voters(&others), BTreeMap::new(), false));
    world.run_until(HEAL_MAX, "the log is purged", |world| {
        world.running.lock()[&leader].replicas[&GROUP].status().purged.is_some()
    });

    // The new one comes: on the same node, with nothing, and by a snapshot.
    let mut all = voters(&others);
    all.insert(NEW, at);
    assert_eq!(world.set_voters(&all), Err(MembershipError::NotALearner(NEW)));
    *world.replacement.lock() = Some((at, GROUP, NEW));
    world.run_until(HEAL_MAX, "the new replica runs", |world| {
        world.running.lock()[&at].replicas[&GROUP].spec().replica == NEW
    });
    assert_eq!(world.add_learner(NEW, at), Ok(()));
    assert_eq!(world.add_learner(NEW, at), Ok(()), "asked for again, nothing changes");
    assert_eq!(world.add_learner(NEW, leader), Err(MembershipError::Elsewhere(NEW, at)));
    world.run_until(HEAL_MAX, "the learner has nearly all", |world| {
        let status = world.running.lock()[&leader].replicas[&GROUP].status();
        let has = |replica| status.replication.get(&replica).map_or(0, |index| index.0);
        status.last.is_some_and(|last| has(NEW) + 20 > last.0)
    });
    assert_eq!(world.running.lock()[&at].replicas[&GROUP].status().role, "learner");
    assert!(world.running.lock()[&at].replicas[&GROUP].machine().read().adopted > 0, "it came by a snapshot");
    assert_eq!(world.set_voters(&all), Ok(()));
    assert_eq!(world.running.lock()[&leader].replicas[&GROUP].members().voters, all);

    // Only leaders change who is in a group, and a learner that is not named goes.
    let refused = world.on(at, async |node| node.replicas[&GROUP].set_voters(&BTreeMap::new(), node.patience()).await);
    assert_eq!(refused, Err(MembershipError::Moved(Some(leader))));
    assert_eq!(world.set_voters(&BTreeMap::new()), Err(MembershipError::NoVoters));
    assert_eq!(world.add_learner(ReplicaId(100), NodeId(9)), Ok(()));
    assert_eq!(world.running.lock()[&leader].replicas[&GROUP].members().learners.len(), 1);
    assert_eq!(world.set_voters(&all), Ok(()));
    assert_eq!(world.running.lock()[&leader].replicas[&GROUP].members().learners.len(), 0);

    // It counts: with one of the others gone, it and the third decide.
    let crashed = others.into_iter().find(|node| *node != leader).expect("two others");
    world.crash(crashed);
    world.await_acks(30);
    world.restart(crashed);
    world.await_nodes();
    world.settle();
}
