//! The task of a writer: keeps a stream to the router, a window of frames under way, and tries again what may be tried again,
//! always under the same request id.
//!
//! Never sends more frames at a time than the window has, and takes in none while as many are not settled.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use meridian_env::{Env, Instant};
use meridian_proto::{request_id, v1};
use meridian_types::{Code, Failure, RequestId};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tonic::transport::Channel;

use super::WriterSettings;
use super::encode::Made;
use super::fate::{Fate, fate};
use super::flight::Flight;
use super::report::{Report, Unstored};
use super::stream::FrameStream;
use crate::cluster::pause;
use crate::session::Sessions;

/// Longest wait for a stream to open.
const OPEN_MAX: Duration = Duration::from_secs(3);

/// What a writer hands to its task.
#[derive(Debug)]
pub(super) enum Job {
    Frame(Made),
    /// Tell when all frames before this are settled.
    Settle(oneshot::Sender<()>),
}

/// Where frames leave from.
struct Line {
    stream: Stream,
    /// How often in a row it has failed.
    failures: u32,
}

enum Stream {
    /// Not opened before this.
    Closed(Instant),
    Opening(BoxFuture<'static, Result<FrameStream, Failure>>),
    Open(Box<FrameStream>),
}

enum Event {
    Opened(Result<FrameStream, Failure>),
    Reply(Result<v1::FrameReply, Failure>),
}

impl Line {
    async fn event(&mut self) -> Event {
        match &mut self.stream {
            Stream::Closed(_) => std::future::pending().await,
            Stream::Opening(opening) => Event::Opened(opening.await),
            Stream::Open(stream) => Event::Reply(stream.next().await),
        }
    }
}

/// The task.
pub(super) struct Driver {
    env: Env,
    router: Channel,
    database: String,
    window: usize,
    patience: Duration,
    sessions: Sessions,
    jobs: mpsc::Receiver<Job>,
    report: Arc<Mutex<Report>>,
    line: Line,
    flights: BTreeMap<RequestId, Flight>,
    settling: Option<oneshot::Sender<()>>,
}

impl Driver {
    pub(super) fn new(
        env: &Env,
        router: Channel,
        database: &str,
        settings: &WriterSettings,
        jobs: mpsc::Receiver<Job>,
        report: Arc<Mutex<Report>>,
    ) -> Self {
        Self {
            env: env.clone(),
            router,
            database: database.to_owned(),
            window: settings.window.max(1),
            patience: settings.patience,
            sessions: Sessions::new(env),
            jobs,
            report,
            line: Line { stream: Stream::Closed(env.clock.now()), failures: 0 },
            flights: BTreeMap::new(),
            settling: None,
        }
    }

    /// Until the writer is gone.
    pub(super) async fn run(mut self) {
        loop {
            let now = self.env.clock.now();
            self.give_up(now);
            self.depart(now);
            if self.flights.is_empty()
                && let Some(settled) = self.settling.take()
            {
                // Nobody hears it if the flush was given up: the next one asks again.
                settled.send(()).unwrap_or_default();
            }
            let has_room = self.flights.len() < self.window && self.settling.is_none();
            let wake = self.wake().map_or_else(|| std::future::pending().boxed(), |at| self.env.clock.sleep_until(at));
            let event = tokio::select! {
                biased;
                event = self.line.event() => event,
                job = self.jobs.recv(), if has_room => {
                    match job {
                        None => return,
                        Some(Job::Frame(made)) => self.board(made, self.env.clock.now() + self.patience),
                        Some(Job::Settle(settled)) => self.settling = Some(settled),
                    }
                    continue;
                }
                () = wake => continue,
            };
            self.heard(event);
        }
    }

    fn board(&mut self, made: Made, deadline: Instant) {
        let pending = self.sessions.request();
        self.flights.insert(pending.id, Flight::new(made, pending, self.env.clock.now(), deadline));
    }

    fn away(&self) -> usize {
        self.flights.values().filter(|flight| flight.is_away()).count()
    }

