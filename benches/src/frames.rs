//! A run as frames: one `Data.WriteFrames` stream with a window of frames under way, each under a request id of its own.
//!
//! Takes nothing but a reply that stored every point: a refused row or an error ends the run. A frame for which there is no room
//! now is certainly not stored: it is sent again, under its id.

use std::collections::{BTreeMap, VecDeque};

use meridian_client::{FrameStream, Pending, Session};
use meridian_env::{Env, Instant, deadline};
use meridian_proto::{ConvertError, request_id, v1};
use meridian_types::{Code, Failure};
use tonic::transport::Channel;

use crate::pace::{ANSWER_WAIT_MAX, Batch, PUT_OFF, Pace, Tally, wait_until};

/// Why a run of frames failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FramesError {
    /// A failure of the stream or of one frame.
    #[error("WriteFrames: {}: {}", .0.code, .0.message)]
    Failed(#[from] Failure),
    /// Rows were refused.
    #[error("WriteFrames: {total} rows of a frame were refused, the first because {first}")]
    Rejected {
        /// How many.
        total: u64,
        /// Why the first was.
        first: String,
    },
    /// Acknowledged, but not all of it.
    #[error("WriteFrames: a frame of {sent} points was acknowledged with {stored} points stored")]
    Short {
        /// Points of the frame.
        sent: u64,
        /// Points that the reply counts.
        stored: u64,
    },
    /// Numbers of series are not told.
    #[error("WriteFrames: a row of each series is stored, and the shards have told no number of {0} of them")]
    Unnumbered(usize),
    /// A reply to nothing that is under way.
    #[error("WriteFrames: a reply names request {0:?}, which is not under way")]
    Stray(Option<v1::RequestId>),
    /// A reply without a request id that can be read.
    #[error("WriteFrames: {0}")]
    Malformed(#[from] ConvertError),
    /// Silence.
    #[error("WriteFrames: no frame was answered within {} s", ANSWER_WAIT_MAX.as_secs())]
    Silent,
}

/// An open stream to one router.
#[derive(Debug)]
pub(crate) struct Stream {
    window: usize,
    session: Session,
    frames: FrameStream,
}

/// A frame under way.
#[derive(Debug)]
struct Flying<'a> {
    batch: &'a Batch,
    intended: Instant,
    /// When it was sent first.
    begun: Instant,
    pending: Pending,
}

impl Stream {
    /// Opens the stream for writes to `database`, with at most `window` frames under way.
    pub(crate) async fn open(env: &Env, router: Channel, database: &str, window: u32) -> Result<Self, FramesError> {
        let until = env.clock.now() + ANSWER_WAIT_MAX;
        let frames = FrameStream::open(env.clone(), router, database.to_owned(), until).await?;
        Ok(Self { window: window as usize, session: Session::begin(env), frames })
    }

    /// Sends the batches in their order, as far as the window and the pace allow.
    pub(crate) async fn run(mut self, env: &Env, batches: &[Batch], pace: Pace) -> Result<Tally, FramesError> {
        let mut tally = Tally::new();
        let mut flying = BTreeMap::new();
        // Frames for which there was no room, each with when it is sent again.
        let mut put_off = VecDeque::<(Instant, Flying<'_>)>::new();
        let mut waiting = batches.iter().peekable();
        loop {
            let now = env.clock.now();
            if let Some((_, again)) = put_off.pop_front_if(|(at, _)| *at <= now) {
                self.frames.send(&again.pending, again.batch.shard, again.batch.body.clone())?;
                flying.insert(again.pending.id.seq, again);
                continue;
            }
            let next = waiting.peek().filter(|_| flying.len() + put_off.len() < self.window);
            let due = next.and_then(|batch| pace.intended(batch, now));
            if let Some(intended) = due.filter(|due| *due <= now)
                && let Some(batch) = waiting.next()
            {
                let (seq, sent) = self.send(batch, intended, now)?;
                flying.insert(seq, sent);
                continue;
            }
            let wakes = due.into_iter().chain(put_off.front().map(|(at, _)| *at)).min();
            if wakes.is_none() && flying.is_empty() {
                return Ok(tally);
            }
            let silence_ends = now + ANSWER_WAIT_MAX;
            tokio::select! {
                biased;
                reply = deadline(&*env.clock, silence_ends, self.frames.next()), if !flying.is_empty() => {
                    let reply = reply.map_err(|_| FramesError::Silent)??;
                    let (sent, now) = (taken(&mut flying, &reply)?, env.clock.now());
                    match check(sent.batch, reply) {
                        Err(FramesError::Failed(failure))
                            if failure.code == Code::Overloaded && now < sent.begun + ANSWER_WAIT_MAX =>
                        {
                            tally.put_off += 1;
                            put_off.push_back((now + PUT_OFF, sent));
                        }
                        checked => {
                            checked?;
                            tally.acknowledged(sent.batch, sent.intended, now);
                        }
                    }
                }
                () = wait_until(env, wakes.unwrap_or(silence_ends)), if wakes.is_some() => {}
            }
        }
    }

    fn send<'a>(&self, batch: &'a Batch, intended: Instant, now: Instant) -> Result<(u64, Flying<'a>), FramesError> {
        let pending = self.session.request();
        self.frames.send(&pending, batch.shard, batch.body.clone())?;
        Ok((pending.id.seq, Flying { batch, intended, begun: now, pending }))
    }
}

