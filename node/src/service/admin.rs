//! Changes of the catalogue, and how this node stands.

use meridian_env::{Class, Instant, deadline};
use meridian_meta::{Catalogue, Command, Refused, Reply};
use meridian_proto::v1;
use meridian_proto::v1::admin_server::Admin;
use meridian_raft::{GroupStatus, Header, ProposeError, ReadError};
use meridian_types::{
    Code, DatabaseId, Duration, Failure, FieldType, GroupId, NodeId, RequestId, SessionId, ShardId, Stamp, limits,
};
use tonic::{Request, Response, Status};

use super::{Node, convert, deadline_in, internal, moved, status};
use crate::meta::KIND_COMMAND;

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
        let meta = group_state(&self.meta.status(), 0, 0);
        let shards = self.shards.read();
        let shard = |group: &meridian_raft::Group<crate::shard::Shard>| {
            let stats = group.machine().read().engine().stats();
            group_state(&group.status(), stats.series, stats.points)
        };
        std::iter::once(meta).chain(shards.values().map(shard)).collect()
    }
}

fn failure_of(refused: &Refused) -> Failure {
    Failure::new(refused.code(), refused.to_string())
}

fn group_state(status: &GroupStatus, series: u64, points: u64) -> v1::GroupState {
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
        series,
        points,
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
impl Admin for Node {
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
        let (node, id) = (self.clone(), self.id.0);
        // A machine's lock may be held for as long as apply takes.
        let groups = meridian_env::run(&*self.env.work, Class::Scan, move || node.groups()).await;
        Ok(Response::new(v1::NodeStatusReply { node: id, groups }))
    }

    async fn create_database(
        &self,
        request: Request<v1::CreateDatabaseRequest>,
    ) -> Result<Response<v1::CreateDatabaseReply>, Status> {
        let command = create(&self.catalogue(), request.into_inner()).map_err(|failure| status((failure, None)))?;
        match self.command(&command, deadline_in(&self.env, 0)).await.map_err(status)? {
            Reply::Database(database) => Ok(Response::new(v1::CreateDatabaseReply {
                database: Some(convert::database(&database)),
                version: self.version(),
            })),
            other => Err(internal(format!("creating a database was answered with {other:?}"))),
        }
    }

    async fn drop_database(
        &self,
        request: Request<v1::DropDatabaseRequest>,
    ) -> Result<Response<v1::DropDatabaseReply>, Status> {
        let command = Command::DropDatabase { name: request.into_inner().name };
        let at = deadline_in(&self.env, 0);
        match self.command(&command, at).await.map_err(status)? {
            Reply::Dropped(database) => {
                self.wait_dropped(database, at).await.map_err(|failure| status((failure, None)))?;
                Ok(Response::new(v1::DropDatabaseReply { version: self.version() }))
            }
            other => Err(internal(format!("dropping a database was answered with {other:?}"))),
        }
    }

    async fn list_databases(
        &self,
        _request: Request<v1::ListDatabasesRequest>,
    ) -> Result<Response<v1::ListDatabasesReply>, Status> {
        self.read_meta(deadline_in(&self.env, 0)).await.map_err(status)?;
        let databases = convert::databases(&self.catalogue()).databases;
        Ok(Response::new(v1::ListDatabasesReply { databases }))
    }

    async fn register_fields(
        &self,
        request: Request<v1::RegisterFieldsRequest>,
    ) -> Result<Response<v1::RegisterFieldsReply>, Status> {
        let command = fields(request.into_inner()).map_err(|failure| status((failure, None)))?;
        match self.command(&command, deadline_in(&self.env, 0)).await.map_err(status)? {
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
                Ok(Response::new(v1::RegisterFieldsReply { conflicts, version: self.version() }))
            }
            other => Err(internal(format!("registering fields was answered with {other:?}"))),
        }
    }

    async fn confirm_dropped(
        &self,
        request: Request<v1::ConfirmDroppedRequest>,
    ) -> Result<Response<v1::ConfirmDroppedReply>, Status> {
        let request = request.into_inner();
        let (database, shard) = (DatabaseId(request.database), ShardId(request.shard));
        let command = Command::ConfirmDropped { database, shard };
        self.command(&command, deadline_in(&self.env, 0)).await.map_err(status)?;
        Ok(Response::new(v1::ConfirmDroppedReply {}))
    }

    async fn catalogue_version(
        &self,
        _request: Request<v1::CatalogueVersionRequest>,
    ) -> Result<Response<v1::CatalogueVersionReply>, Status> {
        self.read_meta(deadline_in(&self.env, 0)).await.map_err(status)?;
        Ok(Response::new(v1::CatalogueVersionReply { version: self.version() }))
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
