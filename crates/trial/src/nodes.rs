//! What nodes say of themselves: who leads, whether all replicas are level, and the hashes of their content.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use meridian_client::connect;
use meridian_env::{Env, Instant};
use meridian_proto::v1;
use meridian_proto::v1::admin_client::AdminClient;

use crate::call::call;
use crate::registers::{Broken, Violation};

const POLL: Duration = Duration::from_millis(100);
/// After so long replicas are asked anew to hash: one may have been replaced since, because its files were damaged.
const ROUND_MAX: Duration = Duration::from_secs(5);
const LEADER: &str = "leader";
/// The group of the catalogue, which has no content hash.
const META: u32 = 0;

/// What each node answers, by its place in `nodes` (`host:port` of their gRPC); nothing for one that is silent.
pub async fn statuses(env: &Env, nodes: &[String]) -> Vec<Option<v1::NodeStatusReply>> {
    let mut statuses = Vec::new();
    for node in nodes {
        let mut client = AdminClient::new(connect(env, node));
        statuses.push(call(env, client.node_status(v1::NodeStatusRequest {})).await.ok());
    }
    statuses
}

/// How many groups each node leads.
pub fn led_by(statuses: &[Option<v1::NodeStatusReply>]) -> Vec<usize> {
    let led = |status: &v1::NodeStatusReply| status.groups.iter().filter(|group| group.role == LEADER).count();
    statuses.iter().map(|status| status.as_ref().map_or(0, led)).collect()
}

/// The node that leads the most groups, if any leads.
pub async fn busiest(env: &Env, nodes: &[String]) -> Option<usize> {
    let led = led_by(&statuses(env, nodes).await);
    let most = led.iter().max().filter(|most| **most > 0)?;
    led.iter().position(|led| led == most)
}

/// Returns once every group has one leader, and all of its replicas have applied all of its log. A shard has `copies` replicas,
/// the catalogue one on each node.
pub async fn wait_settled(env: &Env, nodes: &[String], copies: usize, until: Instant) -> Result<(), Broken> {
    loop {
        let Some(why) = unsettled(&statuses(env, nodes).await, copies) else { return Ok(()) };
        if env.clock.now() > until {
            return Err(Broken::Liveness(format!("the cluster has not settled: {why}")));
        }
        env.clock.sleep(POLL).await;
    }
}

/// What is missing, if anything.
fn unsettled(statuses: &[Option<v1::NodeStatusReply>], copies: usize) -> Option<String> {
    let silent = statuses.iter().position(Option::is_none);
    if let Some(node) = silent {
        return Some(format!("node {} is silent", node + 1));
    }
    let mut groups: BTreeMap<u32, Vec<&v1::GroupState>> = BTreeMap::new();
    for state in statuses.iter().flatten().flat_map(|status| &status.groups) {
        groups.entry(state.group).or_default().push(state);
    }
    if !groups.keys().any(|group| *group != META) {
        return Some("there are no shards yet".into());
    }
    groups.into_iter().find_map(|(group, replicas)| {
        let leaders: Vec<_> = replicas.iter().filter(|replica| replica.role == LEADER).collect();
        let [leader] = leaders[..] else { return Some(format!("g{group} has {} leaders", leaders.len())) };
        let level = |replica: &&v1::GroupState| {
            replica.term == leader.term
                && replica.last_index == leader.last_index
                && replica.applied_index == leader.last_index
        };
        let behind = replicas.iter().filter(|replica| !level(replica)).count();
        let expected = if group == META { statuses.len() } else { copies };
        if replicas.len() != expected || behind > 0 {
            let count = replicas.len();
            return Some(format!(
                "g{group}: {behind} of {count} replicas are behind or failed, and there should be {expected}"
            ));
        }
        None
    })
}

