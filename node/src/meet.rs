//! Finds the other nodes again when nothing that was known of them holds any more, as after a restart of all of them under
//! other addresses: asks at the addresses that this node was told to join. Tells nobody anything, and never joins.

use std::time::Duration;

use meridian_raft::Groups;
use meridian_types::{Code, Failure, NodeId};

use crate::admit::statuses;
use crate::service::Node;

const MEET_EVERY: Duration = Duration::from_secs(1);

/// Looks for the others while there is no leader. Returns only what must end this node: that it was told of another cluster.
pub(crate) async fn run(node: &Node, groups: &Groups, nonce: u64, join: &[String]) -> Failure {
    let mut is_first = true;
    loop {
        if is_first || node.meta.leader().is_none() {
            for (address, status) in join.iter().zip(statuses(&node.env, join).await) {
                let Some(status) = status.filter(|s| !s.cluster.is_empty() && s.nonce != nonce) else { continue };
                if status.cluster != *node.cluster {
                    return foreign(node, address, &status.cluster);
                }
                if let Some(at) = status.at.filter(|_| NodeId(status.node) != node.id && node.meta.leader().is_none()) {
                    groups.set_address(NodeId(status.node), &at.raft_address);
                }
            }
        }
        is_first = false;
        node.env.clock.sleep(MEET_EVERY).await;
    }
}

fn foreign(node: &Node, address: &str, cluster: &str) -> Failure {
    let message = format!(
        "this directory belongs to {} of cluster {}, but {address}, which it is to join, to cluster {cluster}: correct \
         --join, or use an empty directory to join the other cluster",
        node.id, node.cluster
    );
    Failure::new(Code::WrongCluster, message)
}
