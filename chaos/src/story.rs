//! Plays a story: does to a simulated cluster what its statements say, one after the other, and demands what they expect.
//!
//! The story is told by a client inside the simulation, who waits and asks as people do. What people do to machines it hands
//! to whoever moves the world, between two steps. Nothing is drawn here: what a seed decides is the world's.

mod people; // what clients send, and what they are told
mod sight; // who leads, and what else can be seen
mod told; // whether rows are as clients were told

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use meridian_env::{Env, Instant};
use meridian_proto::v1;
use meridian_trial::{Broken, checksums, wait_settled};
use meridian_types::NodeId;
use tokio::sync::oneshot;

use crate::script::{
    self, Action, Cluster, Condition, Far, Node, Nodes, Numbered, Process, Processes, Script, Span, State, Step, Within,
};
use crate::shape::Shape;
use crate::trouble::Trouble;
use crate::workload::HEAL_MAX;
use crate::world::{PEOPLE, World};
use crate::{HARNESS, exit_code, scenario, sweep, trace};
use people::People;
use sight::Sight;

/// The seed of a story that names none.
const SEED: u64 = 1;
/// No story takes that long.
const STORY_MAX: Duration = Duration::from_secs(1_800);
/// Between two looks at what is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Within this time a node has looked at its memory anew.
const MEMORY_LOOK: Duration = Duration::from_secs(1);
/// How long replicas that are alike may take to show it.
const HASH_MAX: Duration = Duration::from_secs(5);

/// Why a story does not come to its end.
#[derive(Debug)]
enum Failed {
    /// The cluster did not do what was expected.
    Broken(Broken),
    /// The story asks for what cannot be done.
    Story(String),
}

impl From<Broken> for Failed {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// The statement that failed, if one is to blame, and why.
type Blamed = Box<(Option<Step>, Failed)>;

/// What came of a story.
struct Played {
    outcome: Result<(), Blamed>,
    simulated: Duration,
}

type Act = Box<dyn FnOnce(&mut World)>;

/// What is to be done to the world before its next step. Clones are the same list.
#[derive(Clone, Default)]
struct Hands(Rc<RefCell<Vec<Act>>>);

impl Hands {
    /// Does it, and returns what came of it.
    async fn act<T: 'static>(&self, act: impl FnOnce(&mut World) -> T + 'static) -> Result<T, Failed> {
        let (done, result) = oneshot::channel();
        self.0.borrow_mut().push(Box::new(move |world| drop(done.send(act(world)))));
        result.await.map_err(|_| Failed::Story("the world has ended".into()))
    }
}

/// Tells the story in a file; says what came of it, and returns the exit code.
pub(crate) fn run(file: &Path, seed: Option<u64>) -> io::Result<u8> {
    #[expect(clippy::disallowed_methods, reason = "the story is read outside the world")]
    let text = std::fs::read_to_string(file)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))?;
    let name = file.display();
    let script = match script::parse(&text) {
        Ok(script) => script,
        Err(mistakes) => {
            mistakes.iter().for_each(|mistake| trace::tell(&format!("{name}: {mistake}")));
            return Ok(HARNESS);
        }
    };
    let seed = seed.or(script.seed).unwrap_or(SEED);
    let Played { outcome, simulated } = play(&script, seed);
    let Err(blamed) = outcome else {
        let seconds = simulated.as_secs_f64();
        trace::tell(&format!("{name} holds after {seconds:.1} simulated s: {}", script.title));
        return Ok(0);
    };
    let (step, failed) = *blamed;
    let at = step.map_or(format!("{name}"), |step| format!("{name}:{}: {}", step.line, step.text));
    let (why, code) = match failed {
        Failed::Broken(broken) => (broken.to_string(), exit_code(&broken)),
        Failed::Story(why) => (format!("the story: {why}"), HARNESS),
    };
    let again = format!("cargo run -p meridian-chaos -- script --seed {seed} --trace - {name}");
    trace::tell(&format!("{at}\n{why}\nagain: {again}"));
    Ok(code)
}

