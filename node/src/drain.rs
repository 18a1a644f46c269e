//! How a node ends when it is told to: what it leads is handed over, streams come to their end, and the log is closed last.
//! Nothing depends on it: whatever was acknowledged is on disk, and a node that is killed loses nothing but the time of an
//! election.

use std::time::Duration;

use meridian_env::{Env, Halt, deadline};
use meridian_raft::{Group, Groups, Machine};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::service::{Door, Node, Phase};
use crate::storage;

/// Longest time for groups to get other leaders.
const HAND_OVER_MAX: Duration = Duration::from_secs(5);
/// Between two tries of it: longer than an election without hindrance.
const HAND_OVER_EVERY: Duration = Duration::from_millis(500);
/// Longest time for bringing what is in memory into files.
const FLUSH_MAX: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Longest time for calls that are under way.
const STREAMS_MAX: Duration = Duration::from_secs(10);

/// Ends a node's service in order. `calls` serves routers.
pub(crate) async fn drain(
    door: &Door,
    node: &Node,
    groups: Groups,
    closing: &watch::Sender<bool>,
    calls: &mut JoinSet<()>,
) -> Result<(), Halt> {
    door.set(Phase::Stopping(node.clone()));
    let orderly = async {
        hand_over(node).await;
        closing.send_replace(true);
        let clock = &*node.env.clock;
        if deadline(clock, clock.now() + STREAMS_MAX, calls.join_next()).await.is_err() {
            tracing::warn!(node = %node.id, "calls were still under way when the time to drain was over");
        }
    };
    tokio::select! {
        biased;
        halt = groups.halted() => return Err(halt),
        () = orderly => {}
    }
    // From here on nothing more is acknowledged, and the log is still open: what is flushed now, the next start need not replay.
    let clock = &*node.env.clock;
    if deadline(clock, clock.now() + FLUSH_MAX, storage::flush_all(node)).await.is_err() {
        tracing::warn!(node = %node.id, "not everything was flushed in time: the next start reads it from the log");
    }
    shut_down(node, groups).await;
    Ok(())
}

/// Asks another voter to lead each group that is led here, and waits until one does.
async fn hand_over(node: &Node) {
    let clock = &*node.env.clock;
    let end = clock.now() + HAND_OVER_MAX;
    while clock.now() < end {
        let mut left = offer(&node.env, &node.meta).await;
        let shards: Vec<_> = node.shards.read().values().cloned().collect();
        for shard in &shards {
            left |= offer(&node.env, shard).await;
        }
        if !left {
            return;
        }
        let again = end.min(clock.now() + HAND_OVER_EVERY);
        let leads = || node.meta.is_leader() || shards.iter().any(Group::is_leader);
        while leads() && clock.now() < again {
            clock.sleep(LOOK_EVERY).await;
        }
    }
    tracing::warn!(node = %node.id, "not every group found another leader in time: the others elect one");
}

/// Whether the group is led here and there is somebody who could take over, who was asked to.
async fn offer<M: Machine>(env: &Env, group: &Group<M>) -> bool {
    if !group.is_leader() {
        return false;
    }
    let Some(successor) = group.successor() else { return false };
    let asked = deadline(&*env.clock, env.clock.now() + HAND_OVER_EVERY, group.transfer_leader(successor)).await;
    match asked {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::warn!(group = %group.spec().group, %error, "the group is not handed over");
            false
        }
        Err(_) => true,
    }
}

/// Stops the replicas, then the log behind them.
async fn shut_down(node: &Node, groups: Groups) {
    let shards: Vec<_> = node.shards.read().values().cloned().collect();
    for shard in shards {
        shard.shutdown().await;
    }
    node.meta.shutdown().await;
    // Connections that are still open hold the machine, so that it is closed by name.
    node.meta.machine().write().close();
    groups.close().await;
}
