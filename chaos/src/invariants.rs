//! What must hold of the replicas at any time, checked while the trouble goes on: each look at a node is held against
//! all looks before. Pure. Each invariant is one file that names its source and says why it never fires on a correct
//! cluster.
//!
//! Must never take more from an answer than it says. What openraft 0.10.0-alpha.37 and our own code make of it:
//!
//! - All figures of one replica are of one moment, at or before the answer, and later answers of a process are of later
//!   moments. The moment may be before the question: openraft publishes at the end of a round of its loop, and a round
//!   may wait for the disk. So nothing here takes two replicas' figures for figures of the same time, or puts one
//!   before the other.
//! - `term` and `leader` are the vote in memory. Its sync may still wait in the queue, so that a crash may take it
//!   back. Only the vote of one who leads is surely synced: `SendVote` stands behind `SaveVote` in a queue that keeps
//!   its order.
//! - More than one may lead in a term: our leader ids are `leader_id_adv`, ordered by term and then by replica, and a
//!   vote goes from one candidate to a greater one within a term. So what textbooks say of terms holds of [`Reign`]s.
//! - `last` is the log in memory, with what is not synced, and conflicts are cut off again.
//! - `committed` is openraft's `cluster_committed`, what some leader told: not kept over a restart, at times beyond
//!   `last`, and with a new leader it goes back or is unknown again. But it is always true, and whoever told it reigned
//!   no later than the vote beside it: requests of older leaders are refused, those of newer ones change the vote
//!   first.
//! - `applied` rises only once this replica's own log has synced the entry, or its files have taken over a snapshot
//!   with it (`raft/src/adapter.rs`). The files may lag behind: a restart may show less, and then rises again.
//! - Before its first round a replica shows nothing at all, whatever it has on disk.

mod applied_in_log; // what was applied is never lost
mod applied_order; // nothing is applied backwards
mod election_safety; // a reign does not begin twice
mod leader_append_only; // a leader's log only grows
mod leader_commits; // what a leader has committed stays so
mod leader_completeness; // a leader has what was committed before it
mod one_home; // a replica stays where it is
mod replaced_gone; // a replica that gave way never runs again
mod self_known; // who leads knows it
mod state_machine_safety; // the same entries, the same content
mod vote_kept; // a vote that won outlives a crash
mod vote_order; // votes only rise

#[cfg(test)]
mod made; // looks for tests

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use applied_in_log::AppliedInLog;
use applied_order::AppliedOrder;
use election_safety::ElectionSafety;
use leader_append_only::LeaderAppendOnly;
use leader_commits::LeaderCommits;
use leader_completeness::LeaderCompleteness;
use one_home::OneHome;
use replaced_gone::ReplacedGone;
use self_known::SelfKnown;
use state_machine_safety::StateMachineSafety;
use vote_kept::VoteKept;
use vote_order::VoteOrder;

/// The group of the catalogue, whose replicas have their nodes' numbers.
const META: u32 = 0;

/// What a replica does, as it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Leader,
    Follower,
    Candidate,
    Learner,
    /// Stopped, failed or damaged: its figures are old or missing.
    Other,
}

impl Role {
    /// The role with this name in a node's answer.
    pub(crate) fn named(name: &str) -> Self {
        match name {
            "leader" => Self::Leader,
            "follower" => Self::Follower,
            "candidate" => Self::Candidate,
            "learner" => Self::Learner,
            _ => Self::Other,
        }
    }
}

/// One replica as its node said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    pub(crate) group: u32,
    /// The group's life.
    pub(crate) incarnation: u32,
    pub(crate) replica: u64,
    pub(crate) node: u32,
    pub(crate) role: Role,
    pub(crate) term: u64,
    /// The replica that leads, as this one knows.
    pub(crate) leader: Option<u64>,
    pub(crate) last: Option<u64>,
    pub(crate) committed: Option<u64>,
    pub(crate) applied: Option<u64>,
    /// An entry, and the hash of the content as of it; `None` where the answer has the entry 0.
    pub(crate) checksum: Option<(u64, u64)>,
}

impl Seen {
    fn life(&self) -> Life {
        Life { group: self.group, incarnation: self.incarnation }
    }

