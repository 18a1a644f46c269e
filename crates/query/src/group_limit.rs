//! How many rows of each group an answer still takes. Pure. Must see the rows in the answer's order, in which a group's rows
//! follow each other.

use crate::Plan;
use crate::batch::Group;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct GroupLimit {
    limit: u64,
    group: Option<Group>,
    /// Of that group.
    left: u64,
}

impl GroupLimit {
    /// None if the plan has no such limit.
    pub(crate) fn of(plan: &Plan) -> Option<Self> {
        plan.group_limit.map(|limit| Self { limit, group: None, left: 0 })
    }

    /// Whether the answer takes the next row, which is of this group.
    pub(crate) fn takes(&mut self, group: &Group) -> bool {
        if self.group.as_ref() != Some(group) {
            self.group = Some(Group::clone(group));
            self.left = self.limit;
        }
        let takes = self.left > 0;
        self.left = self.left.saturating_sub(1);
        takes
    }
}
