//! The clients of a run: those of every trial, on hosts of their own.

use std::sync::Arc;
use std::time::Duration;

use meridian_env::{Env, Rng};
use meridian_trial::{Broken, Checked, Generator, Load, busiest, checksums, create_database, verify, wait_settled};
use parking_lot::Mutex;

use crate::world::{NODES, ROUTER, World};

/// The router's HTTP.
const ROUTER_HTTP: &str = "r1:8086";
const SERIES: u32 = 24;
const ROWS_MAX: u64 = 8;
const PAUSE_MS_MAX: u64 = 60;
/// How often the busiest leader is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// How long a cluster of running nodes may take until everything is answered.
const HEAL_MAX: Duration = Duration::from_secs(30);
/// Whether nodes answer `Checksum`.
const HASHES: bool = true;
/// Whether shards delete.
const DELETES: bool = true;

/// What the clients of a run leave behind for the scenario.
#[derive(Clone)]
pub(crate) struct Clients {
    pub(crate) load: Load,
    /// The node that leads the most groups, counted from 0, as last seen.
    pub(crate) busiest: Arc<Mutex<Option<usize>>>,
    /// What the judge says at the end.
    pub(crate) verdict: Arc<Mutex<Option<Result<Checked, Broken>>>>,
}

/// gRPC addresses of all nodes.
fn nodes() -> Vec<String> {
    (1..=NODES).map(|node| format!("n{node}:7172")).collect()
}

/// Starts writers, deleters and readers, an observer of leaders, and a judge that waits for them.
pub(crate) fn start(world: &mut World, rng: &Rng) -> Clients {
    let load = Load::new(Generator::new(rng.child("rows"), SERIES), ROWS_MAX, PAUSE_MS_MAX);
    let clients = Clients { load: load.clone(), busiest: Arc::default(), verdict: Arc::default() };
    // One handle stays with the clients: the judge waits until it has the last.
    let writing = Arc::new(());
    for client in 0..if DELETES { 7 } else { 6 } {
        let (load, writing) = (load.clone(), Arc::clone(&writing));
        world.client(&format!("c{client}"), move |env| async move {
            ready(&env).await?;
            match client {
                0..3 => load.write_rows(env, ROUTER.into()).await,
                3..5 => load.write_lines(env, ROUTER_HTTP.into()).await,
                5 => load.read(env, ROUTER.into()).await,
                _ => load.delete(env, ROUTER.into()).await,
            }
            drop(writing);
            Ok(())
        });
    }
    let (load, seen) = (load, Arc::clone(&clients.busiest));
    let watched = load.clone();
    world.client("observer", move |env| async move {
        while watched.is_running() {
            if let Some(most) = busiest(&env, &nodes()).await {
                *seen.lock() = Some(most);
            }
            env.clock.sleep(LOOK_EVERY).await;
        }
        Ok(())
    });
    let verdict = Arc::clone(&clients.verdict);
    world.client("judge", move |env| async move {
        while Arc::strong_count(&writing) > 1 {
            env.clock.sleep(Duration::from_millis(100)).await;
        }
        let judged = judge(&env, &load).await;
        *verdict.lock() = Some(judged);
        Ok(())
    });
    clients
}

/// Makes the database, once the cluster is there.
async fn ready(env: &Env) -> turmoil::Result {
    let made = create_database(env, ROUTER, env.clock.now() + HEAL_MAX).await;
    made.map_err(|failure| format!("the database was not made: {failure}").into())
}

async fn judge(env: &Env, load: &Load) -> Result<Checked, Broken> {
    let until = env.clock.now() + HEAL_MAX;
    wait_settled(env, &nodes(), until).await?;
    let registers = load.judge()?;
    let checked = verify(env, &[ROUTER.to_owned()], &registers, until).await?;
    if HASHES {
        checksums(env, &nodes(), until).await?;
    }
    Ok(checked)
}
