//! What a replica has applied is in its log for ever, over every crash: its log ends there or later.
//!
//! Source: openraft's simulation tests, `state_ordering` (`applied <= last`), over time; ours, `raft/src/adapter.rs`: a
//! replica never applies ahead of its own log; I8 of our own list.
//!
//! Sound: an entry is applied once it is committed and this replica's own log has synced it, and what is committed is
//! never cut off. A snapshot is taken over with all of its files synced, and openraft then begins its log behind it,
//! after a crash too. A purge leaves the purge point as the last entry. A replica whose files or log are lost never
//! comes back under its id.

use std::collections::BTreeMap;

use super::{Invariant, Look, Who};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct AppliedInLog {
    /// The most that each replica was seen to have applied.
    applied: BTreeMap<Who, u64>,
}

impl Invariant for AppliedInLog {
    const NAME: &'static str = "applied in log";

    fn see(&mut self, look: &Look) -> Result<(), String> {
        for seen in look.told() {
            let before = self.applied.get(&seen.who()).copied();
            let Some(applied) = before.max(seen.applied) else { continue };
            self.applied.insert(seen.who(), applied);
            if seen.last < Some(applied) {
                let (who, last, start) = (seen.who(), seen.last, look.start);
                return Err(format!("{who} has applied {applied}, and at start {start} its last entry is {last:?}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Seen;
    use super::super::made::{blank, follower, look, see};
    use super::*;

    #[test]
    fn a_restart_loses_nothing_that_was_applied() {
        let seen = |applied, last| Seen { last, applied, ..follower(1, 5, None, 0) };
        let first = || look(1, seen(Some(7), Some(9)));
        assert_eq!(see::<AppliedInLog>([first(), look(2, blank(1)), look(2, seen(None, Some(7)))]), Ok(()));
        assert!(see::<AppliedInLog>([first(), look(2, seen(None, Some(6)))]).is_err());
        assert!(see::<AppliedInLog>([first(), look(2, seen(None, None))]).is_err());
        assert!(see::<AppliedInLog>([first(), look(1, seen(Some(7), Some(6)))]).is_err(), "the committed was cut off");
        assert!(see::<AppliedInLog>([look(1, seen(Some(10), Some(9)))]).is_err());
    }
}
