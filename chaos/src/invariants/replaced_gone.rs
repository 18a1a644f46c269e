//! A node that runs a newer replica of a group never runs an older one again: what gave way has forgotten what it voted
//! for.
//!
//! Source: `node/src/replicas.rs` ("ids only rise") and `node/src/shard.rs`: files say whose they are from the first
//! day on.
//!
//! Sound: the files are marked as the new replica's, durably, before it runs, and a catalogue that is being rebuilt
//! after a restart, and still tells of the old one, finds them and waits. A damaged replica does not run: an old
//! catalogue may name it.

use std::collections::BTreeMap;

use super::{Invariant, Look, Role};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct ReplacedGone {
    /// The newest replica that ran, by node and group.
    newest: BTreeMap<(u32, u32), u64>,
}

impl Invariant for ReplacedGone {
    const NAME: &'static str = "replaced gone";

    fn see(&mut self, look: &Look) -> Result<(), String> {
        for seen in look.replicas.iter().filter(|seen| seen.role != Role::Other) {
            let newest = self.newest.entry((look.node, seen.group)).or_insert(seen.replica);
            if seen.replica < *newest {
                return Err(format!("{} runs on n{} again, after r{newest}", seen.who(), look.node));
            }
            *newest = seen.replica;
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
    fn ids_only_rise() {
        let runs = |replica| Seen { node: 1, ..follower(replica, 5, None, 9) };
        assert_eq!(see::<ReplacedGone>([look(1, runs(4)), look(1, runs(7)), look(2, runs(7))]), Ok(()));
        let other = Seen { group: 2, ..runs(4) };
        assert_eq!(see::<ReplacedGone>([look(1, runs(7)), look(1, other)]), Ok(()));
        let damaged = Seen { role: Role::Other, ..runs(4) };
        assert_eq!(see::<ReplacedGone>([look(1, runs(7)), look(2, damaged)]), Ok(()));
        assert!(see::<ReplacedGone>([look(1, runs(4)), look(1, runs(7)), look(2, runs(4))]).is_err());
        let unshown = Seen { node: 1, ..blank(4) };
        assert!(see::<ReplacedGone>([look(1, runs(7)), look(2, unshown)]).is_err(), "it runs all the same");
    }
}
