//! A cluster of real processes: three nodes and two routers of the binary that was built. The one place that knows their command
//! lines.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use meridian_env::Env;
use tempfile::TempDir;

use super::disk::Disk;
use super::network::{self, Network};
use super::plan::Kind;
use super::process::{self, Process};
use super::tool;
use crate::registers::Broken;

/// Storage nodes, one a region.
pub const NODES: usize = 3;
const ROUTERS: u16 = 2;
const SHARDS: u32 = 4;
/// Below the ports that the kernel gives to outgoing connections: one of those may take a node's port while the node is down.
const PORTS: std::ops::Range<u64> = 15_000..30_000;
/// Tries to begin the cluster: a process takes its time until it listens.
const BEGIN_TRIES: u32 = 200;
/// Exit code of a command that certainly did nothing, and may be given again.
const RETRY: i32 = 6;

/// Nobody but the trial is in its network.
const INSECURE: &str = "--insecure-listen";

/// So small that flushes, compactions, purges and snapshots happen within seconds.
const SMALL: [(&str, &str); 3] =
    [("MERIDIAN_MEMORY_BYTES", "4194304"), ("MERIDIAN_LOG_BYTES", "8388608"), ("MERIDIAN_FLUSH_AFTER", "2s")];

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
    process: Option<Process>,
}

/// All processes. Dropped, none is left.
#[derive(Debug)]
pub struct Cluster {
    meridian: PathBuf,
    nodes: Vec<Node>,
    routers: Vec<Router>,
    /// A namespace for each node; without it all are on loopback.
    network: Option<Network>,
    /// A file system for each node, or none.
    disks: Vec<Disk>,
    // After the processes, so that none is left without its directory.
    dir: TempDir,
}

impl Cluster {
    /// Makes what a cluster of the binary `meridian` needs under faults of these kinds; nothing runs yet.
    pub(super) async fn prepare(env: &Env, meridian: &Path, kinds: &[Kind]) -> Result<Self, Broken> {
        let apart = kinds.iter().any(|kind| kind.needs_privileges());
        let dir = tempfile::tempdir()?;
        let network = apart.then(|| Network::make(NODES)).transpose()?;
        let disk = |node| Disk::make(&dir.path().join(format!("disk{}", node + 1)));
        let disks = (0..if apart { NODES } else { 0 }).map(disk).collect::<Result<_, _>>()?;
        let meridian = meridian.to_owned();
        let mut cluster = Self { meridian, nodes: Vec::new(), routers: Vec::new(), network, disks, dir };
        let mut ports = Ports { env: env.clone(), taken: Vec::new() };
        for node in 0..NODES {
            let host = cluster.network.as_ref().map(|_| network::address(node));
            let [data, raft, http] = ports.take(host, [7_171, 7_172, 7_173]).await?;
            cluster.nodes.push(Node { at: Addresses { data, raft, http }, process: None });
        }
        for offset in 0..ROUTERS {
            let host = cluster.network.as_ref().map(|_| network::HERE.to_owned());
            let [http, grpc] = ports.take(host, [8_086 + offset, 7_171 + offset]).await?;
            cluster.routers.push(Router { http, grpc, process: None });
        }
        Ok(cluster)
    }

    /// Starts all processes; returns once the cluster is formed.
    pub(super) async fn start(&mut self, env: &Env) -> Result<(), Broken> {
        (0..NODES).try_for_each(|node| self.start_node(node))?;
        self.begin(env).await?;
        (0..self.routers.len()).try_for_each(|router| self.start_router(router))
    }

