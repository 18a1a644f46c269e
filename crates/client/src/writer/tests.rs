//! A writer and a router that does what the test says, on loopback.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::StreamExt;
use meridian_env::{deadline, real};
use meridian_frame::{Frame, SeriesRef};
use meridian_proto::v1;
use meridian_types::{SeriesNumber, ShardId};
use tonic::{Request, Response, Status, Streaming};

use super::*;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

type Replies<T> = futures::stream::BoxStream<'static, Result<T, Status>>;
type Answer = futures::channel::mpsc::UnboundedSender<Result<v1::FrameReply, Status>>;

/// A frame that has arrived, and where its reply goes.
struct Arrived {
    request: v1::FrameRequest,
    answer: Answer,
}

/// Hands every frame to the test.
#[derive(Debug)]
struct Script(mpsc::UnboundedSender<Arrived>);

#[tonic::async_trait]
impl v1::data_server::Data for Script {
    type WriteFramesStream = Replies<v1::FrameReply>;
    type QueryStream = Replies<v1::QueryReply>;

    async fn write(&self, _: Request<v1::WriteRequest>) -> Result<Response<v1::FrameReply>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn delete(&self, _: Request<v1::DeleteRequest>) -> Result<Response<v1::DeleteReply>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn query(&self, _: Request<v1::Select>) -> Result<Response<Self::QueryStream>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn write_frames(
        &self,
        request: Request<Streaming<v1::FrameRequest>>,
    ) -> Result<Response<Self::WriteFramesStream>, Status> {
        let (answer, replies) = futures::channel::mpsc::unbounded();
        let (arrivals, mut frames) = (self.0.clone(), request.into_inner());
        tokio::spawn(async move {
            while let Some(Ok(request)) = frames.next().await {
                drop(arrivals.send(Arrived { request, answer: answer.clone() }));
            }
        });
        // An error is the end of a stream.
        let ended = futures::stream::unfold(Some(replies), async |replies| {
            let mut replies = replies?;
            let next = replies.next().await?;
            let rest = next.is_ok().then_some(replies);
            Some((next, rest))
        });
        Ok(Response::new(Box::pin(ended)))
    }
}

/// The router's side.
struct Router {
    env: Env,
    arrivals: mpsc::UnboundedReceiver<Arrived>,
}

impl Router {
    async fn next(&mut self) -> Arrived {
        let next = deadline(&*self.env.clock, self.env.clock.now() + PATIENCE, self.arrivals.recv()).await;
        next.expect("a frame arrives").expect("the router runs")
    }

    /// Stores the next frames, and says of their series that their shard is 1 + n % 2 and their number n, where `hn` is their host.
    async fn store(&mut self, frames: usize) -> Vec<Arrived> {
        let mut stored = Vec::new();
        for _ in 0..frames {
            let arrived = self.next().await;
            arrived.stored();
            stored.push(arrived);
        }
        stored
    }
}

impl Arrived {
    fn frame(&self) -> Frame {
        Frame::check(self.request.frame.clone()).expect("whole")
    }

    fn reply(&self, reply: v1::FrameReply) {
        drop(self.answer.unbounded_send(Ok(v1::FrameReply { request: self.request.request, ..reply })));
    }

    fn stored(&self) {
        let frame = self.frame();
        let runs = frame.tables().iter().flat_map(|table| table.runs());
        let keyed = runs.filter_map(|run| match &run.series {
            SeriesRef::Key(key) => Some(key.tag("host")[1..].parse::<u32>().expect("a host of the test")),
            SeriesRef::Number(_) => None,
        });
        let series_numbers: Vec<u32> = keyed.collect();
        let series_shards = series_numbers.iter().map(|n| 1 + n % 2).collect();
        let points = frame.points() as u64;
        self.reply(v1::FrameReply { points, series_shards, series_numbers, ..Default::default() });
    }

    fn fails(&self, failure: Failure) {
        self.reply(v1::FrameReply { error: Some(failure.into()), ..Default::default() });
    }

    fn breaks_the_stream(&self) {
        drop(self.answer.unbounded_send(Err(Status::unavailable("the router is gone"))));
    }

    /// Request id, shard and frame.
    fn identity(&self) -> (Option<v1::RequestId>, u32, Bytes) {
        (self.request.request, self.request.shard, self.request.frame.clone())
    }
}

/// Runs a test on a writer with these settings and its router.
fn on_a_router(settings: WriterSettings, test: impl AsyncFnOnce(&mut Writer, &mut Router)) {
    let env = real::env().expect("threads start");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = env.net.listen("127.0.0.1:0").await.expect("a free port");
        let channel = crate::connect(&env, &listener.local_addr());
        let (sender, arrivals) = mpsc::unbounded_channel();
        let service = v1::data_server::DataServer::new(Script(sender));
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(meridian_env::incoming(listener)));
        let mut writer = Writer::open(&env, channel, "db", settings);
        test(&mut writer, &mut Router { env, arrivals }).await;
    });
}

fn key(host: u32) -> SeriesKey {
    SeriesKey::from_tags(&mut [("host", &format!("h{host}"))]).expect("valid")
}

