//! A router that plays what it is told, over a real connection.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::stream::BoxStream;
use meridian_proto::ResultRow;
use meridian_types::{TimeRange, Value};
use tonic::{Request, Response, Status};

use super::*;
use crate::queries::draw::HOST_TAG;
use crate::queries::kinds::named;

type Script = dyn Fn(v1::Select) -> Vec<v1::QueryReply> + Send + Sync;

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
        let replies: Vec<_> = parts.into_iter().map(Ok).collect();
        Ok(Response::new(Box::pin(futures::stream::iter(replies))))
    }
}

/// Asks a router that plays `script` for an execution of the type.
fn ask(
    name: &str,
    script: impl Fn(v1::Select) -> Vec<v1::QueryReply> + Send + Sync + 'static,
) -> Result<Asked, AskError> {
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

fn header() -> v1::QueryReply {
    let column = v1::Column { name: "usage_user".into(), r#type: v1::FieldType::Integer.into() };
    v1::QueryReply { header: Some(v1::QueryHeader { columns: vec![column] }), ..Default::default() }
}

fn row(host: &str, time: i64, value: i64) -> ResultRow {
    ResultRow {
        time,
        tags: [v1::Tag { key: HOST_TAG.into(), value: host.into() }].into(),
        values: vec![Some(Value::I64(value))],
    }
}

fn rows(rows: &[ResultRow]) -> v1::QueryReply {
    v1::QueryReply { rows: Some(rows.iter().cloned().collect()), ..Default::default() }
}

fn end(rows: u64) -> v1::QueryReply {
    v1::QueryReply { end: Some(v1::QueryEnd { witnesses: Vec::new(), rows }), ..Default::default() }
}

fn whole(all: &[ResultRow]) -> Vec<v1::QueryReply> {
    vec![header(), rows(all), end(all.len() as u64)]
}

#[test]
fn only_a_whole_answer_is_one() {
    let one = [row("a", 0, 1)];
    let asked = ask("cpu-max-all-1", move |_| whole(&one)).expect("it is whole");
    assert_eq!((asked.answer.rows.len(), asked.answer.columns.len()), (1, 1));
    assert!(asked.bytes > 0);
    let short = v1::QueryReply { end: end(0).end, ..header() };
    let asked = ask("cpu-max-all-1", move |_| vec![short.clone()]).expect("it is whole");
    assert!(asked.answer.rows.is_empty() && asked.answer.columns.len() == 1);
    let uneven = v1::ResultRows { times: vec![0], ..Default::default() };
    let broken: [Vec<v1::QueryReply>; 7] = [
        vec![header(), v1::QueryReply { rows: Some(uneven), ..Default::default() }, end(1)],
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
fn the_cluster_filters() {
    let all = [row("a", 0, 91), row("a", 1, 95)];
    let answered = all.clone();
    let asked = ask("high-cpu-all", move |select| {
        assert_eq!((select.conditions.len(), &*select.conditions[0].field), (1, "usage_user"));
        whole(&answered)
    });
    let asked = asked.expect("it is whole");
    assert_eq!(asked.answer.rows, all);
}