/// Has every shard hashed at one entry by all of its `copies` replicas, and compares; how many shards there were. That entry comes
/// after the last one that an acknowledgement has named (`acked`).
pub async fn checksums(
    env: &Env,
    (nodes, copies): (&[String], usize),
    acked: &BTreeMap<u32, u64>,
    until: Instant,
) -> Result<usize, Broken> {
    let statuses = statuses(env, nodes).await;
    let groups = statuses.iter().flatten().flat_map(|status| &status.groups).map(|group| group.group);
    let shards: BTreeSet<u32> = groups.filter(|group| *group != META).collect();
    for shard in &shards {
        loop {
            let index = ask_checksum(env, nodes, *shard, until).await?;
            if let Some(acked) = acked.get(shard).filter(|acked| **acked >= index) {
                return Err(Violation::CutShort { shard: *shard, acked: *acked, last: index }.into());
            }
            let round = until.min(env.clock.now() + ROUND_MAX);
            match compare(env, (nodes, copies), *shard, index, round).await {
                Err(Broken::Liveness(_)) if env.clock.now() < until => {}
                compared => break compared?,
            }
        }
    }
    Ok(shards.len())
}

/// The index of an entry at which the replicas of a shard hash their content.
async fn ask_checksum(env: &Env, nodes: &[String], shard: u32, until: Instant) -> Result<u64, Broken> {
    let mut why = String::new();
    while env.clock.now() < until {
        // Whoever does not lead says so.
        for node in nodes {
            let mut client = AdminClient::new(connect(env, node));
            match call(env, client.checksum(v1::ChecksumRequest { shard })).await {
                Ok(reply) => return Ok(reply.index),
                Err(failure) => why = failure.message,
            }
        }
        env.clock.sleep(POLL).await;
    }
    Err(Broken::Liveness(format!("s{shard} could not be hashed: {why}")))
}

async fn compare(
    env: &Env,
    (nodes, copies): (&[String], usize),
    shard: u32,
    asked: u64,
    until: Instant,
) -> Result<(), Broken> {
    loop {
        let statuses = statuses(env, nodes).await;
        let replicas = statuses.iter().flatten().flat_map(|status| &status.groups).filter(|g| g.group == shard);
        let sums: Vec<(u64, u64)> = replicas.map(|g| (g.checksum_index, g.checksum)).collect();
        // An earlier question of unknown outcome may have come after: then all stand at that one's entry.
        let index = sums.first().map_or(0, |(index, _)| *index);
        if sums.len() == copies && index >= asked && sums.iter().all(|sum| sum.0 == index) {
            if sums.iter().all(|sum| sum.1 == sums[0].1) {
                return Ok(());
            }
            let hashes = sums.into_iter().map(|(_, hash)| hash).collect();
            return Err(Violation::Diverged { shard, index, hashes }.into());
        }
        if env.clock.now() > until {
            return Err(Broken::Liveness(format!("s{shard}: replicas were to hash at {asked} and stand at {sums:?}")));
        }
        env.clock.sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(group: u32, role: &str, last: u64, applied: u64) -> v1::GroupState {
        let (last_index, applied_index) = (Some(last), Some(applied));
        v1::GroupState { group, role: role.into(), last_index, applied_index, ..Default::default() }
    }

    fn statuses(replicas: [v1::GroupState; 3]) -> Vec<Option<v1::NodeStatusReply>> {
        let status = |replica| Some(v1::NodeStatusReply { groups: vec![replica], ..Default::default() });
        replicas.map(status).into()
    }

    #[test]
    fn a_cluster_is_settled_when_nothing_is_missing() {
        let follower = replica(1, "follower", 9, 9);
        let settled = statuses([follower.clone(), replica(1, "leader", 9, 9), follower.clone()]);
        assert_eq!(unsettled(&settled, 3), None);
        assert_eq!(led_by(&settled), [0, 1, 0]);
        let behind = statuses([follower.clone(), replica(1, "leader", 9, 9), replica(1, "follower", 9, 8)]);
        assert!(unsettled(&behind, 3).is_some_and(|why| why.starts_with("g1: 1 of 3")));
        assert!(unsettled(&statuses([follower.clone(), follower.clone(), follower]), 3).is_some());
        assert!(unsettled(&[settled[0].clone(), settled[1].clone(), None], 3).is_some());
        assert!(unsettled(&settled[..2], 2).is_none(), "two nodes, two replicas");
        assert!(unsettled(&[settled[1].clone(), Some(v1::NodeStatusReply::default())], 2).is_some());
    }
}
