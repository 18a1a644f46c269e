//! The status of a small cluster with one of each trouble, as text.

use super::*;

fn node(id: u32, region: &str, error: &str, groups: Vec<v1::GroupState>) -> v1::NodeState {
    let node = v1::Node {
        id,
        region: region.into(),
        data_address: format!("10.0.0.{id}:7172"),
        raft_address: format!("10.0.0.{id}:7173"),
        http_address: format!("10.0.0.{id}:7174"),
    };
    v1::NodeState { node: Some(node), reachable: error.is_empty(), error: error.into(), groups }
}

fn state(group: u32, replica: u64, role: &str, term: u64, applied: u64) -> v1::GroupState {
    v1::GroupState {
        group,
        incarnation: 1,
        replica,
        role: role.into(),
        term,
        leader: None,
        last_index: Some(applied + 1),
        committed_index: Some(applied),
        applied_index: Some(applied),
        series: 10,
        points: 1_000,
        ..Default::default()
    }
}

/// A cluster with one of each trouble.
pub(crate) fn cluster() -> v1::ClusterStatusReply {
    let empty = v1::GroupState {
        last_index: None,
        committed_index: None,
        applied_index: None,
        ..state(2, 8, "recovering", 0, 0)
    };
    let shard = |id, replicas: &[(u64, u32)]| v1::Shard {
        id,
        incarnation: 1,
        replicas: replicas.iter().map(|(id, node)| v1::Replica { id: *id, node: *node }).collect(),
        preferred: 0,
    };
    v1::ClusterStatusReply {
        cluster: "6f1c2d3e".into(),
        map_version: 12,
        nodes: vec![
            node(1, "a", "", vec![state(0, 1, "leader", 3, 40), state(1, 4, "leader", 7, 99), empty]),
            node(2, "b", "", vec![state(0, 2, "follower", 3, 38), state(1, 5, "leader", 6, 60)]),
            node(3, "c", "connection refused", vec![]),
            node(4, "a", "", vec![]),
        ],
        shards: vec![shard(1, &[(4, 1), (5, 2), (6, 3)]), shard(2, &[(7, 2), (8, 1), (9, 3)])],
    }
}

#[test]
fn a_cluster_in_trouble_is_shown_as_it_is() {
    let status = Status::from(cluster());
    let found = format!("{}---\n{}", status.table(), status.summary());
    assert_eq!(found, include_str!("../../../testdata/status.txt"));
}

#[test]
fn json_has_the_same() {
    assert_eq!(Status::from(cluster()).json(), include_str!("../../../testdata/status.json"));
}

#[test]
fn an_empty_reply_is_shown_too() {
    let status = Status::from(v1::ClusterStatusReply::default());
    assert_eq!(status.summary(), "cluster , map version 0: 0 nodes, 0 shards\n");
    assert!(status.table().starts_with("shard"));
}
