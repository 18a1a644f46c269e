//! The same entries make the same content, on every replica and after every restart: one hash for each checksum entry.
//!
//! Source: Raft paper, figure 3, State Machine Safety; openraft's simulation tests, `state_machine_safety`; replica
//! convergence, I4 of our own list.
//!
//! Sound: an entry is hashed only once it is committed and applied, there is one committed entry at an index of a
//! group's life, and the content as of it follows from the entries before alone. Which of them came in a snapshot, were
//! replayed or merged is no content, and what the disk spoilt fails its checksum while it is hashed: the replica leaves
//! service instead.

use std::collections::BTreeMap;

use super::{Invariant, Life, Look, Who};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct StateMachineSafety {
    /// The hash of the content as of an entry, and who said so first.
    hashes: BTreeMap<(Life, u64), (u64, Who)>,
}

impl Invariant for StateMachineSafety {
    const NAME: &'static str = "state machine safety";

    fn see(&mut self, look: &Look) -> Result<(), String> {
        for (seen, (index, hash)) in look.told().filter_map(|seen| Some((seen, seen.checksum?))) {
            let (known, first) = *self.hashes.entry((seen.life(), index)).or_insert((hash, seen.who()));
            if known != hash {
                let who = seen.who();
                return Err(format!("as of entry {index} {first} has the hash {known:016x}, {who} has {hash:016x}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{follower, look, see};
    use super::super::{Role, Seen};
    use super::*;

    #[test]
    fn one_entry_one_hash() {
        let hashed = |replica, index, hash| Seen { checksum: Some((index, hash)), ..follower(replica, 5, None, 9) };
        let first = || look(1, hashed(1, 7, 0xa));
        assert_eq!(
            see::<StateMachineSafety>([first(), look(1, hashed(2, 8, 0xb)), look(2, hashed(1, 7, 0xa))]),
            Ok(())
        );
        let lives = [Seen { group: 2, ..hashed(2, 7, 0xb) }, Seen { incarnation: 2, ..hashed(2, 7, 0xb) }];
        assert_eq!(see::<StateMachineSafety>([first()].into_iter().chain(lives.map(|seen| look(1, seen)))), Ok(()));
        let damaged = Seen { role: Role::Other, ..hashed(2, 7, 0xb) };
        assert_eq!(see::<StateMachineSafety>([first(), look(1, damaged)]), Ok(()));
        assert!(see::<StateMachineSafety>([first(), look(1, hashed(2, 7, 0xb))]).is_err());
        assert!(
            see::<StateMachineSafety>([first(), look(2, hashed(1, 7, 0xb))]).is_err(),
            "replayed to something else"
        );
    }
}