/// Tells several stories, each in a process of its own, `jobs` at a time; the exit code is that of the worst one.
pub(crate) fn run_each(files: Vec<PathBuf>, seed: Option<u64>, jobs: u16) -> io::Result<u8> {
    let (program, count) = (std::env::current_exe()?, files.len());
    let commands = files.into_iter().map(move |file| {
        let mut command = Command::new(&program);
        command.arg("script").arg(&file);
        seed.map(|seed| command.args(["--seed", &seed.to_string()]));
        (file, command)
    });
    let mut codes = Vec::new();
    for (number, (file, output)) in (1..).zip(sweep::each(commands, jobs)) {
        let output = output?;
        let text = String::from_utf8_lossy(&output.stderr);
        codes.push(sweep::code(&output));
        trace::tell(&format!("[{number}/{count}] {}", text.trim_end()));
        if output.status.code().is_none_or(|code| code > HARNESS.into()) {
            trace::tell(&format!("{}: {}", file.display(), output.status));
        }
    }
    let failed = codes.iter().filter(|code| **code != 0).count();
    let all =
        if failed == 0 { format!("all {count} stories hold") } else { format!("{failed} of {count} stories fail") };
    trace::tell(&all);
    Ok(sweep::worst(codes.into_iter()))
}

/// Plays a story with a seed.
fn play(script: &Script, seed: u64) -> Played {
    let Cluster { nodes, shards, routers } = script.cluster;
    let mut world = World::new(seed, Shape::calm(nodes, routers, shards), STORY_MAX);
    world.let_nodes_end();
    let (hands, outcome) = (Hands::default(), Rc::new(RefCell::new(None)));
    let (script, told, shape) = (script.clone(), Rc::clone(&outcome), world.shape.clone());
    let own = hands.clone();
    world.client(PEOPLE, move |env| async move {
        let ended = tell(env, &script, shape, own).await;
        *told.borrow_mut() = Some(ended);
        Ok(())
    });
    loop {
        let stepped = world.step();
        world.bury();
        let acts = std::mem::take(&mut *hands.0.borrow_mut());
        acts.into_iter().for_each(|act| act(&mut world));
        let failed = stepped.err().map(|error| Err(Box::new((None, scenario::failed(&*error).into()))));
        if let Some(outcome) = failed.or_else(|| outcome.borrow_mut().take()) {
            return Played { outcome, simulated: world.sim.elapsed() };
        }
    }
}

async fn tell(env: Env, script: &Script, shape: Shape, hands: Hands) -> Result<(), Blamed> {
    let mut teller = Teller::begin(env, script, shape, hands).await.map_err(|failed| Box::new((None, failed)))?;
    for step in &script.steps {
        tracing::info!(line = step.line, text = step.text, "the story");
        teller.step(&step.action).await.map_err(|failed| Box::new((Some(step.clone()), failed)))?;
    }
    Ok(())
}

/// Who tells the story.
struct Teller {
    env: Env,
    hands: Hands,
    people: People,
    sight: Sight,
    /// Hosts that stand still.
    paused: BTreeSet<String>,
}

impl Teller {
    /// Waits until the cluster is formed and every group is led.
    async fn begin(env: Env, script: &Script, shape: Shape, hands: Hands) -> Result<Self, Failed> {
        let retention = script.steps.iter().find_map(|step| match &step.action {
            Action::KeepRows { retention } => Some(retention.0),
            _ => None,
        });
        let people = People::begin(&env, retention).await?;
        let (nodes, until) = (shape.addresses(), env.clock.now() + HEAL_MAX);
        wait_settled(&env, &nodes, shape.copies(), until).await?;
        let sight = Sight::begin(&env, shape).await;
        Ok(Self { env, hands, people, sight, paused: BTreeSet::new() })
    }

