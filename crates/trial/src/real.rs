//! The trial of real processes: the clients and the judge of every trial, while the machine's own kernel kills processes, stops
//! them, drops and delays their packets, cuts the power of their disks, fills these and fails to sync them.
//!
//! What happens follows from a seed, but when it hits is up to the machine: a failure comes again by and by, not at once.

mod cluster; // the processes
mod disk; // a file system a node
mod link; // a wire that can be slow
mod network; // a namespace a node
mod plan; // what is done to them
mod process; // one process
mod tool; // the machine's commands

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use meridian_env::{Env, Rng};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

pub use self::cluster::{Cluster, NODES};
pub use self::plan::Kind;
use self::plan::{Deed, Plan, Step};
use crate::faults::Victim;
use crate::file;
use crate::load::{Load, create_database};
use crate::nodes::{busiest, checksums, wait_settled};
use crate::registers::{Broken, Read, Violation};
use crate::rows::Generator;
use crate::verify::verify;

/// How long a cluster that runs may take until it answers and all its replicas are level.
pub const SETTLE_MAX: Duration = Duration::from_secs(90);
const SERIES: u32 = 40;
const ROWS_MAX: u64 = 20;
const PAUSE_MS_MAX: u64 = 30;
/// Rows that a trial must have acknowledged to be one.
const ACKED_MIN: usize = 100;

/// A sync that failed, after which its node ended; and one that found nothing to fail at.
const FAILING_SYNC: &str = "failing sync";
const UNNOTICED: &str = "failing sync, unnoticed";

/// What a trial is to be.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The binary.
    pub meridian: PathBuf,
    /// What may happen; at least one kind.
    pub kinds: Vec<Kind>,
    /// For how long.
    pub length: Duration,
    /// From where rows and faults are drawn.
    pub rng: Rng,
    /// Where to write down what was asked, told and read: a new file.
    pub history: Option<PathBuf>,
}

/// What a trial was.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Held {
    /// Rows acknowledged.
    pub acked_rows: usize,
    /// Requests acknowledged.
    pub acked_requests: usize,
    /// Values read back through each router.
    pub values: u64,
    /// How often each fault came.
    pub faults: BTreeMap<String, u64>,
}