/// Takes the frame that `reply` answers from those under way.
fn taken<'a>(flying: &mut BTreeMap<u64, Flying<'a>>, reply: &v1::FrameReply) -> Result<Flying<'a>, FramesError> {
    let id = match (request_id(reply.request.as_ref()), &reply.error) {
        (Err(_), Some(error)) => return Err(FramesError::Failed(error.clone().into())),
        (id, _) => id?,
    };
    let sent = flying.remove(&id.seq).filter(|flying| flying.pending.id == id);
    sent.ok_or(FramesError::Stray(reply.request))
}

/// Whether `reply` says that all of the batch is stored.
fn check(batch: &Batch, reply: v1::FrameReply) -> Result<(), FramesError> {
    if let Some(error) = reply.error {
        return Err(FramesError::Failed(error.into()));
    }
    if reply.rejected_total > 0 || !reply.rejected.is_empty() {
        let first = reply.rejected.into_iter().next().map_or_else(|| "the reply does not say why".into(), |r| r.text);
        return Err(FramesError::Rejected { total: reply.rejected_total, first });
    }
    if reply.points != batch.points {
        return Err(FramesError::Short { sent: batch.points, stored: reply.points });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::StreamExt as _;
    use meridian_types::Code;
    use tonic::Streaming;

    use super::*;

    /// What `change` makes of the reply to the first of two frames of 10 points under way.
    fn answer(change: impl FnOnce(&mut v1::FrameReply)) -> Result<u64, FramesError> {
        let env = meridian_env::real::env().expect("threads start");
        let session = Session::begin(&env);
        let batch = Batch { body: Bytes::new(), rows: 1, points: 10, points_before: 0, shard: None };
        let now = env.clock.now();
        let sent = |_| Flying { batch: &batch, intended: now, begun: now, pending: session.request() };
        let mut flying: BTreeMap<u64, Flying<'_>> = (0..2).map(|seq| (seq, sent(seq))).collect();
        let mut reply =
            v1::FrameReply { request: Some(flying[&0].pending.id.into()), points: 10, ..Default::default() };
        change(&mut reply);
        let sent = taken(&mut flying, &reply)?;
        assert_eq!(flying.len(), 1);
        check(sent.batch, reply).map(|()| sent.pending.id.seq)
    }

    #[test]
    fn only_a_whole_acknowledgement_counts() {
        assert!(matches!(answer(|_| {}), Ok(0)));
        assert!(matches!(answer(|r| r.points = 9), Err(FramesError::Short { sent: 10, stored: 9 })));
        assert!(matches!(answer(|r| r.rejected_total = 3), Err(FramesError::Rejected { total: 3, .. })));
        assert!(matches!(answer(|r| r.request = None), Err(FramesError::Malformed(_))));
        let other = |r: &mut v1::FrameReply| r.request.iter_mut().for_each(|id| id.seq = 7);
        assert!(matches!(answer(other), Err(FramesError::Stray(_))));
        let foreign = |r: &mut v1::FrameReply| {
            r.request.iter_mut().filter_map(|id| id.session.as_mut()).for_each(|session| session.nonce ^= 1);
        };
        assert!(matches!(answer(foreign), Err(FramesError::Stray(_))));
        let failed = answer(|r| r.error = Some(Failure::new(Code::Overloaded, "full").into()));
        assert_eq!(failed.expect_err("it failed").to_string(), "WriteFrames: E0019: full");
    }

    /// Acknowledges frames in pairs, the second of a pair first, and ends after `ends_after` frames. It has no room for the first.
    #[derive(Debug)]
    struct Pairs {
        ends_after: usize,
    }

    type Replies<T> = futures::stream::BoxStream<'static, Result<T, tonic::Status>>;

    #[tonic::async_trait]
    impl v1::data_server::Data for Pairs {
        type WriteFramesStream = Replies<v1::FrameReply>;
        type QueryStream = Replies<v1::QueryReply>;

        async fn write(
            &self,
            _: tonic::Request<v1::WriteRequest>,
        ) -> Result<tonic::Response<v1::FrameReply>, tonic::Status> {
            Err(tonic::Status::unimplemented("not here"))
        }

        async fn delete(
            &self,
            _: tonic::Request<v1::DeleteRequest>,
        ) -> Result<tonic::Response<v1::DeleteReply>, tonic::Status> {
            Err(tonic::Status::unimplemented("not here"))
        }

        async fn query(
            &self,
            _: tonic::Request<v1::Select>,
        ) -> Result<tonic::Response<Self::QueryStream>, tonic::Status> {
            Err(tonic::Status::unimplemented("not here"))
        }

        async fn write_frames(
            &self,
            request: tonic::Request<Streaming<v1::FrameRequest>>,
        ) -> Result<tonic::Response<Self::WriteFramesStream>, tonic::Status> {
            let reply = |(place, frame): (usize, Result<v1::FrameRequest, tonic::Status>)| {
                let error = (place == 0).then(|| Failure::new(Code::Overloaded, "full").into());
                frame.map(|frame| v1::FrameReply { request: frame.request, points: 10, error, ..Default::default() })
            };
            let frames = request.into_inner().take(self.ends_after).enumerate().chunks(2);
            let replies = frames.flat_map(move |pair| futures::stream::iter(pair.into_iter().rev().map(reply)));
            Ok(tonic::Response::new(Box::pin(replies)))
        }
    }

    /// Sends `batches` with two frames under way to a router that ends after `ends_after`.
    fn run(batches: usize, ends_after: usize) -> Result<Tally, FramesError> {
        let env = meridian_env::real::env().expect("threads start");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = env.net.listen("127.0.0.1:0").await.expect("a free port");
            let router = meridian_client::connect(&env, &listener.local_addr());
            let service = v1::data_server::DataServer::new(Pairs { ends_after });
            let server = tonic::transport::Server::builder().add_service(service);
            tokio::spawn(server.serve_with_incoming(meridian_env::incoming(listener)));
            let body = Bytes::from_static(b"a frame");
            let batches: Vec<_> = (0..batches as u64)
                .map(|i| Batch { body: body.clone(), rows: 1, points: 10, points_before: 10 * i, shard: None })
                .collect();
            let stream = Stream::open(&env, router, "bench", 2).await?;
            // A rate that has all but the first frame wait, for a moment.
            let pace = Pace::new(env.clock.now(), None, Some(10_000));
            stream.run(&env, &batches, pace).await
        })
    }

    #[test]
    fn the_window_is_kept_full_and_replies_come_in_any_order() {
        let tally = run(7, 100).expect("all are taken, one when it comes again");
        assert_eq!((tally.requests, tally.points, tally.bytes, tally.latency.len()), (7, 70, 49, 7));
        assert_eq!(tally.put_off, 1);
    }

    #[test]
    fn a_stream_that_ends_early_ends_the_run() {
        assert!(matches!(run(6, 4), Err(FramesError::Failed(_))));
    }
}
