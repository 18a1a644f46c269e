//! The node's life: its directory, its listeners, its way into a cluster, its groups, and its end.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use futures::FutureExt;
use meridian_client::Cluster;
use meridian_env::{Class, Env, Halt, Listener, deadline};
use meridian_raft::{Group, GroupSpec, Groups, GroupsConfig};
use meridian_types::{Code, Failure, GroupId, Incarnation, NodeId};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::admit::{FIRST, admit};
use crate::config::{Addresses, Config};
use crate::identity::{Home, Identity, LOG, REGISTRY};
use crate::meta::Meta;
use crate::service::{Begin, Door, Node, Phase, Storage};
use crate::{address, drain, gather, http, meet, reconcile, register, retention, serve, storage};

/// Longest time for telling peers that the node is gone.
const GOODBYE_MAX: Duration = Duration::from_millis(300);

/// Why a node ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It cannot do its part as it is told to or as its directory is: nothing was promised that is not kept.
    #[error(transparent)]
    Start(Failure),
    /// It can no longer promise anything: the process must abort.
    #[error(transparent)]
    Halt(#[from] Halt),
}

impl From<Failure> for RunError {
    fn from(failure: Failure) -> Self {
        Self::Start(failure)
    }
}

/// Runs a node until `stop` resolves, it is refused, or it must halt. `started` is told where it listens.
pub async fn run(
    env: Env,
    config: Config,
    started: impl FnOnce(Addresses) + Send,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), RunError> {
    let mut home = Home::open(&env, &config.data, &config.region).boxed().await.map_err(Failure::from)?;
    let listen = &config.listen;
    let (data, mut raft, web) =
        (bind(&env, &listen.data).await?, bind(&env, &listen.raft).await?, bind(&env, &listen.http).await?);
    let listening = Addresses { data: data.local_addr(), raft: raft.local_addr(), http: web.local_addr() };
    let at = address::own(&env, &config, &listening).boxed().await?;
    // An election begins at the latest after the longest silence; what is believed then was heard since.
    let settles_in = 2 * Duration::from_millis(config.timing.election_ms_max);
    let (door, begins) = Door::new(env.clone(), at, home.nonce, settles_in);
    let closing = watch::Sender::new(false);
    let (mut calls, mut services) = (JoinSet::new(), JoinSet::new());
    calls.spawn(serve::data(data, door.clone(), closing.subscribe()));
    services.spawn(http::serve(web, door.clone()));
    started(listening.clone());

    let mut stop = pin!(stop);
    let entering = enter(&env, &config, &mut home, (&door, begins), &listening.data, closing.subscribe());
    let entered = tokio::select! {
        biased;
        () = &mut stop => None,
        // Boxed, because the compiler cannot prove Send for nested borrows that are held across awaits (rust-lang/rust#102211).
        entered = entering.boxed() => Some(entered),
        never = serve::turn_away(&mut *raft) => match never {},
    };
    let (groups, node) = match entered {
        Some(Ok(taken)) => taken,
        ended => {
            // Once this returns the addresses are free: whoever is started next may want them.
            tokio::join!(calls.shutdown(), services.shutdown());
            return ended.map_or(Ok(()), |failed| failed.map(drop));
        }
    };
    door.set(Phase::Member(node.clone(), env.clock.now()));
    let gone = watch::Sender::new(false);
    let mut peers = JoinSet::new();
    peers.spawn(serve::peers(raft, groups.clone(), gone.subscribe()));
    services.spawn(retention::run(node.clone()));
    let settings = config.storage.clone();
    let storing = storage::run(node.clone(), groups.clone(), settings.clone()).boxed();
    let passes = reconcile::run(node.clone(), groups.clone(), home, settings).boxed();
    let met = meet::run(&node, &groups, door.nonce, &config.join).boxed();
    let registered = register::run(&node, &door, &config.join).boxed();
    let end = tokio::select! {
        biased;
        halt = groups.halted() => Err(halt.into()),
        halt = passes => Err(halt.into()),
        failure = met => Err(failure.into()),
        failure = registered => Err(failure.into()),
        halt = storing => Err(halt.into()),
        halt = node.halts() => Err(halt.into()),
        // A node that nobody can reach helps nobody: it ends, and says so.
        Some(_) = services.join_next() => Err(Halt::new("a service ended: see the log").into()),
        Some(_) = peers.join_next() => Err(Halt::new("the service for peers ended: see the log").into()),
        Some(_) = calls.join_next() => Err(Halt::new("the service for routers ended: see the log").into()),
        () = stop => Ok(()),
    };
    let end = match end {
        Ok(()) => drain::drain(&door, &node, groups, &closing, &mut calls).boxed().await.map_err(RunError::Halt),
        failed => failed,
    };
    gone.send_replace(true);
    goodbye(&env, peers, [calls, services]).await;
    end
}