    /// Sends what may leave, in order; opens the stream if there is something to send.
    fn depart(&mut self, now: Instant) {
        let mut room = self.window.saturating_sub(self.away());
        match &self.line.stream {
            Stream::Closed(until) if *until <= now && !self.flights.is_empty() => {
                let (router, database) = (self.router.clone(), self.database.clone());
                let opening = FrameStream::open(self.env.clone(), router, database, now + OPEN_MAX).boxed();
                self.line.stream = Stream::Opening(opening);
            }
            Stream::Closed(_) | Stream::Opening(_) => {}
            Stream::Open(stream) => {
                for flight in self.flights.values_mut().filter(|flight| flight.due.is_some_and(|due| due <= now)) {
                    let Made { shard, bytes, .. } = &flight.made;
                    // A stream that takes no more will end, and the rest leaves by the next one.
                    if room == 0 || stream.send(&flight.pending, *shard, bytes.clone()).is_err() {
                        break;
                    }
                    (flight.due, flight.tries, room) = (None, flight.tries + 1, room - 1);
                }
            }
        }
    }

    /// When something is to be done without being told.
    fn wake(&self) -> Option<Instant> {
        let deadline = self.flights.values().map(|flight| flight.deadline).min()?;
        let departure = match &self.line.stream {
            Stream::Closed(until) => Some(*until),
            Stream::Open(_) if self.away() < self.window => self.flights.values().filter_map(|flight| flight.due).min(),
            Stream::Opening(_) | Stream::Open(_) => None,
        };
        Some(departure.map_or(deadline, |departure| departure.min(deadline)))
    }

    fn give_up(&mut self, now: Instant) {
        let late: Vec<_> = self.flights.extract_if(.., |_, flight| flight.deadline <= now).collect();
        for (_, flight) in late {
            let (may_be_stored, Made { rows, .. }, failure) = flight.given_up();
            let mut report = self.report.lock();
            let list = if may_be_stored { &mut report.unknown } else { &mut report.refused };
            list.push(Unstored { rows, failure });
        }
    }

    fn heard(&mut self, event: Event) {
        match event {
            Event::Opened(Ok(stream)) => self.line.stream = Stream::Open(Box::new(stream)),
            Event::Reply(Ok(reply)) => {
                self.line.failures = 0;
                self.answered(reply);
            }
            Event::Opened(Err(failure)) | Event::Reply(Err(failure)) => self.lost(&failure),
        }
    }

    /// The stream is gone, or did not come up.
    fn lost(&mut self, failure: &Failure) {
        tracing::debug!(why = failure.message, "no stream to the router");
        let now = self.env.clock.now();
        self.line.stream = Stream::Closed(now + pause(&self.env, self.line.failures));
        self.line.failures += 1;
        self.flights.values_mut().for_each(|flight| flight.lost_stream(failure, now));
    }

    fn answered(&mut self, mut reply: v1::FrameReply) {
        // A frame that was given up is counted already.
        let flight = request_id(reply.request.as_ref()).ok().and_then(|id| self.flights.remove(&id));
        let Some(flight) = flight else { return };
        match reply.error.take() {
            Some(error) => self.failed(flight, error.into()),
            None => {
                flight.made.learn(&reply);
                self.report.lock().answered(flight.made.rows, reply);
            }
        }
    }

    fn failed(&mut self, mut flight: Flight, failure: Failure) {
        let (now, id) = (self.env.clock.now(), flight.pending.id);
        if failure.code == Code::SessionExpired {
            self.sessions.renew(id.session);
        }
        if failure.code == Code::SendKeys {
            flight.made.forget();
        }
        match fate(&failure, flight.made.shard.is_some(), flight.made.rows.len(), flight.may_be_stored()) {
            Fate::Again => {
                let asked = failure.retry_after_ms.map(|ms| Duration::from_millis(ms.into()));
                let wait = asked.unwrap_or_else(|| pause(&self.env, flight.tries - 1));
                flight.again(failure, now, wait);
                self.flights.insert(id, flight);
            }
            Fate::Apart { rows_max } => {
                for part in flight.made.by_keys(rows_max) {
                    match part {
                        Ok(made) => self.board(made, flight.deadline),
                        Err((row, error)) => {
                            let failure = Failure::new(error.code(), error.to_string());
                            self.report.lock().refused.push(Unstored { rows: vec![row], failure });
                        }
                    }
                }
            }
            Fate::Refused => self.report.lock().refused.push(Unstored { rows: flight.made.rows, failure }),
            Fate::Unknown => {
                let (Made { rows, .. }, failure) = flight.unknown(failure);
                self.report.lock().unknown.push(Unstored { rows, failure });
            }
        }
    }
}
