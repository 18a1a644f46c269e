//! How a cluster takes nodes: the first one begins it, the others are registered in the catalogue after they were found at
//! the addresses that they tell.

use std::time::Duration;

use meridian_client::connect;
use meridian_env::{Context, Env, deadline};
use meridian_meta::{Command, NodeSpec, Reply};
use meridian_proto::v1::admin_client::AdminClient;
use meridian_proto::{PROTOCOL_VERSION, failure_of, v1};
use meridian_types::{Code, Failure, GroupId, NodeId};
use tokio::sync::oneshot;

use super::door::{Begin, Door, Phase};
use super::{Node, Refused, convert, moved};
use crate::address;
use crate::identity::Founding;

/// Longest wait for a node that is about to join, at the address that it tells.
const REACH_MAX: Duration = Duration::from_secs(2);
/// Longest time of one join, the way to the leader and back included.
pub(crate) const JOIN_MAX: Duration = Duration::from_secs(8);
/// Longest time of its part that another node does.
const PASS_ON_MAX: Duration = Duration::from_secs(5);
/// Longest time until a cluster that begins here has its first node.
const BEGIN_MAX: Duration = Duration::from_secs(20);

const _: () =
    assert!(REACH_MAX.as_secs() * 2 < PASS_ON_MAX.as_secs(), "the wait for an address leaves time for the log");
const _: () = assert!(PASS_ON_MAX.as_secs() < JOIN_MAX.as_secs(), "the answer of another node comes in time");

impl Door {
    /// Begins a cluster here, and returns once this node is its first.
    pub(super) async fn begin_cluster(&self, request: v1::InitClusterRequest) -> Result<v1::InitClusterReply, Failure> {
        match self.phase() {
            Phase::Member(node, _) | Phase::Stopping(node) => return Err(exists(&self.at.data_address, &node)),
            Phase::Waiting(_) | Phase::Initialising => {}
        }
        let copies = if request.replication == 0 { request.nodes.min(3) } else { request.replication };
        let replication = u8::try_from(copies).unwrap_or(u8::MAX);
        let founding = Founding { nodes: request.nodes, shards: request.shards, replication };
        let (answer, answered) = oneshot::channel();
        let busy = || Failure::new(Code::NotReady, "a cluster is about to begin here already: see what came of it");
        self.begin.try_send(Begin { founding, answer }).map_err(|_| busy())?;
        answered.await.map_err(|_| busy())??;
        let at = self.env.clock.now() + BEGIN_MAX;
        let late = |_| Failure::new(Code::Unknown, "the cluster is about to begin here, but has not yet: see later");
        deadline(&*self.env.clock, at, self.first_node()).await.map_err(late)?
    }

    async fn first_node(&self) -> Result<v1::InitClusterReply, Failure> {
        let stopped = || Failure::new(Code::Unknown, "the node stops");
        let mut phases = self.phases();
        let phase = phases.wait_for(|phase| matches!(phase, Phase::Member(..))).await.map_err(|_| stopped())?.clone();
        let Phase::Member(node, _) = phase else { return Err(stopped()) };
        let mut catalogues = node.catalogues();
        catalogues.wait_for(|catalogue| catalogue.nodes().contains_key(&node.id)).await.map_err(|_| stopped())?;
        Ok(v1::InitClusterReply { cluster: node.cluster.to_string(), node: node.id.0 })
    }

    /// Registers a node, or asks whoever leads the catalogue to do so.
    pub(super) async fn let_in(&self, request: v1::JoinRequest) -> Result<v1::JoinReply, Refused> {
        let plain = |failure: Failure| (failure, None);
        if request.protocol != PROTOCOL_VERSION {
            let found = request.protocol;
            let message = format!(
                "the node that asks to join speaks protocol version {found}, this one {PROTOCOL_VERSION}: run the same \
                 version of meridian everywhere"
            );
            return Err(plain(Failure::new(Code::WrongVersion, message)));
        }
        let (Phase::Member(node, _) | Phase::Stopping(node)) = self.phase() else {
            return Err(plain(self.not_initialised()));
        };
        if !request.cluster.is_empty() && request.cluster != *node.cluster {
            let message = format!(
                "the node that asks belongs to cluster {}, and {} at {} to cluster {}: correct its --join",
                request.cluster, node.id, self.at.data_address, node.cluster
            );
            return Err(plain(Failure::new(Code::WrongCluster, message)));
        }
        if !node.meta.is_leader() {
            return node.pass_on(request).await;
        }
        if !node.catalogue().nodes().contains_key(&node.id) {
            // The first id is its own, and it has not got it yet.
            return Err(plain(Failure::new(Code::NotReady, "the cluster is about to begin here: ask again")));
        }
        let at = checked(request.node.clone()).map_err(plain)?;
        reach_back(&self.env, node.id, &at, request.nonce).await.map_err(plain)?;
        let id = node.register(at, request.nonce).await?;
        Ok(v1::JoinReply { cluster: node.cluster.to_string(), node: id.0, nodes: convert::nodes(&node.catalogue()) })
    }
}

