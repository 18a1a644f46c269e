//! The hosts of a simulation: nodes and routers run as they ship, on simulated parts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use meridian_client::connect;
use meridian_env::sim::{Faults, Image, SimHost, seed_ambient};
use meridian_env::{Env, Rng, deadline};
use meridian_node::{Addresses, LogSettings, StorageSettings, Timing};
use meridian_proto::v1::admin_client::AdminClient;
use meridian_proto::{failure_of, v1};
use meridian_types::{Code, NodeId};
use parking_lot::Mutex;

use crate::shape::{NEAR, Shape};
use crate::time;
use crate::trouble::Trouble;

/// The host from which a story is told.
pub(crate) const PEOPLE: &str = "people";
/// Share of the messages of a link that is lossy that are lost.
const LOSS: f64 = 0.02;

/// A simulation and what survives the crashes of its hosts.
pub(crate) struct World {
    pub(crate) sim: turmoil::Sim<'static>,
    pub(crate) shape: Shape,
    hosts: BTreeMap<String, SimHost>,
    down: BTreeSet<String>,
    /// Of those that are down, the ones that ended by themselves.
    halted: BTreeSet<String>,
    /// Whose power goes once a disk has synced more often than that.
    doomed: BTreeMap<String, u64>,
    /// What the disks that lie have for certain.
    lying: BTreeMap<String, Image>,
    starts: Starts,
    ended: Arc<Mutex<Ended>>,
    rng: Rng,
}

/// How often each host was started again. Clones are the same count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Starts(Arc<Mutex<BTreeMap<String, u32>>>);

impl Starts {
    pub(crate) fn of(&self, host: &str) -> u32 {
        self.0.lock().get(host).copied().unwrap_or(0)
    }
}

/// Nodes that end by themselves, as a process that aborts.
#[derive(Debug, Default)]
struct Ended {
    /// Those that may: a sync of theirs fails.
    expected: BTreeSet<NodeId>,
    /// Whether all may.
    anyone: bool,
    /// Those that have, and are not buried yet.
    nodes: Vec<NodeId>,
}

impl Ended {
    fn may(&self, node: NodeId) -> bool {
        self.anyone || self.expected.contains(&node)
    }
}

impl World {
    /// A world of this shape, its nodes and its routers started; whatever else is drawn comes from the seed.
    pub(crate) fn new(seed: u64, shape: Shape, limit: Duration) -> Self {
        time::set(Duration::ZERO);
        seed_ambient(seed);
        let rng = Rng::from_seed(seed);
        let sim = turmoil::Builder::new()
            .simulation_duration(limit)
            .tick_duration(Duration::from_millis(1))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(NEAR)
            .tcp_capacity(65_536)
            .rng_seed(rng.child("network").u64())
            .build();
        let (hosts, down, halted, doomed, lying, starts) = <_>::default();
        let mut world = Self { sim, shape, hosts, down, halted, doomed, lying, starts, ended: Arc::default(), rng };
        tracing::info!(shape = %world.shape, "the world");
        for node in world.shape.nodes() {
            world.start_node(node);
        }
        for router in world.shape.routers() {
            world.start_router(&router);
        }
        for (a, b) in world.links() {
            world.set_latency(&a, &b, world.latency(&a, &b));
        }
        let shape = world.shape.clone();
        world.client("operator", move |env| begin(env, shape));
        world
    }

    fn host(&mut self, name: &str) -> SimHost {
        let host = SimHost::new(name, &self.rng);
        self.hosts.insert(name.to_owned(), host.clone());
        host
    }

    /// Hosts are named like the ids that their nodes get if they join in this order, which they need not.
    fn start_node(&mut self, node: NodeId) {
        let (host, shape, ended) = (self.host(&node.to_string()), self.shape.clone(), Arc::clone(&self.ended));
        self.sim.host(node.to_string(), move || {
            let (env, config, ended) = (host.env(), config(node, &shape), Arc::clone(&ended));
            async move {
                let run = meridian_node::run(env, config, |_| {}, std::future::pending()).await;
                if let Err(error) = &run
                    && ended.lock().may(node)
                {
                    tracing::info!(%node, %error, "ended by itself");
                    ended.lock().nodes.push(node);
                    return std::future::pending().await;
                }
                Ok(run?)
            }
        });
    }

