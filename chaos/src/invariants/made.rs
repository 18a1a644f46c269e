//! Looks made by hand, for tests: replicas of one group, each on the node with its number.

use std::time::Duration;

use super::{Invariant, Look, Role, Seen};

/// A leader with a log up to `last`.
pub(super) fn leader(replica: u64, term: u64, last: u64) -> Seen {
    Seen { role: Role::Leader, ..follower(replica, term, Some(replica), last) }
}

/// A follower with a log up to `last`.
pub(super) fn follower(replica: u64, term: u64, leader: Option<u64>, last: u64) -> Seen {
    Seen {
        group: 1,
        incarnation: 1,
        replica,
        node: replica as u32,
        role: Role::Follower,
        term,
        leader,
        last: Some(last),
        committed: None,
        applied: None,
        checksum: None,
    }
}

/// A replica that its process has not shown yet.
pub(super) fn blank(replica: u64) -> Seen {
    Seen { role: Role::Learner, last: None, ..follower(replica, 0, None, 0) }
}

/// What one node's process says.
pub(super) fn look(start: u32, replica: Seen) -> Look {
    Look { at: Duration::ZERO, asked: Duration::ZERO, node: replica.node, start, replicas: vec![replica] }
}

/// Whether all hold: what is broken by the last look at the latest, but by none before.
pub(super) fn see<I: Invariant + Default>(looks: impl IntoIterator<Item = Look>) -> Result<(), String> {
    let mut invariant = I::default();
    let mut looks = looks.into_iter().peekable();
    while let Some(look) = looks.next() {
        let held = invariant.see(&look);
        if looks.peek().is_none() {
            return held;
        }
        assert_eq!(held, Ok(()), "broken too early");
    }
    Ok(())
}