/// A row of a host, at a time of its own.
async fn push(writer: &mut Writer, host: u32) -> u64 {
    let row = writer.encoder.rows() as i64;
    let time = Timestamp::new(row).expect("in range");
    writer.push("cpu", &key(host), time, &[("v", ValueRef::I64(row))]).await.expect("taken")
}

/// A flush while the router does its part.
async fn flush<T>(writer: &mut Writer, router: impl Future<Output = T>) -> (Report, T) {
    let (report, done) = tokio::join!(writer.flush(), router);
    (report.expect("the task runs"), done)
}

/// Writes a row of each of four hosts and lets the router tell their numbers.
async fn learn(writer: &mut Writer, router: &mut Router) {
    for host in 0..4 {
        push(writer, host).await;
    }
    let (report, stored) = flush(writer, router.store(1)).await;
    assert_eq!(report, Report { rows: 4, points: 4, ..Report::default() });
    assert_eq!(stored[0].request.shard, 0, "by key");
}

#[test]
fn it_learns_numbers_and_sends_one_frame_a_shard() {
    on_a_router(WriterSettings::default(), async |writer, router| {
        learn(writer, router).await;
        assert_eq!(writer.series("cpu", &key(3)).number(), Some((ShardId(2), SeriesNumber(3))));
        for host in [0, 1, 2, 3, 0, 1, 9] {
            push(writer, host).await;
        }
        let (report, stored) = flush(writer, router.store(3)).await;
        assert_eq!((report.rows, report.points), (7, 7));
        let rows: BTreeMap<u32, usize> = stored.iter().map(|one| (one.request.shard, one.frame().rows())).collect();
        assert_eq!(rows, BTreeMap::from([(0, 1), (1, 3), (2, 3)]));
        for one in &stored {
            let by_number = |frame: &Frame| frame.tables()[0].runs().iter().all(|run| run.series.number().is_some());
            assert_eq!(by_number(&one.frame()), one.request.shard != 0);
        }
        let ids: Vec<_> = stored.iter().map(|one| one.request.request.expect("an id").seq).collect();
        assert_eq!(ids, [1, 2, 3]);
        assert_eq!(writer.flush().await, Ok(Report::default()), "nothing is told twice");
    });
}

#[test]
fn the_window_holds_up_who_pushes() {
    let frame = Bounds { rows: 1, ..WriterSettings::default().frame };
    on_a_router(WriterSettings { window: 2, frame, ..WriterSettings::default() }, async |writer, router| {
        let env = router.env.clone();
        let mut arrived = Vec::new();
        // Two on their way, one between, one that waits to leave.
        for host in 0..4 {
            push(writer, host).await;
        }
        for _ in 0..2 {
            arrived.push(router.next().await);
        }
        {
            let mut held_up = std::pin::pin!(push(writer, 4));
            let soon = env.clock.now() + Duration::from_millis(50);
            assert!(deadline(&*env.clock, soon, &mut held_up).await.is_err(), "it waits");
            assert!(router.arrivals.try_recv().is_err(), "no more than the window is under way");
            arrived[1].stored();
            assert_eq!(held_up.await, 4);
        }
        arrived.push(router.next().await);
        assert!(router.arrivals.try_recv().is_err());
        arrived[0].stored();
        arrived[2].stored();
        let (report, _) = flush(writer, router.store(2)).await;
        assert_eq!(report.rows, 5);
    });
}

#[test]
fn a_refused_row_is_named_and_its_neighbours_are_stored() {
    on_a_router(WriterSettings::default(), async |writer, router| {
        learn(writer, router).await;
        for n in 0..40 {
            push(writer, n % 4).await;
        }
        // Row 21 has a value that the router does not take.
        let judge = async {
            let (mut stored, mut is_alone) = (0, false);
            while stored < 39 || !is_alone {
                let arrived = router.next().await;
                let frame = arrived.frame();
                if frame.tables()[0].times().contains(&21) {
                    is_alone = frame.rows() == 1;
                    arrived.fails(Failure::new(Code::TypeConflict, "v is no integer"));
                } else {
                    stored += frame.rows();
                    arrived.stored();
                }
            }
        };
        let (report, ()) = flush(writer, judge).await;
        let failure = Failure::new(Code::TypeConflict, "v is no integer");
        let refused = vec![Unstored { rows: vec![21], failure }];
        assert_eq!(report, Report { rows: 39, points: 39, refused, unknown: Vec::new() });
    });
}

#[test]
fn rows_that_a_reply_rejects_are_named() {
    on_a_router(WriterSettings::default(), async |writer, router| {
        // Series by series, so that the frame's order is another.
        for host in [0, 1, 0, 1] {
            push(writer, host).await;
        }
        let reject = async {
            let rejection = v1::Rejection { row: 1, code: Code::OverLimit as u32, ..Default::default() };
            let reply =
                v1::FrameReply { points: 3, rejected: vec![rejection], rejected_total: 1, ..Default::default() };
            router.next().await.reply(reply);
        };
        let (report, ()) = flush(writer, reject).await;
        assert_eq!((report.rows, report.points, &*report.refused[0].rows), (3, 3, &[2][..]));
        assert_eq!(report.all_stored().expect_err("one is refused").code, Code::OverLimit);
    });
}

