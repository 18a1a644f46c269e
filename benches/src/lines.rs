//! A run as line protocol: `POST /api/v2/write` over kept-alive HTTP/1.1 connections, one request under way on each.
//!
//! Takes nothing but `204` for an answer: a refused line, an overload or a broken connection ends the run.

use std::cell::{Cell, RefCell};
use std::io::Write as _;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::TokioIo;
use meridian_env::{Env, deadline};
use meridian_types::{Timestamp, ValueRef};

use crate::generate::Host;
use crate::pace::{ANSWER_WAIT_MAX, Batch, PUT_OFF, Pace, Tally, wait_until};

/// The part of a refusal that is read and printed.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// Why a run of lines failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinesError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] std::io::Error),
    /// The address or the database cannot stand in a request.
    #[error("no request can be made to {0}: {1}")]
    Request(String, hyper::http::Error),
    /// The connection broke.
    #[error("POST of lines: the connection broke, so the outcome is unknown: {0}")]
    Broken(#[from] hyper::Error),
    /// Silence.
    #[error("POST of lines was not answered within {} s", ANSWER_WAIT_MAX.as_secs())]
    Silent,
    /// A refusal.
    #[error("POST of lines was answered {status}, not 204: {text}")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// Its body.
        text: String,
    },
}

/// Appends a row as a line. Nothing of what is generated needs an escape.
pub(crate) fn encode(out: &mut Vec<u8>, fields: &[String], host: &Host, time: Timestamp) {
    const TAKES_ALL: &str = "a Vec takes everything";
    out.extend_from_slice(host.source.measurement().as_bytes());
    for (name, value) in &host.tags {
        write!(out, ",{name}={value}").expect(TAKES_ALL);
    }
    for (i, (name, value)) in fields.iter().zip(host.row()).enumerate() {
        let separator = if i == 0 { ' ' } else { ',' };
        let written = match value {
            ValueRef::F64(value) => write!(out, "{separator}{name}={value}"),
            _ => write!(out, "{separator}{name}={}i", host.values[i]),
        };
        written.expect(TAKES_ALL);
    }
    writeln!(out, " {}", time.nanos()).expect(TAKES_ALL);
}

/// Open connections to one router.
#[derive(Debug)]
pub(crate) struct Connections {
    open: Vec<SendRequest<Full<Bytes>>>,
    host: String,
    path: String,
}

impl Connections {
    /// Opens `count` connections to the router at `address` for writes to `database`.
    pub(crate) async fn open(env: &Env, address: &str, database: &str, count: u32) -> Result<Self, LinesError> {
        let mut open = Vec::new();
        for _ in 0..count {
            let conn = env.net.connect(address).await?;
            let (sender, driver) = handshake(TokioIo::new(conn)).await?;
            // What becomes of the connection is told to whoever waits for an answer on it.
            tokio::spawn(async move { drop(driver.await) });
            open.push(sender);
        }
        let path = format!("/api/v2/write?bucket={database}&precision=ns");
        Ok(Self { open, host: address.to_owned(), path })
    }

    /// Writes by another path, for servers that know only that one.
    pub(crate) fn by_path(self, path: String) -> Self {
        Self { path, ..self }
    }

    /// Sends the batches in their order, each on the first connection that is free.
    pub(crate) async fn run(self, env: &Env, batches: &[Batch], pace: Pace) -> Result<Tally, LinesError> {
        let (next, tally) = (Cell::new(0), RefCell::new(Tally::new()));
        let workers = self.open.into_iter().map(async |mut connection| {
            while let Some(batch) = batches.get(next.get()) {
                let now = env.clock.now();
                let Some(intended) = pace.intended(batch, now) else { break };
                next.set(next.get() + 1);
                wait_until(env, intended).await;
                let patience = env.clock.now() + ANSWER_WAIT_MAX;
                loop {
                    let request = Request::post(&self.path).header("host", &self.host);
                    let request = request.body(Full::new(batch.body.clone()));
                    let request = request.map_err(|error| LinesError::Request(self.host.clone(), error))?;
                    connection.ready().await?;
                    match post(env, &mut connection, request).await {
                        // Certainly not stored, for now there is no room for it.
                        Err(LinesError::Refused { status: StatusCode::TOO_MANY_REQUESTS, .. })
                            if env.clock.now() < patience =>
                        {
                            tally.borrow_mut().put_off += 1;
                            env.clock.sleep(PUT_OFF).await;
                        }
                        answered => break answered?,
                    }
                }
                tally.borrow_mut().acknowledged(batch, intended, env.clock.now());
            }
            Ok::<(), LinesError>(())
        });
        futures::future::try_join_all(workers).await?;
        Ok(tally.into_inner())
    }
}