    async fn step(&mut self, action: &Action) -> Result<(), Failed> {
        match action {
            // Done when the database was made.
            Action::KeepRows { .. } => Ok(()),
            Action::Change { .. }
            | Action::Await { .. }
            | Action::Repeat { .. }
            | Action::KeepWriting { .. }
            | Action::Stop { .. }
            | Action::ReadEverything { .. }
            | Action::Read { .. } => self.people.step(action).await,
            Action::WaitUntil { condition } => self.until(condition, HEAL_MAX).await,
            Action::Expect { condition, within } => {
                let span = if let Within::Span { span } = within { span.0 } else { Duration::ZERO };
                self.until(condition, span).await
            }
            Action::Wait { span: Span(span) } => {
                self.env.clock.sleep(*span).await;
                Ok(())
            }
            Action::Flush { of } => self.flush(of).await,
            Action::Hand { shard, to } => self.hand_over(*shard, to).await,
            Action::Cut { .. } | Action::CutOneWay { .. } | Action::Hold { .. } | Action::LoseAnswers { .. } => {
                self.cut(action).await
            }
            Action::Heal {} => self.heal().await,
            _ => self.hit(action).await,
        }
    }

    /// What is done to processes and what they stand on.
    async fn hit(&mut self, action: &Action) -> Result<(), Failed> {
        let hosts = match action {
            Action::Crash { of } | Action::Restart { of } | Action::Pause { of } | Action::Resume { of } => {
                self.processes(of).await?
            }
            Action::SetClockAhead { of, .. } | Action::SetClockBehind { of, .. } | Action::SetClockRight { of } => {
                self.processes(of).await?
            }
            Action::FillDisk { of }
            | Action::FreeDisk { of }
            | Action::Lie { of }
            | Action::WipeDisk { of }
            | Action::DamageBlock { of }
            | Action::DamageLog { of }
            | Action::FailFsync { of } => self.nodes(of).await?,
            Action::CrashAfterFsync { node } => vec![self.node(node).await?],
            other => return Err(Failed::Story(format!("{other} is nothing that is done to processes"))),
        };
        match action {
            Action::Pause { .. } => self.paused.extend(hosts.iter().cloned()),
            Action::Resume { .. } | Action::Restart { .. } => self.paused.retain(|host| !hosts.contains(host)),
            _ => {}
        }
        let action = action.clone();
        let done = self.hands.act(move |world| hosts.iter().try_for_each(|host| strike(world, &action, host)));
        done.await?.map_err(Failed::Story)
    }

    async fn cut(&mut self, action: &Action) -> Result<(), Failed> {
        let (here, there) = match action {
            Action::Cut { here, there } | Action::CutOneWay { here, there } | Action::Hold { here, there } => {
                self.sides(here, there).await?
            }
            Action::LoseAnswers { router } => (vec![router_name(*router)], vec![PEOPLE.to_owned()]),
            other => return Err(Failed::Story(format!("{other} cuts nothing"))),
        };
        let action = action.clone();
        let cut = move |world: &mut World| {
            for (a, b) in here.iter().flat_map(|a| there.iter().map(move |b| (a.as_str(), b.as_str()))) {
                match action {
                    Action::Cut { .. } => world.sim.partition(a, b),
                    Action::Hold { .. } => world.sim.hold(a, b),
                    _ => world.sim.partition_oneway(a, b),
                }
            }
        };
        self.hands.act(cut).await
    }

    async fn sides(&mut self, here: &Processes, there: &Far) -> Result<(Vec<String>, Vec<String>), Failed> {
        let here = self.processes(here).await?;
        let there = match there {
            Far::These { these } => self.processes(these).await?,
            Far::TheRest {} => self.sight.shape.servers().filter(|host| !here.contains(host)).collect(),
        };
        Ok((here, there))
    }

    async fn heal(&mut self) -> Result<(), Failed> {
        let paused = self.paused.clone();
        let heal = move |world: &mut World| {
            world.heal();
            paused.iter().for_each(|host| world.hold(host));
        };
        self.hands.act(heal).await
    }

    async fn flush(&mut self, of: &Nodes) -> Result<(), Failed> {
        let hosts = self.nodes(of).await?;
        // What a node says of its memory is as old as its last look.
        self.env.clock.sleep(MEMORY_LOOK).await;
        let until = self.env.clock.now() + HEAL_MAX;
        for host in hosts {
            self.poll(until, async |teller: &mut Self| teller.sight.metric(&host, "meridian_node_row_bytes", 0).await)
                .await?;
        }
        Ok(())
    }

