//! Who is in a group: learners come, become voters, and go. One change at a time, each asked for as a whole, so that it can
//! be asked for again by whoever leads next.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use meridian_env::{Elapsed, Instant, deadline};
use meridian_types::{NodeId, ReplicaId};
use openraft::Instant as _;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::raft::Precondition;
use openraft::{ChangeMembers, ServerState};

use crate::group::{Group, node};
use crate::machine::Machine;
use crate::types::{Member, StoredMembership, TypeConfig};

/// How long after its last sign of life a replica counts as running: many heartbeats, and no longer than a restart takes.
const ALIVE: Duration = Duration::from_secs(1);

/// The replicas of a group and where they are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Members {
    /// Those that count for a majority; while the group changes, both the old and the new ones.
    pub voters: BTreeMap<ReplicaId, NodeId>,
    /// Those that only follow.
    pub learners: BTreeMap<ReplicaId, NodeId>,
    /// Whether a change is half done: old and new voters must both agree until it is asked for again.
    pub is_changing: bool,
}

/// Why a membership is not known to have changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MembershipError {
    /// Certainly not changed: this replica does not lead; the leader, if it knows.
    #[error("this replica does not lead the group")]
    Moved(Option<NodeId>),
    /// Certainly not changed: another change is not finished. Ask again.
    #[error("another change of the group's membership is not finished")]
    InProgress,
    /// Certainly not changed: a voter must have been a learner before, so that it has the data.
    #[error("{0} is no learner of the group: add it first")]
    NotALearner(ReplicaId),
    /// Certainly not changed: a group needs voters.
    #[error("a group without voters decides nothing")]
    NoVoters,
    /// Certainly not changed: a replica never moves, another one takes its place.
    #[error("{0} is on {1}: a replica on another node is another replica")]
    Elsewhere(ReplicaId, NodeId),
    /// It may have changed or may yet do so. Ask again.
    #[error("the outcome is not known: {0}")]
    Unknown(String),
}

impl<M: Machine> Group<M> {
    /// Who is in the group, as far as this replica knows.
    pub fn members(&self) -> Members {
        let membership = self.effective();
        let membership = membership.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let (voters, learners) = membership
            .nodes()
            .map(|(replica, member)| (ReplicaId(*replica), member.node))
            .partition(|(replica, _)| voters.contains(&replica.0));
        Members { voters, learners, is_changing: membership.get_joint_config().len() > 1 }
    }

    /// Adds a replica that follows and does not vote. It may be behind by everything. Doing it again changes nothing.
    pub async fn add_learner(&self, replica: ReplicaId, on: NodeId, at: Instant) -> Result<(), MembershipError> {
        self.check_leads()?;
        let effective = self.effective();
        if let Some(known) = effective.membership().get_node(&replica.0) {
            return if known.node == on { Ok(()) } else { Err(MembershipError::Elsewhere(replica, known.node)) };
        }
        let change = ChangeMembers::AddNodes(BTreeMap::from([(replica.0, Member { node: on })]));
        self.change(change, &effective, at).await
    }

    /// Makes exactly these the group's voters; each must be a voter or a learner already, and whoever is not named leaves.
    /// Finishes a change that was left half done. Doing it again changes nothing.
    pub async fn set_voters(&self, voters: &BTreeMap<ReplicaId, NodeId>, at: Instant) -> Result<(), MembershipError> {
        self.check_leads()?;
        let effective = self.effective();
        let membership = effective.membership();
        for (replica, on) in voters {
            match membership.get_node(&replica.0) {
                None => return Err(MembershipError::NotALearner(*replica)),
                Some(known) if known.node != *on => return Err(MembershipError::Elsewhere(*replica, known.node)),
                Some(_) => {}
            }
        }
        let wanted: BTreeSet<u64> = voters.keys().map(|replica| replica.0).collect();
        let all: BTreeSet<u64> = membership.nodes().map(|(replica, _)| *replica).collect();
        if membership.get_joint_config() == std::slice::from_ref(&wanted) && all == wanted {
            return Ok(());
        }
        if wanted.is_empty() {
            return Err(MembershipError::NoVoters);
        }
        // Old voters are named until the change no longer needs them; learners that are not wanted go at once.
        let old: BTreeSet<u64> = membership.voter_ids().collect();
        let stay = membership.nodes().filter(|(replica, _)| wanted.contains(replica) || old.contains(replica));
        let stay = stay.map(|(replica, member)| (*replica, *member)).collect();
        let change =
            ChangeMembers::Batch(vec![ChangeMembers::ReplaceAllNodes(stay), ChangeMembers::ReplaceAllVoters(wanted)]);
        self.change(change, &effective, at).await
    }

    /// As leader: the voter that can take over the soonest, which is the one that has the most of the log among those that
    /// were heard of just now. `None` if there is none.
    pub fn successor(&self) -> Option<ReplicaId> {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        let heard = metrics.heartbeat.as_ref()?;
        let lives = |id: &u64| {
            let at = heard.get(id).copied().flatten();
            at.is_some_and(|at| at.elapsed() < ALIVE)
        };
        let voters = metrics.membership_config.membership().voter_ids();
        let others = voters.filter(|id| *id != self.spec().replica.0 && lives(id));
        let matched = |id: &u64| metrics.replication.as_ref()?.get(id)?.as_ref().map(|log_id| log_id.index);
        others.max_by_key(matched).map(ReplicaId)
    }

    pub(crate) fn effective(&self) -> StoredMembership {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        StoredMembership::clone(&metrics.membership_config)
    }

    fn check_leads(&self) -> Result<(), MembershipError> {
        let leads = self.raft().metrics().borrow_watched().state == ServerState::Leader;
        if leads { Ok(()) } else { Err(MembershipError::Moved(self.leader())) }
    }

    /// Changes the membership if it is still `from`.
    async fn change(
        &self,
        change: ChangeMembers<u64, Member>,
        from: &StoredMembership,
        at: Instant,
    ) -> Result<(), MembershipError> {
        let unchanged = Precondition::<TypeConfig>::LastMembershipLogId { last_membership_log_id: *from.log_id() };
        let changing = self.raft().change_membership_if(change, false, [unchanged]);
        match deadline(&*self.env().clock, at, changing).await {
            Err(Elapsed) => Err(MembershipError::Unknown("the deadline passed after it was proposed".into())),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to)))) => {
                Err(MembershipError::Moved(node(&to)))
            }
            Ok(Err(RaftError::APIError(
                ClientWriteError::PreconditionFailed(_)
                | ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_)),
            ))) => Err(MembershipError::InProgress),
            Ok(Err(error)) => Err(MembershipError::Unknown(error.to_string())),
        }
    }
}
