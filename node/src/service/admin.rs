//! Changes of the catalogue, and how this node stands.

use meridian_env::{Class, Instant, deadline};
use meridian_meta::{Catalogue, Command, Refused, Reply};
use meridian_proto::v1;
use meridian_proto::v1::admin_server::Admin;
use meridian_raft::{Group, GroupStatus, Header, ProposeError, ReadError};
use meridian_types::{
    Code, DatabaseId, Duration, Failure, FieldType, GroupId, LogIndex, NodeId, ReplicaId, RequestId, SessionId,
    ShardId, Stamp, limits,
};
use tonic::{Request, Response, Status};

use super::{Door, Node, convert, deadline_in, internal, moved, status};
use crate::damage::Damage;
use crate::meta::KIND_COMMAND;
use crate::shard::{self, KIND_CHECKSUM};

impl Node {
    /// Proposes a command to the catalogue's group and waits for its reply.
    pub(crate) async fn command(&self, command: &Command, at: Instant) -> Result<Reply, (Failure, Option<NodeId>)> {
        let now = self.env.clock.wall();
        // Commands say themselves what makes them safe to repeat: their request ids only name them in traces.
        let session = SessionId { birth: now, nonce: self.env.rng.u64() };
        let header = Header {
            kind: KIND_COMMAND,
            map_version: 0,
            stamp: Stamp(now.nanos()),
            request: RequestId { session, seq: 0 },
            pending_from: 0,
            database: DatabaseId(0),
        };
        match self.meta.propose(header, command.encode().into(), at).await {
            Ok((_, Reply::Refused(refused))) => Err((failure_of(&refused), None)),
            Ok((_, reply)) => Ok(reply),
            Err(ProposeError::Moved(leader)) => Err(moved(&GroupId::META, leader)),
            Err(ProposeError::Unknown(why)) => Err((Failure::new(Code::Unknown, why), None)),
        }
    }

    fn version(&self) -> u64 {
        self.catalogue().version()
    }

    /// How all replicas here stand.
    pub(crate) fn groups(&self) -> Vec<v1::GroupState> {
        let shards = self.shards.read().clone();
        let damaged =
            self.damages.lock().iter().map(|(shard, damage)| damaged_state(*shard, damage)).collect::<Vec<_>>();
        let running = shards.iter().filter(|(shard, _)| damaged.iter().all(|state| state.group != shard.0));
        let meta = group_state(&self.meta.status());
        std::iter::once(meta).chain(running.map(|(_, group)| shard_state(group))).chain(damaged.clone()).collect()
    }

    /// Has all replicas of a shard that is led here hash their content at one entry of its log; that entry.
    async fn checksum(&self, shard: ShardId, at: Instant) -> Result<LogIndex, (Failure, Option<NodeId>)> {
        let group = self.shards.read().get(&shard).cloned();
        let group = group
            .ok_or_else(|| (Failure::new(Code::NoGroup, format!("{} has no replica of {shard}", self.id)), None))?;
        let now = self.env.clock.wall();
        let header = Header {
            kind: KIND_CHECKSUM,
            map_version: self.version(),
            stamp: Stamp(now.nanos()),
            // Asked for twice, it is done twice: nothing changes.
            request: RequestId { session: SessionId { birth: now, nonce: self.env.rng.u64() }, seq: 0 },
            pending_from: 0,
            database: DatabaseId(0),
        };
        match group.propose(header, <_>::default(), at).await {
            Ok((_, shard::Reply::Marked { index })) => Ok(index),
            Ok((_, other)) => {
                Err((Failure::new(Code::Internal, format!("a checksum was answered with {other:?}")), None))
            }
            Err(ProposeError::Moved(leader)) => Err(moved(&shard, leader)),
            Err(ProposeError::Unknown(why)) => Err((Failure::new(Code::Unknown, why), None)),
        }
    }
}

fn failure_of(refused: &Refused) -> Failure {
    Failure::new(refused.code(), refused.to_string())
}

fn shard_state(group: &Group<shard::Shard>) -> v1::GroupState {
    let machine = group.machine().read();
    let (stats, checksum) = (machine.engine().stats(), machine.checksum());
    drop(machine);
    let (index, hash) = checksum.unwrap_or_default();
    let state = group_state(&group.status());
    v1::GroupState { series: stats.series, points: stats.points, checksum_index: index.0, checksum: hash, ..state }
}

/// A replica that left service.
fn damaged_state(shard: ShardId, damage: &Damage) -> v1::GroupState {
    v1::GroupState { group: shard.0, replica: damage.replica.0, role: "damaged".to_owned(), ..Default::default() }
}

