//! Linearizable reads of replicas that lead: of what the machine has applied, once a majority has confirmed the vote. Who asks the
//! majority is the caller's choice: this node, or a client that has business with the others anyhow.
//!
//! Never trusts a clock, nor what openraft tells of a commit later than it happens.

use std::sync::Arc;

use futures::future::try_join_all;
use meridian_env::{Elapsed, Instant, deadline};
use meridian_proto::v1;
use meridian_types::{LogIndex, Mutant, NodeId};
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{LinearizableReadError, RaftError};
use openraft::{ReadPolicy, ServerState};

use crate::confirm::{Claim, confirm};
use crate::entry;
use crate::group::{Group, node};
use crate::groups::GroupSpec;
use crate::machine::Machine;
use crate::network::Peers;
use crate::types::Vote;

/// Why a read has no index.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError {
    /// This replica does not lead; the leader, if it knows.
    #[error("this replica does not lead the group")]
    Moved(Option<NodeId>),
    /// No majority confirmed it, or not in time.
    #[error("the read could not be confirmed: {0}")]
    Unconfirmed(String),
}

/// The group that cannot be read, and why.
pub type Unread = (GroupSpec, ReadError);

/// What has to be confirmed of reads that have begun. Nothing that they saw may be told before it is: by this node, which asks the
/// others, or by whoever has asked the others for the votes that they hold.
#[derive(Debug)]
#[must_use = "a read that nothing confirms is none"]
pub struct Reads {
    peers: Arc<Peers>,
    specs: Vec<GroupSpec>,
    /// Those of which a majority has to be heard yet.
    claims: Vec<Claim>,
    until: Instant,
}

impl Reads {
    /// Asks the others, with one call to each node that it takes. Otherwise the first group of which no majority was heard.
    pub async fn confirmed(self) -> Result<(), Unread> {
        let Self { peers, specs, claims, until } = self;
        deadline(&**peers.clock(), until, confirm(&peers, claims)).await.map_err(late(specs[0]))?.map_err(
            |(id, why)| {
                let spec = specs.iter().find(|spec| spec.group == id);
                (*spec.unwrap_or(&specs[0]), ReadError::Unconfirmed(why))
            },
        )
    }

    /// For whoever asks the others: by which votes the groups are led.
    pub fn claims(&self) -> Vec<v1::Claim> {
        self.claims.iter().map(Claim::told).collect()
    }
}

fn late(spec: GroupSpec) -> impl Fn(Elapsed) -> Unread {
    move |Elapsed| (spec, ReadError::Unconfirmed("the deadline passed".into()))
}

impl<M: Machine> Group<M> {
    /// Confirms with a majority that this replica leads, waits until it has applied all that was committed before the call, and
    /// gives that index: a read of the machine from then on is linearizable.
    pub async fn read_index(&self, until: Instant) -> Result<LogIndex, ReadError> {
        let plain = |(_, error)| error;
        let (indexes, reads) = Self::read(std::slice::from_ref(self), until).await.map_err(plain)?;
        reads.confirmed().await.map_err(plain)?;
        Ok(indexes[0])
    }

    /// The same for several groups: their indexes, which their machines have reached, and what has to be confirmed; until then
    /// the machines may be read. Otherwise the first group that cannot be read, and why.
    ///
    /// Panics if there are no groups.
    pub async fn read(groups: &[Self], until: Instant) -> Result<(Vec<LogIndex>, Reads), Unread> {
        let specs: Vec<GroupSpec> = groups.iter().map(Self::spec).collect();
        let is_stale = Mutant::StaleRead.is_planted() && groups.iter().all(Self::is_leader);
        let (indexes, claims): (Vec<_>, Vec<_>) = if is_stale {
            groups.iter().map(|group| (group.status().applied.unwrap_or_default(), None)).unzip()
        } else {
            let read = try_join_all(groups.iter().map(Self::read_point));
            deadline(&*groups[0].env().clock, until, read).await.map_err(late(specs[0]))??.into_iter().unzip()
        };
        let claims = claims.into_iter().flatten().collect();
        Ok((indexes, Reads { peers: Arc::clone(groups[0].peers()), specs, claims, until }))
    }

    /// The last vote in this replica's log, for whoever has to confirm reads of another one.
    pub fn held_vote(&self) -> Option<v1::HeldVote> {
        let vote = entry::decode_vote(&self.log().state().vote?).ok()?.leader_id;
        let (shard, replica) = (self.spec().group.0, self.spec().replica.0);
        Some(v1::HeldVote { shard, replica, leader: vote.node_id, term: vote.term })
    }

    /// From where on the machine may be read, which it has reached, and what a majority has yet to confirm; nothing if one has.
    ///
    /// The vote is looked at first: an index of an earlier term under a later vote could lack what was acknowledged between the
    /// two.
    async fn read_point(&self) -> Result<(LogIndex, Option<Claim>), Unread> {
        if self.is_damaged() {
            return Err((self.spec(), ReadError::Moved(None)));
        }
        if let Some(claim) = self.claim()
            && let Some(index) = self.applied_as_leader(claim.vote())
        {
            return Ok((index, Some(claim)));
        }
        // It does not lead, or has only just been elected: openraft says so, or asks the others itself.
        let read = self.raft().get_read_linearizer(ReadPolicy::ReadIndex).await;
        let linearizer = read.map_err(|error| match error {
            RaftError::APIError(LinearizableReadError::ForwardToLeader(to)) => {
                (self.spec(), ReadError::Moved(node(&to)))
            }
            other => (self.spec(), ReadError::Unconfirmed(other.to_string())),
        })?;
        let ready = linearizer.await_ready(self.raft()).await;
        let state = ready.map_err(|error| (self.spec(), ReadError::Unconfirmed(error.to_string())))?;
        Ok((LogIndex(state.applied().map_or(0, |id| id.index)), None))
    }

    /// What the machine has applied, if it leads by this vote since this process runs and has applied an entry of its own term: that
    /// comes behind all that earlier leaders acknowledged, and what it acknowledges itself is noted before. The machine may answer
    /// while it still applies, under the lock that a reader of it takes.
    fn applied_as_leader(&self, vote: &Vote) -> Option<LogIndex> {
        let metrics = self.raft().metrics();
        let leads = {
            let metrics = metrics.borrow_watched();
            metrics.state == ServerState::Leader && metrics.vote.leader_id == vote.leader_id
        };
        let applied = self.jobs().applied().filter(|applied| leads && applied.leader_id == vote.leader_id)?;
        Some(LogIndex(applied.index))
    }

    /// By which vote it leads, if the last one in its log is its own.
    fn claim(&self) -> Option<Claim> {
        let spec = self.spec();
        let vote = entry::decode_vote(&self.log().state().vote?).ok()?;
        let (replica, group, incarnation) = (spec.replica.0, spec.group.0, spec.incarnation.0);
        let own = v1::GroupRef { group, incarnation, from: replica, to: replica };
        (vote.leader_id.node_id == replica).then(|| Claim::new(vote, own, self.effective().membership()))
    }
}