fn exists(address: &str, node: &Node) -> Failure {
    let message = format!(
        "{address} is {} of cluster {} already: `meridian cluster init` is sent once, to one node; the others join by \
         themselves. See `meridian cluster status`",
        node.id, node.cluster
    );
    Failure::new(Code::ClusterExists, message)
}

impl Node {
    /// The request to whoever leads, unless it was passed on before: it is not sent in circles.
    async fn pass_on(&self, request: v1::JoinRequest) -> Result<v1::JoinReply, Refused> {
        if request.forwarded {
            let leader = self.meta.leader().filter(|leader| *leader != self.id);
            return Err(moved(&GroupId::META, leader));
        }
        let context = Context::own(self.env.clock.now() + PASS_ON_MAX);
        let request = v1::JoinRequest { forwarded: true, ..request };
        self.client.join(&context, request).await.map_err(|failure| (failure, None))
    }

    /// As leader of the catalogue: the id of the directory that drew `nonce`, which is found at `at` from now on.
    pub(crate) async fn register(&self, at: v1::Node, nonce: u64) -> Result<NodeId, Refused> {
        let v1::Node { id, region, data_address: addr_data, raft_address: addr_raft, http_address: addr_http } = at;
        let command = if id == 0 {
            Command::Join { nonce, region, addr_data, addr_raft, addr_http }
        } else {
            Command::RegisterNode(NodeSpec { id: NodeId(id), region, addr_data, addr_raft, addr_http, nonce })
        };
        match self.command(&command, self.env.clock.now() + JOIN_MAX).await? {
            Reply::Joined(node) => Ok(node),
            Reply::NodeRegistered => Ok(NodeId(id)),
            other => {
                let message = format!("registering a node was answered with {other:?}");
                Err((Failure::new(Code::Internal, message), None))
            }
        }
    }
}

/// A node's own words about itself, if they can be true.
fn checked(node: Option<v1::Node>) -> Result<v1::Node, Failure> {
    let node = node.ok_or_else(|| Failure::new(Code::BadRequest, "the node that asks says nothing of itself"))?;
    address::check_region(&node.region)?;
    for address in [&node.data_address, &node.raft_address, &node.http_address] {
        address::check(address)?;
    }
    Ok(node)
}

/// Whether the directory that drew `nonce` is found at `at`. What is registered is what everybody will call.
async fn reach_back(env: &Env, own: NodeId, at: &v1::Node, nonce: u64) -> Result<(), Failure> {
    let clock = &*env.clock;
    let end = clock.now() + REACH_MAX;
    let unreachable = |what: &str, address: &str, why: &str| {
        let message = format!(
            "{own} cannot reach the node that asks to join at {address}, which it tells as its {what} address: {why}. Tell \
             it with --advertise under which host the other nodes reach it, and see that no firewall is between them"
        );
        Failure::new(Code::Unreachable, message).retry_after_ms(500)
    };
    let mut client = AdminClient::new(connect(env, &at.data_address));
    let status = deadline(clock, end, client.node_status(v1::NodeStatusRequest {})).await;
    let status = match status {
        Err(_) => return Err(unreachable("gRPC", &at.data_address, "no answer")),
        Ok(Err(status)) => {
            return Err(unreachable("gRPC", &at.data_address, &failure_of(&status, false).to_string()));
        }
        Ok(Ok(reply)) => reply.into_inner(),
    };
    if status.nonce != nonce {
        let who = if status.node == 0 { "another node".to_owned() } else { NodeId(status.node).to_string() };
        let message = format!(
            "at {}, which the node that asks to join tells as its own address, {own} finds {who}: tell it with --advertise \
             under which host the other nodes reach it, and give each node addresses of its own",
            at.data_address
        );
        return Err(Failure::new(Code::BadRequest, message));
    }
    for (what, address) in [("Raft", &at.raft_address), ("HTTP", &at.http_address)] {
        match deadline(clock, end, env.net.connect(address)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(unreachable(what, address, &error.to_string())),
            Err(_) => return Err(unreachable(what, address, "no answer")),
        }
    }
    Ok(())
}
