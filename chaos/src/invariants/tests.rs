//! All invariants on histories of a small model of openraft: nothing is found in those that are right, and each planted
//! fault is found. What is published lags behind, messages come late, twice or never, and a crash takes what is not
//! synced.

use std::collections::BTreeSet;

use super::made::blank;
use super::*;

const REPLICAS: usize = 3;
const STEPS: u32 = 1_500;

/// A fault of the model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    None,
    LoseVote,
    LoseLogEnd,
    VoteForAnyLog,
    CommitOnOne,
    ApplyUnsynced,
    ApplyOtherwise,
    CutWhileLeading,
    LeadAgain,
    FollowLesser,
}

/// A log is a list of the reigns that its entries are of.
#[derive(Clone, Debug)]
enum Message {
    Ask { vote: Reign, log: Vec<Reign> },
    Grant { vote: Reign, from: usize },
    Append { reign: Reign, log: Vec<Reign>, committed: Option<u64> },
    Ack { reign: Reign, from: usize, len: usize },
}

/// Numbers from a seed: splitmix64.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

/// What is synced.
#[derive(Clone, Debug)]
struct Disk {
    vote: (Reign, bool),
    log: Vec<Reign>,
    applied: usize,
}

/// A replica of the model. Wide because it is all of one: what is on its disk, in its memory, and on its way.
#[derive(Debug)]
struct Replica {
    at: usize,
    start: u32,
    role: Role,
    /// For whom, and whether that one has won.
    vote: (Reign, bool),
    log: Vec<Reign>,
    /// Entries that are as the leader has them.
    matching: usize,
    /// What was told to be committed, and in which reign.
    told: Option<(Reign, Option<u64>)>,
    /// Entries that may be applied, and are.
    committed: usize,
    applied: usize,
    granted: Vec<usize>,
    acked: [usize; REPLICAS],
    /// Messages that wait for a sync.
    waiting: Vec<(usize, Message)>,
    disk: Disk,
    shown: Seen,
}

impl Replica {
    fn new(at: usize, start: u32, disk: Disk) -> Self {
        let id = at as u64 + 1;
        Self {
            at,
            start,
            role: Role::Follower,
            vote: (disk.vote.0, disk.vote.1 && disk.vote.0.leader != id),
            log: disk.log.clone(),
            matching: 0,
            told: None,
            committed: disk.applied,
            applied: disk.applied,
            granted: Vec::new(),
            acked: [0; REPLICAS],
            waiting: Vec::new(),
            disk,
            shown: blank(id),
        }
    }

    /// Its reign in its term.
    fn own(&self) -> Reign {
        Reign { term: self.vote.0.term, leader: self.at as u64 + 1 }
    }

    fn leads(&self) -> bool {
        self.role == Role::Leader
    }

    fn publish(&mut self) {
        self.shown = Seen {
            role: self.role,
            term: self.vote.0.term,
            leader: self.vote.1.then_some(self.vote.0.leader),
            last: (self.log.len() as u64).checked_sub(1),
            committed: self.told.and_then(|(_, committed)| committed),
            applied: (self.applied as u64).checked_sub(1),
            ..blank(self.at as u64 + 1)
        };
    }

    fn look(&self, bug: Bug) -> Look {
        let (mix, node) =
            (|hash: u64, of: &Reign| (hash ^ of.term ^ of.leader << 32).wrapping_mul(0x100_0000_01b3), self.shown.node);
        let wrong = u64::from(bug == Bug::ApplyOtherwise && self.at == 1 && self.start > 2);
        let hash = self.log[..self.applied.min(self.log.len())].iter().fold(wrong, mix);
        let checksum = (self.applied as u64).checked_sub(1).map(|index| (index, hash));
        let replicas = vec![Seen { checksum, ..self.shown.clone() }];
        Look { at: Duration::ZERO, asked: Duration::ZERO, node, start: self.start, replicas }
    }

    fn stand(&mut self) {
        self.vote = (Reign { term: self.vote.0.term + 1, leader: self.at as u64 + 1 }, false);
        self.role = Role::Candidate;
        self.granted.clear();
        let vote = self.vote.0;
        let ask = |to| (to, Message::Ask { vote, log: self.log.clone() });
        self.waiting.extend((0..REPLICAS).filter(|to| *to != self.at).map(ask));
        self.waiting.push((self.at, Message::Grant { vote, from: self.at }));
    }

    fn append(&mut self) {
        self.log.push(self.vote.0);
        self.waiting.push((self.at, Message::Ack { reign: self.vote.0, from: self.at, len: self.log.len() }));
    }