fn group_state(status: &GroupStatus) -> v1::GroupState {
    v1::GroupState {
        group: status.spec.group.0,
        incarnation: status.spec.incarnation.0,
        replica: status.spec.replica.0,
        role: status.role.to_owned(),
        term: status.term,
        leader: status.leader.map(|r| r.0),
        last_index: status.last.map(|i| i.0),
        committed_index: status.committed.map(|i| i.0),
        applied_index: status.applied.map(|i| i.0),
        ..Default::default()
    }
}

fn create(catalogue: &Catalogue, request: v1::CreateDatabaseRequest) -> Result<Command, Failure> {
    let bytes: usize = request.shard_by.iter().map(String::len).sum();
    if bytes > limits::SHARD_BY_BYTES_MAX {
        let limit = limits::SHARD_BY_BYTES_MAX;
        let message = format!("the tags that decide the shard have {bytes} bytes of names, over the limit of {limit}");
        return Err(Failure::new(Code::OverLimit, message));
    }
    let known = catalogue.databases().len();
    if known >= limits::DATABASES_MAX && catalogue.database(&request.name).is_none() {
        let message = format!("the cluster has {known} databases, the limit: drop one, or use tags instead");
        return Err(Failure::new(Code::OverLimit, message));
    }
    let span = |what: &str, nanos: i64| {
        let text = || format!("{what} of {nanos} ns is negative");
        Duration::from_nanos(nanos).ok_or_else(|| Failure::new(Code::BadRequest, text()))
    };
    let future = if request.future == 0 { limits::FUTURE_DEFAULT_NANOS } else { request.future };
    Ok(Command::CreateDatabase {
        name: request.name,
        shard_by: (!request.shard_by.is_empty()).then_some(request.shard_by),
        retention: span("a retention", request.retention)?,
        future: span("a future limit", future)?,
        if_absent: request.if_absent,
    })
}

