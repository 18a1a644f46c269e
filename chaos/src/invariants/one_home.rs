//! A replica is on one node and in one life of one group, for ever.
//!
//! Source: item 15 of our openraft checklist (ids are never reused); `node/src/replicas.rs` and `meta/src/apply.rs`,
//! where ids come from one counter in the catalogue and never move.
//!
//! Sound: the counter is replicated and only rises, a replica is given with its node, and no command changes either.
//! The catalogue's own replicas have their nodes' numbers, which may be shards' replicas' numbers too: those are told
//! apart by group. A damaged replica's answer has no incarnation; it still has its place. Who is known as leader is a
//! replica of the group.

use std::collections::BTreeMap;

use super::{Invariant, Life, Look, META, Role, Seen};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct OneHome {
    /// Where each group's replicas are.
    nodes: BTreeMap<(u32, u64), u32>,
    /// What the replicas of shards belong to.
    lives: BTreeMap<u64, Life>,
}

impl OneHome {
    fn place(&mut self, seen: &Seen) -> Result<(), String> {
        let (replica, group, node) = (seen.replica, seen.group, seen.node);
        let known = *self.nodes.entry((group, replica)).or_insert(node);
        if known == node {
            Ok(())
        } else {
            Err(format!("r{replica} of g{group} was on n{known}, now it is on n{node}"))
        }
    }

    fn belong(&mut self, replica: u64, life: Life) -> Result<(), String> {
        let known = *self.lives.entry(replica).or_insert(life);
        if known == life { Ok(()) } else { Err(format!("r{replica} was of {known}, now it is of {life}")) }
    }
}

impl Invariant for OneHome {
    const NAME: &'static str = "one home";

    fn see(&mut self, look: &Look) -> Result<(), String> {
        for seen in &look.replicas {
            self.place(seen)?;
            if seen.group != META && seen.role != Role::Other {
                [Some(seen.replica), seen.leader].iter().flatten().try_for_each(|id| self.belong(*id, seen.life()))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{follower, look, see};
    use super::*;

    fn holds(first: Seen, then: Seen) -> bool {
        see::<OneHome>([look(1, first), look(1, then)]).is_ok()
    }

    #[test]
    fn a_replica_stays_where_it_is() {
        let seen = || follower(1, 5, None, 9);
        assert!(holds(seen(), seen()));
        assert!(!holds(seen(), Seen { node: 2, ..seen() }));
        assert!(!holds(seen(), Seen { group: 2, ..seen() }));
        assert!(!holds(seen(), Seen { incarnation: 2, ..seen() }));
        assert!(
            !holds(seen(), Seen { group: 2, leader: Some(1), ..follower(3, 5, None, 9) }),
            "led by another group's"
        );
        assert!(holds(seen(), Seen { role: Role::Other, incarnation: 0, ..seen() }), "it is damaged");
        assert!(holds(seen(), Seen { group: META, ..seen() }), "the catalogue's have numbers of their own");
    }
}
