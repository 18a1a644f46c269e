//! The run that CI proves first: writes through the router, a crash of the busiest leader that loses its unsynced bytes, a
//! restart, a power cut of all nodes at once, and then every acknowledged point must be there, once, with its value.

use std::sync::Arc;
use std::time::Duration;

use meridian_types::NodeId;
use parking_lot::Mutex;

use crate::history::{History, Told, Violation};
use crate::time;
use crate::workload;
use crate::world::{NODES, World};

const CRASH_AT: Duration = Duration::from_secs(6);

/// What is done to the nodes, and when.
const STORY: [(Duration, Deed); 4] = [
    (CRASH_AT, Deed::CrashLeader),
    (Duration::from_secs(9), Deed::RestartAll),
    (Duration::from_secs(13), Deed::CrashAll),
    (Duration::from_secs(14), Deed::RestartAll),
];

#[derive(Clone, Copy)]
enum Deed {
    CrashLeader,
    CrashAll,
    /// Those that are down.
    RestartAll,
}
/// Simulated time after the last write in which everything must be answered.
const HEAL_MAX: Duration = Duration::from_secs(30);
const LANES: i64 = 3;

/// Why a run failed, by what it says about the product.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("safety: {0}")]
    Safety(#[from] Violation),
    #[error("liveness: {0}")]
    Liveness(String),
    #[error("crash: {0}")]
    Crash(String),
}

impl Broken {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Safety(_) => 1,
            Self::Liveness(_) => 2,
            Self::Crash(_) => 3,
        }
    }
}

type Read = Arc<Mutex<Option<(Vec<(i64, i64)>, u64)>>>;

/// Runs the scenario of a seed with `seconds` of writes; says what was seen.
pub(crate) fn run(seed: u64, seconds: u64) -> Result<String, Broken> {
    let until = Duration::from_secs(seconds);
    let mut world = World::new(seed, until + HEAL_MAX);
    let history = Arc::new(Mutex::new(History::default()));
    let (leader, read) = (Arc::new(Mutex::new(None)), Read::default());
    let writers = start_clients(&mut world, &history, &leader, &read, until);

    let mut story = STORY.into_iter().peekable();
    let mut crashed = NodeId::default();
    while !world.step().map_err(|e| failed(&e.to_string()))? {
        let Some((_, deed)) = story.next_if(|(at, _)| *at <= world.sim.elapsed()) else { continue };
        match deed {
            Deed::CrashLeader => {
                crashed = leader.lock().ok_or_else(|| Broken::Liveness("no leader before the crash".into()))?;
                world.crash(crashed);
            }
            Deed::CrashAll => (1..=NODES).map(NodeId).for_each(|node| world.crash(node)),
            Deed::RestartAll => world.restart_all(),
        }
    }
    drop(writers);
    let history = history.lock();
    let read = read.lock().take().ok_or_else(|| Broken::Liveness("nothing was read back".into()))?;
    history.check(&read.0, read.1)?;
    let (acked, unknown) = (history.count(Told::Acked), history.count(Told::Unknown));
    if acked < 100 {
        return Err(Broken::Liveness(format!("only {acked} writes were acknowledged")));
    }
    let simulated = world.sim.elapsed().as_secs_f64();
    let speed = simulated / time::cpu().as_secs_f64();
    let refused = history.count(Told::Refused);
    Ok(format!(
        "{acked} acked, {unknown} unknown, {refused} refused; crashed {crashed}, then all; \
         {simulated:.1} simulated s, {speed:.1} a CPU s"
    ))
}

/// Writers, an observer of leaders, and a reader that waits for both.
fn start_clients(
    world: &mut World,
    history: &Arc<Mutex<History>>,
    leader: &Arc<Mutex<Option<NodeId>>>,
    read: &Read,
    until: Duration,
) -> Arc<()> {
    let writing = Arc::new(());
    for lane in 0..LANES {
        let (history, writing) = (Arc::clone(history), Arc::clone(&writing));
        world.client(&format!("c{lane}"), move |env| async move {
            workload::write(env, history, lane, LANES, until).await;
            drop(writing);
            Ok(())
        });
    }
    let leader = Arc::clone(leader);
    world.client("observer", move |env| async move {
        env.clock.sleep(CRASH_AT.saturating_sub(Duration::from_millis(500))).await;
        *leader.lock() = workload::busiest(&env, NODES).await.map(NodeId);
        Ok(())
    });
    let (read, others) = (Arc::clone(read), Arc::downgrade(&writing));
    world.client("reader", move |env| async move {
        // One handle stays with the scenario: when no other is left, the writers are done.
        while others.strong_count() > 1 {
            env.clock.sleep(Duration::from_millis(100)).await;
        }
        let answer = workload::read_all(&env).await;
        *read.lock() = Some(answer);
        Ok(())
    });
    writing
}

fn failed(error: &str) -> Broken {
    if error.contains("Ran for duration") {
        Broken::Liveness(error.to_owned())
    } else {
        Broken::Crash(error.to_owned())
    }
}
