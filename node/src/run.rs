//! The node's life: its directory, its log, the catalogue's group, its services, and its end.

use std::future::Future;
use std::path::Path;

use futures::FutureExt;
use meridian_client::Cluster;
use meridian_env::{Class, Env, Halt, Listener, Lock, incoming};
use meridian_proto::DESCRIPTORS;
use meridian_raft::{Group, GroupSpec, Groups, GroupsConfig};
use meridian_types::{Code, Failure, GroupId, Incarnation, NodeId, ReplicaId};
use tokio::task::JoinSet;
use tonic::transport::Server;

use crate::meta::Meta;
use crate::service::Node;
use crate::{Config, http, identity, reconcile};

/// Nodes that can form a cluster: all of them vote on the catalogue, and even numbers add a vote without adding safety.
const FORMATIONS: [usize; 4] = [1, 3, 5, 7];

/// Why a node ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It never started; nothing was promised.
    #[error(transparent)]
    Start(Failure),
    /// It can no longer promise anything: the process must abort.
    #[error(transparent)]
    Halt(#[from] Halt),
}

fn not_started(code: Code, message: String) -> RunError {
    RunError::Start(Failure::new(code, message))
}

/// Where a started node listens, each as `host:port`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Started {
    /// gRPC for routers.
    pub data: String,
    /// gRPC for peers.
    pub raft: String,
    /// HTTP for operators.
    pub http: String,
}

/// Runs a node until `stop` resolves or it must halt. `started` is told once it listens.
pub async fn run(
    env: Env,
    config: Config,
    started: impl FnOnce(Started) + Send,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), RunError> {
    if !FORMATIONS.contains(&config.members.len()) || !config.members.contains_key(&config.node) {
        let (count, node) = (config.members.len(), config.node);
        let message = format!("a cluster is formed of 1, 3, 5 or 7 nodes, {node} among them, not of {count}");
        return Err(not_started(Code::BadRequest, message));
    }
    let cluster = format!("{:032x}", config.cluster);
    let _lock = prepare(&env, &config, &cluster).boxed().await?;
    let listen = &config.listen;
    let (data, raft, web) =
        (bind(&env, &listen.data).await?, bind(&env, &listen.raft).await?, bind(&env, &listen.http).await?);
    let addresses = Started { data: data.local_addr(), raft: raft.local_addr(), http: web.local_addr() };

    // Boxed, because the compiler cannot prove Send for nested borrows that are held across awaits (rust-lang/rust#102211).
    let groups = open_groups(&env, &config, &cluster).boxed().await?;
    let meta = start_meta(&env, &config, &groups).boxed().await?;
    let node = Node::new(env.clone(), config.node, cluster.into(), meta);
    let seeds = config.members.values().map(|m| m.data.clone()).collect();
    let mut services = JoinSet::new();
    services.spawn(serve_peers(raft, groups.clone()));
    services.spawn(serve_data(data, node.clone()));
    services.spawn(http::serve(web, node.clone()));
    let passes = reconcile::run(node.clone(), groups.clone(), config, Cluster::connect(&env, seeds)).boxed();
    started(addresses);
    let end = tokio::select! {
        biased;
        halt = groups.halted() => Err(halt.into()),
        halt = passes => Err(halt.into()),
        // A node that nobody can reach helps nobody: it ends, and says so.
        Some(_) = services.join_next() => Err(Halt::new("a service ended: see the log").into()),
        () = stop => Ok(()),
    };
    if end.is_ok() {
        shut_down(&node, groups).boxed().await;
    }
    services.abort_all();
    end
}

