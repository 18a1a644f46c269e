//! Within one life of its process a replica never applies less than it had.
//!
//! Source: openraft's simulation tests, `monotonic` (MonotonicAppliedIndex).
//!
//! Sound: openraft's figure is raised only, by applying and by a snapshot that is beyond it, and a process starts a
//! replica once: a new one in its place has another id. A restart begins at what the files and the log know to be
//! committed, which may be less; what must then still be there, `applied_in_log` says.

use std::collections::BTreeMap;

use super::{Invariant, Look, Who};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct AppliedOrder {
    /// The start at which each replica was seen last, and what it had applied.
    applied: BTreeMap<Who, (u32, Option<u64>)>,
}

impl Invariant for AppliedOrder {
    const NAME: &'static str = "applied order";

    fn see(&mut self, look: &Look) -> Result<(), String> {
        for seen in look.told() {
            let before = self.applied.insert(seen.who(), (look.start, seen.applied));
            if let Some((_, applied)) = before.filter(|(start, _)| *start == look.start)
                && seen.applied < applied
            {
                return Err(format!("{} had applied {applied:?}, now {:?}", seen.who(), seen.applied));
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
    fn applied_rises_within_a_process() {
        let applied = |applied| Seen { applied, ..follower(1, 5, None, 9) };
        let looks = |then: Seen, start| [look(1, applied(Some(7))), look(start, then)];
        assert_eq!(see::<AppliedOrder>(looks(applied(Some(7)), 1)), Ok(()));
        assert_eq!(see::<AppliedOrder>(looks(applied(Some(3)), 2)), Ok(()), "it is replayed");
        assert_eq!(see::<AppliedOrder>(looks(Seen { role: Role::Other, ..applied(None) }, 1)), Ok(()), "it is damaged");
        assert!(see::<AppliedOrder>(looks(applied(Some(3)), 1)).is_err());
        assert!(see::<AppliedOrder>(looks(applied(None), 1)).is_err());
    }
}
