//! Single calls to a router, and what they came to. Every call has a deadline.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_env::{Env, deadline};
use meridian_proto::v1::admin_client::AdminClient;
use meridian_proto::v1::data_client::DataClient;
use meridian_proto::{ResultRow, failure_of, v1};
use meridian_types::{Code, Failure, Kind, RequestId, Value};
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::history::Told;
use crate::registers::{Scope, Violation};
use crate::rows::{DATABASE, Delete, Field, MEASUREMENTS, Place, Row, Series};
use crate::witness::Witness;

/// How long a client waits for one answer.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(4);
/// One message of an answer.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// What a call came to.
pub async fn call<T>(env: &Env, calling: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Failure> {
    match deadline(&*env.clock, env.clock.now() + ANSWER_MAX, calling).await {
        Ok(Ok(reply)) => Ok(reply.into_inner()),
        Ok(Err(status)) => Err(failure_of(&status, true)),
        Err(_) => Err(Failure::new(Code::Unknown, format!("no answer within {} s", ANSWER_MAX.as_secs()))),
    }
}

/// What a failure says of a request that was never sent before.
pub fn told(failure: &Failure) -> Told {
    match failure.kind() {
        // Stored in part by some shards, and refused by others.
        _ if failure.code == Code::PartlyRefused => Told::Unknown,
        Kind::Unknown | Kind::Broken => Told::Unknown,
        Kind::Retry | Kind::Overloaded => Told::Refused,
        Kind::Fix | Kind::NotFound | Kind::Exists | Kind::NotAllowed => Told::Refused,
    }
}

/// Makes the trial's database.
pub(crate) async fn create_database(env: &Env, channel: Channel) -> Result<(), Failure> {
    let request = v1::CreateDatabaseRequest { name: DATABASE.into(), if_absent: true, ..Default::default() };
    call(env, AdminClient::new(channel).create_database(request)).await.map(drop)
}

/// Sends rows once; the entries that have them.
pub(crate) async fn write(env: &Env, channel: Channel, request: v1::WriteRequest) -> Result<Vec<Witness>, Failure> {
    let reply = call(env, DataClient::new(channel).write(request)).await?;
    match reply.error {
        None if reply.rejected_total == 0 => Ok(reply.witnesses.iter().map(Witness::from).collect()),
        None => Err(Failure::new(Code::PartlyRefused, format!("{:?}", reply.rejected))),
        Some(error) => Err(error.into()),
    }
}

/// Sends a delete once; the entries that have it.
pub(crate) async fn delete(env: &Env, channel: Channel, request: v1::DeleteRequest) -> Result<Vec<Witness>, Failure> {
    let reply = call(env, DataClient::new(channel).delete(request)).await?;
    Ok(reply.witnesses.iter().map(Witness::from).collect())
}

/// A delete as gRPC carries it.
pub(crate) fn delete_out(delete: &Delete, id: RequestId, pending_from: u64) -> v1::DeleteRequest {
    v1::DeleteRequest {
        database: DATABASE.into(),
        measurement: Some(MEASUREMENTS[delete.measurement].into()),
        matchers: matchers(delete.series),
        range: Some(delete.range.into()),
        request: Some(id.into()),
        pending_from,
    }
}

/// A row as gRPC carries it.
pub(crate) fn row_out(row: &Row) -> v1::Row {
    use v1::field::Value as Out;
    let value = |value: Value| match value {
        Value::F64(v) => Out::F64(v),
        Value::I64(v) => Out::I64(v),
        Value::U64(v) => Out::U64(v),
        Value::Bool(v) => Out::Boolean(v),
        Value::Str(v) => Out::Text(v),
    };
    let field = |(place, v): (Place, Value)| v1::Field { name: place.field.name().into(), value: Some(value(v)) };
    v1::Row {
        measurement: MEASUREMENTS[row.series.measurement()].into(),
        tags: row.series.tags().map(|(key, value)| v1::Tag { key: key.into(), value }).into(),
        time: Some(row.time),
        fields: row.values().map(field).collect(),
    }
}

/// The question for everything in a scope.
fn select(scope: Scope) -> v1::Select {
    v1::Select {
        database: DATABASE.into(),
        measurement: MEASUREMENTS[scope.measurement].into(),
        range: Some(scope.range.into()),
        matchers: matchers(scope.series),
        ..Default::default()
    }
}

fn matchers(series: Option<Series>) -> Vec<v1::Matcher> {
    let matcher = |series: Series| {
        let [(tag, value), _] = series.tags();
        v1::Matcher { tag: tag.into(), op: v1::MatchOp::Eq.into(), value }
    };
    series.map(matcher).into_iter().collect()
}

/// Everything in a scope as one front answers. The outer failure is of the call, the inner one of what it says.
pub(crate) async fn read(
    env: &Env,
    channel: Channel,
    scope: Scope,
) -> Result<Result<BTreeMap<Place, Value>, Violation>, Failure> {
    let (columns, rows) = query(env, channel, select(scope)).await?;
    Ok(seen(scope, &columns, rows))
}

/// How many values each series has in each field, as one front counts.
pub(crate) async fn count(
    env: &Env,
    channel: Channel,
    scope: Scope,
) -> Result<Result<BTreeMap<(Series, Field), u64>, Violation>, Failure> {
    let select = v1::Select {
        aggregates: vec![v1::Aggregate::Count.into()],
        group_by: vec!["host".into(), "zone".into()],
        ..select(scope)
    };
    let (columns, rows) = query(env, channel, select).await?;
    Ok(counts(scope, &columns, rows))
}

/// The columns of an answer, and its rows.
pub type Answer = (Vec<String>, Vec<ResultRow>);

/// The columns and rows of a whole answer; one that breaks off before its end is none.
pub async fn query(env: &Env, channel: Channel, select: v1::Select) -> Result<Answer, Failure> {
    let answering = async {
        let mut client = DataClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let mut replies = client.query(select).await?.into_inner();
        let (mut columns, mut rows) = (Vec::new(), Vec::new());
        while let Some(reply) = replies.message().await? {
            if let Some(header) = reply.header {
                columns = header.columns.into_iter().map(|column| column.name).collect();
            }
            if let Some(part) = reply.rows {
                rows.extend(part.into_rows().map_err(|error| Status::internal(error.to_string()))?);
            }
            if reply.end.is_some() {
                return Ok(Response::new((columns, rows)));
            }
        }
        Err(Status::unavailable("the answer broke off"))
    };
    match call(env, answering).await {
        // Nobody has written to it yet.
        Err(failure) if failure.code == Code::NoMeasurement => Ok(Answer::default()),
        answer => answer,
    }
}

fn seen(scope: Scope, columns: &[String], rows: Vec<ResultRow>) -> Result<BTreeMap<Place, Value>, Violation> {
    let fields = columns.iter().map(|name| field(name)).collect::<Result<Vec<_>, _>>()?;
    let mut seen = BTreeMap::new();
    for row in rows {
        let series = series(scope, &row)?;
        let time = row.time;
        for (field, cell) in fields.iter().zip(row.values) {
            let place = Place { series, time, field: *field };
            let Some(value) = cell else { continue };
            if seen.insert(place, value).is_some() {
                return Err(Violation::Doubled(place));
            }
        }
    }
    Ok(seen)
}

fn counts(scope: Scope, columns: &[String], rows: Vec<ResultRow>) -> Result<BTreeMap<(Series, Field), u64>, Violation> {
    let inner = |name: &str| name.strip_prefix("count(").and_then(|rest| rest.strip_suffix(')')).map(str::to_owned);
    let fields = columns.iter().map(|name| field(&inner(name).unwrap_or_else(|| name.clone())));
    let fields = fields.collect::<Result<Vec<_>, _>>()?;
    let mut counts = BTreeMap::new();
    for row in rows {
        let series = series(scope, &row)?;
        for (field, cell) in fields.iter().zip(row.values) {
            match cell {
                None | Some(Value::U64(0)) => {}
                Some(Value::U64(count)) => *counts.entry((series, *field)).or_default() += count,
                Some(other) => return Err(Violation::Foreign(format!("a count of {other:?}"))),
            }
        }
    }
    Ok(counts)
}

fn field(name: &str) -> Result<Field, Violation> {
    Field::named(name).ok_or_else(|| Violation::Foreign(format!("a column {name:?}")))
}

fn series(scope: Scope, row: &ResultRow) -> Result<Series, Violation> {
    let series = Series::of(row.tags.iter().map(|tag| (tag.key.as_str(), tag.value.as_str())));
    let asked_for =
        |series: &Series| series.measurement() == scope.measurement && scope.series.is_none_or(|only| only == *series);
    series.filter(asked_for).ok_or_else(|| Violation::Foreign(format!("a row of the tags {:?}", row.tags)))
}

#[cfg(test)]
mod tests {
    use meridian_types::TimeRange;

    use super::*;

    const SCOPE: Scope = Scope { measurement: 0, series: None, range: TimeRange::ALL };

    fn row(series: u32, time: i64, values: &[Option<Value>]) -> ResultRow {
        let tags = Series(series).tags().map(|(key, value)| v1::Tag { key: key.into(), value });
        ResultRow { time, tags: tags.into(), values: values.to_vec() }
    }

    #[test]
    fn an_answer_is_read_by_its_columns() {
        let columns = ["serial".to_owned(), "level".to_owned()];
        let rows = |time| vec![row(2, 10, &[Some(Value::I64(1)), None]), row(2, time, &[None, Some(Value::F64(2.5))])];
        let seen_at = |time| seen(SCOPE, &columns, rows(time));
        assert_eq!(seen_at(20).map(|seen| seen.len()), Ok(2));
        assert_eq!(seen_at(10).map(|seen| seen.len()), Ok(2), "two fields of one row");
        let twice = vec![row(2, 10, &[Some(Value::I64(1))]), row(2, 10, &[Some(Value::I64(2))])];
        assert!(matches!(seen(SCOPE, &columns, twice), Err(Violation::Doubled(_))));
        assert!(matches!(seen(SCOPE, &["x".to_owned()], Vec::new()), Err(Violation::Foreign(_))));
        assert!(
            matches!(seen(SCOPE, &columns, vec![row(3, 1, &[])]), Err(Violation::Foreign(_))),
            "of another measurement"
        );
    }

    #[test]
    fn counts_are_by_series_and_field() {
        let columns = ["count(serial)".to_owned(), "count(flag)".to_owned()];
        let rows =
            vec![row(2, 0, &[Some(Value::U64(3)), None]), row(4, 0, &[Some(Value::U64(0)), Some(Value::U64(1))])];
        let expected = BTreeMap::from([((Series(2), Field::Serial), 3), ((Series(4), Field::Flag), 1)]);
        assert_eq!(counts(SCOPE, &columns, rows), Ok(expected));
    }

    /// What says "certainly not applied" must be believed, or a lie about it would not be found.
    #[test]
    fn only_a_certain_refusal_is_one() {
        for code in Code::ALL {
            let certain = told(&Failure::new(*code, "")) == Told::Refused;
            let unknown = matches!(code.kind(), Kind::Unknown | Kind::Broken) || *code == Code::PartlyRefused;
            assert_eq!(certain, !unknown, "{code}");
        }
    }
}
