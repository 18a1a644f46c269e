//! A router that plays what it is told, over a real connection.

use std::sync::Arc;

use futures::stream::BoxStream;
use meridian_proto::v1::cell::Value;
use meridian_types::{TimeRange, Timestamp};
use tonic::{Request, Response, Status};

use super::*;
use crate::queries::kinds::named;

type Script = dyn Fn(v1::Select) -> Vec<Part> + Send + Sync;

struct Played(Arc<Script>);

#[tonic::async_trait]
impl v1::data_server::Data for Played {
    type WriteFramesStream = BoxStream<'static, Result<v1::FrameReply, Status>>;
    type QueryStream = BoxStream<'static, Result<v1::QueryReply, Status>>;

    async fn write(&self, _: Request<v1::WriteRequest>) -> Result<Response<v1::FrameReply>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn write_frames(
        &self,
        _: Request<Streaming<v1::FrameRequest>>,
    ) -> Result<Response<Self::WriteFramesStream>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn delete(&self, _: Request<v1::DeleteRequest>) -> Result<Response<v1::DeleteReply>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn query(&self, request: Request<v1::Select>) -> Result<Response<Self::QueryStream>, Status> {
        let parts = (self.0)(request.into_inner());
        let replies: Vec<_> = parts.into_iter().map(|part| Ok(v1::QueryReply { part: Some(part) })).collect();
        Ok(Response::new(Box::pin(futures::stream::iter(replies))))
    }
}

/// Asks a router that plays `script` for an execution of the type.
fn ask(name: &str, script: impl Fn(v1::Select) -> Vec<Part> + Send + Sync + 'static) -> Result<Asked, AskError> {
    let env = meridian_env::real::env().expect("threads start");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let drawn = Drawn { kind: named(name).expect("it is there"), hosts: BTreeSet::new(), range: TimeRange::ALL };
    runtime.block_on(async {
        let listener = env.net.listen("127.0.0.1:0").await.expect("a free port");
        let channel = meridian_client::connect(&env, &listener.local_addr());
        let service = v1::data_server::DataServer::new(Played(Arc::new(script)));
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(meridian_env::incoming(listener)));
        Asker { env, channel, database: "d".into(), counts_bytes: true }.ask(&drawn).await
    })
}

fn header() -> Part {
    let column = v1::Column { name: "usage_user".into(), r#type: v1::FieldType::Integer.into() };
    Part::Header(v1::QueryHeader { columns: vec![column] })
}

fn row(host: &str, time: i64, value: i64) -> v1::ResultRow {
    v1::ResultRow {
        time: Some(time),
        tags: vec![v1::Tag { key: HOST_TAG.into(), value: host.into() }],
        values: vec![v1::Cell { value: Some(Value::I64(value)) }],
    }
}

fn rows(rows: &[v1::ResultRow]) -> Part {
    Part::Rows(v1::ResultRows { rows: rows.to_vec() })
}

fn end(rows: u64) -> Part {
    Part::End(v1::QueryEnd { witnesses: Vec::new(), rows })
}

fn whole(all: &[v1::ResultRow]) -> Vec<Part> {
    vec![header(), rows(all), end(all.len() as u64)]
}

#[test]
fn only_a_whole_answer_is_one() {
    let one = [row("a", 0, 1)];
    let asked = ask("cpu-max-all-1", move |_| whole(&one)).expect("it is whole");
    assert_eq!((asked.answer.rows.len(), asked.answer.columns.len(), asked.fetched.rows), (1, 1, 1));
    assert!(asked.fetched.bytes > 0);
    let broken: [Vec<Part>; 6] = [
        vec![],
        vec![end(0)],
        vec![header(), rows(&[row("a", 0, 1)])],
        vec![header(), rows(&[row("a", 0, 1)]), end(2)],
        vec![header(), header(), end(0)],
        vec![header(), end(0), end(0)],
    ];
    for parts in broken {
        let played = parts.clone();
        let answer = ask("cpu-max-all-1", move |_| played.clone());
        assert!(matches!(answer, Err(AskError::Malformed(_))), "{parts:?}");
    }
}

#[test]
fn all_that_travelled_is_counted_and_the_cluster_filters() {
    let all = [row("a", 0, 91), row("a", 1, 95)];
    let answered = all.clone();
    let asked = ask("high-cpu-all", move |select| {
        assert_eq!((select.conditions.len(), &*select.conditions[0].field), (1, "usage_user"));
        whole(&answered)
    });
    let asked = asked.expect("it is whole");
    assert_eq!(asked.answer.rows, all);
    assert_eq!((asked.fetched.rows, asked.fetched.queries), (2, 1));
}

#[test]
fn a_host_that_is_long_silent_has_its_newest_row_too() {
    let script = |select: v1::Select| {
        if !select.aggregates.is_empty() {
            return whole(&[row("a", 0, 3), row("b", 0, 1), row("c", 0, 4)]);
        }
        assert!(
            select.descending
                && select.range == Some(TimeRange::new(Timestamp::MIN, Timestamp::END).expect("all").into())
        );
        match select.matchers.first() {
            Some(matcher) if select.limit == Some(1) => whole(&[row(&matcher.value, 2, 1)]),
            Some(_) => panic!("one row of one host"),
            None => whole(&[row("a", 9, 3), row("c", 8, 4), row("a", 8, 7)][..select.limit.expect("a limit") as usize]),
        }
    };
    let asked = ask("lastpoint", script).expect("it is whole");
    assert_eq!(asked.answer.rows, [row("a", 9, 3), row("b", 2, 1), row("c", 8, 4)]);
    assert_eq!((asked.fetched.queries, asked.fetched.rows), (3, 7));
}
