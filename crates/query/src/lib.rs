//! Query algebra: a checked [`Plan`], its run over one shard's series ([`execute`]), and the merge of all shards' ordered
//! answers into rows ([`Merge`]). And what a delete covers: a [`Selection`].
//!
//! Pure: reads no clock, file or socket, and never depends on the order in which series or batches arrive.
//!
//! What a query means:
//! - **Order.** Rows stand in the order (values of the `group_by` tags, time, canonical bytes of the series key). Groups
//!   always ascend; `descending` turns the time around inside each group. `limit` counts rows of the whole answer, `group_limit`
//!   those of each group.
//! - **Raw rows** (no aggregate) have one row for each series and time with at least one value of a field asked for.
//! - **Conditions** on values drop rows (one series, one time) before anything is made of them. Where a field has no value, no
//!   condition on it holds, nor does any but `<>` for NaN. Numbers of all types are compared exactly; `-0.0` is `0.0`.
//! - **Windows** start at 1970-01-01 plus `offset` and every `every` before and after. A window is labelled by its start, even
//!   where that is before the range, but never before 1678-01-01. Empty ones are left out. Without a window, all of a
//!   group is one, labelled by the start of the range.
//! - **`count`** counts values, NaN included, and is 0 for a field without any in a window that others have. All other
//!   aggregates skip NaN and are null where nothing is left.
//! - **`sum`** keeps the field's type; an integer sum that does not fit is an error, never a wrapped number. `mean` is the
//!   exact sum over the count, rounded once. Float sums are exact before they are rounded, so that no cut of the data
//!   into shards, series or batches can change an answer. A sum of nothing but `-0.0` is `0.0`.
//! - **`min`, `max`** order floats as IEEE 754 totalOrder does (`-0.0` before `0.0`). Like `sum` and `mean` they are for
//!   numbers only, as users of InfluxDB expect.
//! - **`first`, `last`** are the ends of the order (time, series key), so that equal times have one answer.

mod aggregate;
mod batch;
mod batches;
mod cell;
mod condition;
mod exact_sum;
mod execute;
mod group_limit;
mod known;
mod matcher;
mod merge;
mod needed;
mod plan;
mod plan_bytes;
mod rows;
mod selection;
mod wire;

pub use aggregate::Aggregate;
pub use batch::{BATCH_BYTES_MAX, BATCH_ROWS_MAX, Batch, ROW_BYTES_MAX};
pub use batches::Batches;
pub use condition::{CompareOp, Condition};
pub use execute::{ExecError, execute};
pub use known::{Known, KnownRows, Whole};
pub use matcher::{MatchOp, Matcher};
pub use merge::{Merge, Row, Tags};
pub use needed::Needed;
pub use plan::{CONDITIONS_MAX, MATCHERS_MAX, Newest, Plan, PlanBuilder, PlanError, Window, columns};
pub use rows::{Column, SeriesRows, Values};
pub use selection::{SELECTION_BYTES_MAX, Selection, SelectionBuilder, SelectionError};
pub use wire::DecodeError;