fn fields(request: v1::RegisterFieldsRequest) -> Result<Command, Failure> {
    let database = DatabaseId(request.database);
    let field = |entry: v1::FieldEntry| {
        let field_type = FieldType::try_from(entry.r#type())?;
        Ok((entry.measurement, entry.field, field_type))
    };
    let fields: Result<Vec<_>, meridian_proto::ConvertError> = request.fields.into_iter().map(field).collect();
    Ok(Command::RegisterFields { database, fields: fields.map_err(Failure::from)? })
}

#[tonic::async_trait]
impl Admin for Door {
    async fn cluster_status(
        &self,
        _request: Request<v1::ClusterStatusRequest>,
    ) -> Result<Response<v1::ClusterStatusReply>, Status> {
        let message = "a node knows its own groups only: ask a router, or this node for NodeStatus";
        Err(status((Failure::new(Code::NoSuchPath, message), None)))
    }

    async fn node_status(
        &self,
        _request: Request<v1::NodeStatusRequest>,
    ) -> Result<Response<v1::NodeStatusReply>, Status> {
        let door = self.clone();
        // A machine's lock may be held for as long as apply takes.
        let status = meridian_env::run(&*self.env.work, Class::Scan, move || door.status()).await;
        Ok(Response::new(status))
    }

    async fn init_cluster(
        &self,
        request: Request<v1::InitClusterRequest>,
    ) -> Result<Response<v1::InitClusterReply>, Status> {
        let begun = self.begin_cluster(request.into_inner()).await;
        begun.map(Response::new).map_err(|failure| status((failure, None)))
    }

    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinReply>, Status> {
        self.let_in(request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn create_database(
        &self,
        request: Request<v1::CreateDatabaseRequest>,
    ) -> Result<Response<v1::CreateDatabaseReply>, Status> {
        let node = self.node()?;
        let command = create(&node.catalogue(), request.into_inner()).map_err(|failure| status((failure, None)))?;
        match node.command(&command, deadline_in(&node.env, 0)).await.map_err(status)? {
            Reply::Database(database) => Ok(Response::new(v1::CreateDatabaseReply {
                database: Some(convert::database(&database)),
                version: node.version(),
            })),
            other => Err(internal(format!("creating a database was answered with {other:?}"))),
        }
    }

    async fn drop_database(
        &self,
        request: Request<v1::DropDatabaseRequest>,
    ) -> Result<Response<v1::DropDatabaseReply>, Status> {
        let node = self.node()?;
        let command = Command::DropDatabase { name: request.into_inner().name };
        let at = deadline_in(&node.env, 0);
        match node.command(&command, at).await.map_err(status)? {
            Reply::Dropped(database) => {
                node.wait_dropped(database, at).await.map_err(|failure| status((failure, None)))?;
                Ok(Response::new(v1::DropDatabaseReply { version: node.version() }))
            }
            other => Err(internal(format!("dropping a database was answered with {other:?}"))),
        }
    }

    async fn list_databases(
        &self,
        _request: Request<v1::ListDatabasesRequest>,
    ) -> Result<Response<v1::ListDatabasesReply>, Status> {
        let node = self.node()?;
        node.read_meta(deadline_in(&node.env, 0)).await.map_err(status)?;
        let databases = convert::databases(&node.catalogue()).databases;
        Ok(Response::new(v1::ListDatabasesReply { databases }))
    }

    async fn register_fields(
        &self,
        request: Request<v1::RegisterFieldsRequest>,
    ) -> Result<Response<v1::RegisterFieldsReply>, Status> {
        let node = self.node()?;
        let command = fields(request.into_inner()).map_err(|failure| status((failure, None)))?;
        match node.command(&command, deadline_in(&node.env, 0)).await.map_err(status)? {
            Reply::Fields { conflicts, over_limit } => {
                let typed = conflicts.into_iter().map(|c| v1::FieldConflict {
                    measurement: c.measurement,
                    field: c.field,
                    stored: v1::FieldType::from(c.stored).into(),
                });
                let full = over_limit.into_iter().map(|o| v1::FieldConflict {
                    measurement: o.measurement,
                    field: o.field,
                    stored: v1::FieldType::Unspecified.into(),
                });
                let conflicts = typed.chain(full).collect();
                Ok(Response::new(v1::RegisterFieldsReply { conflicts, version: node.version() }))
            }
            other => Err(internal(format!("registering fields was answered with {other:?}"))),
        }
    }

    async fn confirm_dropped(
        &self,
        request: Request<v1::ConfirmDroppedRequest>,
    ) -> Result<Response<v1::ConfirmDroppedReply>, Status> {
        let node = self.node()?;
        let request = request.into_inner();
        let (database, shard) = (DatabaseId(request.database), ShardId(request.shard));
        let command = Command::ConfirmDropped { database, shard };
        node.command(&command, deadline_in(&node.env, 0)).await.map_err(status)?;
        Ok(Response::new(v1::ConfirmDroppedReply {}))
    }

    async fn replace_replica(
        &self,
        request: Request<v1::ReplaceReplicaRequest>,
    ) -> Result<Response<v1::ReplaceReplicaReply>, Status> {
        let node = self.node()?;
        let request = request.into_inner();
        let (shard, replica) = (ShardId(request.shard), ReplicaId(request.replica));
        let command = Command::ReplaceReplica { shard, replica };
        node.command(&command, deadline_in(&node.env, 0)).await.map_err(status)?;
        Ok(Response::new(v1::ReplaceReplicaReply {}))
    }

    async fn catalogue_version(
        &self,
        _request: Request<v1::CatalogueVersionRequest>,
    ) -> Result<Response<v1::CatalogueVersionReply>, Status> {
        let node = self.node()?;
        node.read_meta(deadline_in(&node.env, 0)).await.map_err(status)?;
        Ok(Response::new(v1::CatalogueVersionReply { version: node.version() }))
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferShardLeaderRequest>,
    ) -> Result<Response<v1::TransferShardLeaderReply>, Status> {
        self.node()?.hand_over(request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn checksum(&self, request: Request<v1::ChecksumRequest>) -> Result<Response<v1::ChecksumReply>, Status> {
        let (node, shard) = (self.node()?, ShardId(request.into_inner().shard));
        let index = node.checksum(shard, deadline_in(&node.env, 0)).await.map_err(status)?;
        Ok(Response::new(v1::ChecksumReply { index: index.0 }))
    }
}

impl Node {
    /// Returns once every shard has forgotten a dropped database: from then on a router that has not heard of the drop is
    /// refused by the shards themselves.
    async fn wait_dropped(&self, database: DatabaseId, at: Instant) -> Result<(), Failure> {
        let mut catalogues = self.catalogues();
        let gone = catalogues.wait_for(|catalogue| !catalogue.dropped().contains_key(&database));
        match deadline(&*self.env.clock, at, gone).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Failure::new(Code::Unknown, "the database is dropped, but not every shard has confirmed it yet")),
        }
    }

    /// Returns once this node's catalogue holds all that was acknowledged before the call.
    async fn read_meta(&self, at: Instant) -> Result<(), (Failure, Option<NodeId>)> {
        self.meta.read_index(at).await.map(drop).map_err(|error| match error {
            ReadError::Moved(leader) => moved(&GroupId::META, leader),
            ReadError::Unconfirmed(why) => (Failure::new(Code::NoLeader, format!("g0: {why}")), None),
        })
    }
}
