//! What keeps a node in step with the catalogue: knows where the others are, brings the cluster together where it leads,
//! starts this node's replicas, and carries dropped databases to the shards that it leads. Each pass looks at the state and
//! does what is missing, so that it may fail anywhere and be done again.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::FutureExt;
use meridian_env::{Context, Halt, deadline};
use meridian_meta::NodeSpec;
use meridian_raft::{Group, Groups, Header};
use meridian_types::{DatabaseId, NodeId, RequestId, SessionId, ShardId, Stamp};

use crate::config::StorageSettings;
use crate::gather;
use crate::identity::Home;
use crate::replicas;
use crate::service::{Node, node_list};
use crate::shard::{KIND_DROP, Shard};

/// Between two passes when nothing changes.
const PASS_EVERY: Duration = Duration::from_millis(500);
/// The longest that one command of a pass may take.
const STEP_MAX: Duration = Duration::from_secs(5);

/// Runs passes for as long as the node lives; returns only to halt it.
pub(crate) async fn run(node: Node, groups: Groups, home: Home, settings: StorageSettings) -> Halt {
    let mut versions = node.catalogues();
    let followed = node.catalogue().nodes().clone();
    let mut passes = Passes { node, groups, home, settings, followed };
    loop {
        if let Err(halt) = passes.pass().await {
            return halt;
        }
        let clock = &*passes.node.env.clock;
        drop(deadline(clock, clock.now() + PASS_EVERY, versions.changed()).await);
    }
}

struct Passes {
    node: Node,
    groups: Groups,
    home: Home,
    settings: StorageSettings,
    /// The nodes as they were last told to whoever calls them.
    followed: BTreeMap<NodeId, NodeSpec>,
}

impl Passes {
    async fn pass(&mut self) -> Result<(), Halt> {
        self.follow_addresses().await;
        self.note_founded().await;
        if let Some(identity) = self.home.identity.clone() {
            while self.node.meta.is_leader() && gather::lead(&self.node, &identity).boxed().await {
                // Others may have come meanwhile, and the next step may wait for them.
                self.follow_addresses().await;
            }
        }
        replicas::pass(&self.node, &self.groups, &self.settings).boxed().await?;
        self.drop_databases().await;
        Ok(())
    }

    /// Calls every node that has moved where the catalogue says that it is now, and keeps that for the next start. A node that
    /// the catalogue has not heard of lately is left where it was found: `meet` may know better.
    async fn follow_addresses(&mut self) {
        let catalogue = self.node.catalogue();
        if *catalogue.nodes() == self.followed {
            return;
        }
        for node in catalogue.nodes().values().filter(|node| self.followed.get(&node.id) != Some(node)) {
            self.groups.set_address(node.id, &node.addr_raft);
        }
        self.followed = catalogue.nodes().clone();
        // The next start finds them in the catalogue, too, as long as that can be read.
        if let Err(error) = self.home.save_nodes(node_list(&catalogue)).await {
            tracing::warn!(%error, "the list of nodes is not kept");
        }
    }

    /// Once the catalogue has its first node, that one begins it no second time.
    async fn note_founded(&mut self) {
        let begins = self.home.identity.as_ref().is_some_and(|identity| identity.founding.is_some());
        if begins
            && self.node.catalogue().nodes().contains_key(&self.node.id)
            && let Err(error) = self.home.founded().await
        {
            tracing::warn!(%error, "the next start begins the cluster again, which changes nothing");
        }
    }

    /// As leader of shards: drops that they have not applied yet.
    async fn drop_databases(&self) {
        let pending: Vec<(DatabaseId, ShardId)> = {
            let catalogue = self.node.catalogue();
            let dropped = catalogue.dropped().values();
            dropped.flat_map(|d| d.waiting.iter().map(|shard| (d.id, *shard))).collect()
        };
        for (database, shard) in pending {
            let group = self.node.shards.read().get(&shard).cloned();
            if let Some(group) = group.filter(Group::is_leader) {
                self.drop_database(&group, database, shard).boxed().await;
            }
        }
    }

    async fn drop_database(&self, group: &Group<Shard>, database: DatabaseId, shard: ShardId) {
        let (clock, now) = (&self.node.env.clock, self.node.env.clock.wall());
        let session = SessionId { birth: now, nonce: self.node.env.rng.u64() };
        let header = Header {
            kind: KIND_DROP,
            map_version: self.node.catalogue().version(),
            stamp: Stamp(now.nanos()),
            request: RequestId { session, seq: 0 },
            pending_from: 0,
            database,
        };
        let at = clock.now() + STEP_MAX;
        if let Err(error) = group.propose(header, <_>::default(), at).await {
            tracing::debug!(%database, %shard, %error, "the drop is proposed again at the next pass");
            return;
        }
        let confirmed = self.node.client.confirm_dropped(&Context::own(at), database, shard).await;
        if let Err(failure) = confirmed {
            tracing::debug!(%database, %shard, %failure, "the drop is confirmed again at the next pass");
        }
    }
}
