//! A trial of a whole cluster: clients that write, delete and read while nodes fail, what they were told, and whether what
//! is read at the end agrees. The simulation and the tests of real processes hold the same trial.
//!
//! What judges is pure: `rows`, `faults`, `history`, `registers`, `witness` and `audit` know no network and count order instead of asking a
//! clock. What acts reaches the cluster as any client does, through `Env`, and never looks inside it; `real` alone starts
//! processes and asks the machine for faults. Ships with nothing.

pub mod audit; // one register, judged by search
pub mod call; // single calls, and what they came to
mod faults; // what is done to the nodes, and when
mod file; // a trial as a file
mod history; // what was asked and told
mod lines; // writes over HTTP
mod load; // the clients
mod nodes; // what nodes say of themselves
pub mod real; // real processes, under real faults
mod registers; // whether an answer agrees with it
mod rows; // what is written
mod verify; // the end of a trial
mod witness; // whether entries agree with it

pub use faults::{Fault, Faults, Victim};
pub use file::{Judged, judge_file};
pub use history::{Deed, History, OpId, Told};
pub use load::{Answer, Load, create_database};
pub use nodes::{busiest, checksums, led_by, statuses, wait_settled};
pub use registers::{Broken, Read, Registers, Scope, Violation};
pub use rows::{DATABASE, Delete, Field, Generator, MEASUREMENTS, Place, Row, Series};
pub use verify::{Checked, verify};
pub use witness::Witness;
