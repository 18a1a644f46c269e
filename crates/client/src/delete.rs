//! Deletes of rows of one shard.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use meridian_env::Context;
use meridian_proto::v1;
use meridian_types::{Code, DatabaseId, Failure, RequestId, ShardId, Witness};

use crate::cluster::{Cluster, Tried};

/// What one shard shall delete.
#[derive(Clone, Debug)]
pub struct Deletion {
    /// Whose rows.
    pub shard: ShardId,
    /// Of which database.
    pub database: DatabaseId,
    /// Which request.
    pub request: RequestId,
    /// The lowest seq of the session that is still pending.
    pub pending_from: u64,
    /// What is covered, as `crates/query` encodes it.
    pub selection: Bytes,
}

impl Cluster {
    /// Gets rows deleted by their shard, at most once, whatever breaks on the way; not past the context's deadline.
    pub async fn delete(&self, context: &Context, deletion: Deletion) -> Result<Witness, Failure> {
        let group = deletion.shard.into();
        let deletion = &deletion;
        let call = |_, address| self.delete_at(context, deletion, address).boxed();
        self.on_leader(context, group, true, call).await
    }

    async fn delete_at(&self, context: &Context, deletion: &Deletion, address: Arc<str>) -> Result<Witness, Tried> {
        let map = self.map();
        let no_shard = || Failure::new(Code::NotReady, format!("{} is not known here yet", deletion.shard));
        let shard = map.shards.get(&deletion.shard).ok_or_else(|| Tried { failure: no_shard(), leader: None })?;
        let left = context.deadline.saturating_duration_since(self.inner.env.clock.now());
        let request = v1::ShardDelete {
            shard: deletion.shard.0,
            incarnation: shard.incarnation.0,
            map_version: map.version,
            database: deletion.database.0,
            request: Some(deletion.request.into()),
            pending_from: deletion.pending_from,
            selection: deletion.selection.clone(),
            deadline_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX),
            traceparent: context.traceparent().to_owned(),
        };
        let mut client = self.inner.channels.shards(&address);
        let reply = client.delete(request).await.map_err(|status| Tried::status(&status, true))?.into_inner();
        let missing = || Failure::new(Code::Internal, "a shard's reply has no witness");
        reply.witness.map(Witness::from).ok_or_else(|| Tried { failure: missing(), leader: None })
    }
}
