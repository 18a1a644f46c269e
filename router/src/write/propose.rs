//! Frames to their shards: shards side by side, the frames of one shard one after another, so that of two values for the same
//! point the later row wins whatever the network does.

use std::collections::{BTreeMap, VecDeque};

use futures::future::join_all;
use meridian_client::{Proposal, Written};
use meridian_env::Context;
use meridian_types::{Code, DatabaseId, Failure, RequestId, ShardId};

use super::Ids;
use super::growing::Made;
use super::verdict::{All, ShardOutcome, verdict};
use crate::front::Front;

impl Front {
    /// Gets all frames stored.
    pub(super) async fn propose(
        &self,
        context: &Context,
        database: DatabaseId,
        frames: BTreeMap<ShardId, Vec<Made>>,
        ids: Ids,
    ) -> Result<All, Failure> {
        let shards =
            frames.into_iter().map(|(shard, frames)| self.propose_shard(context, database, shard, frames, ids));
        verdict(join_all(shards).await)
    }

    /// Stops at the first frame that is not stored: a later one would overtake its repetition.
    async fn propose_shard(
        &self,
        context: &Context,
        database: DatabaseId,
        shard: ShardId,
        frames: Vec<Made>,
        ids: Ids,
    ) -> ShardOutcome {
        let mut outcome = ShardOutcome { shard, witness: None, points: 0, series: Vec::new(), failure: None };
        let (mut frames, mut number) = (VecDeque::from(frames), 0);
        while let Some(made) = frames.pop_front() {
            let name =
                |request, pending_from| Proposal { shard, database, request, pending_from, frame: made.bytes.clone() };
            let written = match ids {
                Ids::Own => self.propose_own(context, name).await,
                Ids::Key(session) => {
                    // All frames of a key stay pending: nobody says when the last repetition has come.
                    self.cluster.propose(context, name(RequestId { session, seq: number }, 0)).await
                }
                Ids::Exactly { request, pending_from } => {
                    self.cluster.propose(context, name(request, pending_from)).await
                }
            };
            number += 1;
            match written {
                Ok(Written { witness, points, series }) => {
                    made.learn(shard, &series);
                    outcome.witness = Some(witness);
                    outcome.points += points;
                    outcome.series = series;
                }
                Err(failure) => match (failure.code == Code::SendKeys).then(|| made.by_keys(shard)).flatten() {
                    // Nothing of it is stored, for certain.
                    Some(parts) => parts.into_iter().rev().for_each(|part| frames.push_front(part)),
                    None => {
                        outcome.failure = Some(failure);
                        break;
                    }
                },
            }
        }
        outcome
    }

    /// Under an id of this router. A shard that has forgotten the router's session, because many others came since, gets the
    /// frame once more under a new one: without an id of the client's, a request is stored at least once.
    async fn propose_own(
        &self,
        context: &Context,
        name: impl Fn(RequestId, u64) -> Proposal,
    ) -> Result<Written, Failure> {
        let pending = self.sessions.request();
        match self.cluster.propose(context, name(pending.id, pending.pending_from())).await {
            Err(failure) if failure.code == Code::SessionExpired => {
                self.sessions.renew(pending.id.session);
                let pending = self.sessions.request();
                self.cluster.propose(context, name(pending.id, pending.pending_from())).await
            }
            other => other,
        }
    }
}
