//! Who leads a shard is changed here: first a look at how its replicas stand, because a leader that hands over takes no
//! writes until the other one leads, and one that is far behind would make that long.

use std::sync::Arc;

use futures::future::join_all;
use meridian_client::{Map, Shard};
use meridian_env::Context;
use meridian_proto::v1;
use meridian_types::{Code, Failure, NodeId, ShardId};

use super::admin::NODE_TIMEOUT;
use crate::front::Front;

/// Entries that the replica that is to lead may lack: what it catches up within a fraction of a second.
const BEHIND_MAX: u64 = 1_000;

/// What a replica's node says of it, or why it says nothing.
type Told = (NodeId, Result<v1::GroupState, Failure>);

/// Makes a node the leader of a shard, if it can be.
pub(super) async fn transfer_leader(
    front: &Arc<Front>,
    context: &Context,
    request: v1::TransferShardLeaderRequest,
) -> Result<v1::TransferShardLeaderReply, Failure> {
    let (id, to) = (ShardId(request.shard), NodeId(request.to_node));
    let map = front.cluster.refresh(context).await?;
    let shard = find(&map, id, to)?;
    let looking = Context { deadline: context.deadline.min(front.env.clock.now() + NODE_TIMEOUT), ..context.clone() };
    let told = shard.replicas.values().map(|node| ask(front, &looking, id, *node));
    let told = join_all(told).await;
    if let Some(done) = judge(&told, id, to)? {
        return Ok(done);
    }
    front.cluster.transfer_leader(context, id, to).await
}

async fn ask(front: &Front, context: &Context, shard: ShardId, node: NodeId) -> Told {
    let said = front.cluster.node_status(context, node).await.and_then(|status| {
        let missing = || Failure::new(Code::NotReady, format!("{node} has not started its replica of {shard}"));
        status.groups.into_iter().find(|group| group.group == shard.0).ok_or_else(missing)
    });
    (node, said)
}

/// The shard, if the node has a replica of it.
fn find(map: &Map, id: ShardId, to: NodeId) -> Result<&Shard, Failure> {
    let Some(shard) = map.shards.get(&id) else {
        let range = match (map.shards.keys().next(), map.shards.keys().next_back()) {
            (Some(first), Some(last)) => format!("the cluster has {first} to {last}"),
            _ => "the cluster is not formed yet".to_owned(),
        };
        return Err(Failure::new(Code::NoGroup, format!("there is no shard {id}: {range}")));
    };
    if !shard.replicas.values().any(|node| *node == to) {
        let nodes: Vec<String> = shard.replicas.values().map(NodeId::to_string).collect();
        let text = format!("{to} has no replica of {id} and cannot lead it: its replicas are on {}", nodes.join(", "));
        return Err(Failure::new(Code::NoGroup, text));
    }
    Ok(shard)
}

