//! What keeps a node in step with the catalogue: forms the cluster, tells of changed addresses, starts this node's replicas,
//! and carries dropped databases to the shards that it leads. Each pass looks at the state and does what is missing, so that
//! it may fail anywhere and be done again.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::FutureExt;
use meridian_client::Cluster;
use meridian_env::{Context, Halt, deadline};
use meridian_meta::{ClusterId, Command, NodeSpec};
use meridian_raft::{Group, GroupSpec, Groups, Header};
use meridian_types::{DatabaseId, NodeId, ReplicaId, RequestId, SessionId, ShardId, Stamp};

use crate::Config;
use crate::service::Node;
use crate::shard::{KIND_DROP, Shard};

/// Between two passes when nothing changes.
const PASS_EVERY: Duration = Duration::from_millis(500);
/// The longest that one command of a pass may take.
const STEP_MAX: Duration = Duration::from_secs(5);

/// Runs passes for as long as the node lives; returns only to halt it.
pub(crate) async fn run(node: Node, groups: Groups, config: Config, cluster: Cluster) -> Halt {
    let mut versions = node.catalogues();
    let mut passes = Passes { node, groups, config, cluster };
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
    config: Config,
    cluster: Cluster,
}

impl Passes {
    async fn pass(&mut self) -> Result<(), Halt> {
        if self.node.meta.is_leader() {
            self.form().await;
        }
        self.start_replicas().await?;
        self.drop_databases().await;
        Ok(())
    }

    /// As leader of the catalogue: the formation, and addresses that have changed since.
    async fn form(&self) {
        let specs: Vec<NodeSpec> = self.config.members.iter().map(spec).collect();
        let catalogue = self.node.catalogue();
        let commands = {
            match catalogue.cluster() {
                None => vec![Command::Form {
                    cluster: ClusterId(self.config.cluster),
                    nodes: specs,
                    shards: self.config.shards,
                    replication: self.config.replication,
                }],
                Some(_) => {
                    let moved =
                        specs.into_iter().filter(|s| catalogue.nodes().get(&s.id).is_some_and(|known| known != s));
                    moved.map(Command::RegisterNode).collect()
                }
            }
        };
        for command in commands {
            let at = self.node.env.clock.now() + STEP_MAX;
            match self.node.command(&command, at).await {
                Ok(_) => {}
                // Whoever leads next sees what is missing and does it.
                Err((failure, _)) => tracing::warn!(%failure, "the catalogue was not brought up to date yet"),
            }
        }
    }

    /// Starts this node's replicas of shards that are not running. The preferred one forms its group.
    async fn start_replicas(&self) -> Result<(), Halt> {
        let missing: Vec<meridian_meta::Shard> = {
            let catalogue = self.node.catalogue();
            let running = self.node.shards.read();
            let here = |shard: &&meridian_meta::Shard| shard.replicas.iter().any(|r| r.node == self.node.id);
            let shards = catalogue.shards().values();
            shards.filter(here).filter(|shard| !running.contains_key(&shard.id)).cloned().collect()
        };
        for shard in missing {
            self.start_replica(&shard).await?;
        }
        Ok(())
    }

    async fn start_replica(&self, shard: &meridian_meta::Shard) -> Result<(), Halt> {
        let Some(replica) = shard.replicas.iter().find(|r| r.node == self.node.id) else { return Ok(()) };
        let spec = GroupSpec { group: shard.id.into(), incarnation: shard.incarnation, replica: replica.id };
        let machine = Shard::new(shard.id, shard.incarnation, self.node.env.rng.u64());
        let group = self.groups.start(spec, machine).await?;
        if replica.id == shard.preferred {
            let members: BTreeMap<ReplicaId, NodeId> = shard.replicas.iter().map(|r| (r.id, r.node)).collect();
            group.initialize(&members).await?;
        }
        self.node.shards.write().insert(shard.id, group);
        tracing::info!(node = %self.node.id, shard = %shard.id, replica = %replica.id, "replica started");
        Ok(())
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
        let confirmed = self.cluster.confirm_dropped(&Context::own(at), database, shard).await;
        if let Err(failure) = confirmed {
            tracing::debug!(%database, %shard, %failure, "the drop is confirmed again at the next pass");
        }
    }
}

fn spec((id, member): (&NodeId, &crate::Member)) -> NodeSpec {
    NodeSpec {
        id: *id,
        region: member.region.clone(),
        addr_data: member.data.clone(),
        addr_raft: member.raft.clone(),
        addr_http: member.http.clone(),
    }
}
