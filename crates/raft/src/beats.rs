//! Heartbeats on their way out: those of all groups to one node that come within a moment travel in one call. openraft spreads the
//! heartbeats of its groups over time, and a call for each would cost more than what it says.
//!
//! The answer of one group must never wait for that of another, which may have to sync a vote first: each is passed on as it comes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use meridian_env::deadline;
use meridian_proto::v1;
use meridian_types::NodeId;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::network::{Peers, RpcError, unreachable};

/// Heartbeats of one call.
pub(crate) const BEATS_MAX: usize = 1_024;

/// A heartbeat that waits, and who waits for its answer.
#[derive(Debug)]
struct Beat {
    request: v1::AppendRequest,
    answer: Answer,
}

type Answer = oneshot::Sender<Result<v1::AppendReply, String>>;

/// What waits, by node.
#[derive(Debug)]
pub(crate) struct Beats {
    gathered_for: Duration,
    waiting: Mutex<BTreeMap<NodeId, Vec<Beat>>>,
}

impl Beats {
    /// A heartbeat waits `gathered_for` for others at most.
    pub(crate) fn new(gathered_for: Duration) -> Self {
        Self { gathered_for, waiting: Mutex::default() }
    }

    /// How long a heartbeat waits for others at most.
    pub(crate) fn gathered_for(&self) -> Duration {
        self.gathered_for
    }

    /// Whether it is the first one that waits for its node.
    fn push(&self, to: NodeId, beat: Beat) -> bool {
        let mut waiting = self.waiting.lock();
        let beats = waiting.entry(to).or_default();
        beats.push(beat);
        beats.len() == 1
    }

    fn take(&self, to: NodeId) -> Vec<Beat> {
        self.waiting.lock().remove(&to).unwrap_or_default()
    }
}

/// Sends one group's heartbeat to `to`, with those of others; its answer, or why there is none.
pub(crate) async fn beat(
    peers: &Arc<Peers>,
    to: NodeId,
    request: v1::AppendRequest,
) -> Result<v1::AppendReply, RpcError> {
    let (answer, answered) = oneshot::channel();
    if peers.beats().push(to, Beat { request, answer }) {
        let peers = Arc::clone(peers);
        tokio::spawn(async move {
            peers.clock().sleep(peers.beats().gathered_for).await;
            // Nobody asks any more for those whose caller has left.
            let beats: Vec<_> = peers.beats().take(to).into_iter().filter(|beat| !beat.answer.is_closed()).collect();
            let mut beats = beats.into_iter().peekable();
            let calls = std::iter::from_fn(|| beats.peek().is_some().then(|| beats.by_ref().take(BEATS_MAX).collect()));
            join_all(calls.map(|beats| send(&peers, to, beats))).await;
        });
    }
    let why = match answered.await {
        Ok(Ok(reply)) => return Ok(reply),
        Ok(Err(why)) => why,
        Err(_) => "no answer came".into(),
    };
    Err(unreachable(&format!("{to}: {why}")))
}

/// One call.
async fn send(peers: &Peers, to: NodeId, beats: Vec<Beat>) {
    let (requests, answers): (Vec<_>, Vec<_>) = beats.into_iter().map(|beat| (beat.request, Some(beat.answer))).unzip();
    let mut answers: Vec<Option<Answer>> = answers;
    let exchange = async {
        let mut replies = peers.heartbeats(to, requests).await?;
        while let Some(reply) = replies.message().await.map_err(|status| unreachable(&status.to_string()))? {
            pass_on(reply, &mut answers);
        }
        Ok::<(), RpcError>(())
    };
    let ended = deadline(&**peers.clock(), peers.clock().now() + peers.patience(), exchange).await;
    let why = match ended {
        Ok(Ok(())) => "it does not say of each heartbeat what became of it".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} ms", peers.patience().as_millis()),
    };
    answers.into_iter().flatten().for_each(|answer| drop(answer.send(Err(why.clone()))));
}

/// Hands answers to who waits for them; one for a place that does not wait is left.
fn pass_on(reply: v1::HeartbeatsReply, answers: &mut [Option<Answer>]) {
    use v1::heartbeat_answer::Result as Part;
    for v1::HeartbeatAnswer { place, result } in reply.answers {
        let waits = answers.get_mut(place as usize).and_then(Option::take);
        let Some(answer) = waits else { continue };
        // Who has left needs no answer.
        let _ = answer.send(match result {
            Some(Part::Reply(reply)) => Ok(reply),
            Some(Part::Refused(error)) => Err(error.text),
            None => Err("its answer is empty".into()),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_waits_for_its_own_answer_and_takes_it_once() {
        use v1::heartbeat_answer::Result as Part;
        let (mut answers, mut waits): (Vec<_>, Vec<_>) = (0..3)
            .map(|_| {
                let (answer, waits) = oneshot::channel();
                (Some(answer), waits)
            })
            .unzip();
        let reply = v1::AppendReply { result: Some(v1::append_reply::Result::Conflict(v1::LogId::default())) };
        let refused = v1::Error { text: "not here".into(), ..v1::Error::default() };
        let answer = |place, result| v1::HeartbeatAnswer { place, result };
        let given = vec![
            answer(2, Some(Part::Refused(refused))),
            answer(0, Some(Part::Reply(reply))),
            answer(0, None),
            answer(3, Some(Part::Reply(reply))),
            answer(u32::MAX, None),
        ];
        pass_on(v1::HeartbeatsReply { answers: given }, &mut answers);
        assert_eq!(waits[0].try_recv(), Ok(Ok(reply)));
        assert!(waits[1].try_recv().is_err() && answers[1].is_some(), "it still waits");
        assert_eq!(waits[2].try_recv(), Ok(Err("not here".into())));
    }

    #[test]
    fn only_the_first_of_a_node_begins_to_gather() {
        let beats = Beats::new(Duration::ZERO);
        let beat = || Beat { request: v1::AppendRequest::default(), answer: oneshot::channel().0 };
        let first = [1, 2, 1, 2, 1].map(|node| beats.push(NodeId(node), beat()));
        assert_eq!(first, [true, true, false, false, false]);
        assert_eq!((beats.take(NodeId(1)).len(), beats.take(NodeId(1)).len()), (3, 0));
        assert!(beats.push(NodeId(1), beat()), "what was taken does not wait any more");
    }
}