/// The directory, its lock, and the identity in it.
async fn prepare(env: &Env, config: &Config, cluster: &str) -> Result<Box<dyn Lock>, RunError> {
    let (disk_env, dir) = (env.clone(), config.data.clone());
    let (cluster, node, first) = (cluster.to_owned(), config.node, config.first_start);
    let job = move || -> Result<Box<dyn Lock>, RunError> {
        let shown = dir.display();
        let io = |error: std::io::Error| not_started(Code::Internal, format!("{shown} cannot be used: {error}"));
        disk_env.disk.create_dir(&dir).map_err(io)?;
        let lock = disk_env.disk.lock(&dir.join("LOCK")).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => not_started(
                Code::InUse,
                format!("{shown} is in use by another process: stop it, or use another directory"),
            ),
            _ => io(error),
        })?;
        identity::check(&disk_env, &dir, &cluster, node, first).map_err(|e| not_started(e.code(), e.to_string()))?;
        Ok(lock)
    };
    meridian_env::run(&*env.work, Class::Flush, job).await
}

fn bind(env: &Env, at: &str) -> impl Future<Output = Result<Box<dyn Listener>, RunError>> + Send + use<> {
    let (listening, at) = (env.net.listen(at), at.to_owned());
    async move { listening.await.map_err(|error| not_started(Code::InUse, format!("cannot listen at {at}: {error}"))) }
}

async fn open_groups(env: &Env, config: &Config, cluster: &str) -> Result<Groups, RunError> {
    let settings =
        GroupsConfig { cluster: cluster.to_owned(), node: config.node, timing: config.timing, log: config.log.clone() };
    let groups = Groups::open(env.clone(), &config.data.join("log"), settings).await?;
    for (node, member) in &config.members {
        groups.set_address(*node, &member.raft);
    }
    Ok(groups)
}

/// Every node of the formation has a replica of the catalogue, with its node's number; the first one forms the group.
async fn start_meta(env: &Env, config: &Config, groups: &Groups) -> Result<Group<Meta>, RunError> {
    let (disk_env, dir) = (env.clone(), config.data.join("registry"));
    let meta = meridian_env::run(&*env.work, Class::Flush, move || open_meta(&disk_env, &dir)).await?;
    let replica = |node: NodeId| ReplicaId(node.0.into());
    let spec = GroupSpec { group: GroupId::META, incarnation: Incarnation(1), replica: replica(config.node) };
    let group = groups.start(spec, meta).await?;
    if config.members.keys().next() == Some(&config.node) {
        let members = config.members.keys().map(|node| (replica(*node), *node)).collect();
        group.initialize(&members).await?;
    }
    Ok(group)
}

fn open_meta(env: &Env, dir: &Path) -> Result<Meta, Halt> {
    env.disk.create_dir(dir).map_err(|error| Halt::io(dir.display(), &error))?;
    Meta::open(env, dir)
}

async fn serve_peers(listener: Box<dyn Listener>, groups: Groups) {
    let server = server().add_routes(groups.service()).serve_with_incoming(incoming(listener));
    if let Err(error) = server.await {
        tracing::error!(%error, "the service for peers ended");
    }
}

async fn serve_data(listener: Box<dyn Listener>, node: Node) {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_service_status("", tonic_health::ServingStatus::Serving).await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1();
    let reflection = reflection.expect("the descriptors were made by the build of this binary");
    let server = server()
        .add_service(node.shards_server())
        .add_service(node.admin_server())
        .add_service(health_service)
        .add_service(reflection)
        .serve_with_incoming(incoming(listener));
    if let Err(error) = server.await {
        tracing::error!(%error, "the service for routers ended");
    }
}

fn server() -> Server {
    let settings = meridian_env::ChannelSettings::default();
    Server::builder()
        .initial_stream_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window)
        .http2_keepalive_interval(Some(settings.keep_alive_interval))
        .http2_keepalive_timeout(Some(settings.keep_alive_timeout))
        .max_concurrent_streams(1_024)
        .http2_max_pending_accept_reset_streams(Some(20))
}

/// Stops the replicas, then the log behind them: what was acknowledged is on disk already.
async fn shut_down(node: &Node, groups: Groups) {
    let shards: Vec<_> = node.shards.read().values().cloned().collect();
    for shard in shards {
        shard.shutdown().await;
    }
    node.meta.shutdown().await;
    // Connections that are still open hold the machine, so that it is closed by name.
    node.meta.machine().write().close();
    groups.close().await;
}