/// Tells whoever watches.
pub fn say(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// Holds a whole trial; returns once everything acknowledged was read back, from all nodes and again after a kill of all.
pub async fn run(env: &Env, trial: &Trial) -> Result<Held, Broken> {
    let create = |path: &PathBuf| {
        let file = File::options().create_new(true).write(true).open(path);
        file.map(BufWriter::new).map_err(|error| Broken::Harness(format!("{}: {error}", path.display())))
    };
    let history = trial.history.as_ref().map(create).transpose()?;
    on_a_cluster(env, &trial.meridian, &trial.kinds, async |cluster| hold(env, cluster, trial, history).await).await
}

/// Does something with a cluster of the binary `meridian` that is started for it, and stopped after it. What a failure leaves is
/// kept. Call it from the thread that waits for its end: with that one all processes die.
pub async fn on_a_cluster<T>(
    env: &Env,
    meridian: &Path,
    kinds: &[Kind],
    act: impl AsyncFnOnce(&mut Cluster) -> Result<T, Broken>,
) -> Result<T, Broken> {
    let mut cluster = Cluster::prepare(env, meridian, kinds).await?;
    let done = match cluster.start(env).await {
        Ok(()) => act(&mut cluster).await,
        Err(broken) => Err(broken),
    };
    if done.is_err() {
        cluster.keep();
    }
    done
}

async fn hold(
    env: &Env,
    cluster: &mut Cluster,
    trial: &Trial,
    mut history: Option<BufWriter<File>>,
) -> Result<Held, Broken> {
    form(env, cluster).await?;
    let load = Load::new(Generator::new(trial.rng.child("rows"), SERIES), ROWS_MAX, PAUSE_MS_MAX);
    let clients = start_clients(env, cluster, &load);
    let (end, mut faults) = (env.clock.now() + trial.length, BTreeMap::<String, u64>::new());
    for step in Plan::new(trial.rng.child("faults"), NODES, &trial.kinds) {
        env.clock.sleep_until(end.min(env.clock.now() + step.wait)).await;
        if env.clock.now() >= end {
            break;
        }
        // A kill would hide that a node had ended by itself before.
        cluster.check_alive()?;
        let done = apply(env, cluster, step).await?;
        *faults.entry(done).or_default() += 1;
        cluster.check_alive()?;
    }
    end_clients(env, &load, clients).await?;
    say(&format!("  {}", load.summary()));
    let count = |kind| faults.get(kind).copied().unwrap_or(0);
    if count(UNNOTICED) > count(FAILING_SYNC) {
        return Err(Violation::Other("most nodes went on although nothing new could be synced".into()).into());
    }
    history.as_mut().map_or(Ok(()), |file| load.write(file))?;
    let mut keep = |read: &Read| history.as_mut().map_or(Ok(()), |file| file::write_read(file, read));
    judge(env, cluster, &load, trial.length, &mut keep).await?;
    if load.acked() < ACKED_MIN {
        return Err(Broken::Liveness(format!("fewer than {ACKED_MIN} rows were acknowledged")));
    }
    // What disks and logs hold by themselves, with no peer that remembers.
    (0..NODES).for_each(|node| cluster.kill(node));
    (0..NODES).try_for_each(|node| cluster.start_node(node))?;
    let values = judge(env, cluster, &load, trial.length, &mut keep).await?;
    history.map_or(Ok(()), |mut file| file::end(&mut file))?;
    Ok(Held { acked_rows: load.acked(), acked_requests: load.acked_requests(), values, faults })
}

/// Waits until the cluster is formed, and makes the database.
pub async fn form(env: &Env, cluster: &Cluster) -> Result<(), Broken> {
    let until = env.clock.now() + SETTLE_MAX;
    let made = create_database(env, &cluster.fronts()[0], until).await;
    made.map_err(|failure| Broken::Liveness(format!("the database was not made: {failure}")))?;
    wait_settled(env, &cluster.nodes(), NODES, until).await
}

/// Starts clients of every kind at every router.
pub fn start_clients(env: &Env, cluster: &Cluster, load: &Load) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for (grpc, http) in cluster.fronts().into_iter().zip(cluster.fronts_http()) {
        for _ in 0..2 {
            clients.spawn(load.clone().write_rows(env.clone(), grpc.clone()));
            clients.spawn(load.clone().write_lines(env.clone(), http.clone()));
        }
        clients.spawn(load.clone().read(env.clone(), grpc.clone()));
        clients.spawn(load.clone().delete(env.clone(), grpc));
    }
    clients
}

/// Ends all clients, each after what it has under way.
pub async fn end_clients(env: &Env, load: &Load, mut clients: JoinSet<()>) -> Result<(), Broken> {
    load.stop();
    let ending = async {
        let mut whole = true;
        while let Some(ended) = clients.join_next().await {
            whole &= ended.is_ok();
        }
        whole
    };
    match meridian_env::deadline(&*env.clock, env.clock.now() + SETTLE_MAX, ending).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Broken::Harness("a client of the trial panicked".into())),
        Err(_) => Err(Broken::Liveness("a client did not end".into())),
    }
}

/// All that must hold once every process runs and nobody writes; the values that were read through each router. `length` is for
/// how long was written: long histories take long to read. `keep` gets each answer before it is judged.
pub async fn judge(
    env: &Env,
    cluster: &mut Cluster,
    load: &Load,
    length: Duration,
    keep: impl FnMut(&Read) -> io::Result<()>,
) -> Result<u64, Broken> {
    wait_settled(env, &cluster.nodes(), NODES, env.clock.now() + SETTLE_MAX).await?;
    let registers = load.judge()?;
    let until = env.clock.now() + SETTLE_MAX + length;
    let checked = verify(env, &cluster.fronts(), &registers, until, keep).await?;
    let hashed = checksums(env, (&cluster.nodes(), NODES), &load.last_entries(), until).await?;
    cluster.check_alive()?;
    let (values, questions) = (checked.values, checked.questions);
    say(&format!("  held: {values} values in {questions} questions through each router; {hashed} shards hashed"));
    Ok(values)
}

