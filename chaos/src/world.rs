//! The hosts of a simulation: nodes and a router run as they ship, on simulated parts.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_env::sim::{SimHost, seed_ambient};
use meridian_env::{Env, Rng};
use meridian_node::{Listen, LogSettings, Member, Timing};
use meridian_types::NodeId;

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
        world
    }

    fn host(&mut self, name: &str) -> SimHost {
        let host = SimHost::new(name, &self.rng);
        self.hosts.insert(name.to_owned(), host.clone());
        host
    }

    fn start_node(&mut self, node: NodeId) {
        let host = self.host(&node.to_string());
        let lives = std::cell::Cell::new(0);
        self.sim.host(node.to_string(), move || {
            let env = host.env();
            let config = config(node, lives.replace(lives.get() + 1) == 0);
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
                request_timeout: Duration::from_secs(2),
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

    /// Every node that is down starts again on what its disk has.
    pub(crate) fn restart_all(&mut self) {
        for node in (1..=NODES).map(NodeId) {
            if !self.sim.is_host_running(node.to_string().as_str()) {
                self.sim.bounce(node.to_string().as_str());
                tracing::info!(%node, "started again");
            }
        }
    }
}

fn config(node: NodeId, first_start: bool) -> meridian_node::Config {
    let member = |n: u32| {
        let at = |port: u16| format!("n{n}:{port}");
        let region = ["a", "b", "c"][(n as usize - 1) % 3].to_owned();
        (NodeId(n), Member { region, data: at(7172), raft: at(7173), http: at(7174) })
    };
    let at = |port: u16| format!("0.0.0.0:{port}");
    meridian_node::Config {
        data: "/data".into(),
        cluster: 0x5eed,
        node,
        listen: Listen { data: at(7172), raft: at(7173), http: at(7174) },
        members: (1..=NODES).map(member).collect(),
        shards: SHARDS,
        replication: 3,
        first_start,
        timing: Timing::default(),
        log: LogSettings { segment_bytes: 1 << 20, ..LogSettings::default() },
    }
}
