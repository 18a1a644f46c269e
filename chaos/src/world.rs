//! The hosts of a simulation: nodes and a router run as they ship, on simulated parts.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_client::connect;
use meridian_env::sim::{SimHost, seed_ambient};
use meridian_env::{Env, Rng, deadline};
use meridian_node::{Addresses, LogSettings, StorageSettings, Timing};
use meridian_proto::v1::admin_client::AdminClient;
use meridian_proto::{failure_of, v1};
use meridian_types::{Code, NodeId};

use crate::time;

/// Storage nodes, one a region.
pub(crate) const NODES: u32 = 3;
/// Shards that the cluster is formed with.
pub(crate) const SHARDS: u32 = 3;
/// The router's gRPC, as clients reach it.
pub(crate) const ROUTER: &str = "r1:7171";

/// A simulation and what survives the crashes of its hosts.
pub(crate) struct World {
    pub(crate) sim: turmoil::Sim<'static>,
    hosts: BTreeMap<String, SimHost>,
    rng: Rng,
}

impl World {
    /// The world that a seed names, its nodes and its router started.
    pub(crate) fn new(seed: u64, limit: Duration) -> Self {
        time::set(Duration::ZERO);
        seed_ambient(seed);
        let rng = Rng::from_seed(seed);
        let sim = turmoil::Builder::new()
            .simulation_duration(limit)
            .tick_duration(Duration::from_millis(1))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(6))
            .tcp_capacity(65_536)
            .rng_seed(rng.child("network").u64())
            .build();
        let mut world = Self { sim, hosts: BTreeMap::new(), rng };
        for node in (1..=NODES).map(NodeId) {
            world.start_node(node);
        }
        world.start_router();
        world.client("operator", begin);
        world
    }

    fn host(&mut self, name: &str) -> SimHost {
        let host = SimHost::new(name, &self.rng);
        self.hosts.insert(name.to_owned(), host.clone());
        host
    }

    /// Hosts are named like the ids that their nodes get if they join in this order, which they need not.
    fn start_node(&mut self, node: NodeId) {
        let host = self.host(&node.to_string());
        self.sim.host(node.to_string(), move || {
            let (env, config) = (host.env(), config(node));
            async move { Ok(meridian_node::run(env, config, |_| {}, std::future::pending()).await?) }
        });
    }

    fn start_router(&mut self) {
        let host = self.host("r1");
        self.sim.host("r1", move || {
            let env = host.env();
            let config = meridian_router::Config {
                http: "0.0.0.0:8086".into(),
                grpc: "0.0.0.0:7171".into(),
                nodes: (1..=NODES).map(|n| format!("n{n}:7172")).collect(),
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
        self.sim.step()
    }

    /// The power of a node goes: unsynced bytes are lost, kept or torn.
    pub(crate) fn crash(&mut self, node: NodeId) {
        let name = node.to_string();
        self.sim.crash(name.as_str());
        self.hosts[&name].crash();
        tracing::info!(%node, "crashed");
    }

    /// A node that is down starts again on what its disk has.
    pub(crate) fn restart(&mut self, node: NodeId) {
        self.sim.bounce(node.to_string());
        tracing::info!(%node, "started again");
    }
}

/// Longest wait of the operator for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Begins the cluster on the first node: the others join it by themselves.
async fn begin(env: Env) -> turmoil::Result {
    let request = v1::InitClusterRequest { nodes: NODES, shards: SHARDS, replication: 3 };
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

fn config(node: NodeId) -> meridian_node::Config {
    let at = |host: &str| {
        let at = |port: u16| format!("{host}:{port}");
        Addresses { data: at(7172), raft: at(7173), http: at(7174) }
    };
    meridian_node::Config {
        data: "/data".into(),
        listen: at("0.0.0.0"),
        advertise: at(&node.to_string()),
        region: ["a", "b", "c"][(node.0 as usize - 1) % 3].to_owned(),
        join: (1..=NODES).map(|n| format!("n{n}:7172")).collect(),
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
