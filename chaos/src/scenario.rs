//! What every run does: clients write, overwrite, delete and read while processes, links, disks and clocks fail as the seed has
//! it. Then all is well again, and what is there must be what was promised.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_env::Rng;
use meridian_trial::{Broken, Checked, Fault, Faults, Victim, Violation};
use meridian_types::NodeId;

use crate::record::Record;
use crate::report::Target;
use crate::shape::{Lost, LostDisk, Shape};
use crate::time;
use crate::trouble::{Layer, Trouble};
use crate::workload::{self, Clients, Without};
use crate::world::World;

/// The cluster is formed and the first rows are written before the first fault.
const CALM: Duration = Duration::from_secs(3);
/// Simulated time after the last write in which everything must be answered and judged.
const HEAL_MAX: Duration = Duration::from_secs(120);
/// How long a node that has ended by itself stays down.
const BURIED: Duration = Duration::from_millis(400);
/// Rows that a run must have had acknowledged to say anything.
const ACKED_MIN: usize = 100;
/// For how much longer clients may write for that, when no more trouble begins: some seeds leave their only router no peace.
const CATCH_UP_MAX: Duration = Duration::from_secs(10);

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
    /// Of processes; `None` if they live in this world.
    faults: Option<Faults>,
    rng: Rng,
    next: (Duration, Option<Fault>),
    /// What is due for nodes that were hit, and when.
    due: BTreeMap<(Duration, NodeId), Due>,
    layers: Vec<Active>,
    is_healed: bool,
    record: Record,
}

/// One layer of trouble.
struct Active {
    layer: Layer,
    /// What comes next, when, and for how long.
    next: (Duration, Trouble, Duration),
    /// What goes on, and until when.
    on: Option<(Duration, Trouble)>,
}

impl Active {
    fn new(mut layer: Layer, from: Duration) -> Self {
        let next = following(&mut layer, from);
        Self { layer, next, on: None }
    }
}

fn following(layer: &mut Layer, from: Duration) -> (Duration, Trouble, Duration) {
    let (wait, trouble, lasts) = layer.next().expect("the list has no end");
    (from + wait, trouble, lasts)
}

/// What a run leaves behind.
pub(crate) struct Ran {
    /// What was seen, in words, or what was broken.
    pub(crate) outcome: Result<String, Broken>,
    pub(crate) record: Record,
}

/// Runs the scenario of a seed with `seconds` of writes; says what was seen. `again` is the command that repeats it.
pub(crate) fn run(seed: u64, seconds: u64, again: &str) -> Ran {
    let rng = Rng::from_seed(seed).child("trial");
    let writes_end = Duration::from_secs(seconds);
    let shape = Shape::draw(&Rng::from_seed(seed).child("shape"));
    let mut world = World::new(seed, shape, writes_end + CATCH_UP_MAX + HEAL_MAX);
    let clients = workload::start(&mut world, &rng);
    let nodes = world.shape.nodes as usize;
    let faults = world.shape.processes.then(|| Faults::new(rng.child("faults"), nodes, true));
    let layers = world.shape.layers.iter().map(|kind| Active::new(Layer::new(*kind, &world.shape, &rng), CALM));
    let (layers, record) = (layers.collect(), Record::new(seed, writes_end, world.shape.to_string(), again));
    let next = (CALM, None);
    let rng = rng.child("crashes");
    let mut run = Run { world, clients, faults, rng, next, due: BTreeMap::new(), layers, is_healed: false, record };
    let outcome = run.live(writes_end);
    let Run { world, clients, mut record, .. } = run;
    record.end(world.sim.elapsed(), time::cpu(), &clients, outcome.as_ref().err());
    Ran { outcome: outcome.map(|checked| record.summary(&clients.load.summary(), checked.values)), record }
}

impl Run {
    fn live(&mut self, writes_end: Duration) -> Result<Checked, Broken> {
        loop {
            let is_over = self.world.step().map_err(|error| failed(&*error))?;
            let now = self.world.sim.elapsed();
            for node in self.world.bury() {
                if self.is_healed && self.world.shape.lost == Some(Lost { node, disk: LostDisk::Wiped }) {
                    *self.clients.without.lock() = Without::Refused;
                    continue;
                }
                self.due.insert((now + BURIED, node), Due::Start);
                self.record.hit("halt", vec![Target::Node(node.to_string())], now..now + BURIED, "a sync failed");
            }
            if let Some(broken) = self.clients.broken.lock().take() {
                return Err(Violation::Other(broken.to_string()).into());
            }
            if is_over {
                return self.verdict();
            }
            let is_writing = now < writes_end;
            if is_writing {
                self.hit(now);
            } else if self.clients.load.is_running()
                && (self.clients.load.acked() >= ACKED_MIN || now >= writes_end + CATCH_UP_MAX)
            {
                self.clients.load.stop();
            }
            // A fault that came last ends after the writes.
            self.recover(now);
            self.trouble(now, is_writing);
            if let Some(Lost { node, disk: LostDisk::Reverted(before) }) = self.world.shape.lost
                && now >= CALM.max(writes_end.saturating_sub(before))
            {
                self.world.lie(&node.to_string());
            }
            if !is_writing && !self.is_healed && self.due.is_empty() && self.layers.iter().all(|l| l.on.is_none()) {
                self.world.heal();
                self.is_healed = true;
                self.lose(now);
            }
            self.find();
        }
    }