/// Lets peers hear that the node is gone, and ends whatever is still served: the addresses are free then.
async fn goodbye(env: &Env, mut peers: JoinSet<()>, others: [JoinSet<()>; 2]) {
    // Streams on which nothing comes any more do not end by themselves.
    drop(deadline(&*env.clock, env.clock.now() + GOODBYE_MAX, peers.join_next()).await);
    for mut tasks in others.into_iter().chain([peers]) {
        tasks.shutdown().await;
    }
}

fn bind(env: &Env, at: &str) -> impl Future<Output = Result<Box<dyn Listener>, Failure>> + Send + use<> {
    let (listening, at) = (env.net.listen(at), at.to_owned());
    async move { listening.await.map_err(|error| Failure::new(Code::InUse, format!("cannot listen at {at}: {error}"))) }
}

/// Takes part in the cluster that the directory belongs to, once it belongs to one.
async fn enter(
    env: &Env,
    config: &Config,
    home: &mut Home,
    (door, begins): (&Door, mpsc::Receiver<Begin>),
    listening: &str,
    closing: watch::Receiver<bool>,
) -> Result<(Groups, Node), RunError> {
    let identity = match home.identity.clone() {
        Some(identity) => identity,
        None => admit(home, door, &config.join, begins).await?,
    };
    Ok(take_part(env, config, home, &identity, listening, closing).await?)
}

/// Opens the log, follows the catalogue, and knows how to reach the others.
async fn take_part(
    env: &Env,
    config: &Config,
    home: &Home,
    identity: &Identity,
    listening: &str,
    closing: watch::Receiver<bool>,
) -> Result<(Groups, Node), Halt> {
    let (cluster, id) = (identity.cluster.clone(), identity.node());
    let settings = GroupsConfig {
        cluster: cluster.clone(),
        node: id,
        timing: config.timing,
        log: config.log.clone(),
        incoming: home.dir().join("incoming"),
        snapshot_bytes_per_second: config.storage.snapshot_bytes_per_second,
    };
    let groups = Groups::open(env.clone(), &home.dir().join(LOG), settings).await?;
    // What tells a node that has lost its log from one that has begun none yet is that it has nothing else either.
    groups.log_begun().await;
    let meta = start_meta(env, &home.dir().join(REGISTRY), identity, &groups).await?;
    let others = home.nodes.iter().filter(|node| NodeId(node.id) != id);
    let seeds = std::iter::once(listening.to_owned()).chain(others.map(|node| node.data_address.clone())).collect();
    let whose = (cluster.into(), id);
    let client = Cluster::connect(env, seeds);
    let memory_bytes = config.storage.memory_bytes;
    let storage = Storage { dir: home.dir(), memory_bytes, groups: &groups };
    let node = Node::new(env.clone(), whose, storage, meta, client, closing);
    for other in &home.nodes {
        groups.set_address(NodeId(other.id), &other.raft_address);
    }
    // Newer than the list, unless the catalogue has to be rebuilt from the log.
    for other in node.catalogue().nodes().values() {
        groups.set_address(other.id, &other.addr_raft);
    }
    Ok((groups, node))
}

/// Every node has a replica of the catalogue. Whoever begins a cluster is its only voter at first.
async fn start_meta(env: &Env, dir: &Path, identity: &Identity, groups: &Groups) -> Result<Group<Meta>, Halt> {
    let (disk_env, dir) = (env.clone(), dir.to_owned());
    let meta = meridian_env::run(&*env.work, Class::Flush, move || open_meta(&disk_env, &dir)).await?;
    let replica = gather::replica(identity.node());
    let group = groups.start(GroupSpec { group: GroupId::META, incarnation: Incarnation(1), replica }, meta).await?;
    if identity.founding.is_some() && identity.node() == FIRST {
        group.initialize(&[(replica, FIRST)].into()).await?;
    }
    Ok(group)
}

fn open_meta(env: &Env, dir: &Path) -> Result<Meta, Halt> {
    env.disk.create_dir(dir).map_err(|error| Halt::io(dir.display(), &error))?;
    Meta::open(env, dir)
}
