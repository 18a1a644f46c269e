//! Sees to it that the others find this node where it is now: as long as the catalogue has other addresses for it, it asks to
//! be registered, of whomever it can find. It may be cut off from the leader exactly because nobody knows its address, so it
//! asks those that it was told to join as well as those that it knows.

use std::time::Duration;

use meridian_env::deadline;
use meridian_proto::{PROTOCOL_VERSION, v1};
use meridian_types::{Code, Failure, Kind};

use crate::admit::ask;
use crate::service::{Door, Node};

const LOOK_EVERY: Duration = Duration::from_millis(500);
const LEADER_LOOK_EVERY: Duration = Duration::from_millis(50);

/// Registers this node whenever the catalogue does not have it as it is. Returns only what must end it: it is refused.
pub(crate) async fn run(node: &Node, door: &Door, join: &[String]) -> Failure {
    let mut catalogues = node.catalogues();
    loop {
        catalogues.mark_unchanged();
        if let Some(at) = missing(node, door)
            && let Err(failure) = register(node, door, join, at).await
        {
            if matches!(failure.kind(), Kind::NotAllowed | Kind::Fix) {
                return failure;
            }
            tracing::warn!(node = %node.id, %failure, "the addresses of this node are not known to all yet");
        }
        let clock = &*node.env.clock;
        drop(deadline(clock, clock.now() + LOOK_EVERY, catalogues.changed()).await);
    }
}

/// This node as it is, if the catalogue has it otherwise or not at all. The first node has a number before the catalogue
/// has given it, and asks for it without.
fn missing(node: &Node, door: &Door) -> Option<v1::Node> {
    let catalogue = node.catalogue();
    catalogue.formation()?;
    let at = v1::Node { id: node.id.0, ..(*door.at).clone() };
    match catalogue.nodes().get(&node.id) {
        None => Some(v1::Node { id: 0, ..at }),
        Some(known) => {
            let known = (&known.addr_data, &known.addr_raft, &known.addr_http);
            (known != (&at.data_address, &at.raft_address, &at.http_address)).then_some(at)
        }
    }
}

async fn register(node: &Node, door: &Door, join: &[String], at: v1::Node) -> Result<(), Failure> {
    if node.meta.is_leader() {
        return node.register(at, door.nonce).await.map(drop).map_err(|(failure, _)| failure);
    }
    let request = v1::JoinRequest {
        protocol: PROTOCOL_VERSION,
        nonce: door.nonce,
        node: Some(at),
        cluster: node.cluster.to_string(),
        forwarded: false,
    };
    let catalogue = node.catalogue();
    let known = catalogue.nodes().values().filter(|other| other.id != node.id).map(|other| &other.addr_data);
    let mut last = Failure::new(Code::Unreachable, "no other node is known");
    for address in join.iter().chain(known).filter(|address| **address != door.at.data_address) {
        let asked = tokio::select! {
            biased;
            asked = ask(&door.env, address, request.clone()) => asked,
            () = leads(node) => return Err(Failure::new(Code::NoLeader, "this node leads now, and registers itself")),
        };
        match asked {
            Ok(_) => return Ok(()),
            Err(failure) if matches!(failure.kind(), Kind::NotAllowed | Kind::Fix) => return Err(failure),
            Err(failure) => last = Failure { message: format!("{address}: {failure}"), ..failure },
        }
    }
    Err(last)
}

/// Resolves when this node leads the catalogue: those who were asked may look for it where it is no more.
async fn leads(node: &Node) {
    while !node.meta.is_leader() {
        node.env.clock.sleep(LEADER_LOOK_EVERY).await;
    }
}