    fn start_router(&mut self, name: &str) {
        let (host, nodes) = (self.host(name), self.shape.addresses());
        self.sim.host(name, move || {
            let env = host.env();
            let config = meridian_router::Config {
                http: "0.0.0.0:8086".into(),
                grpc: "0.0.0.0:7171".into(),
                nodes: nodes.clone(),
                auto_create_databases: false,
                // Shorter than many a fault, so that some outcomes are unknown.
                request_timeout: Duration::from_millis(700),
            };
            async move { Ok(meridian_router::run(env, config, |_| {}, std::future::pending()).await?) }
        });
    }

    /// Runs `program` on a host of its own.
    pub(crate) fn client<F>(&mut self, name: &str, program: impl FnOnce(Env) -> F)
    where
        F: Future<Output = turmoil::Result> + 'static,
    {
        let env = self.host(name).env();
        self.sim.client(name, program(env));
    }

    /// One step; `true` when all clients are done.
    pub(crate) fn step(&mut self) -> turmoil::Result<bool> {
        time::set(self.sim.elapsed());
        let is_over = self.sim.step()?;
        let synced = |(host, syncs): &(&String, &u64)| self.hosts[*host].disk().syncs() > **syncs;
        let due = self.doomed.iter().filter(synced).map(|(host, _)| host.clone());
        let died = self.hosts.iter().filter(|(_, parts)| parts.disk().has_died()).map(|(host, _)| host.clone());
        for host in due.chain(died).collect::<Vec<_>>() {
            // Its process may have seen the disk go first.
            self.ended.lock().nodes.retain(|node| node.to_string() != host);
            self.crash(&host);
        }
        Ok(is_over)
    }

    /// The power of a node goes in the middle of its next sync, unless it is started before.
    pub(crate) fn crash_in_sync(&mut self, node: NodeId) {
        if !self.down.contains(&node.to_string()) {
            self.ended.lock().expected.insert(node);
            self.fault(node, |faults| faults.crash_next_sync = true);
        }
    }

    /// The power of a host goes within a millisecond of the end of its next sync.
    pub(crate) fn crash_after_sync(&mut self, host: &str) {
        self.doomed.insert(host.to_owned(), self.hosts[host].disk().syncs());
    }

    /// From here on the disk of a host lies about every sync, if it does not already.
    pub(crate) fn lie(&mut self, host: &str) {
        if !self.lying.contains_key(host) {
            self.lying.insert(host.to_owned(), self.hosts[host].image());
        }
    }

    /// A host that is down has lost what its disk lied about, if it did.
    pub(crate) fn fall_back(&mut self, host: &str) {
        self.lying.remove(host).into_iter().for_each(|image| self.hosts[host].revert(image));
    }

    /// From here on this node may end by itself, for whatever reason.
    pub(crate) fn let_end(&self, node: NodeId) {
        self.ended.lock().expected.insert(node);
    }

    /// From here on every node may.
    pub(crate) fn let_nodes_end(&self) {
        self.ended.lock().anyone = true;
    }

    /// Nodes that have just ended by themselves: they are down from here on.
    pub(crate) fn bury(&mut self) -> Vec<NodeId> {
        let ended = std::mem::take(&mut self.ended.lock().nodes);
        for node in &ended {
            self.ended.lock().expected.remove(node);
            self.crash(&node.to_string());
            self.halted.insert(node.to_string());
        }
        ended
    }

    pub(crate) fn starts(&self) -> Starts {
        self.starts.clone()
    }

    pub(crate) fn is_down(&self, host: &str) -> bool {
        self.down.contains(host)
    }

    /// Whether a host that is down ended by itself.
    pub(crate) fn has_halted(&self, host: &str) -> bool {
        self.halted.contains(host)
    }

    /// What a host is made of, to do something to it.
    pub(crate) fn parts(&self, host: &str) -> &SimHost {
        &self.hosts[host]
    }

    /// The power of a host goes: unsynced bytes are lost, kept or torn.
    pub(crate) fn crash(&mut self, host: &str) {
        self.doomed.remove(host);
        if self.down.insert(host.to_owned()) {
            self.sim.crash(host);
            self.hosts[host].crash();
            self.disarm(host);
            tracing::info!(host, "crashed");
        }
    }

    /// What may end by itself in a sync has ended otherwise, or shall not.
    fn disarm(&self, host: &str) {
        let disk = self.hosts[host].disk();
        disk.change_faults(|faults| faults.crash_next_sync = false);
        if !disk.faults().fail_next_sync {
            self.ended.lock().expected.retain(|node| node.to_string() != host);
        }
    }

    /// A host that is down starts again on what its disk has.
    pub(crate) fn restart(&mut self, host: &str) {
        self.doomed.remove(host);
        if self.hosts[host].disk().faults().crash_next_sync {
            self.disarm(host);
        }
        self.halted.remove(host);
        if self.down.remove(host) {
            *self.starts.0.lock().entry(host.to_owned()).or_default() += 1;
            self.sim.bounce(host);
            tracing::info!(host, "started again");
        }
    }

