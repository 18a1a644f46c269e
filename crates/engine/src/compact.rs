//! Small blocks become fewer, and rows that were deleted or cut off leave the disk: `plan` chooses, a task merges series
//! one by one or, of those that have few rows, gathers whole chunks of them, and the manifest switches.

mod gather;
mod merge;
mod plan;

pub(crate) use merge::Compacted;
