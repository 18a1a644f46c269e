//! How a directory becomes a node: it begins a cluster when it is told to, or it is let in by one whose nodes it was told of.
//! Does one of both at a time, and none of them twice: what it has drawn for itself stands in its directory before it asks.

use std::time::Duration;

use futures::future::join_all;
use meridian_client::connect;
use meridian_env::{Env, deadline};
use meridian_meta::{Catalogue, ClusterId, Command, Reply};
use meridian_proto::v1::admin_client::AdminClient;
use meridian_proto::{PROTOCOL_VERSION, failure_of, v1};
use meridian_types::{Code, Failure, Kind, NodeId};
use tokio::sync::mpsc;

use crate::identity::{Founding, Home, Identity};
use crate::service::{Begin, Door, JOIN_MAX, Phase};

/// Between two rounds of asking.
const JOIN_EVERY: Duration = Duration::from_millis(300);
/// Longest wait for what another node says of itself.
pub(crate) const STATUS_MAX: Duration = Duration::from_secs(1);

/// The id of whoever begins a cluster.
pub(crate) const FIRST: NodeId = NodeId(1);

/// Waits until the directory is a node's. An error is final: asking again would be answered the same.
pub(crate) async fn admit(
    home: &mut Home,
    door: &Door,
    join: &[String],
    mut begins: mpsc::Receiver<Begin>,
) -> Result<Identity, Failure> {
    let clock = &*door.env.clock;
    let mut next = clock.now();
    loop {
        let identity = tokio::select! {
            biased;
            Some(begin) = begins.recv() => begin_here(home, door, join, begin).await?,
            () = clock.sleep_until(next) => {
                next = clock.now() + JOIN_EVERY;
                ask_all(home, door, join).await?
            }
        };
        if let Some(identity) = identity {
            return Ok(identity);
        }
    }
}

/// What the nodes at `addresses` say of themselves, in the same order; `None` where nobody answers.
pub(crate) async fn statuses(env: &Env, addresses: &[String]) -> Vec<Option<v1::NodeStatusReply>> {
    let ask = async |address: &String| {
        let mut client = AdminClient::new(connect(env, address));
        let call = client.node_status(v1::NodeStatusRequest {});
        let reply = deadline(&*env.clock, env.clock.now() + STATUS_MAX, call).await;
        reply.ok()?.ok().map(tonic::Response::into_inner)
    };
    join_all(addresses.iter().map(ask)).await
}

/// Asks one node after the other to be let in.
async fn ask_all(home: &mut Home, door: &Door, join: &[String]) -> Result<Option<Identity>, Failure> {
    let request = v1::JoinRequest {
        protocol: PROTOCOL_VERSION,
        nonce: door.nonce,
        node: Some((*door.at).clone()),
        ..v1::JoinRequest::default()
    };
    let mut why = Vec::new();
    // A node that is alone may be told of itself.
    for address in join.iter().filter(|address| **address != door.at.data_address) {
        let failure = match ask(&door.env, address, request.clone()).await {
            Ok(reply) => return join_as(home, door, reply).await.map(Some),
            Err(failure) => failure,
        };
        match failure.kind() {
            Kind::Retry | Kind::Overloaded | Kind::Unknown | Kind::Broken => why.push(format!("{address}: {failure}")),
            Kind::Fix | Kind::NotFound | Kind::Exists | Kind::NotAllowed => {
                let message = format!("{address} does not let this node in: {failure}");
                return Err(Failure::new(failure.code, message));
            }
        }
    }
    let why = if why.is_empty() {
        "nobody has begun a cluster here, and no node is named to join".into()
    } else {
        why.join("; ")
    };
    if !matches!(door.phase(), Phase::Waiting(before) if before == why) {
        tracing::info!(nonce = format_args!("{:016x}", door.nonce), why, "not in a cluster yet");
        door.set(Phase::Waiting(why));
    }
    Ok(None)
}

/// Asks the node at `address` to register another one.
pub(crate) async fn ask(env: &Env, address: &str, request: v1::JoinRequest) -> Result<v1::JoinReply, Failure> {
    let mut client = AdminClient::new(connect(env, address));
    match deadline(&*env.clock, env.clock.now() + JOIN_MAX, client.join(request)).await {
        Ok(Ok(reply)) => Ok(reply.into_inner()),
        Ok(Err(status)) => Err(failure_of(&status, true)),
        Err(_) => Err(Failure::new(Code::Unknown, "no answer")),
    }
}

async fn join_as(home: &mut Home, door: &Door, reply: v1::JoinReply) -> Result<Identity, Failure> {
    let (cluster, node) = (reply.cluster, NodeId(reply.node));
    if cluster.len() != 32 || !cluster.chars().all(|c| c.is_ascii_hexdigit()) || node == NodeId(0) {
        let message = format!("this node was let in as {node} of cluster {cluster:?}, which cannot be");
        return Err(Failure::new(Code::Internal, message));
    }
    tracing::info!(%node, cluster, "joined");
    Ok(home.settle((cluster, node, door.at.region.clone()), None, reply.nodes).await?)
}

/// Makes this directory the first node of a new cluster, unless it is asked for nonsense or there is a cluster already.
async fn begin_here(home: &mut Home, door: &Door, join: &[String], begin: Begin) -> Result<Option<Identity>, Failure> {
    door.set(Phase::Initialising);
    let cluster = (u128::from(door.env.rng.u64()) << 64) | u128::from(door.env.rng.u64());
    let refused = match check(ClusterId(cluster), begin.founding) {
        Ok(()) => no_other(door, join).await,
        refused => refused,
    };
    if let Err(failure) = refused {
        door.set(Phase::Waiting(failure.to_string()));
        drop(begin.answer.send(Err(failure)));
        return Ok(None);
    }
    let cluster = ClusterId(cluster).to_string();
    tracing::info!(cluster, "begins here");
    let own = v1::Node { id: FIRST.0, ..(*door.at).clone() };
    let identity = home.settle((cluster, FIRST, door.at.region.clone()), Some(begin.founding), vec![own]).await?;
    drop(begin.answer.send(Ok(())));
    Ok(Some(identity))
}

/// Whether the catalogue would take these numbers: it is asked before anything is promised.
fn check(cluster: ClusterId, founding: Founding) -> Result<(), Failure> {
    let Founding { nodes, shards, replication } = founding;
    match Catalogue::default().apply(&Command::Init { cluster, nodes, shards, replication }) {
        Reply::Refused(refused) => Err(Failure::new(refused.code(), refused.to_string())),
        _ => Ok(()),
    }
}

/// Refuses to begin beside a cluster that this node could join.
async fn no_other(door: &Door, join: &[String]) -> Result<(), Failure> {
    for (address, status) in join.iter().zip(statuses(&door.env, join).await) {
        let Some(status) = status.filter(|status| status.nonce != door.nonce) else { continue };
        if !status.cluster.is_empty() {
            let message = format!(
                "{address} is {} of cluster {} already, and this node is about to join it by itself: `meridian cluster \
                 init` is sent once, to one node",
                NodeId(status.node),
                status.cluster
            );
            return Err(Failure::new(Code::ClusterExists, message));
        }
        if status.phase() == v1::Phase::Initialising {
            let message =
                format!("{address} is about to begin a cluster itself: send `meridian cluster init` to one node");
            return Err(Failure::new(Code::NotReady, message));
        }
    }
    Ok(())
}
