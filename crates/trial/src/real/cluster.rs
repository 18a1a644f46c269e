//! A cluster of real processes on loopback: three nodes and two routers of the binary that was built. The one place that knows
//! their command lines.

use std::path::PathBuf;
use std::process::Command;

use meridian_env::Env;
use meridian_trial::Broken;
use tempfile::TempDir;

use crate::process::{self, Process};

/// Storage nodes, one a region.
pub(crate) const NODES: usize = 3;
const ROUTERS: usize = 2;
const SHARDS: u32 = 4;
/// Below the ports that the kernel gives to outgoing connections: one of those may take a node's port while the node is down.
const PORTS: std::ops::Range<u64> = 15_000..30_000;
/// Tries to begin the cluster: a process takes its time until it listens.
const BEGIN_TRIES: u32 = 200;
/// Exit code of a command that certainly did nothing, and may be given again.
const RETRY: i32 = 6;

/// Where a node listens, each as `host:port`.
#[derive(Debug)]
struct Addresses {
    data: String,
    raft: String,
    http: String,
}

#[derive(Debug)]
struct Node {
    at: Addresses,
    process: Option<Process>,
}

#[derive(Debug)]
struct Router {
    http: String,
    grpc: String,
    process: Process,
}

/// All processes. Dropped, none is left.
#[derive(Debug)]
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    routers: Vec<Router>,
    settings: Vec<(&'static str, &'static str)>,
    // After the processes, so that none is left without its directory.
    dir: TempDir,
}

impl Cluster {
    /// Starts all processes. `settings` are environment variables of the nodes.
    pub(crate) async fn start(env: &Env, settings: &[(&'static str, &'static str)]) -> Self {
        let mut ports = Ports { env: env.clone(), taken: Vec::new() };
        let dir = tempfile::tempdir().expect("a directory for the cluster");
        let mut cluster = Self { nodes: Vec::new(), routers: Vec::new(), settings: settings.to_vec(), dir };
        for _ in 0..NODES {
            let at = Addresses { data: ports.next().await, raft: ports.next().await, http: ports.next().await };
            cluster.nodes.push(Node { at, process: None });
        }
        (0..NODES).for_each(|node| cluster.spawn_node(node));
        cluster.begin(env).await;
        for router in 0..ROUTERS {
            let (http, grpc) = (ports.next().await, ports.next().await);
            let process = cluster.spawn_router(router, &http, &grpc);
            cluster.routers.push(Router { http, grpc, process });
        }
        cluster
    }

    /// gRPC addresses of all nodes.
    pub(crate) fn nodes(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.at.data.clone()).collect()
    }

    /// gRPC addresses of all routers.
    pub(crate) fn fronts(&self) -> Vec<String> {
        self.routers.iter().map(|router| router.grpc.clone()).collect()
    }

    /// HTTP addresses of all routers.
    pub(crate) fn fronts_http(&self) -> Vec<String> {
        self.routers.iter().map(|router| router.http.clone()).collect()
    }

    /// Kills a node that runs.
    pub(crate) fn kill(&mut self, node: usize) {
        self.nodes[node].process.take().expect("it runs").kill();
    }

    /// Starts a node again on what its directory has.
    pub(crate) fn start_again(&mut self, node: usize) {
        self.spawn_node(node);
    }

    /// Stops a node that runs, and lets it run on.
    pub(crate) fn pause(&self, node: usize) {
        self.nodes[node].process.as_ref().expect("it runs").pause();
    }

    pub(crate) fn resume(&self, node: usize) {
        self.nodes[node].process.as_ref().expect("it runs").resume();
    }

    /// Whether a process ended by itself.
    pub(crate) fn check_alive(&mut self) -> Result<(), Broken> {
        let nodes = self.nodes.iter_mut().filter_map(|node| node.process.as_mut());
        let mut processes = nodes.chain(self.routers.iter_mut().map(|router| &mut router.process));
        match processes.find_map(Process::ended) {
            Some((name, status)) => Err(Broken::Crash(format!("{name} ended by itself: {status}"))),
            None => Ok(()),
        }
    }

    /// Begins the cluster at its first node; returns once it is formed.
    async fn begin(&self, env: &Env) {
        for _ in 0..BEGIN_TRIES {
            let mut command = self.meridian();
            command.args(["cluster", "init", "--server", &self.nodes[0].at.data]);
            command.args(["--nodes", &NODES.to_string(), "--shards", &SHARDS.to_string()]);
            let output = command.output().expect("the command starts");
            if output.status.success() {
                return;
            }
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(RETRY), "the cluster does not begin: {said}");
            env.clock.sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("the first node does not listen");
    }

    fn spawn_node(&mut self, node: usize) {
        let at = &self.nodes[node].at;
        let name = format!("n{}", node + 1);
        let mut command = self.meridian();
        command.arg("node").arg("--data").arg(self.dir.path().join(&name));
        command.args(["--region", &format!("r{}", node + 1), "--join", &self.nodes().join(",")]);
        command.args(["--listen-data", &at.data, "--listen-raft", &at.raft, "--listen-http", &at.http]);
        command.envs(self.settings.iter().copied());
        self.nodes[node].process = Some(Process::start(&name, command, &self.log(&name)));
    }

    fn spawn_router(&self, router: usize, http: &str, grpc: &str) -> Process {
        let mut command = self.meridian();
        command.args(["router", "--nodes", &self.nodes().join(","), "--http", http, "--grpc", grpc]);
        // Shorter than many a pause, so that some outcomes are unknown.
        command.args(["--request-timeout", "1s"]);
        let name = format!("router{}", router + 1);
        Process::start(&name, command, &self.log(&name))
    }

    fn meridian(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meridian"));
        // What the machine's owner has set for his own cluster must not reach this one.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MERIDIAN_")) {
            command.env_remove(name);
        }
        command.env_remove("RUST_LOG").env("RUST_BACKTRACE", "1");
        command
    }

    fn log(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.log"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let names = (1..=NODES).map(|n| format!("n{n}")).chain((1..=ROUTERS).map(|n| format!("router{n}")));
            let logs: Vec<_> = names.map(|name| self.log(&name)).collect();
            process::print_tails(&logs);
            // The data of a failure is worth its space.
            self.dir.disable_cleanup(true);
        }
    }
}

/// Addresses on loopback that nobody listens at, none twice.
struct Ports {
    env: Env,
    taken: Vec<u64>,
}

impl Ports {
    async fn next(&mut self) -> String {
        for _ in 0..1_000 {
            let port = PORTS.start + self.env.rng.below(PORTS.end - PORTS.start);
            let address = format!("127.0.0.1:{port}");
            if !self.taken.contains(&port) && self.env.net.listen(&address).await.is_ok() {
                self.taken.push(port);
                return address;
            }
        }
        panic!("no free port on 127.0.0.1 from {} to {}", PORTS.start, PORTS.end);
    }
}
