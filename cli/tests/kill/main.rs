//! Real processes under SIGKILL and SIGSTOP: nothing acknowledged is lost, and what is read is what was promised.
//!
//! `MERIDIAN_TEST_SECONDS` (15 if it is not set) bounds the time in which faults come, `MERIDIAN_TEST_SEED` repeats what was
//! drawn; the machine decides the rest. `cargo test -p meridian-cli kill` runs these tests alone.

mod cluster;
mod process;

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use meridian_env::{Env, Rng, real};
use meridian_trial::{
    Broken, Fault, Faults, Generator, Load, Victim, busiest, checksums, create_database, statuses, verify, wait_settled,
};
use tokio::task::JoinSet;

use crate::cluster::{Cluster, NODES};

/// How long a cluster that runs may take until it answers and all its replicas are level.
const SETTLE_MAX: Duration = Duration::from_secs(90);
/// How long the test of another process may hold the machine.
const TURN_MAX: Duration = Duration::from_secs(3_600);
const SERIES: u32 = 40;
/// How long a node is away at most: many times what its peers' logs keep.
const AWAY_SECONDS_MAX: u64 = 30;

/// So small that flushes, compactions, purges and snapshots happen within seconds.
const SMALL: [(&str, &str); 3] =
    [("MERIDIAN_MEMORY_BYTES", "4194304"), ("MERIDIAN_LOG_BYTES", "8388608"), ("MERIDIAN_FLUSH_AFTER", "2s")];

/// Whether nodes answer `Checksum`.
const HASHES: bool = true;
/// Whether shards delete.
const DELETES: bool = true;

fn say(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}

fn seconds() -> u64 {
    std::env::var("MERIDIAN_TEST_SECONDS").map_or(15, |text| text.parse().expect("MERIDIAN_TEST_SECONDS is a number"))
}

/// What is drawn by this test, from a seed that is printed.
fn rng(test: &str) -> Rng {
    let seed = match std::env::var("MERIDIAN_TEST_SEED") {
        Ok(text) => text.parse().expect("MERIDIAN_TEST_SEED is a number"),
        Err(_) => Rng::from_system().below(1 << 32),
    };
    say(&format!("{test}: seed {seed} (again: MERIDIAN_TEST_SEED={seed} cargo test -p meridian-cli kill)"));
    Rng::from_seed(seed)
}

/// Runs a test on a cluster that has the machine for itself, as far as tests of this build go.
fn on_a_cluster(
    settings: &[(&'static str, &'static str)],
    test: impl AsyncFnOnce(&Env, &mut Cluster) -> Result<(), Broken>,
) {
    let env = real::env().expect("the real world");
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().expect("a runtime");
    // On this thread, with which all child processes die.
    runtime.block_on(async {
        let _turn = turn(&env).await;
        let mut cluster = Cluster::start(&env, settings).await;
        if let Err(broken) = test(&env, &mut cluster).await {
            panic!("{broken}");
        }
    });
    runtime.shutdown_background();
}

/// Held by one test at a time, also of other runs from the same build directory.
async fn turn(env: &Env) -> std::fs::File {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cluster.lock");
    let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(path).expect("a lock file");
    let until = env.clock.now() + TURN_MAX;
    while file.try_lock().is_err() {
        assert!(env.clock.now() < until, "another test has held the machine for {} s", TURN_MAX.as_secs());
        env.clock.sleep(Duration::from_millis(200)).await;
    }
    file
}

/// Waits until the cluster is formed, and makes the database.
async fn form(env: &Env, cluster: &Cluster) -> Result<(), Broken> {
    let until = env.clock.now() + SETTLE_MAX;
    let made = create_database(env, &cluster.fronts()[0], until).await;
    made.map_err(|failure| Broken::Liveness(format!("the database was not made: {failure}")))?;
    wait_settled(env, &cluster.nodes(), NODES, until).await
}

/// Clients of every kind at every router.
fn start_clients(env: &Env, cluster: &Cluster, load: &Load) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for (grpc, http) in cluster.fronts().into_iter().zip(cluster.fronts_http()) {
        for _ in 0..2 {
            clients.spawn(load.clone().write_rows(env.clone(), grpc.clone()));
            clients.spawn(load.clone().write_lines(env.clone(), http.clone()));
        }
        clients.spawn(load.clone().read(env.clone(), grpc.clone()));
        if DELETES {
            clients.spawn(load.clone().delete(env.clone(), grpc));
        }
    }
    clients
}

async fn end_clients(env: &Env, load: &Load, mut clients: JoinSet<()>) -> Result<(), Broken> {
    load.stop();
    let ending = async { while clients.join_next().await.is_some_and(|ended| ended.is_ok()) {} };
    let ended = meridian_env::deadline(&*env.clock, env.clock.now() + SETTLE_MAX, ending).await;
    ended.map_err(|_| Broken::Liveness("a client did not end".into()))?;
    if clients.is_empty() { Ok(()) } else { Err(Broken::Crash("a client of the test panicked".into())) }
}

