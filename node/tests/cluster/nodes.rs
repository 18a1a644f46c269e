//! Nodes over TCP on loopback, in this process, and what is asked of one of them alone.

use std::path::Path;
use std::time::Duration;

use meridian_client::connect;
use meridian_env::{Env, deadline};
use meridian_node::{Addresses, Config, LogSettings, RunError, StorageSettings, Timing};
use meridian_proto::v1::admin_client::AdminClient;
use meridian_proto::{failure_of, v1};
use meridian_types::Failure;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tonic::transport::Channel;

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A node that runs.
pub(crate) struct Running {
    task: JoinHandle<Result<(), RunError>>,
    stop: watch::Sender<bool>,
    /// Where it listens.
    pub(crate) at: Addresses,
}

/// Any free ports of loopback.
pub(crate) fn anywhere() -> Addresses {
    let any = || "127.0.0.1:0".to_owned();
    Addresses { data: any(), raft: any(), http: any() }
}

/// A node in `dir`, which joins whoever is named.
pub(crate) fn config(dir: &Path, listen: Addresses, region: &str, join: &[&str]) -> Config {
    Config {
        data: dir.to_owned(),
        advertise: listen.clone(),
        listen,
        region: region.to_owned(),
        join: join.iter().map(|address| (*address).to_owned()).collect(),
        storage: StorageSettings::default(),
        timing: Timing::default(),
        log: LogSettings { segment_bytes: 1 << 20, ..LogSettings::default() },
    }
}

/// Starts a node and returns once it listens.
pub(crate) async fn start(env: &Env, config: Config) -> Running {
    let (started, listening) = oneshot::channel();
    let (stop, mut stopped) = watch::channel(false);
    let env = env.clone();
    let task = tokio::spawn(async move {
        let stop = async move { drop(stopped.wait_for(|stop| *stop).await) };
        meridian_node::run(env, config, |at| started.send(at).expect("the test waits for it"), stop).await
    });
    Running { task, stop, at: listening.await.expect("it listens") }
}

impl Running {
    /// Stops the node and hears that it ended well.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        self.task.await.expect("no panic").expect("a clean stop");
    }

    /// Waits until the node ends by itself, and hears why.
    pub(crate) async fn refused(self, env: &Env) -> Failure {
        let ended = deadline(&*env.clock, env.clock.now() + PATIENCE, self.task).await.expect("it ends");
        match ended.expect("no panic") {
            Err(RunError::Start(failure)) => failure,
            other => panic!("it should be refused, not end with {other:?}"),
        }
    }
}

/// Why a node does not even start.
pub(crate) async fn not_started(env: &Env, config: Config) -> Failure {
    match meridian_node::run(env.clone(), config, |_| panic!("it must not start"), std::future::pending()).await {
        Err(RunError::Start(failure)) => failure,
        other => panic!("it should be refused, not end with {other:?}"),
    }
}

pub(crate) fn admin(env: &Env, address: &str) -> AdminClient<Channel> {
    AdminClient::new(connect(env, address))
}

pub(crate) async fn init(env: &Env, address: &str, nodes: u32, shards: u32) -> Result<v1::InitClusterReply, Failure> {
    let request = v1::InitClusterRequest { nodes, shards, replication: 0 };
    let reply = admin(env, address).init_cluster(request).await;
    reply.map(tonic::Response::into_inner).map_err(|status| failure_of(&status, true))
}

pub(crate) async fn status(env: &Env, address: &str) -> v1::NodeStatusReply {
    admin(env, address).node_status(v1::NodeStatusRequest {}).await.expect("it answers").into_inner()
}

/// Asks again and again until the answer is as it should be.
pub(crate) async fn until(
    env: &Env,
    address: &str,
    holds: impl Fn(&v1::NodeStatusReply) -> bool,
) -> v1::NodeStatusReply {
    let end = env.clock.now() + PATIENCE;
    loop {
        let status = status(env, address).await;
        if holds(&status) {
            return status;
        }
        assert!(env.clock.now() < end, "it stays at {status:?}");
        env.clock.sleep(Duration::from_millis(20)).await;
    }
}

/// Three nodes in three regions, formed, in directories `1`, `2` and `3`.
pub(crate) async fn three(env: &Env, dir: &Path) -> Vec<Running> {
    let first = start(env, config(&dir.join("1"), anywhere(), "r1", &[])).await;
    let seed = first.at.data.clone();
    init(env, &seed, 3, 2).await.expect("the cluster begins");
    let mut nodes = vec![first];
    for n in 2..=3 {
        let node = start(env, config(&dir.join(n.to_string()), anywhere(), &format!("r{n}"), &[&seed])).await;
        until(env, &node.at.data, |status| status.node == n).await;
        nodes.push(node);
    }
    until(env, &seed, |status| status.formation.as_ref().is_some_and(|formation| formation.formed)).await;
    nodes
}