    /// Asks for it. Whether it comes to it, a condition says.
    async fn hand_over(&mut self, shard: Numbered<'s'>, to: &Node) -> Result<(), Failed> {
        let host = self.node(to).await?;
        let request = v1::TransferShardLeaderRequest { shard: shard.0, to_node: self.sight.id(&host) };
        let done = self.people.hand_over(request).await;
        tracing::info!(?request, ?done, "handed over");
        Ok(())
    }

    async fn nodes(&mut self, nodes: &Nodes) -> Result<Vec<String>, Failed> {
        match nodes {
            Nodes::EveryNode {} => Ok(self.sight.shape.nodes().map(|node| node.to_string()).collect()),
            Nodes::These { these } => {
                let mut hosts = Vec::new();
                for node in &these.0 {
                    hosts.push(self.node(node).await?);
                }
                Ok(hosts)
            }
        }
    }

    async fn processes(&mut self, processes: &Processes) -> Result<Vec<String>, Failed> {
        match processes {
            Processes::EveryNode {} => self.nodes(&Nodes::EveryNode {}).await,
            Processes::These { these } => {
                let mut hosts = Vec::new();
                for process in &these.0 {
                    hosts.push(self.process(process).await?);
                }
                Ok(hosts)
            }
        }
    }

    async fn process(&mut self, process: &Process) -> Result<String, Failed> {
        match process {
            Process::Node { node } => self.node(node).await,
            Process::Router { router } => Ok(router_name(*router)),
        }
    }

    async fn node(&mut self, node: &Node) -> Result<String, Failed> {
        match node {
            Node::Number { number } => Ok(NodeId(number.0).to_string()),
            Node::LastCalled {} => self.sight.last_called(),
            Node::Leader { place } => {
                let group = self.people.group(place)?;
                self.sight.leader(group).await
            }
            Node::Follower { place } => {
                let group = self.people.group(place)?;
                self.sight.follower(group).await
            }
        }
    }

    /// Waits until a condition holds, for a time.
    async fn until(&mut self, condition: &Condition, span: Duration) -> Result<(), Failed> {
        let until = self.env.clock.now() + span;
        match condition {
            Condition::ReplicasAlike {} => {
                let (nodes, copies) = (self.sight.shape.addresses(), self.sight.shape.copies());
                let until = until.max(self.env.clock.now() + HASH_MAX);
                wait_settled(&self.env, &nodes, copies, until).await?;
                checksums(&self.env, (&nodes, copies), &BTreeMap::new(), until).await?;
                Ok(())
            }
            Condition::Metric { name, process, number } => {
                let host = self.process(process).await?;
                let (name, number) = (name.0.clone(), number.0);
                self.poll(until, async |teller: &mut Self| teller.sight.metric(&host, &name, number).await).await
            }
            Condition::Leads { node, place } => {
                let (host, group) = (self.node(node).await?, self.people.group(place)?);
                self.poll(until, async |teller: &mut Self| teller.sight.leads(&host, group).await).await
            }
            Condition::HasLeader { place } => {
                let group = self.people.group(place)?;
                self.poll(until, async |teller: &mut Self| teller.sight.is_led(group).await).await
            }
            Condition::Is { process, state } => {
                let (host, state) = (self.process(process).await?, state.clone());
                self.poll(until, async |teller: &mut Self| {
                    let (host, wanted) = (host.clone(), state.clone());
                    let is = teller.hands.act(move |world| state_of(world, &host)).await;
                    match is {
                        Ok(is) if is == wanted => Ok(()),
                        Ok(is) => Err(format!("it is {is}")),
                        Err(_) => Err("the world has ended".to_owned()),
                    }
                })
                .await
            }
        }
    }