#[test]
fn after_a_broken_stream_the_same_requests_come_again() {
    on_a_router(WriterSettings::default(), async |writer, router| {
        learn(writer, router).await;
        for host in 0..4 {
            push(writer, host).await;
        }
        let breaks = async {
            let first = [router.next().await, router.next().await];
            first[0].breaks_the_stream();
            let again = router.store(2).await;
            let same = |(a, b): (&Arrived, &Arrived)| a.identity() == b.identity();
            assert!(first.iter().zip(&again).all(same), "id, shard and bytes");
        };
        let (report, ()) = flush(writer, breaks).await;
        assert_eq!(report, Report { rows: 4, points: 4, ..Report::default() });
    });
}

#[test]
fn what_is_put_off_comes_again_under_the_same_id() {
    on_a_router(WriterSettings::default(), async |writer, router| {
        push(writer, 0).await;
        let put_off = async {
            for code in [Code::Overloaded, Code::NoLeader, Code::Unknown] {
                router.next().await.fails(Failure::new(code, "not now").retry_after_ms(1));
            }
            router.store(1).await.remove(0).request.request.expect("an id").seq
        };
        let (report, seq) = flush(writer, put_off).await;
        assert_eq!((report.rows, seq), (1, 0));
    });
}

#[test]
fn numbers_that_are_not_known_any_more_give_way_to_keys() {
    on_a_router(WriterSettings::default(), async |writer, router| {
        learn(writer, router).await;
        for host in 0..4 {
            push(writer, host).await;
        }
        let forgets = async {
            for _ in 0..2 {
                let arrived = router.next().await;
                assert_ne!(arrived.request.shard, 0);
                arrived.fails(Failure::new(Code::SendKeys, "who is that?"));
            }
            for again in router.store(2).await {
                assert_eq!(again.request.shard, 0);
                assert!(again.frame().tables()[0].runs().iter().all(|run| run.series.number().is_none()));
            }
        };
        let (report, ()) = flush(writer, forgets).await;
        assert_eq!(report, Report { rows: 4, points: 4, ..Report::default() });
        push(writer, 0).await;
        let (_, stored) = flush(writer, router.store(1)).await;
        assert_eq!(stored[0].request.shard, 1, "they are told anew");
    });
}

#[test]
fn when_time_is_over_what_may_be_stored_is_unknown_and_the_rest_is_not() {
    let settings = WriterSettings { patience: Duration::from_millis(200), ..WriterSettings::default() };
    on_a_router(settings, async |writer, router| {
        push(writer, 0).await;
        let (report, _silent) = flush(writer, router.next()).await;
        assert_eq!(report.refused, []);
        assert_eq!((&*report.unknown[0].rows, report.unknown[0].failure.code), (&[0][..], Code::Unknown));
        assert_eq!(report.all_stored().expect_err("not known").code, Code::Unknown);

        push(writer, 1).await;
        let full = Failure::new(Code::Overloaded, "full").retry_after_ms(60_000);
        let put_off = async {
            let arrived = router.next().await;
            arrived.fails(full.clone());
            arrived.breaks_the_stream();
        };
        let (report, ()) = flush(writer, put_off).await;
        assert_eq!(report.unknown, [], "it was answered before the stream broke");
        assert_eq!(report.refused, [Unstored { rows: vec![1], failure: full.clone() }]);
    });
}

#[test]
fn nobody_listening_is_no_unknown_outcome() {
    let env = real::env().expect("threads start");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let settings = WriterSettings { patience: Duration::from_millis(200), ..WriterSettings::default() };
        // Nothing listens at the port of tcpmux.
        let mut writer = Writer::open(&env, crate::connect(&env, "127.0.0.1:1"), "db", settings);
        push(&mut writer, 0).await;
        let report = writer.flush().await.expect("the task runs");
        assert_eq!((report.rows, report.unknown.len()), (0, 0));
        assert_eq!(report.refused[0].failure.code, Code::Unreachable);
    });
}

#[test]
fn too_many_refusals_are_told_before_more_rows_are_taken() {
    let frame = Bounds { rows: UNSTORED_MAX, ..WriterSettings::default().frame };
    on_a_router(WriterSettings { frame, ..WriterSettings::default() }, async |writer, router| {
        let time = Timestamp::new(0).expect("in range");
        let refuse = async {
            loop {
                router.next().await.fails(Failure::new(Code::NoDatabase, "no db"));
            }
        };
        let fill = async {
            loop {
                if let Err(failure) = writer.push("cpu", &key(0), time, &[("v", ValueRef::I64(0))]).await {
                    return failure;
                }
                tokio::task::yield_now().await;
            }
        };
        let failure = tokio::select! {
            failure = fill => failure,
            () = refuse => unreachable!("it goes on"),
        };
        assert_eq!(failure.code, Code::PartlyRefused);
    });
}
