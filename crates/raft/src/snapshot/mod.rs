//! Snapshots on their way from one replica to another: a machine's files, offered, sent, staged, verified, and handed to openraft.
//!
//! The receiver stages files by their hash, across restarts of either end, so that a transfer goes on where an earlier one
//! ended and sends no file twice while there is space. What is staged is trusted only once the whole file has the offered hash.
//! Every wait has a bound and none is over the whole: a large snapshot may take as long as it makes progress.

mod fuzz; // any bytes as an offer
mod install; // what a replica does with an offer
mod offer; // what is offered, checked
mod receive; // staging
mod send; // the sender, and its bounds for the whole node

use meridian_proto::v1;

pub use fuzz::fuzz_offer;
pub(crate) use receive::Incoming;
pub(crate) use send::{Transfers, send};

use crate::machine::{Received, View};
use crate::types::TypeConfig;

/// The files of a snapshot, at either end of its way.
#[derive(Clone, Debug)]
pub(crate) enum SnapshotData {
    /// This replica's own, to send.
    Own(View),
    /// Another's, to install.
    Received(Received),
}

pub(crate) type Snapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, SnapshotData>;
pub(crate) type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;

fn reply(reply: v1::snapshot_reply::Reply) -> v1::SnapshotReply {
    v1::SnapshotReply { reply: Some(reply) }
}