/// The answer, if the node leads already; nothing, if it can be asked to; or why not.
fn judge(told: &[Told], shard: ShardId, to: NodeId) -> Result<Option<v1::TransferShardLeaderReply>, Failure> {
    let said = || told.iter().filter_map(|(node, said)| Some((*node, said.as_ref().ok()?)));
    // One that was cut off may not know yet that there is a newer one.
    let leader = said().filter(|(_, state)| state.role == "leader").max_by_key(|(_, state)| state.term);
    let target = match told.iter().find(|(node, _)| *node == to) {
        Some((_, Ok(state))) => state,
        Some((_, Err(failure))) => {
            let text = format!("{to} cannot take {shard} over now: {}", failure.message);
            return Err(Failure::new(Code::Unreachable, text));
        }
        None => return Err(Failure::new(Code::NoGroup, format!("{to} has no replica of {shard}"))),
    };
    let Some((leader, state)) = leader else {
        let text = format!("{shard} has no leader that could hand over: a majority of its replicas must be up");
        return Err(Failure::new(Code::NoLeader, text));
    };
    if leader == to {
        return Ok(Some(v1::TransferShardLeaderReply { changed: false, term: state.term }));
    }
    // The first entry of a log has index 0.
    let length = |index: Option<u64>| index.map_or(0, |last| last + 1);
    let behind = length(state.last_index).saturating_sub(length(target.last_index));
    if behind > BEHIND_MAX {
        let text = format!(
            "{to} is {behind} entries behind {leader} in {shard}, over the limit of {BEHIND_MAX}: writes would wait \
             while it catches up"
        );
        return Err(Failure::new(Code::NotReady, text));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use meridian_types::{Incarnation, ReplicaId};

    use super::*;

    const SHARD: ShardId = ShardId(3);

    fn told(node: u32, role: &str, term: u64, last: Option<u64>) -> Told {
        let state = v1::GroupState { group: 3, role: role.into(), term, last_index: last, ..Default::default() };
        (NodeId(node), Ok(state))
    }

    fn down(node: u32) -> Told {
        (NodeId(node), Err(Failure::new(Code::Unreachable, format!("n{node} did not answer in time"))))
    }

    fn refusal(told: &[Told], to: u32) -> (Code, String) {
        let failure = judge(told, SHARD, NodeId(to)).expect_err("it is refused");
        (failure.code, failure.message)
    }

    #[test]
    fn only_a_shard_that_is_there_and_a_node_that_has_it() {
        let replicas = [1, 2, 3].map(|n| (ReplicaId(n), NodeId(n as u32))).into();
        let shard = Shard { incarnation: Incarnation(1), replicas, preferred: None };
        let mut map = Map::default();
        map.shards = Arc::new(BTreeMap::from([(SHARD, shard)]));
        assert!(find(&map, SHARD, NodeId(2)).is_ok());
        let refused = |map: &Map, shard, node| {
            let failure = find(map, ShardId(shard), NodeId(node)).expect_err("it is refused");
            assert_eq!(failure.code, Code::NoGroup);
            failure.message
        };
        assert_eq!(refused(&map, 9, 1), "there is no shard s9: the cluster has s3 to s3");
        assert_eq!(refused(&Map::default(), 9, 1), "there is no shard s9: the cluster is not formed yet");
        let elsewhere = "n7 has no replica of s3 and cannot lead it: its replicas are on n1, n2, n3";
        assert_eq!(refused(&map, 3, 7), elsewhere);
    }

    #[test]
    fn a_replica_that_is_near_may_take_over() {
        let replicas = [told(1, "leader", 5, Some(2_000)), told(2, "follower", 5, Some(1_500)), down(3)];
        assert_eq!(judge(&replicas, SHARD, NodeId(2)), Ok(None));
        let leads = v1::TransferShardLeaderReply { changed: false, term: 5 };
        assert_eq!(judge(&replicas, SHARD, NodeId(1)), Ok(Some(leads)), "asked again, nothing changes");
    }

    #[test]
    fn who_cannot_lead_is_told_why() {
        let replicas = [told(1, "leader", 5, Some(2_000)), told(2, "follower", 5, None), down(3)];
        let (code, text) = refusal(&replicas, 2);
        assert_eq!(code, Code::NotReady);
        assert!(text.starts_with("n2 is 2001 entries behind n1 in s3, over the limit of 1000"), "{text}");
        let unreachable = "n3 cannot take s3 over now: n3 did not answer in time";
        assert_eq!(refusal(&replicas, 3), (Code::Unreachable, unreachable.to_owned()));
        let headless = [told(1, "candidate", 6, Some(9)), told(2, "follower", 5, Some(9)), down(3)];
        assert_eq!(refusal(&headless, 2).0, Code::NoLeader);
    }

    #[test]
    fn of_two_that_say_they_lead_the_newer_one_does() {
        let replicas = [told(1, "leader", 5, Some(9)), told(2, "leader", 6, Some(10)), down(3)];
        let leads = v1::TransferShardLeaderReply { changed: false, term: 6 };
        assert_eq!(judge(&replicas, SHARD, NodeId(2)), Ok(Some(leads)));
        assert_eq!(judge(&replicas, SHARD, NodeId(1)), Ok(None));
    }
}