    fn who(&self) -> Who {
        Who { life: self.life(), replica: self.replica }
    }

    /// What it leads in, if it leads.
    fn reign(&self) -> Option<Reign> {
        (self.role == Role::Leader).then_some(Reign { term: self.term, leader: self.replica })
    }

    /// Nobody whom it has followed reigned later than this.
    fn reign_max(&self) -> Reign {
        Reign { term: self.term, leader: self.leader.unwrap_or(u64::MAX) }
    }

    /// Its process has not shown it yet, or it has never done anything.
    fn is_blank(&self) -> bool {
        self.term == 0 && self.last.is_none()
    }
}

/// One life of a group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Life {
    group: u32,
    incarnation: u32,
}

/// A replica of a group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Who {
    life: Life,
    replica: u64,
}

/// The time of one leader, in the order of votes: openraft's leader id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Reign {
    term: u64,
    leader: u64,
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "g{}/{}", self.group, self.incarnation)
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{} of {}", self.replica, self.life)
    }
}

impl fmt::Display for Reign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "term {} of r{}", self.term, self.leader)
    }
}

/// One node's whole answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Look {
    /// When the answer came.
    pub(crate) at: Duration,
    /// When the question was sent: the node answered at some time from then to `at`.
    pub(crate) asked: Duration,
    pub(crate) node: u32,
    /// How often the node's process was started until then, by whomever: a restart loses what is not synced. If a start
    /// lies between question and answer, nobody knows which process answered, and there is no look.
    pub(crate) start: u32,
    pub(crate) replicas: Vec<Seen>,
}

impl Look {
    /// The replicas whose figures say something.
    fn told(&self) -> impl Iterator<Item = &Seen> {
        self.replicas.iter().filter(|seen| seen.role != Role::Other && !seen.is_blank())
    }
}

/// Something that holds of all looks, whatever goes wrong around the nodes.
trait Invariant {
    const NAME: &'static str;

    /// Takes one look more. Those at one node come in order.
    fn see(&mut self, look: &Look) -> Result<(), String>;
}

/// What does not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Broken {
    pub(crate) name: &'static str,
    pub(crate) at: Duration,
    pub(crate) why: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is broken after {:?}: {}", self.name, self.at, self.why)
    }
}

/// All of them. Wide because each has its own memory.
#[derive(Debug, Default)]
pub(crate) struct Invariants {
    /// When the last answer of each node came.
    heard: BTreeMap<u32, Duration>,
    election_safety: ElectionSafety,
    leader_append_only: LeaderAppendOnly,
    leader_completeness: LeaderCompleteness,
    leader_commits: LeaderCommits,
    state_machine_safety: StateMachineSafety,
    self_known: SelfKnown,
    vote_order: VoteOrder,
    vote_kept: VoteKept,
    applied_order: AppliedOrder,
    applied_in_log: AppliedInLog,
    one_home: OneHome,
    replaced_gone: ReplacedGone,
}

impl Invariants {
    /// Takes one look more, and says what it breaks. A question that was sent before the node's last answer came may
    /// have been overtaken by it, and says nothing.
    pub(crate) fn see(&mut self, look: &Look) -> Result<(), Broken> {
        if self.heard.get(&look.node).is_some_and(|heard| look.asked < *heard) {
            return Ok(());
        }
        self.heard.insert(look.node, look.at);
        check(&mut self.election_safety, look)?;
        check(&mut self.leader_append_only, look)?;
        check(&mut self.leader_completeness, look)?;
        check(&mut self.leader_commits, look)?;
        check(&mut self.state_machine_safety, look)?;
        check(&mut self.self_known, look)?;
        check(&mut self.vote_order, look)?;
        check(&mut self.vote_kept, look)?;
        check(&mut self.applied_order, look)?;
        check(&mut self.applied_in_log, look)?;
        check(&mut self.one_home, look)?;
        check(&mut self.replaced_gone, look)
    }
}

fn check<I: Invariant>(invariant: &mut I, look: &Look) -> Result<(), Broken> {
    invariant.see(look).map_err(|why| Broken { name: I::NAME, at: look.at, why })
}

#[cfg(test)]
mod tests;
