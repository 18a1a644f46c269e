//! The clients of a run: those of every trial, on hosts of their own, spread over all routers; and those who watch and judge.

use std::sync::Arc;
use std::time::Duration;

use meridian_client::connect;
use meridian_env::{Env, Rng, deadline};
use meridian_proto::v1;
use meridian_proto::v1::admin_client::AdminClient;
use meridian_trial::{
    Broken, Checked, Generator, Load, Violation, checksums, create_database, led_by, statuses, verify, wait_settled,
};
use parking_lot::Mutex;

use crate::invariants::{self, Invariants, Look, Role, Seen};
use crate::shape::{LostDisk, Shape};
use crate::world::{Starts, World};

const SERIES: u32 = 24;
const PAUSE_MS_MAX: u64 = 60;
/// How often nodes are asked who leads.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long a node may take to say what it leads.
const ANSWER_MAX: Duration = Duration::from_millis(200);
/// How long a cluster of running nodes may take until everything is answered.
pub(crate) const HEAL_MAX: Duration = Duration::from_secs(30);
/// The group of the catalogue.
pub(crate) const META: u32 = 0;

/// A node that says that it leads a shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sighting {
    pub(crate) at: Duration,
    pub(crate) shard: u32,
    pub(crate) node: u32,
    pub(crate) term: u64,
}

/// How far a cluster has come that must serve without one of its nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Without {
    /// Not everything else is well again.
    #[default]
    Waits,
    /// The node is down, and nothing else goes wrong.
    Serves,
    /// It has served: the node may come back.
    Served,
    /// The node was refused, for it came without its disk.
    Refused,
}

/// What the clients of a run leave behind for the scenario.
#[derive(Clone)]
pub(crate) struct Clients {
    pub(crate) load: Load,
    /// The node that leads the most groups, counted from 0, as last seen.
    pub(crate) busiest: Arc<Mutex<Option<usize>>>,
    pub(crate) sightings: Arc<Mutex<Vec<Sighting>>>,
    /// An invariant of the replicas that does not hold.
    pub(crate) broken: Arc<Mutex<Option<invariants::Broken>>>,
    /// How far a cluster has come that must serve without one of its nodes.
    pub(crate) without: Arc<Mutex<Without>>,
    /// What the judge says at the end.
    pub(crate) verdict: Arc<Mutex<Option<Result<Checked, Broken>>>>,
}

/// Starts writers, deleters and readers, an observer of leaders, and a judge that waits for them.
pub(crate) fn start(world: &mut World, rng: &Rng) -> Clients {
    let load = Load::new(Generator::new(rng.child("rows"), SERIES), world.shape.rows, PAUSE_MS_MAX);
    let clients = Clients {
        load: load.clone(),
        busiest: Arc::default(),
        sightings: Arc::default(),
        broken: Arc::default(),
        without: Arc::default(),
        verdict: Arc::default(),
    };
    let routers: Vec<_> = world.shape.routers().collect();
    // One handle stays with the clients: the judge waits until it has the last.
    let writing = Arc::new(());
    let writers = world.shape.clients as usize;
    for client in 0..writers + routers.len() {
        let (load, writing) = (load.clone(), Arc::clone(&writing));
        let router = routers[client % routers.len()].clone();
        let (grpc, http) = (format!("{router}:7171"), format!("{router}:8086"));
        world.client(&format!("c{client}"), move |env| async move {
            ready(&env, &grpc).await?;
            // Whoever reads through a router that is cut off with an old leader must not see what it last knew: all have a reader.
            match (client < writers).then_some(client % 6) {
                Some(0 | 2 | 4) => load.write_rows(env, grpc).await,
                Some(1 | 3) => load.write_lines(env, http).await,
                Some(_) => load.delete(env, grpc).await,
                None => load.read(env, grpc).await,
            }
            drop(writing);
            Ok(())
        });
    }
    let (shape, starts, watched) = (world.shape.clone(), world.starts(), clients.clone());
    world.client("observer", move |env| async move {
        observe(&env, &shape, &starts, &watched).await;
        Ok(())
    });
    if world.shape.transfers {
        let (shape, load) = (world.shape.clone(), load.clone());
        world.client("mover", move |env| async move {
            hand_over(&env, &shape, &load).await;
            Ok(())
        });
    }
    let (shape, watched) = (world.shape.clone(), clients.clone());
    world.client("judge", move |env| async move {
        while Arc::strong_count(&writing) > 1 {
            env.clock.sleep(Duration::from_millis(100)).await;
        }
        let judged = judge(&env, &shape, &watched).await;
        *watched.verdict.lock() = Some(judged);
        Ok(())
    });
    clients
}

/// Makes the database, once the cluster is there.
async fn ready(env: &Env, grpc: &str) -> turmoil::Result {
    let made = create_database(env, grpc, env.clock.now() + HEAL_MAX).await;
    made.map_err(|failure| format!("the database was not made: {failure}").into())
}

