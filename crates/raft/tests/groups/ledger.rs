//! What was proposed to which group and what came of it; outlives every crash. A proposal without an outcome is unknown.

use std::collections::{BTreeMap, BTreeSet};

use meridian_raft::ProposeError;
use meridian_types::{GroupId, LogIndex, NodeId};
use parking_lot::Mutex;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Acked(LogIndex),
    Moved,
    Unknown,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Proposal {
    pub(crate) group: GroupId,
    pub(crate) by: NodeId,
    pub(crate) outcome: Outcome,
}

/// Every proposal by its value; values increase and none is proposed twice.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    proposals: Mutex<BTreeMap<u64, Proposal>>,
    /// Reads that were confirmed, by node.
    reads: Mutex<BTreeMap<NodeId, u64>>,
    /// What a node saw and must not see. Kept, because a panic in the middle of a simulated host takes the process down.
    wrong: Mutex<Vec<String>>,
}

impl Ledger {
    /// A value that nobody has proposed yet.
    pub(crate) fn begin(&self, group: GroupId, by: NodeId) -> u64 {
        let mut proposals = self.proposals.lock();
        let value = proposals.len() as u64;
        proposals.insert(value, Proposal { group, by, outcome: Outcome::Unknown });
        value
    }

    /// How many were proposed: the next value.
    pub(crate) fn proposed(&self) -> u64 {
        self.proposals.lock().len() as u64
    }

    pub(crate) fn end(&self, value: u64, result: &Result<(LogIndex, usize), ProposeError>) {
        let outcome = match result {
            Ok((index, _)) => Outcome::Acked(*index),
            Err(ProposeError::Moved(_)) => Outcome::Moved,
            Err(ProposeError::Unknown(_)) => Outcome::Unknown,
        };
        self.proposals.lock().get_mut(&value).expect("it was begun").outcome = outcome;
    }

    /// Index and value of what was acked in a group so far.
    pub(crate) fn acked(&self, group: GroupId) -> BTreeSet<(LogIndex, u64)> {
        let proposals = self.proposals.lock();
        let of_group = proposals.iter().filter(|(_, p)| p.group == group);
        let acked = of_group.filter_map(|(value, p)| match p.outcome {
            Outcome::Acked(index) => Some((index, *value)),
            _ => None,
        });
        acked.collect()
    }

    pub(crate) fn since(&self, value: u64, by: NodeId) -> Vec<Proposal> {
        self.proposals.lock().range(value..).map(|(_, p)| *p).filter(|p| p.by == by).collect()
    }

    pub(crate) fn count_read(&self, node: NodeId, result: Result<(), String>) {
        *self.reads.lock().entry(node).or_default() += 1;
        self.wrong.lock().extend(result.err());
    }

    /// Whether no read was wrong so far.
    pub(crate) fn check_reads(&self) {
        let wrong = self.wrong.lock();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    pub(crate) fn reads(&self, node: NodeId) -> u64 {
        self.reads.lock().get(&node).copied().unwrap_or(0)
    }

    /// Every acked proposal is there once and where it was said to be; no refused one is; none comes twice or from nowhere.
    pub(crate) fn check(&self, group: GroupId, list: &[(LogIndex, u64)]) {
        self.check_reads();
        assert!(list.is_sorted_by(|a, b| a.0 < b.0), "{group}: in the order of the log");
        let there: BTreeMap<u64, LogIndex> = list.iter().map(|(index, value)| (*value, *index)).collect();
        assert_eq!(there.len(), list.len(), "{group}: a value comes twice");
        let proposals = self.proposals.lock();
        for (value, index) in &there {
            let proposal = proposals.get(value).unwrap_or_else(|| panic!("{group}: nobody proposed {value}"));
            assert_eq!(proposal.group, group, "{value} is another group's");
            assert_ne!(
                proposal.outcome,
                Outcome::Moved,
                "{group}: {value} was certainly not applied, and is at {index}"
            );
        }
        for (value, proposal) in proposals.iter().filter(|(_, p)| p.group == group) {
            if let Outcome::Acked(index) = proposal.outcome {
                assert_eq!(there.get(value), Some(&index), "{group}: {value} was acked at {index}");
            }
        }
    }
}
