//! A router that reaches no node, over real sockets: what it must answer by itself, and that it stops.

use std::sync::Arc;
use std::time::Duration;

use meridian_env::{Env, real};
use meridian_proto::{failure_of, v1};
use meridian_router::{Config, RunError, Started, run};
use meridian_types::Code;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

fn config(http: &str) -> Config {
    Config {
        http: http.into(),
        grpc: "127.0.0.1:0".into(),
        // Nothing listens at the port of tcpmux.
        nodes: vec!["127.0.0.1:1".into()],
        request_timeout: Duration::from_millis(50),
        ..Config::default()
    }
}

/// Status line and headers, and the body.
async fn ask(env: &Env, to: &str, head: &str, body: &[u8]) -> (String, String) {
    let mut conn = env.net.connect(to).await.expect("it listens");
    let head = format!("{head}\r\nHost: test\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    conn.write_all(head.as_bytes()).await.expect("it reads");
    conn.write_all(body).await.expect("it reads");
    let mut answer = Vec::new();
    conn.read_to_end(&mut answer).await.expect("it answers");
    let text = String::from_utf8(answer).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a whole answer");
    (head.to_ascii_lowercase(), body.to_owned())
}

async fn check_http(env: &Env, http: &str) {
    let get = async |path: &str| ask(env, http, &format!("GET {path} HTTP/1.1"), b"").await;
    let (head, body) = get("/ping").await;
    assert!(head.starts_with("http/1.1 204") && head.contains("x-meridian-version: "), "{head}");
    assert_eq!(body, "");
    assert!(ask(env, http, "HEAD /ping HTTP/1.1", b"").await.0.starts_with("http/1.1 204"));
    let (head, body) = get("/health").await;
    assert!(head.starts_with("http/1.1 200") && body.contains("\"status\":\"pass\""), "{head} {body}");
    let (head, body) = get("/ready").await;
    assert!(head.starts_with("http/1.1 503") && body.contains("\"status\":\"not ready\""), "{head} {body}");
    for (head, body) in [get("/nowhere").await, get("/api/v2/write").await] {
        assert!(head.starts_with("http/1.1 404"), "{head}");
        assert!(body.starts_with(r#"{"code":"not found","message":"E0024: nothing is served here"#), "{body}");
    }
    let (head, body) = get("/metrics").await;
    assert!(head.starts_with("http/1.1 200") && body.contains("meridian_router_map_version 0"), "{body}");
}

async fn check_writes(env: &Env, http: &str) {
    let post = async |head: &str, body: &[u8]| ask(env, http, &format!("POST {head}"), body).await;
    let (head, body) = post("/api/v2/write?org=o&bucket=d&precision=ns HTTP/1.1", b"cpu v=1 1").await;
    assert!(head.starts_with("http/1.1 503") && head.contains("retry-after: 1"), "{head}");
    assert!(body.starts_with(r#"{"code":"unavailable","message":"E00"#), "{body}");
    let (head, body) = post("/write?db=1d HTTP/1.1", b"cpu v=1 1").await;
    assert!(head.starts_with("http/1.1 400"), "{head}");
    assert!(body.starts_with(r#"{"error":"E0001: \"1d\" is no database name"#), "{body}");
    let (head, _) = post("/write HTTP/1.1", b"cpu v=1 1").await;
    assert!(head.starts_with("http/1.1 400"), "{head}");
    let (head, body) = post("/api/v2/write?bucket=d HTTP/1.1\r\nIdempotency-Key: mine", b"cpu v=1 1").await;
    assert!(head.starts_with("http/1.1 400") && body.contains("is no UUIDv7"), "{head} {body}");
    let far = "ffffffff-0000-7000-8000-000000000000";
    let (head, body) = post(&format!("/write?db=d HTTP/1.1\r\nIdempotency-Key: {far}"), b"cpu v=1 1").await;
    assert!(head.starts_with("http/1.1 400") && body.contains("is no UUIDv7"), "{head} {body}");
    let ahead = "01f00000-0000-7000-8000-000000000000";
    let (head, body) = post(&format!("/write?db=d HTTP/1.1\r\nIdempotency-Key: {ahead}"), b"cpu v=1 1").await;
    assert!(head.starts_with("http/1.1 400") && body.contains("set the clocks"), "{head} {body}");
    let (head, body) = post("/write?db=d HTTP/1.1\r\nContent-Encoding: gzip", b"cpu v=1 1").await;
    assert!(head.starts_with("http/1.1 400") && body.contains("is no whole gzip"), "{head} {body}");
}

/// What is wrong with a delete is told before any node is asked.
async fn check_deletes(env: &Env, http: &str) {
    let post = async |head: &str, body: &str| {
        ask(env, http, &format!("POST /api/v2/delete{head} HTTP/1.1"), body.as_bytes()).await
    };
    let times = r#""start":"2026-01-01T00:00:00Z","stop":"2026-01-02T00:00:00Z""#;
    let (head, body) = post("?bucket=d&org=o", &format!("{{{times},\"predicate\":\"a=\\\"b\\\"\"}}")).await;
    assert!(head.starts_with("http/1.1 503") && head.contains("retry-after: 1"), "{head}");
    assert!(body.starts_with(r#"{"code":"unavailable","message":"E00"#), "{body}");
    let (head, body) = post("?bucket=d", &format!("{{{times},\"predicate\":\"a!=b\"}}")).await;
    assert!(head.starts_with("http/1.1 400"), "{head}");
    assert!(body.starts_with(r#"{"code":"invalid","message":"E0001: the condition on \"a\" has !="#), "{body}");
    let (head, body) = post("", &format!("{{{times}}}")).await;
    assert!(head.starts_with("http/1.1 400") && body.contains("add bucket=NAME"), "{head} {body}");
    let (head, body) = post("?bucket=d", "{}").await;
    assert!(head.starts_with("http/1.1 400") && body.contains(r#"\"start\" is missing"#), "{head} {body}");
}

/// The rest of the body never comes.
async fn check_late(env: &Env, http: &str) {
    let mut conn = env.net.connect(http).await.expect("it listens");
    let head = "POST /write?db=d HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 10\r\n\r\ncpu v";
    conn.write_all(head.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    conn.read_to_string(&mut answer).await.expect("it answers");
    let answer = answer.to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 503") && answer.contains("retry-after: 1"), "{answer}");
    assert!(answer.contains("e0016: the body did not arrive"), "{answer}");
}

async fn check_grpc(env: &Env, grpc: &str) {
    let channel = meridian_env::channel(Arc::clone(&env.net), grpc, Default::default());
    let mut data = v1::data_client::DataClient::new(channel.clone());
    let write = v1::WriteRequest { database: "d".into(), ..Default::default() };
    let failure = failure_of(&data.write(write).await.expect_err("no node is there"), true);
    assert_eq!(failure.code, Code::NotReady, "{failure}");
    let range = Some(v1::TimeRange { start: 0, end: 1 });
    let delete = v1::DeleteRequest { database: "d".into(), range, ..Default::default() };
    let failure = failure_of(&data.delete(delete).await.expect_err("no node is there"), true);
    assert_eq!(failure.code, Code::NotReady, "{failure}");
    let delete = v1::DeleteRequest { database: "d".into(), ..Default::default() };
    let failure = failure_of(&data.delete(delete).await.expect_err("no range"), true);
    assert_eq!((failure.code, &*failure.message), (Code::BadRequest, "range is missing"));
    let many = v1::WriteRequest { rows: vec![v1::Row::default(); 1_000_001], ..Default::default() };
    let failure = failure_of(&data.write(many).await.expect_err("too many rows"), true);
    assert_eq!(failure.code, Code::OverLimit, "{failure}");
    let large = v1::WriteRequest { database: "d".repeat(5 << 20), ..Default::default() };
    let status = data.write(large).await.expect_err("too large");
    assert!(status.message().contains("limit is: 4259840"), "{status}");
    let select = v1::Select { database: "no name".into(), ..Default::default() };
    let failure = failure_of(&data.query(select).await.expect_err("no database name"), true);
    assert_eq!(failure.code, Code::BadRequest, "{failure}");
    let frame = v1::FrameRequest { database: "d".into(), ..Default::default() };
    let mut replies = data.write_frames(futures::stream::iter([frame])).await.expect("a stream").into_inner();
    let error = replies.message().await.expect("a reply").expect("one a frame").error.expect("it has no id");
    assert_eq!(error.text, "request id is missing");
    assert!(replies.message().await.expect("an end").is_none());
    let mut admin = v1::admin_client::AdminClient::new(channel);
    let failure = failure_of(&admin.node_status(v1::NodeStatusRequest {}).await.expect_err("not a node"), true);
    assert_eq!(failure.code, Code::NoSuchPath, "{failure}");
}

#[tokio::test]
async fn a_router_without_nodes_says_so_and_stops() {
    let env = real::env().expect("threads start");
    let (started, listening) = oneshot::channel::<Started>();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving =
        run(env.clone(), config("127.0.0.1:0"), |at| started.send(at).expect("the test waits for it"), async {
            drop(stopped.await)
        });
    let asking = async {
        let at = listening.await.expect("it starts");
        check_http(&env, &at.http).await;
        check_writes(&env, &at.http).await;
        check_deletes(&env, &at.http).await;
        check_late(&env, &at.http).await;
        check_grpc(&env, &at.grpc).await;
        let taken = run(env.clone(), config(&at.http), |_| (), std::future::pending()).await;
        assert!(matches!(taken, Err(RunError::Listen { what: "HTTP", .. })), "{taken:?}");
        stop.send(()).expect("it serves");
    };
    let (served, ()) = tokio::join!(serving, asking);
    served.expect("it stops by itself");
}