    fn follow(&mut self, vote: (Reign, bool)) {
        if self.vote.0 != vote.0 {
            self.matching = 0;
        }
        self.vote = vote;
        self.role = Role::Follower;
    }

    fn take(&mut self, message: Message, bug: Bug) {
        match message {
            Message::Ask { vote, log } => {
                let key = |log: &[Reign]| (log.last().copied(), log.len());
                let is_whole = bug == Bug::VoteForAnyLog || key(&log) >= key(&self.log);
                if is_whole && (vote, false) >= self.vote {
                    self.follow((vote, false));
                    self.waiting.push((vote.leader as usize - 1, Message::Grant { vote, from: self.at }));
                }
            }
            Message::Grant { vote, from } if self.role == Role::Candidate && (vote, false) == self.vote => {
                if !self.granted.contains(&from) {
                    self.granted.push(from);
                }
                if 2 * self.granted.len() > REPLICAS {
                    (self.role, self.vote.1, self.acked) = (Role::Leader, true, [0; REPLICAS]);
                    self.append();
                }
            }
            Message::Append { reign, log, committed } => self.take_entries(reign, &log, committed, bug),
            Message::Ack { reign, from, len } if self.leads() && reign == self.vote.0 => self.count(from, len, bug),
            Message::Grant { .. } | Message::Ack { .. } => {}
        }
    }

    fn take_entries(&mut self, reign: Reign, log: &[Reign], committed: Option<u64>, bug: Bug) {
        let is_new = (reign, true) >= self.vote || (bug == Bug::FollowLesser && !self.leads());
        if is_new && reign.leader != self.at as u64 + 1 {
            self.follow((reign, true));
            let same = self.log.iter().zip(log).take_while(|(mine, theirs)| mine == theirs).count();
            if same < log.len() {
                self.log.truncate(same);
                self.log.extend(&log[same..]);
            }
            self.matching = self.matching.max(log.len());
            self.waiting.push((reign.leader as usize - 1, Message::Ack { reign, from: self.at, len: log.len() }));
        }
        // Of one that is refused, too.
        self.told = self.told.max(Some((reign, committed)));
        if let Some((by, Some(index))) = self.told
            && (by, true) == self.vote
        {
            self.committed = self.committed.max(self.matching.min(index as usize + 1));
        }
    }

    fn count(&mut self, from: usize, len: usize, bug: Bug) {
        self.acked[from] = self.acked[from].max(len);
        let mut acked = self.acked;
        acked.sort_unstable();
        let granted = acked[if bug == Bug::CommitOnOne { REPLICAS - 1 } else { REPLICAS / 2 }];
        if granted > 0 && self.log.get(granted - 1) != Some(&self.vote.0) {
            return;
        }
        self.told = self.told.max(Some((self.vote.0, (granted as u64).checked_sub(1))));
        self.committed = self.committed.max(granted);
    }

    fn sync(&mut self, bug: Bug) -> Vec<(usize, Message)> {
        if bug != Bug::LoseVote {
            self.disk.vote = self.vote;
        }
        let lost = usize::from(bug == Bug::LoseLogEnd);
        self.disk.log = self.log[..self.log.len() - lost.min(self.log.len())].to_vec();
        std::mem::take(&mut self.waiting)
    }

    fn apply(&mut self, draw: &mut Draw, bug: Bug) {
        let synced = self.log.iter().zip(&self.disk.log).take_while(|(mine, disk)| mine == disk).count();
        let lies = matches!(bug, Bug::ApplyUnsynced | Bug::LoseLogEnd);
        let upto = if lies { self.committed } else { self.committed.min(synced) };
        self.applied += draw.below(upto.saturating_sub(self.applied) + 1);
    }
}

