//! Several batches under way at a time, each under a request id of its own. Decides when to go on, when to stop and what to
//! wait for; knows neither files nor sockets. Never gives up a request that may have been stored without saying so.

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use meridian_client::Session;
use meridian_env::{Env, Instant};
use meridian_proto::v1;
use meridian_types::{Code, Failure};
use tokio::sync::mpsc;

use crate::failure::CliError;
use crate::write::batch::Batch;
use crate::write::ledger::{End, Ledger, Part, Settled};

/// What all requests of a run share. `send` sends a request until its outcome is certain or it is too late.
pub(super) struct Flow<'a, S> {
    /// The world.
    pub(super) env: &'a Env,
    /// Where request ids come from.
    pub(super) session: Session,
    /// Whose lines these are.
    pub(super) database: String,
    /// Requests under way at a time.
    pub(super) parallel: usize,
    /// The way to the cluster.
    pub(super) send: S,
}

/// How a run talks while it goes on.
pub(super) trait Face {
    /// A batch was answered.
    fn settled(&mut self, settled: &Settled);
    /// Shows how far it is, if it is time to; says when to ask again, if ever.
    fn look(&mut self, now: Instant, ledger: &Ledger) -> Option<Instant>;
    /// Ctrl-C was pressed, and so many requests are waited for.
    fn stopping(&mut self, under_way: usize);
}

/// Why a run ended before its input did.
#[derive(Debug)]
pub(super) enum Stop {
    /// Ctrl-C.
    Interrupted,
    /// A request failed for good.
    Failed(Failure),
    /// The input cannot be read on.
    Unreadable(CliError),
}

impl<S: AsyncFn(&v1::WriteRequest) -> Result<v1::FrameReply, Failure>> Flow<'_, S> {
    /// Sends all batches. After a failure or ctrl-C nothing new is sent, and what is under way is waited for; after a second
    /// ctrl-C not even that.
    pub(super) async fn run(
        &self,
        mut input: mpsc::Receiver<Result<Batch, CliError>>,
        mut interrupts: mpsc::Receiver<()>,
        face: &mut impl Face,
    ) -> (Ledger, Option<Stop>) {
        let mut ledger = Ledger::default();
        let mut under_way = FuturesUnordered::new();
        let (mut is_end, mut stop) = (false, None);
        loop {
            let look_at = face.look(self.env.clock.now(), &ledger);
            let wants_more = !is_end && stop.is_none() && under_way.len() < self.parallel;
            if !wants_more && under_way.is_empty() {
                break;
            }
            tokio::select! {
                biased;
                Some(()) = interrupts.recv() => {
                    if matches!(stop, Some(Stop::Interrupted)) {
                        break;
                    }
                    face.stopping(under_way.len());
                    stop = Some(Stop::Interrupted);
                }
                Some(parts) = under_way.next(), if !under_way.is_empty() => {
                    let settled = ledger.settle(parts);
                    face.settled(&settled);
                    if let Some(failure) = settled.failure {
                        stop.get_or_insert(Stop::Failed(failure));
                    }
                }
                next = input.recv(), if wants_more => match next {
                    Some(Ok(batch)) => {
                        ledger.begin(&batch);
                        under_way.push(self.deliver(batch));
                    }
                    Some(Err(error)) => stop = Some(Stop::Unreadable(error)),
                    None => is_end = true,
                },
                () = self.sleep_until(look_at) => {}
            }
        }
        ledger.abandon();
        (ledger, stop)
    }

    async fn sleep_until(&self, at: Option<Instant>) {
        match at {
            Some(at) => self.env.clock.sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Stores a batch, in halves if it is found too large for one request: nothing of it is stored then. What follows a part
    /// that failed is not sent.
    async fn deliver(&self, batch: Batch) -> Vec<Part> {
        let (mut todo, mut done) = (vec![batch], Vec::new());
        let mut has_failed = false;
        while let Some(mut batch) = todo.pop() {
            if has_failed {
                done.push(Part { batch, end: End::NotSent });
                continue;
            }
            match self.send_once(&mut batch).await {
                Ok(reply) => done.push(Part { batch, end: End::Answered(reply) }),
                Err(failure) if failure.code == Code::OverLimit && batch.rows.len() > 1 => {
                    let (first, second) = batch.halves();
                    todo.extend([second, first]);
                }
                Err(failure) if failure.code == Code::OverLimit => {
                    let rejection =
                        v1::Rejection { code: failure.code as u32, text: failure.message, ..<_>::default() };
                    let reply = v1::FrameReply { rejected: vec![rejection], rejected_total: 1, ..<_>::default() };
                    done.push(Part { batch, end: End::Answered(reply) });
                }
                Err(failure) => {
                    has_failed = true;
                    done.push(Part { batch, end: End::Failed(failure) });
                }
            }
        }
        done
    }

    /// One request with an id of its own, until its outcome is known or it is too late.
    async fn send_once(&self, batch: &mut Batch) -> Result<v1::FrameReply, Failure> {
        if batch.rows.is_empty() {
            return Ok(v1::FrameReply::default());
        }
        // Before the first try: a repetition must be the same request.
        batch.give_times(self.env.clock.wall());
        let pending = self.session.request();
        let request = v1::WriteRequest {
            database: self.database.clone(),
            request: Some(pending.id.into()),
            pending_from: pending.pending_from(),
            rows: std::mem::take(&mut batch.rows),
        };
        let outcome = (self.send)(&request).await;
        batch.rows = request.rows;
        outcome
    }
}

#[cfg(test)]
mod tests;
