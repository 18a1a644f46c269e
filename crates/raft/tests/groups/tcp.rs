//! The same nodes over the system's TCP, on real disks and threads: that they elect, replicate and come back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use meridian_env::{Env, deadline, real};

use crate::ledger::Ledger;
use crate::node::{GROUPS, NODES, Node, are_level};

/// Waits for `done`, for as long as the slowest machine may take.
async fn until(env: &Env, what: &str, done: impl Fn() -> bool) {
    let wait = async {
        while !done() {
            env.clock.sleep(Duration::from_millis(2)).await;
        }
    };
    let at = env.clock.now() + Duration::from_secs(60);
    deadline(&*env.clock, at, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// One life of all three nodes: until they have `acks` in every group, and agree.
async fn live(dirs: &[tempfile::TempDir], ledger: &Arc<Ledger>, acks: usize) {
    let env = real::env().expect("threads start");
    let is_loaded = Arc::new(AtomicBool::new(true));
    let (mut listeners, mut addresses) = (Vec::new(), BTreeMap::new());
    for node in NODES {
        let listener = env.net.listen("127.0.0.1:0").await.expect("a free port");
        addresses.insert(node, listener.local_addr());
        listeners.push(listener);
    }
    let mut nodes = Vec::new();
    for ((id, listener), dir) in NODES.into_iter().zip(listeners).zip(dirs) {
        let own = real::env().expect("threads start");
        let (node, _server) = Node::start(id, own, dir.path(), listener, &addresses).await.expect("it starts");
        node.load(ledger, &is_loaded);
        nodes.push(node);
    }
    until(&env, "acks in every group", || GROUPS.iter().all(|group| ledger.acked(*group).len() >= acks)).await;
    is_loaded.store(false, Ordering::Relaxed);
    until(&env, "all machines have applied the same", || GROUPS.iter().all(|group| are_level(&nodes, *group))).await;
    for group in GROUPS {
        let lists: Vec<_> = nodes.iter().map(|node| node.list(group)).collect();
        ledger.check(group, &lists[0]);
        assert!(lists.iter().all(|list| *list == lists[0]), "{group}: {lists:?}");
    }
    for node in nodes {
        for replica in node.replicas.values() {
            replica.shutdown().await;
            assert_eq!(replica.status().role, "stopped");
        }
        node.groups.clone().close().await;
    }
}

#[test]
fn three_nodes_elect_replicate_and_come_back() {
    let dirs = NODES.map(|_| tempfile::tempdir().expect("a temporary directory"));
    let ledger = Arc::new(Ledger::default());
    for acks in [100, 200] {
        // As with a process, nothing of one life is left in the next.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(live(&dirs, &ledger, acks));
    }
}
