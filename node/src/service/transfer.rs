//! A shard's leader hands over to another replica. Only the leader is asked; it answers when the other one leads. Says that it
//! did not happen, or that it is not known, and never that it happened when it did not.

use std::time::Duration;

use meridian_env::Instant;
use meridian_proto::v1;
use meridian_raft::Group;
use meridian_types::{Code, Failure, NodeId, ReplicaId, ShardId};

use super::{Node, moved};
use crate::shard::Shard;

/// How long the other replica may take: its log catches up, and it is elected.
const TRANSFER_MAX: Duration = Duration::from_secs(2);
/// Between two looks at who leads.
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Node {
    /// Makes `to_node` the leader of a shard that is led here.
    pub(super) async fn hand_over(
        &self,
        request: v1::TransferShardLeaderRequest,
    ) -> Result<v1::TransferShardLeaderReply, (Failure, Option<NodeId>)> {
        let (shard, to) = (ShardId(request.shard), NodeId(request.to_node));
        let replica = self.replica_of(shard, to).map_err(|failure| (failure, None))?;
        let group = self.shards.read().get(&shard).cloned();
        let group = group.ok_or_else(|| (Failure::new(Code::Moved, format!("{} has no {shard}", self.id)), None))?;
        if !group.is_leader() {
            return Err(moved(&shard, group.leader()));
        }
        if to == self.id {
            return Ok(v1::TransferShardLeaderReply { changed: false, term: group.status().term });
        }
        group
            .transfer_leader(replica)
            .await
            .map_err(|halt| (Failure::new(Code::NotReady, format!("{shard} stops on {}: {halt}", self.id)), None))?;
        self.wait_for_leader(&group, to, self.env.clock.now() + TRANSFER_MAX).await
    }

    fn replica_of(&self, shard: ShardId, node: NodeId) -> Result<ReplicaId, Failure> {
        let catalogue = self.catalogue();
        let Some(known) = catalogue.shards().get(&shard) else {
            return Err(Failure::new(Code::NoGroup, format!("there is no {shard}")));
        };
        let replica = known.replicas.iter().find(|replica| replica.node == node);
        let none = || Failure::new(Code::NoGroup, format!("{node} has no replica of {shard}"));
        replica.map(|replica| replica.id).ok_or_else(none)
    }

    async fn wait_for_leader(
        &self,
        group: &Group<Shard>,
        to: NodeId,
        at: Instant,
    ) -> Result<v1::TransferShardLeaderReply, (Failure, Option<NodeId>)> {
        let shard = ShardId(group.spec().group.0);
        loop {
            match group.leader() {
                Some(leader) if leader == to => {
                    return Ok(v1::TransferShardLeaderReply { changed: true, term: group.status().term });
                }
                // A third one was elected: it can be asked to hand over as well.
                Some(leader) if leader != self.id => return Err(moved(&shard, Some(leader))),
                _ => {}
            }
            if self.env.clock.now() >= at {
                let seconds = TRANSFER_MAX.as_secs();
                let text =
                    format!("{to} was told to take {shard} over from {} and has not within {seconds} s", self.id);
                return Err((Failure::new(Code::Unknown, text), None));
            }
            self.env.clock.sleep(LOOK_EVERY).await;
        }
    }
}
