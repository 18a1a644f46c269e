//! What every caller meets first: whether this node belongs to a cluster. Until it does, it says so, with the line to type.

use std::sync::Arc;
use std::time::Duration;

use meridian_env::{Env, Instant};
use meridian_meta::Catalogue;
use meridian_metrics::Page;
use meridian_proto::v1::admin_server::AdminServer;
use meridian_proto::v1::shards_server::ShardsServer;
use meridian_proto::{status_of, v1};
use meridian_types::{Code, Failure, limits};
use tokio::sync::{mpsc, oneshot, watch};
use tonic::Status;

use super::{Node, convert};
use crate::identity::Founding;

/// Entries that a replica may be behind what it knows to be committed and still count as caught up: what is under way.
const LAG_MAX: u64 = 1_024;

/// Where a node is in its life.
#[derive(Clone)]
pub(crate) enum Phase {
    /// It belongs to no cluster; why it does not yet.
    Waiting(String),
    /// It is about to begin a cluster.
    Initialising,
    /// It belongs to a cluster, and runs since then.
    Member(Node, Instant),
    /// It still serves, and is about to end.
    Stopping(Node),
}

/// Somebody wants a cluster to begin here; hears whether it does.
pub(crate) struct Begin {
    pub(crate) founding: Founding,
    pub(crate) answer: oneshot::Sender<Result<(), Failure>>,
}

/// The node as its callers see it. Clones are the same node.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) env: Env,
    /// Its region and addresses as others reach it, without an id.
    pub(crate) at: Arc<v1::Node>,
    pub(crate) nonce: u64,
    /// How long a replica believes in a leader that it only remembers from before its start.
    settles_in: Duration,
    phase: watch::Sender<Phase>,
    pub(super) begin: mpsc::Sender<Begin>,
}

impl Door {
    /// A node that belongs to no cluster yet, and what it is asked to begin.
    pub(crate) fn new(env: Env, at: v1::Node, nonce: u64, settles_in: Duration) -> (Self, mpsc::Receiver<Begin>) {
        let (begin, begins) = mpsc::channel(1);
        let phase = watch::Sender::new(Phase::Waiting("it has just started".into()));
        (Self { env, at: Arc::new(at), nonce, settles_in, phase, begin }, begins)
    }

    pub(crate) fn set(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    pub(crate) fn phases(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// The node, once it belongs to a cluster.
    pub(super) fn node(&self) -> Result<Node, Status> {
        match self.phase() {
            Phase::Member(node, _) | Phase::Stopping(node) => Ok(node),
            Phase::Waiting(_) | Phase::Initialising => Err(status_of(&self.not_initialised())),
        }
    }

    pub(super) fn not_initialised(&self) -> Failure {
        let message = format!(
            "this node belongs to no cluster yet: begin one with `meridian cluster init --server {} --nodes N`, or start it \
             with --join HOST:PORT of a node of the cluster that it is to join",
            self.at.data_address
        );
        Failure::new(Code::NotReady, message).retry_after_ms(500)
    }

    /// Nothing if the node does its part, or why not: whoever restarts nodes one by one waits for this in between.
    pub(crate) fn ready(&self) -> Result<(), String> {
        match self.phase() {
            Phase::Waiting(why) => Err(format!("not initialised: {why}")),
            Phase::Initialising => Err("the cluster is about to begin here".into()),
            Phase::Stopping(_) => Err("stopping".into()),
            Phase::Member(_, since) if self.env.clock.now() < since + self.settles_in => {
                Err("it has just started".into())
            }
            Phase::Member(node, _) => caught_up(&node),
        }
    }

    /// What a scrape gets.
    pub(crate) fn metrics(&self, accept: Option<&str>) -> Page {
        match self.phase() {
            Phase::Member(node, _) | Phase::Stopping(node) => node.metrics.page(accept),
            Phase::Waiting(_) | Phase::Initialising => meridian_metrics::page(None, accept),
        }
    }

    pub(crate) fn shards_server(&self) -> ShardsServer<Self> {
        ShardsServer::new(self.clone())
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    pub(crate) fn admin_server(&self) -> AdminServer<Self> {
        AdminServer::new(self.clone())
    }

    /// What `NodeStatus` says.
    pub(super) fn status(&self) -> v1::NodeStatusReply {
        let (phase, waits_for, node) = match self.phase() {
            Phase::Waiting(why) => (v1::Phase::NotInitialised, why, None),
            Phase::Initialising => (v1::Phase::Initialising, String::new(), None),
            Phase::Member(node, _) => (v1::Phase::Member, caught_up(&node).err().unwrap_or_default(), Some(node)),
            Phase::Stopping(node) => (v1::Phase::Stopping, String::new(), Some(node)),
        };
        v1::NodeStatusReply {
            node: node.as_ref().map_or(0, |node| node.id.0),
            groups: node.as_ref().map_or_else(Vec::new, Node::groups),
            phase: phase.into(),
            cluster: node.as_ref().map_or_else(String::new, |node| node.cluster.to_string()),
            at: Some((*self.at).clone()),
            nonce: self.nonce,
            waits_for,
            formation: node.and_then(|node| formation(&node.catalogue())),
        }
    }
}

fn formation(catalogue: &Catalogue) -> Option<v1::Formation> {
    let begun = catalogue.formation()?;
    Some(v1::Formation {
        nodes: begun.nodes,
        shards: begun.shards,
        replication: begun.replication.into(),
        joined: convert::nodes(catalogue),
        formed: catalogue.is_formed(),
    })
}

/// Whether every replica that belongs here runs, hears of a leader and has applied what it knows to be committed.
fn caught_up(node: &Node) -> Result<(), String> {
    let catalogue = node.catalogue();
    if let Some(begun) = catalogue.formation().filter(|_| !catalogue.is_formed()) {
        return Err(format!("{} of {} nodes have joined", catalogue.nodes().len(), begun.nodes));
    }
    let running = node.shards.read();
    let here = catalogue.shards().values().filter(|shard| shard.replicas.iter().any(|r| r.node == node.id));
    if let Some(shard) = here.map(|shard| shard.id).find(|shard| !running.contains_key(shard)) {
        return Err(format!("the replica of {shard} has not started yet"));
    }
    let shards = running.values().map(|group| group.status());
    for status in std::iter::once(node.meta.status()).chain(shards) {
        let group = status.spec.group;
        if status.leader.is_none() {
            return Err(format!("{group} has no leader that is known here"));
        }
        let next = |index: Option<meridian_types::LogIndex>| index.map_or(0, |index| index.0 + 1);
        let lag = next(status.committed).saturating_sub(next(status.applied));
        if lag > LAG_MAX {
            return Err(format!("{group} has {lag} entries to apply"));
        }
    }
    Ok(())
}
