//! How nodes come into a cluster and back to it, and what they are refused.

use std::path::Path;

use meridian_client::Cluster;
use meridian_env::{Env, real};
use meridian_node::Addresses;
use meridian_proto::{PROTOCOL_VERSION, failure_of, v1};
use meridian_types::{Code, Failure};

use crate::nodes::{Running, admin, anywhere, config, init, not_started, start, status, three, until};

fn env() -> Env {
    real::env().expect("the real world")
}

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

async fn alone(env: &Env, dir: &Path) -> Running {
    let node = start(env, config(dir, anywhere(), "a", &[])).await;
    init(env, &node.at.data, 1, 1).await.expect("it begins");
    until(env, &node.at.data, |s| s.formation.as_ref().is_some_and(|f| f.formed)).await;
    node
}

#[tokio::test]
async fn until_it_belongs_to_a_cluster_a_node_says_what_to_type() {
    let (env, dir) = (env(), dir());
    let node = start(&env, config(dir.path(), anywhere(), "a", &[])).await;
    let at = &node.at.data;
    let answer = status(&env, at).await;
    assert_eq!((answer.phase(), answer.node, answer.cluster.as_str()), (v1::Phase::NotInitialised, 0, ""));
    let asked = admin(&env, at).list_databases(v1::ListDatabasesRequest {}).await;
    let failure = failure_of(&asked.expect_err("there is no catalogue"), true);
    assert_eq!(failure.code, Code::NotReady);
    assert!(failure.message.contains(&format!("meridian cluster init --server {at} --nodes N")), "{failure}");
    for (nodes, shards) in [(0, 1), (1, 0), (1, 5_000)] {
        assert_eq!(init(&env, at, nodes, shards).await.expect_err("nonsense").code, Code::OverLimit);
    }
    assert_eq!(status(&env, at).await.phase(), v1::Phase::NotInitialised, "it still waits");
    node.stop().await;
}

