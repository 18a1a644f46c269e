//! Small blocks become fewer, and rows that were deleted or cut off leave the disk: `plan` chooses, a task merges, the
//! manifest switches.

mod merge;
mod plan;

pub(crate) use merge::Compacted;
