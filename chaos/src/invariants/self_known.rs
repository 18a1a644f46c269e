//! Who leads knows itself as leader; who stands for election knows no leader; who follows does not follow itself.
//!
//! Source: openraft, "vote and membership define the server state".
//!
//! Sound: role and leader follow from one vote in memory, and are published together. A vote that won names its owner,
//! whose role is then leader; one that stands names nobody. A restart takes its own won vote back before anything is
//! published. Only a leader that left the group, a learner by then, may still name itself.

use super::{Invariant, Look, Role};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct SelfKnown;

impl Invariant for SelfKnown {
    const NAME: &'static str = "self known";

    fn see(&mut self, look: &Look) -> Result<(), String> {
        for seen in look.told() {
            let holds = match seen.role {
                Role::Leader => seen.leader == Some(seen.replica),
                Role::Candidate => seen.leader.is_none(),
                Role::Follower => seen.leader != Some(seen.replica),
                Role::Learner | Role::Other => true,
            };
            if !holds {
                return Err(format!("{} is {:?}, and takes {:?} for the leader", seen.who(), seen.role, seen.leader));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Seen;
    use super::super::made::{follower, leader, look, see};
    use super::*;

    fn holds(seen: Seen) -> bool {
        see::<SelfKnown>([look(1, seen)]).is_ok()
    }

    #[test]
    fn a_role_fits_what_is_known_of_the_leader() {
        assert!(holds(leader(1, 5, 9)));
        assert!(!holds(Seen { leader: None, ..leader(1, 5, 9) }));
        assert!(!holds(Seen { leader: Some(2), ..leader(1, 5, 9) }));
        assert!(holds(follower(1, 5, Some(2), 9)) && holds(follower(1, 5, None, 9)));
        assert!(!holds(follower(1, 5, Some(1), 9)));
        assert!(holds(Seen { role: Role::Learner, ..follower(1, 5, Some(1), 9) }), "it has just left the group");
        assert!(holds(Seen { role: Role::Candidate, ..follower(1, 5, None, 9) }));
        assert!(!holds(Seen { role: Role::Candidate, ..follower(1, 5, Some(2), 9) }));
    }
}
