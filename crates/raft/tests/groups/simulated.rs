//! The groups in a world that turns against them: crashes that lose what was not synced, partitions, handed-over leaders.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use meridian_env::sim::{SimHost, seed_ambient};
use meridian_env::{Env, Rng};
use meridian_raft::{GroupStatus, ProposeError};
use meridian_types::{GroupId, NodeId, ReplicaId};
use parking_lot::Mutex;
use turmoil::{Builder, Sim};

use crate::ledger::{Ledger, Outcome};
use crate::node::{GROUPS, NODES, Node, are_level, replica};

/// Within which a group whose leader is gone has another: lease and election timeout are 600 ms each at most.
pub(crate) const ELECTION_MAX: Duration = Duration::from_secs(3);
/// Within which everything that heals has healed.
pub(crate) const HEAL_MAX: Duration = Duration::from_secs(10);

/// What runs now.
pub(crate) type Running = Arc<Mutex<BTreeMap<NodeId, Node>>>;

/// Which node is to replace its replica of which group, and by which.
type Replacement = Arc<Mutex<Option<(NodeId, GroupId, ReplicaId)>>>;

/// Replaces a replica when asked to: on its own host, where its tasks live as long as it does.
async fn replace(env: Env, mut node: Node, running: Running, asked: Replacement) {
    loop {
        env.clock.sleep(Duration::from_millis(10)).await;
        let wanted = asked.lock().take_if(|(at, ..)| *at == node.id);
        if let Some((_, group, replica)) = wanted {
            node.replace(Path::new("/data"), group, replica).await.expect("it starts");
            running.lock().insert(node.id, node.clone());
        }
    }
}

/// Three hosts, what runs on them now, and the load's ledger.
pub(crate) struct World<'a> {
    pub(crate) sim: Sim<'a>,
    pub(crate) hosts: BTreeMap<NodeId, SimHost>,
    pub(crate) running: Running,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) is_loaded: Arc<AtomicBool>,
    /// A replica that is to take the place of its node's in its group.
    pub(crate) replacement: Replacement,
    /// Whether files are written and logs purged.
    pub(crate) is_maintained: Arc<AtomicBool>,
}

