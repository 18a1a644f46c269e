//! What is offered: the leader's vote, where in the log the files stand, and the files. Read here, an offer is one that openraft
//! takes without a panic, that fits the limits, and whose names name files in one directory.

use std::collections::BTreeSet;

use bytes::Bytes;
use meridian_proto::v1;
use meridian_types::limits;

use super::SnapshotMeta;
use crate::entry::EntryError;
use crate::machine::{Applied, View, decode_mark};
use crate::types::{LogId, Vote};
use crate::wire;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    pub(super) vote: Vote,
    pub(super) applied: Applied,
    /// The last entry that the files hold, and all that openraft wants to know of them.
    pub(super) last: LogId,
    pub(super) meta: SnapshotMeta,
    pub(super) files: Vec<OfferedFile>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct OfferedFile {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) hash: u128,
}

pub(super) fn offer_out(group: v1::GroupRef, vote: &Vote, view: &View) -> v1::SnapshotOffer {
    let file = |file: &crate::ViewFile| v1::SnapshotFile {
        name: file.name.clone(),
        bytes: file.bytes,
        hash: Bytes::copy_from_slice(&file.hash.to_be_bytes()),
    };
    v1::SnapshotOffer {
        group: Some(group),
        vote: Some(wire::vote_out(vote)),
        applied: view.applied.0.clone(),
        files: view.files.iter().map(file).collect(),
    }
}

pub(super) fn offer_in(offer: v1::SnapshotOffer) -> Result<Offer, EntryError> {
    let vote = wire::vote_in(offer.vote)?;
    if !vote.committed {
        return Err(EntryError::Malformed("a snapshot comes from a leader, and its vote is not committed"));
    }
    let applied = Applied(offer.applied);
    let (last, last_membership) = decode_mark(&applied)?;
    let last = last.map(wire::log_id_in).transpose()?.ok_or(EntryError::Malformed("a snapshot of nothing"))?;
    let membership = last_membership.log_id().map(wire::log_id_in).transpose()?;
    if last.leader_id > vote.leader_id {
        return Err(EntryError::Malformed("a snapshot holds an entry of a later leader than its own"));
    }
    let is_before = |id: LogId| id.index < last.index && id.leader_id <= last.leader_id;
    if !membership.is_some_and(|id| id == last || is_before(id)) {
        return Err(EntryError::Malformed("a snapshot's membership is none of its entries"));
    }
    if last_membership.membership().get_joint_config().is_empty() {
        return Err(EntryError::Malformed("a snapshot's membership has no voters"));
    }
    let meta = SnapshotMeta { last_log_id: Some(last), last_membership };
    Ok(Offer { vote, applied, last, meta, files: files_in(offer.files)? })
}

fn files_in(files: Vec<v1::SnapshotFile>) -> Result<Vec<OfferedFile>, EntryError> {
    if files.len() > limits::SNAPSHOT_FILES_MAX {
        return Err(EntryError::Malformed("a snapshot has too many files"));
    }
    let mut names = BTreeSet::new();
    let mut left = limits::SNAPSHOT_BYTES_MAX;
    for file in &files {
        if !is_name(&file.name) {
            return Err(EntryError::Malformed("a snapshot's file has a name that names no file"));
        }
        if !names.insert(&file.name) {
            return Err(EntryError::Malformed("two files of a snapshot have one name"));
        }
        left = left.checked_sub(file.bytes).ok_or(EntryError::Malformed("a snapshot has too many bytes"))?;
    }
    files
        .into_iter()
        .map(|file| {
            let hash = file.hash[..].try_into().map(u128::from_be_bytes);
            let hash = hash.map_err(|_| EntryError::Malformed("a file's hash has 16 bytes"))?;
            Ok(OfferedFile { name: file.name, bytes: file.bytes, hash })
        })
        .collect()
}

/// Whether this is a file's name in any directory of any system, and no way out of it.
fn is_name(name: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=limits::SNAPSHOT_NAME_BYTES_MAX).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(is_fine)
}

#[cfg(test)]
mod tests;