    /// Looks until what is looked at is as it should be; the last reason why it is not, once the time is over.
    async fn poll(
        &mut self,
        until: Instant,
        mut look: impl AsyncFnMut(&mut Self) -> Result<(), String>,
    ) -> Result<(), Failed> {
        loop {
            let Err(why) = look(self).await else { return Ok(()) };
            if self.env.clock.now() >= until {
                return Err(Broken::Liveness(why).into());
            }
            self.env.clock.sleep(LOOK_EVERY).await;
        }
    }
}

fn router_name(router: Numbered<'r'>) -> String {
    format!("r{}", router.0)
}

fn state_of(world: &World, host: &str) -> State {
    match (world.is_down(host), world.has_halted(host)) {
        (false, _) => State::Running {},
        (true, false) => State::Down {},
        (true, true) => State::Halted {},
    }
}

/// Does to one host what a statement says.
fn strike(world: &mut World, action: &Action, host: &str) -> Result<(), String> {
    let node = || host[1..].parse().map(NodeId).map_err(|_| format!("{host} is no node"));
    let must_be_down = |world: &World| match world.is_down(host) {
        true => Ok(()),
        false => Err(format!("{host} runs: crash it first")),
    };
    let ahead = |span: &Span| i64::try_from(span.0.as_nanos()).unwrap_or(i64::MAX);
    match action {
        Action::CrashAfterFsync { .. } => world.crash_after_sync(host),
        Action::Crash { .. } => {
            world.crash(host);
            world.fall_back(host);
        }
        Action::Restart { .. } => world.restart(host),
        Action::Pause { .. } => world.hold(host),
        Action::Resume { .. } => world.release(host),
        Action::FillDisk { .. } => world.strike(&Trouble::Full { node: node()?, bytes: 0 }),
        Action::FreeDisk { .. } => world.lift(&Trouble::Full { node: node()?, bytes: 0 }),
        Action::FailFsync { .. } => world.strike(&Trouble::FailSync { node: node()? }),
        Action::Lie { .. } => world.lie(host),
        Action::WipeDisk { .. } => {
            must_be_down(world)?;
            world.parts(host).wipe();
        }
        Action::DamageBlock { .. } => return damage_block(world, host),
        Action::DamageLog { .. } => {
            must_be_down(world)?;
            return damage_log(world, host);
        }
        Action::SetClockAhead { by, .. } => world.parts(host).clock().set_offset_nanos(ahead(by)),
        Action::SetClockBehind { by, .. } => world.parts(host).clock().set_offset_nanos(-ahead(by)),
        Action::SetClockRight { .. } => world.parts(host).clock().set_offset_nanos(0),
        other => return Err(format!("{other} is nothing that is done to a process")),
    }
    Ok(())
}

/// A bit in the middle of the largest block.
fn damage_block(world: &World, host: &str) -> Result<(), String> {
    let (path, bytes) = files(world, host, "block")
        .into_iter()
        .max_by_key(|(_, bytes)| *bytes)
        .ok_or_else(|| format!("{host} has no block: flush it first"))?;
    world.parts(host).disk().flip_bit(&path, bytes * 4).map_err(|error| error.to_string())
}

/// A bit in the first half of the log, of a byte that says something: what was written after it says that it was durable.
/// Between commits stand zeros, which nobody reads.
fn damage_log(world: &World, host: &str) -> Result<(), String> {
    let disk = world.parts(host).disk();
    let used = files(world, host, "seg").into_iter().filter_map(|(path, bytes)| {
        let content = disk.mount().read(&path, bytes).ok()?;
        let used = content.iter().rposition(|byte| *byte != 0)?;
        let middle = content[..=used / 2].iter().rposition(|byte| *byte != 0)?;
        Some((path, used, middle as u64))
    });
    let (path, _, middle) = used.max_by_key(|(_, used, _)| *used).ok_or_else(|| format!("{host} has no log"))?;
    disk.flip_bit(&path, middle * 8).map_err(|error| error.to_string())
}

fn files(world: &World, host: &str, end: &str) -> Vec<(PathBuf, u64)> {
    let files = world.parts(host).disk().files();
    files.into_iter().filter(|(path, _)| path.extension().is_some_and(|e| e == end)).collect()
}
