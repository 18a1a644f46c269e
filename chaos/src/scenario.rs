//! What every run does: clients write, overwrite, delete and read while nodes lose their power (one, the busiest leader, all at
//! once), are cut off, and stay away for so long that only a snapshot brings them back. Then all run, and what is there must
//! be what was promised.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_env::Rng;
use meridian_trial::{Broken, Fault, Faults, Victim};
use meridian_types::NodeId;

use crate::time;
use crate::workload::{self, Clients};
use crate::world::{NODES, World};

/// The cluster is formed and the first rows are written before the first fault.
const CALM: Duration = Duration::from_secs(3);
/// Simulated time after the last write in which everything must be answered and judged.
const HEAL_MAX: Duration = Duration::from_secs(60);
/// Rows that a run must have had acknowledged to say anything.
const ACKED_MIN: usize = 500;

/// What a node waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Due {
    Start,
    Release,
}

/// A run under way.
struct Run {
    world: World,
    clients: Clients,
    faults: Faults,
    next: (Duration, Fault),
    /// What is due for nodes that were hit, and when.
    due: BTreeMap<(Duration, NodeId), Due>,
    hits: Hits,
}

/// How often each kind of fault came.
#[derive(Default)]
struct Hits {
    kills: usize,
    pauses: usize,
    away: usize,
}

/// Runs the scenario of a seed with `seconds` of writes; says what was seen.
pub(crate) fn run(seed: u64, seconds: u64) -> Result<String, Broken> {
    let rng = Rng::from_seed(seed).child("trial");
    let writes_end = Duration::from_secs(seconds);
    let mut world = World::new(seed, writes_end + HEAL_MAX);
    let clients = workload::start(&mut world, &rng);
    let mut faults = Faults::new(rng.child("faults"), NODES as usize, true);
    let (wait, fault) = faults.next().expect("the list has no end");
    let mut run =
        Run { world, clients, faults, next: (CALM + wait, fault), due: BTreeMap::new(), hits: Hits::default() };
    while !run.world.step().map_err(|error| failed(&*error))? {
        let now = run.world.sim.elapsed();
        if now < writes_end {
            run.hit(now);
        } else {
            run.clients.load.stop();
        }
        // A fault that came last ends after the writes.
        run.recover(now);
    }
    run.verdict()
}

impl Run {
    /// The next fault, once its time has come. The next but one waits until nothing is due any more.
    fn hit(&mut self, now: Duration) {
        let (at, fault) = self.next;
        if now < at {
            return;
        }
        let end = match fault {
            Fault::Kill(victim, down) => {
                self.hits.kills += 1;
                self.crash(victim, now + down)
            }
            Fault::Away(node, down) => {
                self.hits.away += 1;
                self.crash(Victim::Node(node), now + down)
            }
            Fault::Pause(victim, stop) => {
                self.hits.pauses += 1;
                self.hold(victim, now + stop)
            }
        };
        let (wait, fault) = self.faults.next().expect("the list has no end");
        self.next = (end + wait, fault);
    }

    fn crash(&mut self, victim: Victim, until: Duration) -> Duration {
        for node in self.victims(victim) {
            self.world.crash(node);
            self.due.insert((until, node), Due::Start);
        }
        until
    }

    /// Nothing reaches a node or leaves it until it is released, and nothing is lost: as if it stood still.
    fn hold(&mut self, victim: Victim, until: Duration) -> Duration {
        for node in self.victims(victim) {
            for other in others(node) {
                self.world.sim.hold(node.to_string(), other);
            }
            tracing::info!(%node, "held");
            self.due.insert((until, node), Due::Release);
        }
        until
    }

    fn recover(&mut self, now: Duration) {
        while let Some(entry) = self.due.first_entry()
            && entry.key().0 <= now
        {
            let ((_, node), due) = entry.remove_entry();
            match due {
                Due::Start => self.world.restart(node),
                Due::Release => {
                    for other in others(node) {
                        self.world.sim.release(node.to_string(), other);
                    }
                    tracing::info!(%node, "released");
                }
            }
        }
    }

    fn victims(&self, victim: Victim) -> Vec<NodeId> {
        let node = |node: usize| NodeId(node as u32 + 1);
        match victim {
            Victim::Node(hit) => vec![node(hit)],
            Victim::Leader => vec![node(self.clients.busiest.lock().unwrap_or_default())],
            Victim::All => (1..=NODES).map(NodeId).collect(),
        }
    }

    fn verdict(self) -> Result<String, Broken> {
        let verdict = self.clients.verdict.lock().take();
        let checked = verdict.ok_or_else(|| Broken::Liveness("nothing was read back".into()))??;
        let load = &self.clients.load;
        if load.acked() < ACKED_MIN {
            return Err(Broken::Liveness(format!("only {} rows were acknowledged", load.acked())));
        }
        let simulated = self.world.sim.elapsed().as_secs_f64();
        let speed = simulated / time::cpu().as_secs_f64();
        let Hits { kills, pauses, away } = self.hits;
        Ok(format!(
            "{}; {kills} crashes, {pauses} pauses, {away} long absences; {} values read back; {simulated:.1} simulated s, \
             {speed:.1} a CPU s",
            load.summary(),
            checked.values,
        ))
    }
}

/// The hosts that a node talks to.
fn others(node: NodeId) -> impl Iterator<Item = String> {
    let nodes = (1..=NODES).map(NodeId).filter(move |other| *other != node).map(|other| other.to_string());
    nodes.chain(["r1".to_owned()])
}

fn failed(error: &(dyn std::error::Error + 'static)) -> Broken {
    let text = error.to_string();
    // turmoil's only word for a simulation that has not ended in its time.
    let late = text.starts_with("Ran for duration");
    if late { Broken::Liveness(text) } else { Broken::Crash(text) }
}
