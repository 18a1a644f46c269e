//! What is asked of the meta group, and of single nodes.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use meridian_env::{Context, deadline};
use meridian_proto::v1;
use meridian_proto::v1::admin_client::AdminClient;
use meridian_types::{Code, DatabaseId, Failure, FieldType, GroupId, NodeId, ReplicaId, ShardId};
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::cluster::{Cluster, Tried};

impl Cluster {
    async fn meta<T: Send + 'static>(
        &self,
        context: &Context,
        repeatable: bool,
        call: impl Fn(AdminClient<Channel>) -> BoxFuture<'static, Result<Response<T>, Status>>,
    ) -> Result<T, Failure> {
        let call = |_, address: Arc<str>| {
            let reply = call(self.inner.channels.admin(&address));
            async move { reply.await.map(Response::into_inner).map_err(|status| Tried::status(&status, true)) }.boxed()
        };
        self.on_leader(context, GroupId::META, repeatable, call).await
    }

    /// The version of the catalogue that holds all that was acknowledged before this call.
    pub(crate) async fn catalogue_version(&self, context: &Context) -> Result<u64, Failure> {
        let request = v1::CatalogueVersionRequest {};
        let call = |mut client: AdminClient<Channel>| async move { client.catalogue_version(request).await }.boxed();
        Ok(self.meta(context, true, call).await?.version)
    }

    /// Creates a database, and returns once this process knows it.
    pub async fn create_database(
        &self,
        context: &Context,
        request: v1::CreateDatabaseRequest,
    ) -> Result<v1::Database, Failure> {
        let repeatable = request.if_absent;
        let call = |mut client: AdminClient<Channel>| {
            let request = request.clone();
            async move { client.create_database(request).await }.boxed()
        };
        let reply = self.meta(context, repeatable, call).await?;
        self.map_at(context, reply.version).await.map_err(done_but_not_seen)?;
        reply.database.ok_or_else(|| Failure::new(Code::Internal, "the reply has no database"))
    }

    /// Drops a database, and returns once this process knows that it is gone.
    pub async fn drop_database(&self, context: &Context, name: &str) -> Result<(), Failure> {
        let request = v1::DropDatabaseRequest { name: name.to_owned() };
        let call = |mut client: AdminClient<Channel>| {
            let request = request.clone();
            async move { client.drop_database(request).await }.boxed()
        };
        let reply = self.meta(context, false, call).await?;
        self.map_at(context, reply.version).await.map(drop).map_err(done_but_not_seen)
    }

    /// Gives fields their types; fields that have another already come back. This process knows the rest afterwards.
    pub async fn register_fields(
        &self,
        context: &Context,
        database: DatabaseId,
        fields: Vec<(String, String, FieldType)>,
    ) -> Result<Vec<v1::FieldConflict>, Failure> {
        let entry = |(measurement, field, field_type)| v1::FieldEntry {
            database: database.0,
            measurement,
            field,
            r#type: v1::FieldType::from(field_type).into(),
        };
        let request =
            v1::RegisterFieldsRequest { database: database.0, fields: fields.into_iter().map(entry).collect() };
        let call = |mut client: AdminClient<Channel>| {
            let request = request.clone();
            async move { client.register_fields(request).await }.boxed()
        };
        let reply = self.meta(context, true, call).await?;
        self.map_at(context, reply.version).await?;
        Ok(reply.conflicts)
    }

    /// Tells the catalogue that a shard has forgotten a dropped database.
    pub async fn confirm_dropped(
        &self,
        context: &Context,
        database: DatabaseId,
        shard: ShardId,
    ) -> Result<(), Failure> {
        let request = v1::ConfirmDroppedRequest { database: database.0, shard: shard.0 };
        let call = |mut client: AdminClient<Channel>| async move { client.confirm_dropped(request).await }.boxed();
        self.meta(context, true, call).await.map(drop)
    }

    /// Asks the catalogue for a new replica in the place of one whose files are lost.
    pub async fn replace_replica(&self, context: &Context, shard: ShardId, replica: ReplicaId) -> Result<(), Failure> {
        let request = v1::ReplaceReplicaRequest { shard: shard.0, replica: replica.0 };
        let call = |mut client: AdminClient<Channel>| async move { client.replace_replica(request).await }.boxed();
        self.meta(context, true, call).await.map(drop)
    }

    /// Registers a node, or its new addresses, in the catalogue.
    pub async fn join(&self, context: &Context, request: v1::JoinRequest) -> Result<v1::JoinReply, Failure> {
        let call = |mut client: AdminClient<Channel>| {
            let request = request.clone();
            async move { client.join(request).await }.boxed()
        };
        // The nonce makes it safe to repeat.
        self.meta(context, true, call).await
    }

    /// Asks whoever leads a shard to hand over to `to`, and returns once that node leads.
    pub async fn transfer_leader(
        &self,
        context: &Context,
        shard: ShardId,
        to: NodeId,
    ) -> Result<v1::TransferShardLeaderReply, Failure> {
        let request = v1::TransferShardLeaderRequest { shard: shard.0, to_node: to.0 };
        let call = |_, address: Arc<str>| {
            let mut client = self.inner.channels.admin(&address);
            async move {
                let reply = client.transfer_leader(request).await;
                reply.map(Response::into_inner).map_err(|status| Tried::status(&status, true))
            }
            .boxed()
        };
        // The request names what is to be, not what is to change: the new leader answers a repetition.
        self.on_leader(context, shard.into(), true, call).await
    }

    /// What one node says of its groups.
    pub async fn node_status(&self, context: &Context, node: NodeId) -> Result<v1::NodeStatusReply, Failure> {
        let map = self.map();
        let known = map.nodes.get(&node).ok_or_else(|| Failure::new(Code::NoGroup, format!("{node} is not known")))?;
        let mut client = self.inner.channels.admin(&Arc::clone(&known.data_address));
        let call = client.node_status(v1::NodeStatusRequest {});
        let late = |_| Failure::new(Code::Unreachable, format!("{node} did not answer in time"));
        let reply = deadline(&*self.inner.env.clock, context.deadline, call).await.map_err(late)?;
        reply.map(Response::into_inner).map_err(|status| Tried::status(&status, false).failure)
    }
}

/// The command was applied, only the news of it is late: asking again is not "certainly not applied".
fn done_but_not_seen(late: Failure) -> Failure {
    Failure::new(Code::Unknown, format!("it was done, but {}", late.message))
}