impl World<'_> {
    pub(crate) fn new(seed: u64) -> Self {
        seed_ambient(seed);
        let rng = Rng::from_seed(seed);
        let mut sim = Builder::new()
            .tick_duration(Duration::from_millis(1))
            .simulation_duration(Duration::from_secs(120))
            .max_message_latency(Duration::from_millis(5))
            .tcp_capacity(65_536)
            .rng_seed(seed)
            .build();
        let hosts: BTreeMap<NodeId, SimHost> = NODES.map(|node| (node, SimHost::new(&node.to_string(), &rng))).into();
        let (running, ledger, is_loaded) = (Arc::default(), Arc::default(), Arc::new(AtomicBool::new(true)));
        let (is_maintained, replacement) = (Arc::new(AtomicBool::new(false)), Replacement::default());
        for (id, host) in &hosts {
            let (id, host) = (*id, host.clone());
            let switches = (Arc::clone(&is_loaded), Arc::clone(&is_maintained), Arc::clone(&replacement));
            let shared: (Running, Arc<Ledger>, _) = (Arc::clone(&running), Arc::clone(&ledger), switches);
            sim.host(id.to_string(), move || {
                let (env, (running, ledger, (is_loaded, is_maintained, replacement))) = (host.env(), shared.clone());
                async move {
                    let addresses = NODES.map(|node| (node, format!("{node}:7000"))).into();
                    let listener = env.net.listen("0.0.0.0:7000").await?;
                    let (node, server) = Node::start(id, env.clone(), Path::new("/data"), listener, &addresses).await?;
                    node.load(&ledger, &is_loaded);
                    node.maintain(&is_maintained);
                    tokio::spawn(replace(env, node.clone(), Arc::clone(&running), replacement));
                    running.lock().insert(id, node.clone());
                    tokio::select! {
                        halt = node.groups.halted() => Err(halt.into()),
                        ended = server => Ok(ended?),
                    }
                }
            });
        }
        Self { sim, hosts, running, ledger, is_loaded, is_maintained, replacement }
    }

    pub(crate) fn step(&mut self) {
        self.sim.step().expect("no node halts");
        self.ledger.check_reads();
    }

    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.sim.elapsed() + span;
        while self.sim.elapsed() < end {
            self.step();
        }
    }

    pub(crate) fn run_until(&mut self, within: Duration, what: &str, done: impl Fn(&Self) -> bool) {
        let end = self.sim.elapsed() + within;
        while !done(self) {
            assert!(self.sim.elapsed() < end, "not within {within:?}: {what}: {:#?}", self.status());
            self.step();
        }
    }

    fn status(&self) -> Vec<GroupStatus> {
        self.nodes()
            .iter()
            .flat_map(|node| node.replicas.values().map(|group| group.status()).collect::<Vec<_>>())
            .collect()
    }

    pub(crate) fn nodes(&self) -> Vec<Node> {
        self.running.lock().values().cloned().collect()
    }

    /// Who leads a group, if the nodes that run `among` these agree, and it is one of them.
    pub(crate) fn leader(&self, group: GroupId, among: &[NodeId]) -> Option<NodeId> {
        let nodes = self.nodes().into_iter().filter(|node| among.contains(&node.id));
        let said: Vec<_> = nodes.map(|node| (node.id, node.replicas[&group].leader())).collect();
        let leader = said.first()?.1?;
        said.iter().all(|(_, said)| *said == Some(leader)).then_some(leader).filter(|leader| among.contains(leader))
    }

    pub(crate) fn await_nodes(&mut self) {
        self.run_until(HEAL_MAX, "all nodes run", |world| world.nodes().len() == NODES.len());
    }

    pub(crate) fn await_leaders(&mut self, among: &[NodeId]) {
        self.run_until(ELECTION_MAX, "every group has a leader", |world| {
            GROUPS.iter().all(|group| world.leader(*group, among).is_some())
        });
    }

    /// Waits for more acks in every group.
    pub(crate) fn await_acks(&mut self, more: usize) {
        let wanted = GROUPS.map(|group| (group, self.ledger.acked(group).len() + more));
        self.run_until(HEAL_MAX, "acks in every group", |world| {
            wanted.iter().all(|(group, count)| world.ledger.acked(*group).len() >= *count)
        });
    }

    /// The power of one host goes.
    pub(crate) fn crash(&mut self, node: NodeId) {
        self.running.lock().remove(&node);
        self.sim.crash(node.to_string());
        self.hosts[&node].crash();
    }

    pub(crate) fn restart(&mut self, node: NodeId) {
        self.sim.bounce(node.to_string());
    }

    /// Ends the load; all nodes run and must come to the same content, which must be what the ledger says.
    pub(crate) fn settle(&mut self) {
        self.is_loaded.store(false, Ordering::Relaxed);
        self.run_until(HEAL_MAX, "all machines have applied the same", |world| {
            let nodes = world.nodes();
            nodes.len() == NODES.len() && GROUPS.iter().all(|group| are_level(&nodes, *group))
        });
        for group in GROUPS {
            let lists: Vec<_> = self.nodes().iter().map(|node| node.list(group)).collect();
            self.ledger.check(group, &lists[0]);
            assert!(lists.iter().all(|list| *list == lists[0]), "{group}: {lists:?}");
        }
    }

    /// Runs a call of a node's in that node's place, as its own code would.
    pub(crate) fn on<T: 'static>(&mut self, node: NodeId, call: impl AsyncFnOnce(Node) -> T + 'static) -> T {
        let place = Arc::new(Mutex::new(None));
        let (answer, node) = (Arc::clone(&place), self.running.lock()[&node].clone());
        self.sim.client(format!("caller{}", self.sim.elapsed().as_millis()), async move {
            let answered = call(node).await;
            *answer.lock() = Some(answered);
            Ok(())
        });
        self.run_until(HEAL_MAX, "an answer", |_| place.lock().is_some());
        place.lock().take().expect("there")
    }
}

