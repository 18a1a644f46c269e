//! Real processes under SIGKILL and SIGSTOP: nothing acknowledged is lost, and what is read is what was promised.
//!
//! `MERIDIAN_TEST_SECONDS` (15 if it is not set) bounds the time in which faults come, `MERIDIAN_TEST_SEED` repeats what was
//! drawn; the machine decides the rest. `cargo test -p meridian-cli kill` runs these tests alone; `meridian-chaos real` does more
//! to a cluster, as root.

use std::path::Path;
use std::time::Duration;

use meridian_env::{Env, Rng, real};
use meridian_trial::real::{
    self as trial, Cluster, Kind, NODES, SETTLE_MAX, Trial, end_clients, form, judge, names, on_a_cluster, say,
    start_clients,
};
use meridian_trial::{Broken, Generator, Load, statuses, wait_settled};

/// How long the test of another process may hold the machine.
const TURN_MAX: Duration = Duration::from_secs(3_600);
const SERIES: u32 = 40;
/// How long a node is away at most: many times what its peers' logs keep.
const AWAY_SECONDS_MAX: u64 = 30;

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

fn meridian() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_meridian"))
}

/// Runs a test that has the machine for itself, as far as tests of this build go.
fn alone(test: impl AsyncFnOnce(&Env) -> Result<(), Broken>) {
    let env = real::env().expect("the real world");
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().expect("a runtime");
    // On this thread, with which all child processes die.
    runtime.block_on(async {
        let _turn = turn(&env).await;
        if let Err(broken) = test(&env).await {
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

#[test]
fn killed_and_paused_nodes_lose_nothing() {
    let rng = rng("killed_and_paused_nodes_lose_nothing");
    alone(async |env| {
        let (kinds, length) = (vec![Kind::Kill, Kind::Pause], Duration::from_secs(seconds()));
        trial::run(env, &Trial { meridian: meridian().to_owned(), kinds, length, rng, history: None }).await.map(drop)
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
    alone(async |env| on_a_cluster(env, meridian(), &[], async |cluster| catches_up(env, cluster, &rng).await).await);
}

async fn catches_up(env: &Env, cluster: &mut Cluster, rng: &Rng) -> Result<(), Broken> {
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
        cluster.start_node(away)?;
        env.clock.sleep(Duration::from_millis(300 + rng.below(1_500))).await;
        say(&format!("  it is {} entries behind and killed again", lag(env, cluster, away).await));
        cluster.check_alive()?;
        cluster.kill(away);
    }
    cluster.start_node(away)?;
    end_clients(env, &load, clients).await?;
    let began = env.clock.now();
    wait_settled(env, &cluster.nodes(), NODES, began + SETTLE_MAX).await?;
    say(&format!("  level after {:.1} s", (env.clock.now() - began).as_secs_f64()));
    judge(env, cluster, &load, Duration::from_secs(seconds()), |_| Ok(())).await.map(drop)
}