    /// The next fault of processes, once its time has come. The next but one waits until nothing is due any more.
    fn hit(&mut self, now: Duration) {
        let Some(faults) = self.faults.as_mut().filter(|_| now >= self.next.0) else { return };
        let (wait, next) = faults.next().expect("the list has no end");
        let end = match self.next.1.replace(next) {
            None => now,
            Some(Fault::Kill(victim, down)) => self.crash("crash", victim, now, now + down),
            Some(Fault::Away(node, down)) => self.crash("away", Victim::Node(node), now, now + down),
            Some(Fault::Pause(victim, stop)) => self.hold(victim, now, now + stop),
        };
        self.next.0 = end + wait;
    }

    fn crash(&mut self, kind: &'static str, victim: Victim, now: Duration, until: Duration) -> Duration {
        for node in self.victims(victim) {
            match self.rng.chance(0.7) {
                true => self.world.crash_in_sync(node),
                false => self.world.crash(&node.to_string()),
            }
            self.due.insert((until, node), Due::Start);
            self.record.hit(kind, vec![Target::Node(node.to_string())], now..until, word(victim));
        }
        until
    }

    fn hold(&mut self, victim: Victim, now: Duration, until: Duration) -> Duration {
        for node in self.victims(victim) {
            self.world.hold(&node.to_string());
            self.due.insert((until, node), Due::Release);
            self.record.hit("pause", vec![Target::Node(node.to_string())], now..until, word(victim));
        }
        until
    }

    fn recover(&mut self, now: Duration) {
        while let Some(entry) = self.due.first_entry()
            && entry.key().0 <= now
        {
            let ((_, node), due) = entry.remove_entry();
            match due {
                Due::Start => self.world.restart(&node.to_string()),
                Due::Release => {
                    self.world.release(&node.to_string());
                    self.cut_and_hold_on();
                }
            }
        }
    }

    /// What begins and ends in the layers of trouble.
    fn trouble(&mut self, now: Duration, may_begin: bool) {
        let leader = NodeId(self.clients.busiest.lock().unwrap_or_default() as u32 + 1);
        let mut mended = false;
        for active in &mut self.layers {
            if let Some((_, trouble)) = active.on.take_if(|(until, _)| *until <= now) {
                self.world.lift(&trouble);
                mended |= matches!(trouble, Trouble::Cut { .. } | Trouble::Flap { .. });
            }
            if may_begin && active.on.is_none() && now >= active.next.0 {
                let end = now + active.next.2;
                let (_, trouble, _) = std::mem::replace(&mut active.next, following(&mut active.layer, end));
                let trouble = trouble.resolved(leader, &self.world.shape);
                self.world.strike(&trouble);
                self.record.hit(trouble.kind(), trouble.targets(), now..end, &trouble.detail());
                active.on = Some((end, trouble));
            }
        }
        if mended {
            self.cut_and_hold_on();
        }
    }

    /// Links have one state: whatever ends on one ends for all that cut or hold it, and the others begin anew.
    fn cut_and_hold_on(&self) {
        self.layers.iter().filter_map(|active| active.on.as_ref()).for_each(|(_, trouble)| self.world.cut(trouble));
        let held = self.due.iter().filter(|(_, due)| matches!(due, Due::Release));
        held.for_each(|((_, node), _)| self.world.hold(&node.to_string()));
    }

    /// Takes the node that stays away when everything else is well again.
    fn lose(&mut self, now: Duration) {
        let Some(Lost { node, disk }) = self.world.shape.lost else { return };
        self.world.crash(&node.to_string());
        let detail = match disk {
            LostDisk::Kept => "it comes back",
            LostDisk::Wiped => "it must be refused",
            LostDisk::Reverted(_) => "it comes back as it was before",
        };
        self.record.hit(disk.name(), vec![Target::Node(node.to_string())], now..now, detail);
        *self.clients.without.lock() = Without::Serves;
    }

    /// Gives it back, or what is left of it, once the others have served.
    fn find(&mut self) {
        let served = *self.clients.without.lock() == Without::Served;
        let Some(Lost { node, disk }) = self.world.shape.lost.filter(|_| served) else { return };
        let host = node.to_string();
        if self.world.is_down(&host) {
            match disk {
                LostDisk::Kept => {}
                LostDisk::Wiped => {
                    self.world.parts(&host).wipe();
                    self.world.let_end(node);
                }
                LostDisk::Reverted(_) => self.world.fall_back(&host),
            }
        }
        self.world.restart(&host);
    }

    fn victims(&self, victim: Victim) -> Vec<NodeId> {
        let node = |node: usize| NodeId(node as u32 + 1);
        match victim {
            Victim::Node(hit) => vec![node(hit)],
            Victim::Leader => vec![node(self.clients.busiest.lock().unwrap_or_default())],
            Victim::All => self.world.shape.nodes().collect(),
        }
    }

    fn verdict(&self) -> Result<Checked, Broken> {
        let verdict = self.clients.verdict.lock().take();
        let checked = verdict.ok_or_else(|| Broken::Liveness("nothing was read back".into()))??;
        let acked = self.clients.load.acked();
        if acked < ACKED_MIN {
            return Err(Broken::Liveness(format!("only {acked} rows were acknowledged")));
        }
        Ok(checked)
    }
}

/// More about who was hit.
fn word(victim: Victim) -> &'static str {
    match victim {
        Victim::Node(_) => "",
        Victim::Leader => "the busiest leader",
        Victim::All => "all at once",
    }
}

pub(crate) fn failed(error: &(dyn std::error::Error + 'static)) -> Broken {
    let text = error.to_string();
    // turmoil's only word for a simulation that has not ended in its time.
    let late = text.starts_with("Ran for duration");
    if late { Broken::Liveness(text) } else { Broken::Crash(text) }
}