/// All that must hold once every process runs and nobody writes.
async fn judge(env: &Env, cluster: &mut Cluster, load: &Load) -> Result<(), Broken> {
    let until = env.clock.now() + SETTLE_MAX;
    wait_settled(env, &cluster.nodes(), NODES, until).await?;
    let registers = load.judge()?;
    // Long histories take long to read.
    let until = env.clock.now() + SETTLE_MAX + Duration::from_secs(seconds());
    let checked = verify(env, &cluster.fronts(), &registers, until).await?;
    let hashed = if HASHES { checksums(env, &cluster.nodes(), NODES, until).await? } else { 0 };
    cluster.check_alive()?;
    let (values, questions) = (checked.values, checked.questions);
    say(&format!("  held: {values} values in {questions} questions through each router; {hashed} shards hashed"));
    Ok(())
}

fn names(nodes: &[usize]) -> String {
    nodes.iter().map(|node| format!("n{}", node + 1)).collect::<Vec<_>>().join(", ")
}

async fn apply(env: &Env, cluster: &mut Cluster, fault: Fault) -> Result<(), Broken> {
    let victims = async |cluster: &Cluster, victim| match victim {
        Victim::Node(node) => vec![node],
        Victim::Leader => vec![busiest(env, &cluster.nodes()).await.unwrap_or_default()],
        Victim::All => (0..NODES).collect(),
    };
    match fault {
        Fault::Kill(victim, down) => {
            let victims = victims(cluster, victim).await;
            say(&format!("  kill {} for {} ms", names(&victims), down.as_millis()));
            victims.iter().for_each(|node| cluster.kill(*node));
            env.clock.sleep(down).await;
            victims.iter().for_each(|node| cluster.start_again(*node));
        }
        Fault::Pause(victim, stop) => {
            let victims = victims(cluster, victim).await;
            say(&format!("  pause {} for {} ms", names(&victims), stop.as_millis()));
            victims.iter().for_each(|node| cluster.pause(*node));
            env.clock.sleep(stop).await;
            victims.iter().for_each(|node| cluster.resume(*node));
        }
        Fault::Away(node, _) => panic!("nobody asked for {} to be away", names(&[node])),
    }
    cluster.check_alive()
}

#[test]
fn killed_and_paused_nodes_lose_nothing() {
    let rng = rng("killed_and_paused_nodes_lose_nothing");
    on_a_cluster(&SMALL, async |env, cluster| {
        form(env, cluster).await?;
        let load = Load::new(Generator::new(rng.child("rows"), SERIES), 20, 30);
        let clients = start_clients(env, cluster, &load);
        let end = env.clock.now() + Duration::from_secs(seconds());
        for (wait, fault) in Faults::new(rng.child("faults"), NODES, false) {
            env.clock.sleep_until(end.min(env.clock.now() + wait)).await;
            if env.clock.now() >= end {
                break;
            }
            apply(env, cluster, fault).await?;
        }
        end_clients(env, &load, clients).await?;
        say(&format!("  {}", load.summary()));
        judge(env, cluster, &load).await?;
        if load.acked() < 100 {
            return Err(Broken::Liveness("fewer than 100 rows were acknowledged".into()));
        }
        // What disks and logs hold by themselves, with no peer that remembers.
        apply(env, cluster, Fault::Kill(Victim::All, Duration::from_millis(100))).await?;
        judge(env, cluster, &load).await
    });
}

/// Entries of its groups' logs that a node has not applied, by the logs of those who lead.
async fn lag(env: &Env, cluster: &Cluster, node: usize) -> u64 {
    let statuses = statuses(env, &cluster.nodes()).await;
    let groups = || statuses.iter().flatten().flat_map(|status| &status.groups);
    let lag = |leader: &meridian_proto::v1::GroupState| {
        let own = statuses[node].iter().flat_map(|status| &status.groups).find(|own| own.group == leader.group);
        let applied = own.and_then(|own| own.applied_index).unwrap_or_default();
        leader.last_index.unwrap_or_default().saturating_sub(applied)
    };
    groups().filter(|group| group.role == "leader").map(lag).sum()
}

#[test]
fn a_node_killed_for_longer_than_the_log_is_kept_catches_up() {
    let rng = rng("a_node_killed_for_longer_than_the_log_is_kept_catches_up");
    on_a_cluster(&SMALL, async |env, cluster| {
        form(env, cluster).await?;
        let load = Load::new(Generator::new(rng.child("rows"), SERIES), 200, 10);
        let clients = start_clients(env, cluster, &load);
        let away = rng.below(NODES as u64) as usize;
        env.clock.sleep(Duration::from_secs(2)).await;
        cluster.kill(away);
        env.clock.sleep(Duration::from_secs(seconds().min(AWAY_SECONDS_MAX))).await;
        say(&format!("  {} was away; {}", names(&[away]), load.summary()));
        // Killed again and again in the midst of catching up, while more is written.
        for _ in 0..2 + seconds() / 60 {
            cluster.start_again(away);
            env.clock.sleep(Duration::from_millis(300 + rng.below(1_500))).await;
            say(&format!("  it is {} entries behind and killed again", lag(env, cluster, away).await));
            cluster.check_alive()?;
            cluster.kill(away);
        }
        cluster.start_again(away);
        end_clients(env, &load, clients).await?;
        let began = env.clock.now();
        wait_settled(env, &cluster.nodes(), NODES, began + SETTLE_MAX).await?;
        say(&format!("  level after {:.1} s", (env.clock.now() - began).as_secs_f64()));
        judge(env, cluster, &load).await
    });
}