/// What each node says of itself now; nothing of those that are down.
pub(crate) async fn look(env: &Env, nodes: &[String]) -> Vec<Option<v1::NodeStatusReply>> {
    let asked = nodes.iter().map(|node| statuses(env, std::slice::from_ref(node)));
    let soon = env.clock.now() + ANSWER_MAX;
    // A node that is down must not keep the others from being seen.
    let asked = asked.map(async |status| deadline(&*env.clock, soon, status).await.ok()?.pop()?);
    futures::future::join_all(asked).await
}

/// Keeps who leads what and holds what nodes say against what must hold at any time, for as long as clients write.
async fn observe(env: &Env, shape: &Shape, starts: &Starts, clients: &Clients) {
    let nodes = shape.addresses();
    let mut invariants = Invariants::default();
    let elapsed = || turmoil::sim_elapsed().unwrap_or_default();
    while clients.load.is_running() {
        let (asked, before) = (elapsed(), shape.nodes().map(|node| starts.of(&node.to_string())).collect::<Vec<_>>());
        let seen = look(env, &nodes).await;
        let led = led_by(&seen);
        let most = led.iter().max().filter(|most| **most > 0);
        if let Some(most) = most {
            *clients.busiest.lock() = led.iter().position(|led| led == most);
        }
        let at = elapsed();
        let groups = (1..)
            .zip(&seen)
            .flat_map(|(node, status)| status.iter().flat_map(move |s| s.groups.iter().map(move |g| (node, g))));
        let leads = groups.filter(|(_, group)| group.group != META && group.role == "leader");
        let sightings = leads.map(|(node, group)| Sighting { at, shard: group.group, node, term: group.term });
        clients.sightings.lock().extend(sightings);
        for ((node, start), status) in shape.nodes().zip(before).zip(seen) {
            // Whose answer it is, if the process was started in between, nobody knows.
            let Some(status) = status.filter(|_| starts.of(&node.to_string()) == start) else { continue };
            let replicas = status.groups.iter().map(|group| replica(node.0, group)).collect();
            if let Err(broken) = invariants.see(&Look { at, asked, node: node.0, start, replicas }) {
                clients.broken.lock().get_or_insert(broken);
            }
        }
        env.clock.sleep(LOOK_EVERY).await;
    }
}

fn replica(node: u32, state: &v1::GroupState) -> Seen {
    Seen {
        group: state.group,
        incarnation: state.incarnation,
        replica: state.replica,
        node,
        role: Role::named(&state.role),
        term: state.term,
        leader: state.leader,
        last: state.last_index,
        committed: state.committed_index,
        applied: state.applied_index,
        checksum: (state.checksum_index > 0).then_some((state.checksum_index, state.checksum)),
    }
}

/// Asks that this node or that takes over a shard, for as long as clients write. Whether it does is no matter.
async fn hand_over(env: &Env, shape: &Shape, load: &Load) {
    let routers: Vec<_> = shape.routers().collect();
    while load.is_running() {
        env.clock.sleep(Duration::from_millis(500 + env.rng.below(3_000))).await;
        let draw = |count: u32| 1 + env.rng.below(count.into()) as u32;
        let request = v1::TransferShardLeaderRequest { shard: draw(shape.shards), to_node: draw(shape.nodes) };
        let router = &routers[env.rng.below(routers.len() as u64) as usize];
        let mut client = AdminClient::new(connect(env, &format!("{router}:7171")));
        let asked = client.transfer_leader(request);
        let answer = deadline(&*env.clock, env.clock.now() + Duration::from_secs(2), asked).await;
        tracing::debug!(?request, done = answer.is_ok_and(|answer| answer.is_ok()), "transfer");
    }
}

async fn judge(env: &Env, shape: &Shape, clients: &Clients) -> Result<Checked, Broken> {
    if let Some(lost) = shape.lost {
        while *clients.without.lock() == Without::Waits {
            env.clock.sleep(LOOK_EVERY).await;
        }
        serves(env, shape, &clients.load).await?;
        *clients.without.lock() = Without::Served;
        if lost.disk == LostDisk::Wiped {
            refused(env, clients).await?;
            return serves(env, shape, &clients.load).await;
        }
    }
    let (nodes, until) = (shape.addresses(), env.clock.now() + HEAL_MAX);
    wait_settled(env, &nodes, shape.copies(), until).await?;
    let checked = serves(env, shape, &clients.load).await?;
    checksums(env, (&nodes, shape.copies()), &clients.load.last_entries(), until).await?;
    Ok(checked)
}

/// Waits until the lost node has been refused: it has forgotten its votes, and what it acknowledged.
async fn refused(env: &Env, clients: &Clients) -> Result<(), Broken> {
    let until = env.clock.now() + HEAL_MAX;
    while *clients.without.lock() != Without::Refused {
        if env.clock.now() > until {
            let why = "a node that has lost its disk is taken back under its old id";
            return Err(Violation::Other(why.into()).into());
        }
        env.clock.sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Whether new rows are taken through every router, and all are there that must be.
async fn serves(env: &Env, shape: &Shape, load: &Load) -> Result<Checked, Broken> {
    let until = env.clock.now() + HEAL_MAX;
    let fronts: Vec<_> = shape.routers().map(|router| format!("{router}:7171")).collect();
    for front in &fronts {
        load.write_once(env, front, until).await?;
    }
    verify(env, &fronts, &load.judge()?, until, |_| Ok(())).await
}
