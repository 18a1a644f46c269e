//! What is asked of the cluster before and after a run, outside of the time that is measured: the database, the number of
//! copies, and how many of the run's rows are there.

use std::time::Duration;

use meridian_env::{Env, deadline};
use meridian_proto::v1::admin_client::AdminClient;
use meridian_proto::v1::data_client::DataClient;
use meridian_proto::{ResultRow, failure_of, v1};
use meridian_types::{Code, Failure, TimeRange, Value};
use tonic::transport::Channel;
use tonic::{Response, Status};

/// Longest wait for one of these calls: a count reads all that was sent.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// Why the cluster could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    /// It refused.
    #[error("{call}: {}: {}", failure.code, failure.message)]
    Failed {
        /// Which call.
        call: &'static str,
        /// What it answered.
        failure: Failure,
    },
    /// Silence.
    #[error("{0} was not answered within {wait} s", wait = WAIT_MAX.as_secs())]
    Silent(&'static str),
    /// An answer that is none.
    #[error("{0}")]
    NoAnswer(&'static str),
}

/// A router as the checks see it.
#[derive(Clone, Debug)]
pub(crate) struct Router {
    env: Env,
    channel: Channel,
}

/// What was measured.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) nodes: usize,
    pub(crate) shards: usize,
    /// Copies of the first shard, and of every other: there is one placement.
    pub(crate) replicas: usize,
    /// Where the nodes show their metrics.
    pub(crate) http: Vec<String>,
}

impl Router {
    /// The router whose gRPC is behind `channel`.
    pub(crate) fn new(env: &Env, channel: Channel) -> Self {
        Self { env: env.clone(), channel }
    }

    /// Creates the database unless it is there; a retention of zero is for ever.
    pub(crate) async fn create_database(&self, name: &str, retention: Duration) -> Result<(), CheckError> {
        let mut client = AdminClient::new(self.channel.clone());
        let retention = i64::try_from(retention.as_nanos()).unwrap_or(i64::MAX);
        let request =
            v1::CreateDatabaseRequest { name: name.to_owned(), if_absent: true, retention, ..Default::default() };
        self.call("CreateDatabase", client.create_database(request)).await.map(drop)
    }

    /// What the cluster consists of.
    pub(crate) async fn cluster(&self) -> Result<Cluster, CheckError> {
        let mut client = AdminClient::new(self.channel.clone());
        let status = self.call("ClusterStatus", client.cluster_status(v1::ClusterStatusRequest {})).await?;
        let first = status.shards.iter().find(|shard| shard.id == 1);
        let first =
            first.ok_or(CheckError::NoAnswer("ClusterStatus names no shard s1: is the cluster initialised?"))?;
        let (shards, replicas) = (status.shards.len(), first.replicas.len());
        let http = status.nodes.into_iter().filter_map(|state| Some(state.node?.http_address)).collect::<Vec<_>>();
        Ok(Cluster { nodes: http.len(), shards, replicas, http })
    }

    /// How many rows of a database's measurement within `range` have a value of `field`.
    pub(crate) async fn count(
        &self,
        (database, measurement): (&str, &str),
        field: &str,
        range: TimeRange,
    ) -> Result<u64, CheckError> {
        let select = v1::Select {
            database: database.to_owned(),
            measurement: measurement.to_owned(),
            fields: vec![field.to_owned()],
            range: Some(range.into()),
            aggregates: vec![v1::Aggregate::Count.into()],
            ..Default::default()
        };
        let query = async {
            let mut client = DataClient::new(self.channel.clone());
            let mut parts = client.query(select).await?.into_inner();
            let (mut rows, mut whole) = (Vec::new(), false);
            while let Some(part) = parts.message().await? {
                if let Some(batch) = part.rows {
                    rows.extend(batch.into_rows().map_err(|error| Status::internal(error.to_string()))?);
                }
                whole |= part.end.is_some();
            }
            Ok(Response::new(whole.then_some(rows)))
        };
        let rows = match self.call("Query", query).await {
            Ok(rows) => rows.ok_or(CheckError::NoAnswer("Query ended before its end: the answer is not whole"))?,
            // A fresh database does not know the measurement yet.
            Err(CheckError::Failed { failure: Failure { code: Code::NoMeasurement, .. }, .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        counted(&rows)
    }

    async fn call<T>(
        &self,
        call: &'static str,
        asking: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, CheckError> {
        let clock = &*self.env.clock;
        match deadline(clock, clock.now() + WAIT_MAX, asking).await {
            Ok(Ok(reply)) => Ok(reply.into_inner()),
            Ok(Err(status)) => Err(CheckError::Failed { call, failure: failure_of(&status, false) }),
            Err(_) => Err(CheckError::Silent(call)),
        }
    }
}

/// The one number of an answer that has one window and one column; no row is no value.
fn counted(rows: &[ResultRow]) -> Result<u64, CheckError> {
    let values: Vec<_> = rows.iter().flat_map(|row| &row.values).map(Option::as_ref).collect();
    match values[..] {
        [] | [None] => Ok(0),
        [Some(Value::U64(count))] => Ok(*count),
        [Some(Value::I64(count))] if *count >= 0 => Ok(count.unsigned_abs()),
        _ => Err(CheckError::NoAnswer("Query was to answer with one count and answered with something else")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_one_number() {
        let row = |values: &[Option<Value>]| ResultRow { values: values.to_vec(), ..Default::default() };
        assert_eq!(counted(&[]).ok(), Some(0));
        assert_eq!(counted(&[row(&[None])]).ok(), Some(0));
        assert_eq!(counted(&[row(&[Some(Value::I64(7))])]).ok(), Some(7));
        assert_eq!(counted(&[row(&[Some(Value::U64(7))])]).ok(), Some(7));
        for bad in [Value::I64(-1), Value::F64(1.0), Value::Str("1".into())] {
            assert!(counted(&[row(&[Some(bad)])]).is_err());
        }
        assert!(counted(&[row(&[Some(Value::U64(1))]), row(&[Some(Value::U64(2))])]).is_err());
    }
}
