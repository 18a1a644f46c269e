//! Three nodes with three groups through the public API alone: over turmoil with crashes and partitions, and over TCP.
//! What a machine of its own, or the log, must do is tested with them.

mod ledger; // what was proposed and what came of it
mod list; // the machine
mod node; // one node as a process would start it
mod refused; // peers that do not belong here
mod replaced; // replicas that come and go
mod simulated; // the world that turns against them
mod snapshots; // replicas that fell behind the log
mod staged; // snapshots that a peer should not send
mod tcp; // the same over the system's TCP