async fn post(
    env: &Env,
    connection: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<(), LinesError> {
    let patience = env.clock.now() + ANSWER_WAIT_MAX;
    let answer = async {
        let response = connection.send_request(request).await?;
        let status = response.status();
        if status != StatusCode::NO_CONTENT {
            return Err(LinesError::Refused { status, text: refusal(response).await });
        }
        response.into_body().collect().await?;
        Ok(())
    };
    deadline(&*env.clock, patience, answer).await.unwrap_or(Err(LinesError::Silent))
}

async fn refusal(response: Response<Incoming>) -> String {
    match Limited::new(response.into_body(), REFUSAL_BYTES_MAX).collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        Err(error) => format!("(its text could not be read: {error})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{Shape, Walk};
    use crate::source::Source;

    #[test]
    fn a_row_is_one_line() {
        let shape = Shape { source: Source::Cpu, series: 1, fields: 2, rows_per_batch: 1, points: 2, seed: 1 };
        let start = Timestamp::new(1_700_000_000_000_000_000).expect("in range");
        let mut walk = Walk::new(&shape, start, crate::generate::INTERVAL_NANOS).expect("valid tags");
        let (host, time) = walk.next_row().expect("one row");
        let mut out = Vec::new();
        encode(&mut out, &shape.field_names(), host, time);
        let line = String::from_utf8(out).expect("UTF-8");
        let [head, fields, stamp] = line.split(' ').collect::<Vec<_>>().try_into().expect("three sections");
        assert!(head.starts_with("cpu,hostname=host_0,region="), "{head}");
        assert_eq!(head.matches('=').count(), 10, "{head}");
        let values = &host.values;
        assert_eq!(fields, format!("usage_user={}i,usage_system={}i", values[0], values[1]));
        assert_eq!(stamp, "1700000000000000000\n");
        let shape = Shape { source: Source::Sensors, ..shape };
        let mut walk = Walk::new(&shape, start, crate::generate::INTERVAL_NANOS).expect("valid tags");
        let (host, time) = walk.next_row().expect("one row");
        let mut out = Vec::new();
        encode(&mut out, &shape.field_names(), host, time);
        let [temperature, humidity] = [host.values[0], host.values[1]].map(|units| units as f64 / 100.0);
        let line = String::from_utf8(out).expect("UTF-8");
        assert!(line.starts_with("sensors,station=station_0,city="), "{line}");
        assert!(line.contains(&format!(" temperature={temperature},humidity={humidity} ")), "{line}");
    }

    /// Sends `batches` over two connections to a router that takes requests one by one and gives each the next answer.
    fn run(batches: usize, answers: &'static [&'static str]) -> Result<Tally, LinesError> {
        let env = meridian_env::real::env().expect("threads start");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = env.net.listen("127.0.0.1:0").await.expect("a free port");
            let address = listener.local_addr();
            tokio::spawn(serve(listener, answers));
            let body = Bytes::from_static(b"cpu,hostname=host_0 usage_user=1i 1\n");
            let batch = Batch { body, rows: 1, points: 1, points_before: 0, shard: None };
            let connections = Connections::open(&env, &address, "bench", 2).await?;
            let pace = Pace::new(env.clock.now(), None, None);
            connections.run(&env, &vec![batch; batches], pace).await
        })
    }

    async fn serve(mut listener: Box<dyn meridian_env::Listener>, answers: &'static [&'static str]) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut open = Vec::new();
        for _ in 0..2 {
            open.push(listener.accept().await.expect("a connection"));
        }
        for (i, answer) in answers.iter().enumerate() {
            let conn = &mut open[i % 2];
            let mut request = Vec::new();
            while !request.ends_with(b" 1\n") {
                assert_ne!(conn.read_buf(&mut request).await.expect("bytes"), 0, "the request is whole");
            }
            assert!(request.starts_with(b"POST /api/v2/write?bucket=bench&precision=ns HTTP/1.1\r\n"));
            conn.write_all(answer.as_bytes()).await.expect("open");
        }
    }

    const TAKEN: &str = "HTTP/1.1 204 No Content\r\n\r\n";

    #[test]
    fn every_batch_is_sent_once_over_kept_connections() {
        let tally = run(6, &[TAKEN; 6]).expect("all are taken");
        assert_eq!((tally.requests, tally.rows, tally.latency.len()), (6, 6, 6));
    }

    #[test]
    fn a_refusal_or_a_break_ends_the_run() {
        const REFUSED: &str = "HTTP/1.1 400 Bad Request\r\ncontent-length: 9\r\n\r\nline 3: x";
        const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        let refused = run(6, &[TAKEN, REFUSED, TAKEN]).expect_err("a line is refused");
        let text = "POST of lines was answered 400 Bad Request, not 204: line 3: x";
        assert_eq!(refused.to_string(), text);
        assert!(matches!(run(6, &[EMPTY]), Err(LinesError::Refused { status: StatusCode::OK, .. })));
        assert!(matches!(run(6, &[TAKEN, TAKEN, TAKEN]), Err(LinesError::Broken(_))));
    }
}