fn crash_leaders(seed: u64) {
    let mut world = World::new(seed);
    world.await_nodes();
    world.await_leaders(&NODES);
    world.await_acks(50);
    for round in 0..4 {
        let leader = world.leader(GROUPS[round % GROUPS.len()], &NODES).expect("there is one");
        world.crash(leader);
        let others: Vec<NodeId> = NODES.into_iter().filter(|node| *node != leader).collect();
        world.await_leaders(&others);
        world.await_acks(20);
        world.restart(leader);
        world.await_acks(20);
        world.await_leaders(&NODES);
    }
    world.settle();
    assert!(NODES.iter().map(|node| world.ledger.reads(*node)).sum::<u64>() > 50, "reads were confirmed and checked");
}

fn lose_power(seed: u64, is_maintained: bool) {
    let mut world = World::new(seed);
    world.is_maintained.store(is_maintained, Ordering::Relaxed);
    let rng = Rng::from_seed(seed);
    for _ in 0..12 {
        world.await_nodes();
        world.await_acks(10);
        world.run(Duration::from_millis(rng.below(300)));
        NODES.into_iter().for_each(|node| world.crash(node));
        NODES.into_iter().for_each(|node| world.restart(node));
    }
    world.await_nodes();
    world.await_acks(10);
    world.settle();
}

/// The seeds found a leader that went on in its old term, and a machine that was ahead of its own log.
#[test]
fn what_was_acked_survives_when_the_power_of_all_goes() {
    [2, 4].into_iter().for_each(|seed| lose_power(seed, false));
}

#[test]
fn what_was_acked_survives_in_files_and_a_purged_log() {
    [2, 5].into_iter().for_each(|seed| lose_power(seed, true));
}

#[test]
fn a_crashed_leader_is_replaced_and_comes_back() {
    crash_leaders(1);
}

fn cut_off(seed: u64) {
    let mut world = World::new(seed);
    world.await_nodes();
    world.await_leaders(&NODES);
    world.await_acks(20);
    let cut = world.leader(GROUPS[1], &NODES).expect("there is one");
    let others: Vec<NodeId> = NODES.into_iter().filter(|node| *node != cut).collect();
    others.iter().for_each(|other| world.sim.partition(cut.to_string(), other.to_string()));
    // A read that was confirmed before may still be under way back to its caller.
    let (first, reads) = (world.ledger.proposed(), world.ledger.reads(cut));
    world.await_leaders(&others);
    world.run(Duration::from_secs(3));
    let since = world.ledger.since(first, cut);
    let (unknown, moved) =
        [Outcome::Unknown, Outcome::Moved].map(|o| since.iter().filter(|p| p.outcome == o).count()).into();
    assert_eq!(unknown + moved, since.len(), "{since:?}");
    assert!(unknown > 0 && moved > 0, "it says what it can know: {unknown} unknown, {moved} moved");
    assert!(world.ledger.reads(cut) <= reads + 9, "it confirms no read");

    let read = world.on(cut, async |node| node.read(GROUPS[1]).await);
    assert!(read.is_err(), "{read:?}");
    others.iter().for_each(|other| world.sim.repair(cut.to_string(), other.to_string()));
    world.await_leaders(&NODES);
    world.await_acks(20);
    world.settle();
}

#[test]
fn a_leader_that_is_cut_off_never_says_yes() {
    cut_off(3);
}

#[test]
fn a_follower_names_the_leader_and_a_leader_hands_over() {
    let mut world = World::new(4);
    world.await_nodes();
    world.await_leaders(&NODES);
    world.await_acks(5);
    for group in GROUPS {
        let leader = world.leader(group, &NODES).expect("there is one");
        let to = NODES.into_iter().find(|node| *node != leader).expect("three nodes");
        let refused = world.on(to, async move |node| (node.propose(group, u64::MAX).await, node.read(group).await));
        assert_eq!(refused.0, Err(ProposeError::Moved(Some(leader))));
        assert_eq!(refused.1, Err(meridian_raft::ReadError::Moved(Some(leader))));
        world
            .on(leader, async move |node| node.replicas[&group].transfer_leader(replica(group, to)).await)
            .expect("it was asked");
        world.run_until(ELECTION_MAX, "the leader is who was named", |world| {
            world.leader(group, &NODES) == Some(to) && world.running.lock()[&to].replicas[&group].is_leader()
        });
        assert_eq!(world.running.lock()[&to].replicas[&group].status().role, "leader");
    }
    world.await_acks(20);
    world.settle();
}
