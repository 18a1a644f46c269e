//! Replicas that were away while the log was purged come back by a snapshot, whatever crashes meanwhile.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use meridian_types::{GroupId, LogIndex, NodeId};

use crate::node::{GROUPS, NODES, are_level};
use crate::simulated::{HEAL_MAX, World};

/// The groups whose machines have files, and the one that is looked at.
const FILED: [GroupId; 2] = [GROUPS[1], GROUPS[2]];
const GROUP: GroupId = FILED[0];
/// A snapshot at the set rate, twice, an election, and what else heals.
const TRANSFER_MAX: Duration = Duration::from_secs(25);

impl World<'_> {
    /// Runs with all nodes, then crashes one that does not lead the group, and goes on until what it would need is purged
    /// everywhere.
    fn leave_behind(&mut self) -> NodeId {
        self.await_nodes();
        self.await_leaders(&NODES);
        self.await_acks(100);
        let leader = self.leader(GROUP, &NODES).expect("there is one");
        let away = NODES.into_iter().find(|node| *node != leader).expect("three nodes");
        let last = FILED.map(|group| (group, self.running.lock()[&away].replicas[&group].status().last));
        let last: BTreeMap<_, _> = last.into();
        self.crash(away);
        self.is_maintained.store(true, Ordering::Relaxed);
        self.run_until(HEAL_MAX, "the log is purged", |world| {
            let nodes = world.nodes();
            FILED.iter().all(|group| nodes.iter().all(|node| node.replicas[group].status().purged > last[group]))
        });
        away
    }

    fn sent(&self) -> u64 {
        self.nodes().iter().map(|node| node.groups.snapshot_bytes_sent()).sum()
    }

    /// How many of its groups came by a snapshot.
    fn adopted(&self, node: NodeId) -> usize {
        let running = self.running.lock();
        let Some(node) = running.get(&node) else { return 0 };
        FILED.iter().filter(|group| node.replicas[group].machine().read().adopted > 0).count()
    }

    fn applied(&self, node: NodeId) -> Option<LogIndex> {
        self.running.lock().get(&node)?.replicas[&GROUP].status().applied
    }

    /// The bytes of the leaders' files.
    fn file_bytes(&self) -> u64 {
        let among: Vec<_> = self.running.lock().keys().copied().collect();
        let bytes = FILED.map(|group| {
            let leader = self.leader(group, &among).expect("there is one");
            self.running.lock()[&leader].replicas[&group].machine().read().file_bytes()
        });
        bytes.into_iter().sum()
    }

    /// No more writes, and no more files, so that a snapshot is the same from here on.
    fn hold_still(&mut self) {
        self.is_loaded.store(false, Ordering::Relaxed);
        self.run_until(HEAL_MAX, "what is applied is in files", |world| {
            let nodes = world.nodes();
            let is_flushed = |status: meridian_raft::GroupStatus| status.snapshot == status.last;
            FILED.iter().all(|group| {
                are_level(&nodes, *group) && nodes.iter().all(|node| is_flushed(node.replicas[group].status()))
            })
        });
        self.is_maintained.store(false, Ordering::Relaxed);
        self.run(Duration::from_secs(1));
    }

    fn await_adopted(&mut self, node: NodeId) {
        self.run_until(TRANSFER_MAX, "snapshots are taken over", |world| world.adopted(node) == FILED.len());
    }
}

fn catch_up(seed: u64) {
    let mut world = World::new(seed);
    let away = world.leave_behind();
    world.restart(away);
    world.await_adopted(away);
    let (adopted, acked) = (world.applied(away), world.ledger.acked(GROUP).len());
    world.run_until(HEAL_MAX, "it follows the log again", |world| world.applied(away) > adopted);
    world.await_acks(50);
    assert!(world.ledger.acked(GROUP).len() > acked, "writes went on");
    world.settle();
    let status = world.running.lock()[&away].replicas[&GROUP].status();
    assert!(status.purged.is_some() && status.snapshot >= status.purged, "{status:?}");
}

#[test]
fn a_follower_that_fell_behind_the_log_catches_up_while_writes_go_on() {
    [1, 6].into_iter().for_each(catch_up);
}

fn crash_the_receiver(seed: u64) {
    let mut world = World::new(seed);
    let away = world.leave_behind();
    world.hold_still();
    let (whole, before) = (world.file_bytes(), world.sent());
    world.restart(away);
    world.run_until(TRANSFER_MAX, "most of the snapshot is sent", |world| world.sent() - before > whole * 2 / 3);
    world.crash(away);
    world.run(Duration::from_secs(2));
    let before = world.sent();
    world.restart(away);
    world.await_adopted(away);
    let again = world.sent() - before;
    assert!(again < whole / 2, "it went on where it ended: {again} of {whole} bytes");
    world.settle();
}

#[test]
fn a_receiver_that_crashes_in_the_middle_goes_on_from_there() {
    [1, 2, 3].into_iter().for_each(crash_the_receiver);
}

fn crash_the_sender(seed: u64) {
    let mut world = World::new(seed);
    let away = world.leave_behind();
    let (whole, before) = (world.file_bytes(), world.sent());
    world.restart(away);
    world.run_until(TRANSFER_MAX, "half of the snapshot is sent", |world| world.sent() - before > whole / 2);
    let sender = world.leader(GROUP, &NODES).expect("there is one");
    world.crash(sender);
    // The one that is behind votes, but cannot lead: a majority commits nothing without what the crashed one has.
    world.await_adopted(away);
    world.restart(sender);
    world.await_nodes();
    world.await_acks(20);
    world.settle();
}

#[test]
fn another_leader_goes_on_when_the_sender_crashes() {
    [1, 4].into_iter().for_each(crash_the_sender);
}
