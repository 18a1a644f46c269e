//! A leader's log only grows while it leads.
//!
//! Source: Raft paper, figure 3, Leader Append-Only. openraft's simulation tests leave it out, as covered by log
//! matching.
//!
//! Sound: `last` is the log in memory, from which only what follows another leader cuts anything, and whoever follows
//! has given up leading in that term for good. A purge moves the log's other end. It begins with the entry that every
//! leader appends when it is elected, before the next look, so that it is never empty.

use std::collections::BTreeMap;

use super::{Invariant, Look, Reign, Who};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct LeaderAppendOnly {
    /// Each replica's latest reign, the start that it is in, and the last entry then.
    logs: BTreeMap<Who, (Reign, u32, Option<u64>)>,
}

impl Invariant for LeaderAppendOnly {
    const NAME: &'static str = "leader append only";

    fn see(&mut self, look: &Look) -> Result<(), String> {
        for (seen, reign) in look.told().filter_map(|seen| Some((seen, seen.reign()?))) {
            let before = self.logs.insert(seen.who(), (reign, look.start, seen.last));
            if let Some((_, _, last)) = before.filter(|(led, start, _)| (*led, *start) == (reign, look.start))
                && seen.last < last
            {
                let now = seen.last;
                return Err(format!("{} in {reign}: its last entry was {last:?}, now {now:?}", seen.who()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{follower, leader, look, see};
    use super::*;

    #[test]
    fn only_followers_cut_their_log() {
        let reign = |last| look(1, leader(1, 5, last));
        assert_eq!(see::<LeaderAppendOnly>([reign(9), reign(9), reign(12)]), Ok(()));
        assert_eq!(see::<LeaderAppendOnly>([reign(9), look(1, follower(1, 6, Some(2), 7))]), Ok(()));
        assert_eq!(see::<LeaderAppendOnly>([reign(9), look(1, leader(1, 7, 8))]), Ok(()), "it followed in between");
        assert!(see::<LeaderAppendOnly>([reign(9), reign(8)]).is_err());
    }
}