#[tokio::test]
async fn a_node_that_is_alone_may_name_itself_and_comes_back() {
    let (env, dir) = (env(), dir());
    let first = start(&env, config(dir.path(), anywhere(), "a", &[])).await;
    let at = first.at.clone();
    first.stop().await;
    let other_name = at.data.replace("127.0.0.1", "localhost");
    let own = || config(dir.path(), at.clone(), "a", &[&at.data, &other_name]);
    let node = start(&env, own()).await;
    let begun = init(&env, &at.data, 1, 2).await.expect("it begins");
    assert_eq!(begun.node, 1);
    until(&env, &at.data, |s| s.groups.len() == 3 && s.waits_for.is_empty()).await;
    node.stop().await;
    let node = start(&env, own()).await;
    let back = until(&env, &at.data, |s| s.groups.len() == 3 && s.waits_for.is_empty()).await;
    assert_eq!((back.node, back.cluster), (1, begun.cluster));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_begins_once() {
    let (env, dir) = (env(), dir());
    let first = alone(&env, &dir.path().join("1")).await;
    let again = init(&env, &first.at.data, 1, 1).await.expect_err("it is begun");
    assert_eq!(again.code, Code::ClusterExists);
    assert!(again.message.contains("is n1 of cluster"), "{again}");
    // A second node that has not joined yet knows of the first, whom it can reach, but who cannot reach it back.
    let mut stray = config(&dir.path().join("2"), anywhere(), "b", &[&first.at.data]);
    stray.advertise.raft = "127.0.0.1:1".into();
    let second = start(&env, stray).await;
    let waits = until(&env, &second.at.data, |s| s.waits_for.contains("Raft address")).await;
    assert!(waits.waits_for.contains("cannot reach the node that asks to join at 127.0.0.1:1"), "{}", waits.waits_for);
    let elsewhere = init(&env, &second.at.data, 1, 1).await.expect_err("there is one");
    assert_eq!(elsewhere.code, Code::ClusterExists);
    assert!(elsewhere.message.contains("n1 of cluster"), "{elsewhere}");
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_that_nobody_can_call_are_refused_at_the_start() {
    let (env, dir) = (env(), dir());
    for (address, says) in [
        (":7172", "names no host"),
        ("0.0.0.0:7172", "every address of a machine"),
        ("no.such.host.invalid:7172", "cannot be resolved"),
        ("n1", "is no HOST:PORT"),
    ] {
        let mut config = config(dir.path(), anywhere(), "a", &[]);
        config.advertise.data = address.into();
        let failure = not_started(&env, config).await;
        assert_eq!(failure.code, Code::BadRequest);
        assert!(failure.message.contains(says), "{failure}");
    }
    // An address that exists and is somebody else's, as loopback is inside of containers.
    let first = alone(&env, &dir.path().join("1")).await;
    let mut config = config(&dir.path().join("2"), anywhere(), "b", &[&first.at.data]);
    config.advertise.data = first.at.data.replace("127.0.0.1", "localhost");
    let failure = start(&env, config).await.refused(&env).await;
    assert_eq!(failure.code, Code::BadRequest);
    assert!(failure.message.contains("n1 finds n1: tell it with --advertise"), "{failure}");
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_directory_does_not_come_back_under_its_old_name() {
    let (env, dir) = (env(), dir());
    let first = alone(&env, &dir.path().join("1")).await;
    let join = [first.at.data.as_str()];
    let second = start(&env, config(&dir.path().join("2"), anywhere(), "b", &join)).await;
    until(&env, &second.at.data, |s| s.node == 2).await;
    let at = second.at.clone();
    second.stop().await;
    let wiped = config(&dir.path().join("wiped"), at.clone(), "b", &join);
    let failure = start(&env, wiped).await.refused(&env).await;
    assert_eq!(failure.code, Code::LostDisk);
    let says = format!("n2 of this cluster is registered at {}", at.data);
    assert!(failure.message.contains(&says), "{failure}");
    // The directory itself is still welcome, and so is the wiped one elsewhere, as another node.
    let second = start(&env, config(&dir.path().join("2"), at, "b", &join)).await;
    assert_eq!(until(&env, &second.at.data, |s| s.node != 0).await.node, 2);
    let third = start(&env, config(&dir.path().join("wiped"), anywhere(), "b", &join)).await;
    assert_eq!(until(&env, &third.at.data, |s| s.node != 0).await.node, 3);
    for node in [third, second, first] {
        node.stop().await;
    }
}

fn join_request(at: &Addresses, nonce: u64) -> v1::JoinRequest {
    let node = v1::Node {
        id: 0,
        region: "b".into(),
        data_address: at.data.clone(),
        raft_address: at.raft.clone(),
        http_address: at.http.clone(),
    };
    v1::JoinRequest { protocol: PROTOCOL_VERSION, nonce, node: Some(node), ..v1::JoinRequest::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_joins_once_and_strangers_are_refused() {
    let (env, dir) = (env(), dir());
    let first = alone(&env, &dir.path().join("1")).await;
    let second = start(&env, config(&dir.path().join("2"), anywhere(), "b", &[])).await;
    let nonce = status(&env, &second.at.data).await.nonce;
    let ask = async |request: v1::JoinRequest| -> Result<v1::JoinReply, Failure> {
        let reply = admin(&env, &first.at.data).join(request).await;
        reply.map(tonic::Response::into_inner).map_err(|status| failure_of(&status, true))
    };
    let good = join_request(&second.at, nonce);
    for _ in 0..2 {
        let reply = ask(good.clone()).await.expect("it is let in");
        assert_eq!((reply.node, reply.nodes.len()), (2, 2), "asked again, the same id");
    }
    let refused = async |request: v1::JoinRequest, code: Code, says: &str| {
        let failure = ask(request).await.expect_err(says);
        assert!(failure.code == code && failure.message.contains(says), "{}: {failure}", failure.code);
    };
    let old = v1::JoinRequest { protocol: 7, ..good.clone() };
    let says = format!("speaks protocol version 7, this one {PROTOCOL_VERSION}: run the same version");
    refused(old, Code::WrongVersion, &says).await;
    let foreign = v1::JoinRequest { cluster: "5f".repeat(16), ..good.clone() };
    refused(foreign, Code::WrongCluster, "belongs to cluster 5f5f").await;
    refused(join_request(&second.at, nonce ^ 1), Code::BadRequest, "n1 finds another node").await;
    refused(v1::JoinRequest { node: None, ..good.clone() }, Code::BadRequest, "says nothing of itself").await;
    let nowhere = Addresses { data: "127.0.0.1:1".into(), ..second.at.clone() };
    refused(
        join_request(&nowhere, nonce),
        Code::Unreachable,
        "n1 cannot reach the node that asks to join at 127.0.0.1:1",
    )
    .await;
    let hostless = Addresses { http: ":7174".into(), ..second.at.clone() };
    refused(join_request(&hostless, nonce), Code::BadRequest, "names no host").await;
    let to_nobody = admin(&env, &second.at.data).join(good).await.expect_err("it is in no cluster itself");
    assert_eq!(failure_of(&to_nobody, true).code, Code::NotReady);
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_one_cluster_does_not_join_another() {
    let (env, dir) = (env(), dir());
    let one = alone(&env, &dir.path().join("1")).await;
    let at = one.at.clone();
    one.stop().await;
    let other = alone(&env, &dir.path().join("other")).await;
    let one = start(&env, config(&dir.path().join("1"), at, "a", &[&other.at.data])).await;
    let failure = one.refused(&env).await;
    assert_eq!(failure.code, Code::WrongCluster);
    assert!(failure.message.contains("this directory belongs to n1 of cluster"), "{failure}");
    assert!(failure.message.contains(&other.at.data), "{failure}");
    other.stop().await;
}

/// One node moves, then all of them at once: whoever was told to join stable names finds the others again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_may_come_back_under_other_addresses() {
    let (env, dir) = (env(), dir());
    let mut nodes = three(&env, dir.path()).await;
    let seed = nodes[0].at.data.clone();
    nodes.remove(1).stop().await;
    let moved = start(&env, config(&dir.path().join("2"), anywhere(), "r2", &[])).await;
    let knows = |s: &v1::NodeStatusReply, at: &Addresses| {
        let joined = s.formation.as_ref().map_or(&[][..], |f| &f.joined);
        joined.iter().any(|node| node.id == 2 && node.data_address == at.data && node.raft_address == at.raft)
    };
    until(&env, &seed, |s| knows(s, &moved.at)).await;
    until(&env, &moved.at.data, |s| s.waits_for.is_empty() && s.groups.len() == 3).await;
    nodes.push(moved);
    for node in nodes {
        node.stop().await;
    }

    // Ports that are known before, as names are in a cluster whose machines get new addresses.
    let mut free = Vec::new();
    let mut ports = 20_000 + std::process::id() as u16 % 10_000..32_000;
    for _ in 0..3 {
        free.push(unused(&env, &mut ports).await);
    }
    let names: Vec<&str> = free.iter().map(|at| at.data.as_str()).collect();
    let mut back = Vec::new();
    for (n, at) in (1..).zip(&free) {
        back.push(start(&env, config(&dir.path().join(n.to_string()), at.clone(), &format!("r{n}"), &names)).await);
    }
    for node in &back {
        until(&env, &node.at.data, |s| s.waits_for.is_empty() && s.groups.len() == 3).await;
    }
    let cluster = Cluster::connect(&env, vec![free[2].data.clone()]);
    crate::write(&env, &cluster).await;
    for node in back {
        node.stop().await;
    }
}

/// Addresses below those that connections take for themselves, so that nobody takes them in between.
async fn unused(env: &Env, ports: &mut std::ops::Range<u16>) -> Addresses {
    let mut found = Vec::new();
    while found.len() < 3 {
        let at = format!("127.0.0.1:{}", ports.next().expect("some port is free"));
        if env.net.listen(&at).await.is_ok() {
            found.push(at);
        }
    }
    let mut next = || found.pop().expect("three were found");
    Addresses { data: next(), raft: next(), http: next() }
}

/// A clean stop gives its groups away first: the others never miss a leader for as long as an election takes to begin.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_leaves_no_group_without_a_leader() {
    let (env, dir) = (env(), dir());
    let mut nodes = three(&env, dir.path()).await;
    for node in &nodes {
        until(&env, &node.at.data, |s| s.waits_for.is_empty()).await;
    }
    let seed = nodes[1].at.data.clone();
    let before = status(&env, &seed).await;
    let terms = |s: &v1::NodeStatusReply| s.groups.iter().map(|g| (g.group, g.term)).collect::<Vec<_>>();
    nodes.remove(0).stop().await;
    let after = status(&env, &seed).await;
    for group in &after.groups {
        assert!(group.leader.is_some(), "{group:?}");
        assert_ne!(group.leader, Some(1), "the meta group is not led by the node that stopped: {group:?}");
    }
    assert!(terms(&after).iter().zip(terms(&before)).all(|(after, before)| after.1 >= before.1));
    for node in nodes {
        node.stop().await;
    }
}
