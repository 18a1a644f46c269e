//! What clients do: write points whose value names them, and read everything back.

use std::sync::Arc;
use std::time::Duration;

use meridian_client::{Session, connect};
use meridian_env::{Env, deadline};
use meridian_proto::v1::admin_client::AdminClient;
use meridian_proto::v1::data_client::DataClient;
use meridian_proto::{failure_of, v1};
use meridian_types::Kind;
use parking_lot::Mutex;
use tonic::transport::Channel;

use crate::history::{History, Told};
use crate::world::ROUTER;

pub(crate) const DATABASE: &str = "sim";
const MEASUREMENT: &str = "m";
const SERIES: i64 = 24;
/// How long a client waits for one answer, and how often it asks again with the same request id.
const ANSWER_MAX: Duration = Duration::from_secs(3);
const TRIES: u32 = 3;

/// Makes the database, again and again until the cluster is there.
pub(crate) async fn create(env: &Env) {
    let request = v1::CreateDatabaseRequest { name: DATABASE.into(), if_absent: true, ..Default::default() };
    let mut client = AdminClient::new(connect(env, ROUTER));
    let clock = &*env.clock;
    loop {
        let call = client.create_database(request.clone());
        if let Ok(Ok(_)) = deadline(clock, clock.now() + ANSWER_MAX, call).await {
            return;
        }
        clock.sleep(Duration::from_millis(100)).await;
    }
}

/// Writes one point after the other until `until` of simulated time; `lane` of `lanes` decides the serial numbers.
pub(crate) async fn write(env: Env, history: Arc<Mutex<History>>, lane: i64, lanes: i64, until: Duration) {
    let start = env.clock.now();
    create(&env).await;
    let session = Session::begin(&env);
    let mut client = DataClient::new(connect(&env, ROUTER));
    let mut serial = lane;
    while env.clock.now() - start < until {
        serial += lanes;
        let pending = session.request();
        let request = v1::WriteRequest {
            database: DATABASE.into(),
            request: Some(pending.id.into()),
            pending_from: pending.pending_from(),
            rows: vec![row(serial)],
        };
        let told = write_one(&env, &mut client, &request).await;
        tracing::debug!(serial, ?told, "write");
        history.lock().told(serial, told);
        env.clock.sleep(Duration::from_millis(env.rng.below(20))).await;
    }
}

fn row(serial: i64) -> v1::Row {
    let tag = v1::Tag { key: "host".into(), value: format!("h{}", serial % SERIES) };
    let value = v1::Field { name: "value".into(), value: Some(v1::field::Value::I64(serial)) };
    v1::Row { measurement: MEASUREMENT.into(), tags: vec![tag], time: Some(serial), fields: vec![value] }
}

async fn write_one(env: &Env, client: &mut DataClient<Channel>, request: &v1::WriteRequest) -> Told {
    let mut told = Told::Refused;
    for _ in 0..TRIES {
        let call = client.write(request.clone());
        let kind = match deadline(&*env.clock, env.clock.now() + ANSWER_MAX, call).await {
            Ok(Ok(reply)) => match reply.into_inner().error {
                None => return Told::Acked,
                Some(error) => meridian_types::Failure::from(error).kind(),
            },
            Ok(Err(status)) => failure_of(&status, true).kind(),
            Err(_) => Kind::Unknown,
        };
        match kind {
            Kind::Unknown | Kind::Broken => told = Told::Unknown,
            Kind::Retry | Kind::Overloaded => {}
            Kind::Fix | Kind::NotFound | Kind::Exists | Kind::NotAllowed => return told,
        }
    }
    told
}

/// A count by a query of its own, then all rows as (time, value), asked until the cluster answers; again while a write of
/// unknown outcome comes in between.
pub(crate) async fn read_all(env: &Env) -> (Vec<(i64, i64)>, u64) {
    loop {
        let before = read_once(env).await;
        let after = read_once(env).await;
        if before == after {
            return after;
        }
    }
}

async fn read_once(env: &Env) -> (Vec<(i64, i64)>, u64) {
    let mut client = DataClient::new(connect(env, ROUTER));
    let select = v1::Select { database: DATABASE.into(), measurement: MEASUREMENT.into(), ..Default::default() };
    let count = v1::Select { aggregates: vec![v1::Aggregate::Count.into()], ..select.clone() };
    let rows = query(env, &mut client, select).await;
    let rows = rows.iter().map(|row| (row.time.unwrap_or(i64::MIN), integer(row))).collect();
    let counts = query(env, &mut client, count).await;
    (rows, counts.first().map_or(0, |row| integer(row).unsigned_abs()))
}

fn integer(row: &v1::ResultRow) -> i64 {
    match row.values.first().and_then(|cell| cell.value.as_ref()) {
        Some(v1::cell::Value::I64(value)) => *value,
        Some(v1::cell::Value::U64(value)) => i64::try_from(*value).unwrap_or(i64::MAX),
        _ => i64::MIN,
    }
}

async fn query(env: &Env, client: &mut DataClient<Channel>, select: v1::Select) -> Vec<v1::ResultRow> {
    loop {
        let answer = deadline(&*env.clock, env.clock.now() + ANSWER_MAX, query_once(client, select.clone())).await;
        match answer {
            Ok(Ok(rows)) => return rows,
            other => tracing::debug!(?other, "the query is asked again"),
        }
        env.clock.sleep(Duration::from_millis(100)).await;
    }
}

/// The rows of a whole answer; one that breaks off before its end is none.
async fn query_once(client: &mut DataClient<Channel>, select: v1::Select) -> Result<Vec<v1::ResultRow>, tonic::Status> {
    let mut replies = client.query(select).await?.into_inner();
    let mut rows = Vec::new();
    while let Some(reply) = replies.message().await? {
        match reply.part {
            Some(v1::query_reply::Part::Rows(part)) => rows.extend(part.rows),
            Some(v1::query_reply::Part::End(_)) => return Ok(rows),
            _ => {}
        }
    }
    Err(tonic::Status::unavailable("the answer broke off"))
}

/// The node that leads the most groups, as the nodes themselves say.
pub(crate) async fn busiest(env: &Env, nodes: u32) -> Option<u32> {
    let mut most = None;
    for node in 1..=nodes {
        let mut client = AdminClient::new(connect(env, &format!("n{node}:7172")));
        let call = client.node_status(v1::NodeStatusRequest {});
        let Ok(Ok(status)) = deadline(&*env.clock, env.clock.now() + ANSWER_MAX, call).await else { continue };
        let led = status.into_inner().groups.iter().filter(|g| g.role == "leader").count();
        most = most.max(Some((led, std::cmp::Reverse(node))));
    }
    most.map(|(_, node)| node.0)
}