    /// gRPC addresses of all nodes.
    pub fn nodes(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.at.data.clone()).collect()
    }

    /// gRPC addresses of all routers.
    pub fn fronts(&self) -> Vec<String> {
        self.routers.iter().map(|router| router.grpc.clone()).collect()
    }

    /// HTTP addresses of all routers.
    pub fn fronts_http(&self) -> Vec<String> {
        self.routers.iter().map(|router| router.http.clone()).collect()
    }

    /// Kills a node, if it runs.
    pub fn kill(&mut self, node: usize) {
        if let Some(process) = self.nodes[node].process.take() {
            process.kill();
        }
    }

    /// Starts a node, on what its directory has.
    pub fn start_node(&mut self, node: usize) -> Result<(), Broken> {
        let (at, name) = (&self.nodes[node].at, format!("n{}", node + 1));
        let mut command = match self.network {
            None => Command::new(&self.meridian),
            Some(_) => Network::command(node, &self.meridian),
        };
        let data = self.disks.get(node).map_or_else(|| self.dir.path().to_owned(), Disk::mounted).join(&name);
        command.arg("node").arg("--data").arg(data);
        command.args(["--region", &format!("r{}", node + 1), "--join", &self.nodes().join(",")]);
        command.args(["--listen-data", &at.data, "--listen-raft", &at.raft, "--listen-http", &at.http]);
        clean(&mut command).envs(SMALL).args(self.network.as_ref().map(|_| INSECURE));
        self.nodes[node].process = Some(Process::start(&name, command, &self.log(&name))?);
        Ok(())
    }

    /// Stops a node that runs, and lets it run on.
    pub(super) fn pause(&self, node: usize) {
        self.nodes[node].process.iter().for_each(Process::pause);
    }

    pub(super) fn resume(&self, node: usize) {
        self.nodes[node].process.iter().for_each(Process::resume);
    }

    /// The network of namespaces.
    pub(super) fn network(&self) -> Result<&Network, Broken> {
        self.network.as_ref().ok_or_else(|| Broken::Harness("the nodes have no network of their own".into()))
    }

    /// The file system of a node.
    pub(super) fn disk(&self, node: usize) -> Result<&Disk, Broken> {
        self.disks.get(node).ok_or_else(|| Broken::Harness("the nodes have no file systems of their own".into()))
    }

    /// Whether a node has ended by itself.
    pub(super) fn has_ended(&mut self, node: usize) -> bool {
        self.nodes[node].process.as_mut().is_some_and(|process| process.ended().is_some())
    }

    /// Whether a process ended by itself.
    pub fn check_alive(&mut self) -> Result<(), Broken> {
        let nodes = self.nodes.iter_mut().filter_map(|node| node.process.as_mut());
        let mut processes = nodes.chain(self.routers.iter_mut().filter_map(|router| router.process.as_mut()));
        match processes.find_map(Process::ended) {
            Some((name, status)) => Err(Broken::Crash(format!("{name} ended by itself: {status}"))),
            None => Ok(()),
        }
    }

    /// Keeps what a failure left, and says what the processes said last.
    pub(super) fn keep(&mut self) {
        let names = (1..=NODES).map(|n| format!("n{n}")).chain((1..=ROUTERS).map(|n| format!("router{n}")));
        let logs: Vec<_> = names.map(|name| self.log(&name)).collect();
        process::print_tails(&logs);
        (0..NODES).for_each(|node| self.kill(node));
        for (disk, name) in self.disks.iter().zip(1..) {
            // It is gone with the trial; a copy that fails is not worth hiding the failure that it is of. What is not written
            // yet is, by the unmount.
            drop(tool::run(&format!("umount {}", disk.mounted().display())));
            let (from, to) = (disk.image(), self.dir.path().join(format!("n{name}.image")));
            drop(tool::run(&format!("cp --sparse=always {} {}", from.display(), to.display())));
        }
        self.dir.disable_cleanup(true);
        super::say(&format!("what is left of it: {}", self.dir.path().display()));
    }

    /// Begins the cluster at its first node; returns once it is formed.
    async fn begin(&self, env: &Env) -> Result<(), Broken> {
        for _ in 0..BEGIN_TRIES {
            let mut command = Command::new(&self.meridian);
            command.args(["cluster", "init", "--server", &self.nodes[0].at.data]);
            command.args(["--nodes", &NODES.to_string(), "--shards", &SHARDS.to_string()]);
            let output = clean(&mut command).output()?;
            if output.status.success() {
                return Ok(());
            }
            let said = String::from_utf8_lossy(&output.stderr);
            if output.status.code() != Some(RETRY) {
                return Err(Broken::Crash(format!("the cluster does not begin: {said}")));
            }
            env.clock.sleep(Duration::from_millis(50)).await;
        }
        Err(Broken::Liveness("the first node does not listen".into()))
    }

    fn start_router(&mut self, router: usize) -> Result<(), Broken> {
        let Router { http, grpc, .. } = &self.routers[router];
        let mut command = Command::new(&self.meridian);
        command.args(["router", "--nodes", &self.nodes().join(","), "--http", http, "--grpc", grpc]);
        // Shorter than many a pause, so that some outcomes are unknown.
        command.args(["--request-timeout", "1s"]);
        clean(&mut command).args(self.network.as_ref().map(|_| INSECURE));
        let name = format!("router{}", router + 1);
        self.routers[router].process = Some(Process::start(&name, command, &self.log(&name))?);
        Ok(())
    }

    fn log(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.log"))
    }
}

/// What the machine's owner has set for his own cluster must not reach this one.
fn clean(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MERIDIAN_")) {
        command.env_remove(name);
    }
    command.env_remove("RUST_LOG").env("RUST_BACKTRACE", "1")
}

/// Addresses on loopback that nobody listens at, none twice.
struct Ports {
    env: Env,
    taken: Vec<u64>,
}

impl Ports {
    /// Addresses for one process: `fixed` ports of its own `host`, or whatever is free on loopback.
    async fn take<const N: usize>(&mut self, host: Option<String>, fixed: [u16; N]) -> Result<[String; N], Broken> {
        let mut addresses = fixed.map(|port| format!("{}:{port}", host.as_deref().unwrap_or_default()));
        if host.is_none() {
            for address in &mut addresses {
                *address = self.next().await?;
            }
        }
        Ok(addresses)
    }

    async fn next(&mut self) -> Result<String, Broken> {
        for _ in 0..1_000 {
            let port = PORTS.start + self.env.rng.below(PORTS.end - PORTS.start);
            let address = format!("127.0.0.1:{port}");
            if !self.taken.contains(&port) && self.env.net.listen(&address).await.is_ok() {
                self.taken.push(port);
                return Ok(address);
            }
        }
        Err(Broken::Harness(format!("no free port on 127.0.0.1 from {} to {}", PORTS.start, PORTS.end)))
    }
}
