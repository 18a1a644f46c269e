//! Access to a cluster from routers and from Rust programs that know the ring: the map of the cluster and its watch, calls
//! that follow leaders, deadlines on everything, and retries with the same request id. And a writer for programs that go
//! through a router.
//!
//! Retries happen here and at no other layer. Knows no storage and no openraft.

mod admin;
mod cluster;
mod delete;
mod map;
mod nodes;
mod propose;
mod scan;
mod session;
mod votes;
mod writer;

pub use cluster::Cluster;
pub use delete::Deletion;
pub use map::{Database, Map, Node, Shard};
pub use nodes::connect;
pub use propose::{Proposal, Written};
pub use scan::Scan;
pub use session::{Pending, Session, Sessions};
pub use writer::{Bounds, Encoder, FrameStream, Made, Report, Series, Unstored, Writer, WriterSettings};