    /// Nothing reaches a host or leaves it until it is released, and nothing is lost: as if it stood still.
    pub(crate) fn hold(&self, host: &str) {
        self.others(host).for_each(|other| self.sim.hold(host, &*other));
        tracing::info!(host, "held");
    }

    pub(crate) fn release(&self, host: &str) {
        self.others(host).for_each(|other| self.sim.release(host, &*other));
        tracing::info!(host, "released");
    }

    /// Lets everything reach everything again.
    pub(crate) fn heal(&self) {
        self.links().iter().for_each(|(a, b)| self.sim.release(a.as_str(), b.as_str()));
        if self.hosts.contains_key(PEOPLE) {
            self.shape.routers().for_each(|router| self.sim.release(router, PEOPLE));
        }
        tracing::info!("healed");
    }

    /// The hosts that a node or router talks to, clients aside.
    fn others(&self, host: &str) -> impl Iterator<Item = String> + use<> {
        let host = host.to_owned();
        self.shape.servers().filter(move |other| *other != host)
    }

    /// All pairs of nodes and routers.
    fn links(&self) -> Vec<(String, String)> {
        let servers: Vec<_> = self.shape.servers().collect();
        let pairs = servers.iter().enumerate().flat_map(|(at, a)| servers[at + 1..].iter().map(move |b| (a, b)));
        pairs.map(|(a, b)| (a.clone(), b.clone())).collect()
    }

    /// How long a message between two hosts takes at most if nothing is wrong. Routers stand in the first regions.
    fn latency(&self, a: &str, b: &str) -> Duration {
        let region = |host: &str| self.shape.region(host[1..].parse().expect("a letter and a number"));
        self.shape.apart(region(a), region(b))
    }

    fn set_latency(&self, a: &str, b: &str, latency: Duration) {
        self.sim.set_link_max_message_latency(a, b, latency);
    }

    fn fault(&self, node: NodeId, change: impl FnOnce(&mut Faults)) {
        self.hosts[&node.to_string()].disk().change_faults(change);
    }

    /// Something begins to go wrong.
    pub(crate) fn strike(&mut self, trouble: &Trouble) {
        tracing::info!(?trouble, "begins");
        match trouble {
            Trouble::Cut { .. } | Trouble::Flap { .. } => self.cut(trouble),
            Trouble::CutLeader { .. } => unreachable!("it is resolved before it strikes"),
            Trouble::Flaky { from, to } => self.sim.set_link_fail_rate(from.as_str(), to.as_str(), LOSS),
            Trouble::Slow { from, to, latency } => self.set_latency(from, to, *latency),
            Trouble::Full { node, bytes } => {
                let capacity = self.hosts[&node.to_string()].disk().used_bytes() + bytes;
                self.fault(*node, |faults| faults.capacity_bytes = Some(capacity));
            }
            Trouble::SlowDisk { node, wait } => self.hosts[&node.to_string()].slow_disk(wait.as_millis() as u64),
            Trouble::FailSync { node } => {
                self.ended.lock().expected.insert(*node);
                self.fault(*node, |faults| faults.fail_next_sync = true);
            }
            Trouble::Clock { host, ahead } => self.hosts[host].clock().set_offset_nanos(*ahead),
            Trouble::Drift { host, a_second } => self.hosts[host].clock().drift(*a_second),
            Trouble::RouterDown { router } => self.crash(router),
            Trouble::NodesDown { nodes, .. } => nodes.iter().for_each(|node| self.crash(&node.to_string())),
            Trouble::Rot { node, block, bit } => {
                self.rot(*node, (*block, *bit), |path| path.extension().is_some_and(|end| end == "block"));
            }
            Trouble::RotManifest { node, shard, bit } => {
                self.rot(*node, (*shard, *bit), |path| path.file_name().is_some_and(|name| name == "MANIFEST"));
            }
            Trouble::Misdirect { node } => self.fault(*node, |faults| faults.misdirect_next_in = Some("blocks")),
        }
    }

    /// Cuts the links of a trouble that does that. Whatever else has been done to a link ends with it, and the other way round.
    pub(crate) fn cut(&self, trouble: &Trouble) {
        match trouble {
            Trouble::Cut { from, to, one_way } => pairs(from, to).for_each(|(a, b)| match one_way {
                true => self.sim.partition_oneway(a, b),
                false => self.sim.partition(a, b),
            }),
            Trouble::Flap { from, to } => self.sim.partition(from.as_str(), to.as_str()),
            _ => {}
        }
    }

