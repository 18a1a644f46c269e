//! What a replica does with an offered snapshot: has it staged, hands it to openraft, and answers with its vote.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use meridian_env::deadline;
use meridian_proto::v1;
use meridian_types::Code;
use openraft::async_runtime::WatchReceiver;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::offer::{Offer, offer_in};
use super::receive::Replies;
use super::{Snapshot, SnapshotData, reply};
use crate::group::Group;
use crate::machine::Machine;
use crate::service::{fatal, malformed, refuse};
use crate::types::Vote;
use crate::wire;

/// How often the sender hears that its snapshot is being worked on.
const BUSY_EVERY: Duration = Duration::from_secs(1);
/// Replies on their way to the sender.
const REPLIES_MAX: usize = 4;

impl<M: Machine> Group<M> {
    /// Answers an offer. What was begun goes on when the sender goes away: openraft may have been told of it already.
    pub(crate) fn take_snapshot(
        &self,
        offer: v1::SnapshotOffer,
        parts: Streaming<v1::SnapshotPart>,
    ) -> BoxStream<'static, Result<v1::SnapshotReply, Status>> {
        let (replies, answers) = mpsc::channel(REPLIES_MAX);
        let group = self.clone();
        tokio::spawn(async move {
            let result = group.busily(offer, parts, &replies).await;
            if let Err(status) = &result {
                tracing::warn!(group = %group.spec().group, error = status.message(), "no snapshot was installed");
            }
            let last = |vote: Vote| reply(v1::snapshot_reply::Reply::Installed(wire::vote_out(&vote)));
            // A sender that has gone offers again.
            drop(replies.send(result.map(last)).await);
        });
        futures::stream::unfold(answers, |mut answers| async { answers.recv().await.map(|next| (next, answers)) })
            .boxed()
    }

    /// Says that it is at work for as long as it is.
    async fn busily(
        &self,
        offer: v1::SnapshotOffer,
        mut parts: Streaming<v1::SnapshotPart>,
        replies: &Replies,
    ) -> Result<Vote, Status> {
        let clock = Arc::clone(&self.env().clock);
        let mut work = pin!(self.take(offer, &mut parts, replies));
        loop {
            match deadline(&*clock, clock.now() + BUSY_EVERY, &mut work).await {
                Ok(result) => return result,
                // Its staged files may go at any time: whoever takes its place begins anew.
                Err(_) if self.jobs().ended().is_some() => return Err(fatal("the replica has left service")),
                // One that does not read has other replies to read first.
                Err(_) => {
                    drop(replies.try_send(Ok(reply(v1::snapshot_reply::Reply::Busy(v1::SnapshotBusy::default())))));
                }
            }
        }
    }

    async fn take(
        &self,
        offer: v1::SnapshotOffer,
        parts: &mut Streaming<v1::SnapshotPart>,
        replies: &Replies,
    ) -> Result<Vote, Status> {
        let offer = offer_in(offer).map_err(|error| malformed(&error))?;
        let incoming = self.incoming();
        let _turn = incoming.turn().await?;
        if let Some(vote) = self.not_needed(&offer).await? {
            incoming.clear().await?;
            return Ok(vote);
        }
        let own = self.jobs().view().await;
        let received = incoming.receive(&offer, own, parts, replies).await?;
        // Again, for what happened meanwhile: openraft panics at what contradicts what it knows committed.
        if let Some(vote) = self.not_needed(&offer).await? {
            incoming.clear().await?;
            return Ok(vote);
        }
        let snapshot = Snapshot { meta: offer.meta, snapshot: SnapshotData::Received(received) };
        let vote = self.raft().install_full_snapshot(offer.vote, snapshot).await.map_err(fatal)?.vote;
        if vote <= offer.vote {
            tracing::info!(group = %self.spec().group, last = %offer.last, "a snapshot is installed");
            incoming.clear().await?;
        }
        Ok(vote)
    }

    /// The vote to answer with if there is nothing to do: the sender leads no more, or all is there.
    async fn not_needed(&self, offer: &Offer) -> Result<Option<Vote>, Status> {
        let vote = self.raft().metrics().borrow_watched().vote;
        if vote > offer.vote {
            return Ok(Some(vote));
        }
        let last = offer.last;
        let known =
            self.raft().with_raft_state(move |state| (state.local_committed().copied(), state.log_ids.get(last.index)));
        let (committed, own) = known.await.map_err(fatal)?;
        match committed {
            Some(committed) if committed >= offer.last => Ok(Some(vote)),
            Some(committed) if committed.index >= offer.last.index => {
                let message = format!("a snapshot up to {} contradicts {committed}, which is committed", offer.last);
                Err(refuse(Code::BadRequest, message))
            }
            // Its heartbeats will say so. To openraft what a leader's appends brought must not be more than what its snapshot brings.
            _ if own == Some(last) && self.incoming().has_appended(&offer.vote, last.index) => {
                let message = format!("the log has {last}, and has yet to hear that it is committed");
                Err(refuse(Code::NotReady, message))
            }
            _ => Ok(None),
        }
    }
}