/// What `see` says first of all looks at one seed's history, if anything.
fn history<B>(seed: u64, bug: Bug, mut see: impl FnMut(&Look) -> Result<(), B>) -> Option<B> {
    let mut draw = Draw(seed);
    let nobody = Reign { term: 0, leader: 0 };
    let disk = Disk { vote: (nobody, false), log: Vec::new(), applied: 0 };
    let mut replicas: Vec<_> = (0..REPLICAS).map(|at| Replica::new(at, 1, disk.clone())).collect();
    let mut network: Vec<(usize, Message)> = Vec::new();
    for _ in 0..STEPS {
        let replica = &mut replicas[draw.below(REPLICAS)];
        match draw.below(100) {
            0..2 if !replica.leads() => replica.stand(),
            2..12 if replica.leads() => replica.append(),
            12..25 if replica.leads() => {
                let len = replica.log.len() - draw.below(replica.log.len().min(3));
                let (reign, log) = (replica.vote.0, replica.log[..len].to_vec());
                let message = Message::Append { reign, log, committed: replica.told.and_then(|told| told.1) };
                network.extend((0..REPLICAS).filter(|to| *to != replica.at).map(|to| (to, message.clone())));
            }
            25..35 if bug != Bug::ApplyUnsynced || replica.at > 0 || draw.below(8) == 0 => {
                network.extend(replica.sync(bug));
            }
            35..70 if !network.is_empty() => {
                // Mostly the newest ones, so that something comes of them.
                let reach = if draw.below(4) == 0 { 64 } else { 4 };
                let back = draw.below(network.len().min(reach));
                let at = network.len() - 1 - back;
                let (to, message) = if draw.below(8) == 0 { network[at].clone() } else { network.remove(at) };
                if draw.below(8) != 0 {
                    replicas[to].take(message, bug);
                }
            }
            70..75 => replica.apply(&mut draw, bug),
            75 => replica.disk.applied = replica.applied.min(replica.disk.log.len()),
            76 => {
                if draw.below(2) == 0 && bug == Bug::None {
                    (replica.disk.vote, replica.disk.log) = (replica.vote, replica.log.clone());
                }
                *replica = Replica::new(replica.at, replica.start + 1, replica.disk.clone());
                if bug == Bug::LeadAgain && replica.disk.vote == (replica.own(), true) {
                    (replica.role, replica.vote.1) = (Role::Leader, true);
                }
            }
            77 if bug == Bug::CutWhileLeading && replica.leads() && replica.log.len() > 1 => drop(replica.log.pop()),
            78..88 => replica.publish(),
            88.. => match see(&replica.look(bug)) {
                Ok(()) => {}
                Err(broken) => return Some(broken),
            },
            _ => {}
        }
    }
    None
}

/// What one seed breaks, if anything.
fn broken(seed: u64, bug: Bug) -> Option<Broken> {
    let mut invariants = Invariants::default();
    history(seed, bug, |look| invariants.see(look))
}

#[test]
fn what_is_right_breaks_nothing() {
    for seed in 0..400 {
        assert_eq!(broken(seed, Bug::None), None, "seed {seed}");
    }
}

#[test]
fn every_fault_is_found() {
    let faults = [
        (Bug::LoseVote, "vote kept"),
        (Bug::LoseLogEnd, "applied in log"),
        (Bug::VoteForAnyLog, "leader completeness"),
        (Bug::CommitOnOne, "leader completeness"),
        (Bug::ApplyUnsynced, "applied in log"),
        (Bug::ApplyOtherwise, "state machine safety"),
        (Bug::CutWhileLeading, "leader append only"),
        (Bug::LeadAgain, "election safety"),
        (Bug::FollowLesser, "vote order"),
    ];
    for (bug, name) in faults {
        let found: BTreeSet<_> = (0..200).filter_map(|seed| Some(broken(seed, bug)?.name)).collect();
        assert!(found.contains(name), "{bug:?}: {found:?}");
    }
}

/// What one might take for an invariant, and is none: all of it happens in histories that are right.
#[test]
fn what_is_left_out_happens() {
    let mut happened = BTreeSet::new();
    for seed in 0..200 {
        let (mut leaders, mut before) = (BTreeMap::new(), BTreeMap::new());
        history(seed, Bug::None, |look| {
            let mut note = |what, happens: bool| happened.extend(happens.then_some(what));
            for seen in look.told() {
                if let Some(reign) = seen.reign() {
                    note("two lead in a term", *leaders.entry(reign.term).or_insert(reign.leader) != reign.leader);
                }
                note("committed beyond the log", seen.committed > seen.last);
                note("applied and not known committed", seen.applied > seen.committed);
                let Some((start, old)) = before.insert(seen.replica, (look.start, seen.clone())) else { continue };
                let (is_same, is_less) = (start == look.start, seen.committed < old.committed);
                let is_reign = seen.reign().is_some_and(|reign| old.reign() == Some(reign));
                note("less is committed", is_same && is_less && seen.committed.is_some());
                note("a leader forgets what is committed", is_same && is_less && is_reign);
                note("a log is cut", is_same && seen.last < old.last);
                note("a restart loses a term", !is_same && seen.term < old.term);
                note("a restart loses entries", !is_same && seen.last < old.last);
                note("a restart applies again", !is_same && seen.applied < old.applied);
            }
            Ok::<(), ()>(())
        });
    }
    assert_eq!(happened.len(), 9, "{happened:?}");
}
