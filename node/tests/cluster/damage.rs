//! A replica whose files are damaged: noticed at the start, out of service, and replaced from its peers while its node stays.

use std::path::{Path, PathBuf};

use meridian_client::Cluster;
use meridian_env::{Open, real};
use meridian_proto::v1;

use crate::nodes::{anywhere, config, init, start, three, until};
use crate::{count, write};

/// Changes the last byte of a file, or changes it back.
fn flip(env: &meridian_env::Env, path: &Path) {
    let file = env.disk.open(path, Open::Write).expect("it opens");
    let last = file.len().expect("a length") - 1;
    let mut byte = [0];
    file.read_exact_at(&mut byte, last).expect("it reads");
    file.write_at(&[byte[0] ^ 1], last).expect("it is damaged");
}

/// The block files below a node's directory.
fn blocks(env: &meridian_env::Env, dir: &Path) -> Vec<PathBuf> {
    let shards = env.disk.list(&dir.join("shards")).expect("it has shards");
    let in_shard = |shard: &String| {
        let dir = dir.join("shards").join(shard).join("blocks");
        let names = env.disk.list(&dir).unwrap_or_default();
        names.into_iter().filter(|name| name.ends_with(".block")).map(|name| dir.join(name)).collect::<Vec<_>>()
    };
    shards.iter().flat_map(in_shard).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_replica_is_replaced_from_its_peers() {
    let env = real::env().expect("threads start");
    let dir = tempfile::tempdir().expect("a directory");
    let mut nodes = three(&env, dir.path()).await;
    let cluster = Cluster::connect(&env, nodes.iter().map(|node| node.at.data.clone()).collect());
    write(&env, &cluster).await;
    let at = nodes[1].at.clone();
    let before = until(&env, &at.data, |s| s.groups.len() == 3).await;
    nodes.remove(1).stop().await;
    let home = dir.path().join("2");
    let damaged = blocks(&env, &home);
    assert!(!damaged.is_empty(), "a clean stop flushes");
    // Of one shard the manifest as well, which is all that says whose the files are.
    let manifest = home.join("shards").join("s1").join("MANIFEST");
    for path in damaged.iter().chain([&manifest]) {
        flip(&env, path);
    }
    nodes.push(start(&env, config(&home, at.clone(), "r2", &[])).await);
    let replica = |s: &v1::NodeStatusReply, group: u32| s.groups.iter().find(|g| g.group == group).map(|g| g.replica);
    let back = until(&env, &at.data, |s| {
        let replaced = |group: &v1::GroupState| {
            group.group == 0 || (replica(&before, group.group) != Some(group.replica) && group.role == "follower")
        };
        s.groups.len() == 3 && s.groups.iter().all(replaced)
    });
    back.await;
    // The other two alone are a majority only if the new replicas vote: with one of the old ones away they must.
    nodes.remove(0).stop().await;
    assert_eq!(count(&env, &cluster).await, 20, "every point is there, from the new replica and one old one");
    for node in nodes {
        node.stop().await;
    }
}

/// Whoever has lost something must not vote as if it had not, not even when the disk reads well again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_replica_stays_out_of_service_over_a_restart() {
    let env = real::env().expect("threads start");
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(&env, config(dir.path(), anywhere(), "r1", &[])).await;
    init(&env, &node.at.data, 1, 2).await.expect("the cluster begins");
    until(&env, &node.at.data, |status| status.groups.len() == 3).await;
    let at = node.at.clone();
    write(&env, &Cluster::connect(&env, vec![at.data.clone()])).await;
    node.stop().await;
    let damaged = blocks(&env, dir.path());
    damaged.iter().for_each(|path| flip(&env, path));
    let is_out = |status: &v1::NodeStatusReply| {
        let shards = status.groups.iter().filter(|group| group.group != 0);
        shards.clone().count() == 2 && shards.clone().all(|group| group.role == "damaged")
    };
    let remembered =
        |shard: &str| env.disk.list(&dir.path().join("shards")).is_ok_and(|all| all.iter().any(|n| n == shard));
    let node = start(&env, config(dir.path(), at.clone(), "r1", &[])).await;
    until(&env, &at.data, |status| is_out(status) && ["s1.damaged", "s2.damaged"].map(remembered) == [true, true])
        .await;
    node.stop().await;
    damaged.iter().for_each(|path| flip(&env, path));
    let node = start(&env, config(dir.path(), at.clone(), "r1", &[])).await;
    until(&env, &at.data, is_out).await;
    node.stop().await;
}
