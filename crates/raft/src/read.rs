//! Linearizable reads of replicas that lead: openraft names the index, a majority confirms the vote, and the machine catches up.
//!
//! Never trusts a lease: it saves the round of heartbeats that would be one call for each group and peer, and no more.

use futures::future::try_join_all;
use meridian_env::{Elapsed, Instant, deadline};
use meridian_proto::v1;
use meridian_types::{LogIndex, Mutant, NodeId};
use openraft::ReadPolicy;
use openraft::errors::{LinearizableReadError, RaftError};
use openraft::raft::linearizable_read::Linearizer;

use crate::confirm::{Claim, confirm};
use crate::entry;
use crate::group::{Group, node};
use crate::groups::GroupSpec;
use crate::machine::Machine;
use crate::types::TypeConfig;

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

/// From where on a machine may be read.
struct Point {
    linearizer: Linearizer<TypeConfig>,
    /// What a majority has yet to confirm; nothing if one has.
    claim: Option<Claim>,
}

impl<M: Machine> Group<M> {
    /// Confirms with a majority that this replica leads, waits until it has applied all that was committed before the call, and
    /// gives that index: a read of the machine from then on is linearizable.
    pub async fn read_index(&self, at: Instant) -> Result<LogIndex, ReadError> {
        let read = Self::read_indexes(std::slice::from_ref(self), at).await;
        read.map(|indexes| indexes[0]).map_err(|(_, error)| error)
    }

    /// The same for several groups, with one call to each other node: their indexes, or the first that cannot be read, and why.
    pub async fn read_indexes(groups: &[Self], at: Instant) -> Result<Vec<LogIndex>, (GroupSpec, ReadError)> {
        let Some(first) = groups.first() else { return Ok(Vec::new()) };
        if Mutant::StaleRead.is_planted() && groups.iter().all(Self::is_leader) {
            return Ok(groups.iter().map(|group| group.status().applied.unwrap_or_default()).collect());
        }
        let read = async {
            let points = try_join_all(groups.iter().map(Self::read_point)).await?;
            let claims = points.iter().filter_map(|point| point.claim.clone()).collect();
            confirm(first.peers(), claims).await.map_err(|(id, why)| {
                let spec = groups.iter().map(Self::spec).find(|spec| spec.group == id);
                (spec.unwrap_or(first.spec()), ReadError::Unconfirmed(why))
            })?;
            try_join_all(groups.iter().zip(points).map(|(group, point)| group.ready(point))).await
        };
        match deadline(&*first.env().clock, at, read).await {
            Ok(read) => read,
            Err(Elapsed) => Err((first.spec(), ReadError::Unconfirmed("the deadline passed".into()))),
        }
    }

    /// The vote is looked at first: an index of an earlier term under a later vote could lack what was acknowledged between the
    /// two.
    async fn read_point(&self) -> Result<Point, (GroupSpec, ReadError)> {
        if self.is_damaged() {
            return Err((self.spec(), ReadError::Moved(None)));
        }
        let claim = self.claim();
        let read = match (self.raft().get_read_linearizer(ReadPolicy::LeaseRead).await, claim) {
            (Ok(linearizer), Some(claim)) => Ok(Point { linearizer, claim: Some(claim) }),
            // Its followers are silent, or it has only just been elected: openraft asks them itself.
            (Ok(_), None) | (Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))), _) => {
                let read = self.raft().get_read_linearizer(ReadPolicy::ReadIndex).await;
                read.map(|linearizer| Point { linearizer, claim: None })
            }
            (Err(error), _) => Err(error),
        };
        read.map_err(|error| match error {
            RaftError::APIError(LinearizableReadError::ForwardToLeader(to)) => {
                (self.spec(), ReadError::Moved(node(&to)))
            }
            other => (self.spec(), ReadError::Unconfirmed(other.to_string())),
        })
    }

    /// By which vote it leads, if the last one in its log is its own.
    fn claim(&self) -> Option<Claim> {
        let spec = self.spec();
        let vote = entry::decode_vote(&self.log().state().vote?).ok()?;
        let (replica, group, incarnation) = (spec.replica.0, spec.group.0, spec.incarnation.0);
        let own = v1::GroupRef { group, incarnation, from: replica, to: replica };
        (vote.leader_id.node_id == replica).then(|| Claim::new(vote, own, self.effective().membership()))
    }

    async fn ready(&self, point: Point) -> Result<LogIndex, (GroupSpec, ReadError)> {
        let ready = point.linearizer.await_ready(self.raft()).await;
        let state = ready.map_err(|error| (self.spec(), ReadError::Unconfirmed(error.to_string())))?;
        Ok(LogIndex(state.applied().map_or(0, |id| id.index)))
    }
}
