//! `meridian.v1.Admin` as routers serve it: the whole cluster. What only a node can say is refused.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use meridian_client::{Database, Map, Node, Shard};
use meridian_env::Context;
use meridian_proto::{status_of, v1};
use meridian_types::{Code, Failure, NodeId, ShardId};
use tonic::{Request, Response, Status};

use super::{context, transfer};
use crate::front::Front;

/// Longest wait for one node's status: a node that is down must not hold up the picture of the others.
pub(super) const NODE_TIMEOUT: Duration = Duration::from_secs(2);

/// The service.
#[derive(Clone, Debug)]
pub(super) struct Admin(pub(super) Arc<Front>);

impl Admin {
    fn context<T>(&self, request: &Request<T>) -> Context {
        context(&self.0, request, self.0.config.request_timeout)
    }
}

fn answered<T>(result: Result<T, Failure>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(|failure| status_of(&failure))
}

fn ask_a_node<T>() -> Result<Response<T>, Status> {
    let text = "a router does not serve this: ask a node, at its gRPC address";
    Err(status_of(&Failure::new(Code::NoSuchPath, text)))
}

#[tonic::async_trait]
impl v1::admin_server::Admin for Admin {
    async fn cluster_status(
        &self,
        request: Request<v1::ClusterStatusRequest>,
    ) -> Result<Response<v1::ClusterStatusReply>, Status> {
        let mut context = self.context(&request);
        let map = self.0.map(&context).await.map_err(|failure| status_of(&failure))?;
        context.deadline = context.deadline.min(self.0.env.clock.now() + NODE_TIMEOUT);
        let nodes = map.nodes.iter().map(|(id, node)| node_state(&self.0, &context, *id, node));
        let nodes = join_all(nodes).await;
        answered(Ok(v1::ClusterStatusReply {
            cluster: map.cluster.clone(),
            map_version: map.version,
            nodes,
            shards: shards_out(&map),
        }))
    }

    async fn node_status(&self, _: Request<v1::NodeStatusRequest>) -> Result<Response<v1::NodeStatusReply>, Status> {
        ask_a_node()
    }

    async fn init_cluster(&self, _: Request<v1::InitClusterRequest>) -> Result<Response<v1::InitClusterReply>, Status> {
        ask_a_node()
    }

    async fn join(&self, _: Request<v1::JoinRequest>) -> Result<Response<v1::JoinReply>, Status> {
        ask_a_node()
    }

    async fn create_database(
        &self,
        request: Request<v1::CreateDatabaseRequest>,
    ) -> Result<Response<v1::CreateDatabaseReply>, Status> {
        let context = self.context(&request);
        let created = self.0.cluster.create_database(&context, request.into_inner()).await;
        let version = self.0.cluster.map().version;
        answered(created.map(|database| v1::CreateDatabaseReply { database: Some(database), version }))
    }

    async fn drop_database(
        &self,
        request: Request<v1::DropDatabaseRequest>,
    ) -> Result<Response<v1::DropDatabaseReply>, Status> {
        let context = self.context(&request);
        let dropped = self.0.cluster.drop_database(&context, &request.into_inner().name).await;
        let version = self.0.cluster.map().version;
        answered(dropped.map(|()| v1::DropDatabaseReply { version }))
    }

    async fn list_databases(
        &self,
        request: Request<v1::ListDatabasesRequest>,
    ) -> Result<Response<v1::ListDatabasesReply>, Status> {
        let map = self.0.cluster.refresh(&self.context(&request)).await;
        let list = |map: Arc<Map>| map.databases.values().map(|database| database_out(database)).collect();
        answered(map.map(|map| v1::ListDatabasesReply { databases: list(map) }))
    }

    async fn register_fields(
        &self,
        _: Request<v1::RegisterFieldsRequest>,
    ) -> Result<Response<v1::RegisterFieldsReply>, Status> {
        ask_a_node()
    }

    async fn catalogue_version(
        &self,
        _: Request<v1::CatalogueVersionRequest>,
    ) -> Result<Response<v1::CatalogueVersionReply>, Status> {
        ask_a_node()
    }

    async fn checksum(&self, _: Request<v1::ChecksumRequest>) -> Result<Response<v1::ChecksumReply>, Status> {
        ask_a_node()
    }

    async fn confirm_dropped(
        &self,
        _: Request<v1::ConfirmDroppedRequest>,
    ) -> Result<Response<v1::ConfirmDroppedReply>, Status> {
        ask_a_node()
    }

    async fn replace_replica(
        &self,
        _: Request<v1::ReplaceReplicaRequest>,
    ) -> Result<Response<v1::ReplaceReplicaReply>, Status> {
        ask_a_node()
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferShardLeaderRequest>,
    ) -> Result<Response<v1::TransferShardLeaderReply>, Status> {
        let context = self.context(&request);
        answered(transfer::transfer_leader(&self.0, &context, request.into_inner()).await)
    }
}

async fn node_state(front: &Front, context: &Context, id: NodeId, node: &Node) -> v1::NodeState {
    let status = front.cluster.node_status(context, id).await;
    let node = v1::Node {
        id: id.0,
        region: node.region.clone(),
        data_address: node.data_address.to_string(),
        raft_address: node.raft_address.to_string(),
        http_address: node.http_address.to_string(),
    };
    match status {
        Ok(status) => v1::NodeState { node: Some(node), reachable: true, error: String::new(), groups: status.groups },
        Err(failure) => {
            let error = format!("{}: {}", failure.code, failure.message);
            v1::NodeState { node: Some(node), reachable: false, error, groups: Vec::new() }
        }
    }
}

fn shards_out(map: &Map) -> Vec<v1::Shard> {
    let shard = |(id, shard): (&ShardId, &Shard)| {
        let replicas = shard.replicas.iter().map(|(id, node)| v1::Replica { id: id.0, node: node.0 }).collect();
        let preferred = shard.replicas.iter().find(|(_, node)| Some(**node) == shard.preferred);
        v1::Shard {
            id: id.0,
            incarnation: shard.incarnation.0,
            replicas,
            preferred: preferred.map_or(0, |(id, _)| id.0),
        }
    };
    map.shards.iter().map(shard).collect()
}

fn database_out(database: &Database) -> v1::Database {
    v1::Database {
        id: database.id.0,
        name: database.name.clone(),
        shard_by_some: database.shard_by.is_some(),
        shard_by: database.shard_by.clone().unwrap_or_default(),
        retention: database.retention.nanos(),
        future: database.future.nanos(),
    }
}
