//! How a cluster comes together, as its catalogue's leader sees to it: the first node founds it, every node follows the
//! catalogue, the voters are chosen once all have joined that were asked for, and only then do shards get their places. So
//! nothing is ever acknowledged that a single disk holds, unless one node was asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_meta::{ClusterId, Command, voters};
use meridian_types::{NodeId, ReplicaId};

use crate::identity::Identity;
use crate::service::Node;

/// The longest that one command may take.
const STEP_MAX: Duration = Duration::from_secs(5);

/// The catalogue's replica on a node has the node's number.
pub(crate) fn replica(node: NodeId) -> ReplicaId {
    ReplicaId(node.0.into())
}

/// As leader of the catalogue: does what is missing next, and says whether that was done. What fails is done at a later pass,
/// by whoever leads then.
pub(crate) async fn lead(node: &Node, identity: &Identity) -> bool {
    let catalogue = node.catalogue();
    let at = node.env.clock.now() + STEP_MAX;
    let Some(begun) = catalogue.formation() else {
        let Some(founding) = identity.founding else { return false };
        let cluster = ClusterId(u128::from_str_radix(&node.cluster, 16).unwrap_or_default());
        let (nodes, shards, replication) = (founding.nodes, founding.shards, founding.replication);
        let init = Command::Init { cluster, nodes, shards, replication };
        return is_done("the cluster is begun", node.command(&init, at).await.map_err(|(failure, _)| failure));
    };
    let members = node.meta.members();
    let follows = |id: &NodeId| {
        let replica = replica(*id);
        members.voters.contains_key(&replica) || members.learners.contains_key(&replica)
    };
    if let Some(new) = catalogue.nodes().keys().find(|id| !follows(id)) {
        return is_done("a node follows the catalogue", node.meta.add_learner(replica(*new), *new, at).await);
    }
    if catalogue.is_formed() || catalogue.nodes().len() < begun.nodes as usize {
        return false;
    }
    let chosen: BTreeMap<ReplicaId, NodeId> =
        voters(catalogue.nodes()).into_iter().map(|id| (replica(id), id)).collect();
    if members.is_changing || members.voters != chosen {
        // Whoever only follows leaves with this, and comes again at the next step.
        return is_done("the voters on the catalogue are chosen", node.meta.set_voters(&chosen, at).await);
    }
    is_done("the shards have their places", node.command(&Command::Form, at).await.map_err(|(failure, _)| failure))
}

fn is_done<T, E: std::fmt::Display>(what: &str, outcome: Result<T, E>) -> bool {
    match outcome {
        Ok(_) => tracing::info!("{what}"),
        Err(ref error) => tracing::warn!(%error, "not yet: {what}"),
    }
    outcome.is_ok()
}