/// Names of nodes, for people.
pub fn names(nodes: &[usize]) -> String {
    nodes.iter().map(|node| format!("n{}", node + 1)).collect::<Vec<_>>().join(", ")
}

/// Does one thing, and ends it; what it is called.
async fn apply(env: &Env, cluster: &mut Cluster, step: Step) -> Result<String, Broken> {
    let Step { deed, lasts, .. } = step;
    let nodes = match deed.victim() {
        Victim::Node(node) => vec![node],
        Victim::Leader => vec![busiest(env, &cluster.nodes()).await.unwrap_or_default()],
        Victim::All => (0..NODES).collect(),
    };
    let what = deed.name();
    say(&format!("  {what}: {} for {} ms", names(&nodes), lasts.as_millis()));
    match deed {
        Deed::Kill(_) => {
            nodes.iter().for_each(|node| cluster.kill(*node));
            env.clock.sleep(lasts).await;
        }
        Deed::Pause(_) => {
            nodes.iter().for_each(|node| cluster.pause(*node));
            env.clock.sleep(lasts).await;
            nodes.iter().for_each(|node| cluster.resume(*node));
        }
        Deed::Cut(cut, _) => {
            nodes.iter().try_for_each(|node| cluster.network()?.cut(cut, *node).map_err(Broken::from))?;
            env.clock.sleep(lasts).await;
            cluster.network()?.heal()?;
        }
        Deed::Delay(ms, _) => {
            for node in &nodes {
                cluster.network()?.delay(*node, Duration::from_millis(ms));
            }
            env.clock.sleep(lasts).await;
            cluster.network()?.heal()?;
        }
        Deed::PowerCut(_) => {
            // All lose what they have not synced before the first is started again.
            nodes.iter().try_for_each(|node| cluster.disk(*node)?.cut().map_err(Broken::from))?;
            nodes.iter().for_each(|node| cluster.kill(*node));
            nodes.iter().try_for_each(|node| cluster.disk(*node)?.mount_again().map_err(Broken::from))?;
            env.clock.sleep(lasts).await;
        }
        Deed::FillDisk(_) => {
            nodes.iter().try_for_each(|node| cluster.disk(*node)?.fill().map_err(Broken::from))?;
            env.clock.sleep(lasts).await;
            nodes.iter().try_for_each(|node| cluster.disk(*node)?.free().map_err(Broken::from))?;
        }
        Deed::FailSyncs(_) => return fail_syncs(env, cluster, nodes, lasts).await,
    }
    if matches!(deed, Deed::Kill(_) | Deed::PowerCut(_)) {
        nodes.iter().try_for_each(|node| cluster.start_node(*node))?;
    }
    Ok(what)
}

/// Has syncs fail for a while. A node whose sync fails must end by itself, for nobody knows what of it is on the disk; one that had
/// nothing new to sync may go on. Either way its power is cut before syncs succeed again: the kernel tells of a failure once, and
/// may do so later.
async fn fail_syncs(env: &Env, cluster: &mut Cluster, nodes: Vec<usize>, lasts: Duration) -> Result<String, Broken> {
    let mut noticed = false;
    for node in nodes {
        let until = env.clock.now() + lasts;
        while env.clock.now() < until && !cluster.has_ended(node) {
            // Again and again: what the node deletes gives back some space.
            cluster.disk(node)?.fail_syncs()?;
            env.clock.sleep(Duration::from_millis(50)).await;
        }
        noticed |= cluster.has_ended(node);
        cluster.disk(node)?.cut()?;
        cluster.kill(node);
        cluster.disk(node)?.mend_syncs()?;
        cluster.disk(node)?.mount_again()?;
        cluster.start_node(node)?;
    }
    Ok(if noticed { FAILING_SYNC } else { UNNOTICED }.to_owned())
}