    /// A bit turns over in one of a node's files of a kind.
    fn rot(&self, node: NodeId, (which, bit): (u64, u64), is_kind: fn(&Path) -> bool) {
        let disk = self.hosts[&node.to_string()].disk();
        let files: Vec<_> = disk.files().into_iter().filter(|(path, bytes)| is_kind(path) && *bytes > 0).collect();
        let Some((path, bytes)) = files.get((which % files.len().max(1) as u64) as usize) else { return };
        let bit = bit % (8 * bytes);
        disk.flip_bit(path, bit).expect("the file has so many bits");
        tracing::info!(%node, path = %path.display(), bit, "rots");
    }

    /// It goes right again.
    pub(crate) fn lift(&mut self, trouble: &Trouble) {
        tracing::info!(?trouble, "ends");
        match trouble {
            Trouble::Cut { from, to, .. } => pairs(from, to).for_each(|(a, b)| self.sim.repair(a, b)),
            Trouble::Flap { from, to } => self.sim.repair(from.as_str(), to.as_str()),
            Trouble::CutLeader { .. } => {}
            Trouble::Flaky { from, to } => self.sim.set_link_fail_rate(from.as_str(), to.as_str(), 0.0),
            Trouble::Slow { from, to, .. } => self.set_latency(from, to, self.latency(from, to)),
            Trouble::Full { node, .. } => self.fault(*node, |faults| faults.capacity_bytes = None),
            // A node that had nothing to sync in the meantime runs on; one that had ends, if it has not yet.
            Trouble::FailSync { node } => self.fault(*node, |faults| {
                if std::mem::take(&mut faults.fail_next_sync) {
                    self.ended.lock().expected.remove(node);
                }
            }),
            Trouble::Clock { host, .. } | Trouble::Drift { host, .. } => self.hosts[host].clock().set_offset_nanos(0),
            Trouble::SlowDisk { node, .. } => self.hosts[&node.to_string()].slow_disk(0),
            Trouble::RouterDown { router } => self.restart(router),
            Trouble::NodesDown { nodes, .. } => nodes.iter().for_each(|node| self.restart(&node.to_string())),
            Trouble::Misdirect { node } => self.fault(*node, |faults| faults.misdirect_next_in = None),
            // What is rotten stays so, until the replica is replaced.
            Trouble::Rot { .. } | Trouble::RotManifest { .. } => {}
        }
    }
}

fn pairs<'a>(from: &'a [String], to: &'a [String]) -> impl Iterator<Item = (&'a str, &'a str)> {
    from.iter().flat_map(move |a| to.iter().map(move |b| (a.as_str(), b.as_str())))
}

/// Longest wait of the operator for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Begins the cluster on the first node: the others join it by themselves.
async fn begin(env: Env, shape: Shape) -> turmoil::Result {
    let replication = shape.copies() as u32;
    let request = v1::InitClusterRequest { nodes: shape.nodes, shards: shape.shards, replication };
    let clock = &*env.clock;
    loop {
        let mut client = AdminClient::new(connect(&env, "n1:7172"));
        match deadline(clock, clock.now() + ANSWER_MAX, client.init_cluster(request)).await {
            Ok(Ok(_)) => return Ok(()),
            // An answer that was lost is told again like this.
            Ok(Err(status)) if failure_of(&status, true).code == Code::ClusterExists => return Ok(()),
            _ => clock.sleep(Duration::from_millis(50)).await,
        }
    }
}

fn config(node: NodeId, shape: &Shape) -> meridian_node::Config {
    let at = |host: &str| {
        let at = |port: u16| format!("{host}:{port}");
        Addresses { data: at(7172), raft: at(7173), http: at(7174) }
    };
    meridian_node::Config {
        data: "/data".into(),
        listen: at("0.0.0.0"),
        advertise: at(&node.to_string()),
        region: format!("region-{}", shape.region(node.0)),
        join: shape.addresses(),
        // Small, so that a run of seconds flushes, compacts, purges and sends snapshots as years would.
        storage: StorageSettings {
            memory_bytes: 256 << 10,
            log_bytes: 512 << 10,
            log_keep_bytes: 8 << 10,
            flush_after: Duration::from_secs(2),
            ..StorageSettings::default()
        },
        timing: Timing::default(),
        log: LogSettings { segment_bytes: 64 << 10, bytes_max: 512 << 10, ..LogSettings::default() },
    }
}
