//! What stands in the log before an entry's payload: Raft's position, and the fixed header that every entry starts with.
//! The same bytes are logged and sent. Layout: `docs/formats/entry.md`. Kinds are stored: never renumber.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use meridian_types::{DatabaseId, RequestId, SessionId, Stamp, Timestamp, limits};
use openraft::entry::RaftEntry;
use openraft::vote::RaftLeaderId;

use crate::types::{Command, Entry, LogId, Member, Membership, Payload, TypeConfig, Vote};

type LeaderId = openraft::type_config::alias::LeaderIdOf<TypeConfig>;

/// Version of all that this file encodes.
const VERSION: u8 = 1;
/// Entries of Raft's own.
const KIND_BLANK: u8 = 0;
const KIND_MEMBERSHIP: u8 = 1;
/// The first kind that machines may use.
pub const KIND_MACHINE_MIN: u8 = 16;

/// The fixed header of an entry that a machine applies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// What the payload is; from [`KIND_MACHINE_MIN`] on, given by the machine.
    pub kind: u8,
    /// Whose entry it is: apply refuses one of an older owner's map.
    pub map_version: u64,
    /// Proposed hybrid logical time; apply makes it increasing.
    pub stamp: Stamp,
    /// Which request.
    pub request: RequestId,
    /// The lowest seq of the request's session that is still pending.
    pub pending_from: u64,
    /// Which database, for entries that have one.
    pub database: DatabaseId,
}

/// Bytes before the payload.
pub(crate) const HEAD_BYTES: usize = VERSION_AT + 4 + 8 + 8 + 24 + 8 + 4;
/// Where the version stands, in every version.
const VERSION_AT: usize = 24;

const _: () = assert!(HEAD_BYTES + limits::FRAME_BYTES_MAX <= limits::RECORD_BYTES_MAX, "a frame fits a record");

/// Stored bytes that are no entry of a version that this binary knows. Never a refusal: whoever reads it halts.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EntryError {
    /// Another version.
    #[error("the entry has format version {0}, this binary reads version {VERSION}")]
    Version(u8),
    /// Not an entry.
    #[error("the entry is malformed: {0}")]
    Malformed(&'static str),
}

/// Head and payload of an entry, as the log and the wire carry them.
pub(crate) fn encode(entry: &Entry) -> (Bytes, Bytes) {
    let (leader, index) = entry.log_id_parts();
    let mut head = BytesMut::with_capacity(HEAD_BYTES);
    head.put_u64_le(leader.term);
    head.put_u64_le(leader.node_id);
    head.put_u64_le(index);
    head.put_u8(VERSION);
    let payload = match &entry.payload {
        Payload::Blank => {
            head.put_u8(KIND_BLANK);
            Bytes::new()
        }
        Payload::Membership(membership) => {
            head.put_u8(KIND_MEMBERSHIP);
            encode_membership(membership)
        }
        Payload::Normal(command) => {
            put_header(&mut head, &command.header);
            command.payload.clone()
        }
    };
    head.resize(HEAD_BYTES, 0);
    (head.freeze(), payload)
}

fn put_header(head: &mut BytesMut, header: &Header) {
    head.put_u8(header.kind);
    head.put_u16_le(0);
    head.put_u64_le(header.map_version);
    head.put_i64_le(header.stamp.0);
    head.put_i64_le(header.request.session.birth.nanos());
    head.put_u64_le(header.request.session.nonce);
    head.put_u64_le(header.request.seq);
    head.put_u64_le(header.pending_from);
    head.put_u32_le(header.database.0);
}

/// The entry that these bytes are.
pub(crate) fn decode(head: &[u8], payload: Bytes) -> Result<Entry, EntryError> {
    // Before the size, which is another version's to choose.
    match head.get(VERSION_AT) {
        Some(&VERSION) => {}
        Some(&version) => return Err(EntryError::Version(version)),
        None => return Err(EntryError::Malformed("its head is cut short")),
    }
    if head.len() != HEAD_BYTES {
        return Err(EntryError::Malformed("its head has another size"));
    }
    let mut head = head;
    let id = log_id(head.get_u64_le(), head.get_u64_le(), head.get_u64_le());
    head.advance(1);
    let kind = head.get_u8();
    let payload = match kind {
        KIND_BLANK | KIND_MEMBERSHIP if head.iter().any(|byte| *byte != 0) => {
            return Err(EntryError::Malformed("an entry of Raft's own has a header"));
        }
        KIND_BLANK if !payload.is_empty() => return Err(EntryError::Malformed("a blank entry has a payload")),
        KIND_BLANK => Payload::Blank,
        KIND_MEMBERSHIP => {
            let membership = decode_membership(payload)?;
            if membership.get_joint_config().is_empty() {
                return Err(EntryError::Malformed("its membership has no voters"));
            }
            Payload::Membership(membership)
        }
        KIND_MACHINE_MIN.. => Payload::Normal(Command { header: get_header(kind, &mut head)?, payload }),
        _ => return Err(EntryError::Malformed("its kind is unknown")),
    };
    Ok(Entry::new(id, payload))
}

fn get_header(kind: u8, head: &mut &[u8]) -> Result<Header, EntryError> {
    if head.get_u16_le() != 0 {
        return Err(EntryError::Malformed("its reserved bytes are not 0"));
    }
    let map_version = head.get_u64_le();
    let stamp = Stamp(head.get_i64_le());
    let birth = Timestamp::new(head.get_i64_le()).map_err(|_| EntryError::Malformed("its session's birth"))?;
    let session = SessionId { birth, nonce: head.get_u64_le() };
    let request = RequestId { session, seq: head.get_u64_le() };
    let pending_from = head.get_u64_le();
    Ok(Header { kind, map_version, stamp, request, pending_from, database: DatabaseId(head.get_u32_le()) })
}

pub(crate) fn log_id(term: u64, replica: u64, index: u64) -> LogId {
    LogId::new(LeaderId::new(term, replica), index)
}

/// `term:u64 replica:u64 committed:u8`.
pub(crate) fn encode_vote(vote: &Vote) -> Bytes {
    let mut bytes = BytesMut::with_capacity(17);
    bytes.put_u64_le(vote.leader_id.term);
    bytes.put_u64_le(vote.leader_id.node_id);
    bytes.put_u8(u8::from(vote.committed));
    bytes.freeze()
}

pub(crate) fn decode_vote(mut bytes: &[u8]) -> Result<Vote, EntryError> {
    if bytes.len() != 17 {
        return Err(EntryError::Malformed("a vote has 17 bytes"));
    }
    let leader = LeaderId::new(bytes.get_u64_le(), bytes.get_u64_le());
    let committed = match bytes.get_u8() {
        0 => false,
        1 => true,
        _ => return Err(EntryError::Malformed("a vote is committed or not")),
    };
    Ok(Vote { leader_id: leader, committed })
}

/// `term:u64 replica:u64 index:u64`.
pub(crate) fn encode_log_id(id: &LogId) -> Bytes {
    let mut bytes = BytesMut::with_capacity(24);
    bytes.put_u64_le(id.leader_id.term);
    bytes.put_u64_le(id.leader_id.node_id);
    bytes.put_u64_le(id.index);
    bytes.freeze()
}

pub(crate) fn decode_log_id(mut bytes: &[u8]) -> Result<LogId, EntryError> {
    if bytes.len() != 24 {
        return Err(EntryError::Malformed("a log id has 24 bytes"));
    }
    Ok(log_id(bytes.get_u64_le(), bytes.get_u64_le(), bytes.get_u64_le()))
}

/// `configs:u8 (voters:u16 replica:u64*)* nodes:u16 (replica:u64 node:u32)*`.
pub(crate) fn encode_membership(membership: &Membership) -> Bytes {
    let mut bytes = BytesMut::new();
    let configs = membership.get_joint_config();
    bytes.put_u8(u8::try_from(configs.len()).expect("a joint configuration has two parts"));
    for config in configs {
        bytes.put_u16_le(u16::try_from(config.len()).expect("a group has few voters"));
        config.iter().for_each(|replica| bytes.put_u64_le(*replica));
    }
    bytes.put_u16_le(u16::try_from(membership.nodes().count()).expect("a group has few replicas"));
    for (replica, member) in membership.nodes() {
        bytes.put_u64_le(*replica);
        bytes.put_u32_le(member.node.0);
    }
    bytes.freeze()
}

pub(crate) fn decode_membership(mut bytes: Bytes) -> Result<Membership, EntryError> {
    let short = |_| EntryError::Malformed("its membership is cut short");
    let mut configs = Vec::new();
    for _ in 0..bytes.try_get_u8().map_err(short)? {
        let mut config = std::collections::BTreeSet::new();
        for _ in 0..bytes.try_get_u16_le().map_err(short)? {
            config.insert(bytes.try_get_u64_le().map_err(short)?);
        }
        configs.push(config);
    }
    let mut nodes = std::collections::BTreeMap::new();
    for _ in 0..bytes.try_get_u16_le().map_err(short)? {
        let replica = bytes.try_get_u64_le().map_err(short)?;
        nodes.insert(replica, Member { node: meridian_types::NodeId(bytes.try_get_u32_le().map_err(short)?) });
    }
    if !bytes.is_empty() {
        return Err(EntryError::Malformed("its membership has bytes left over"));
    }
    Membership::new(configs, nodes).map_err(|_| EntryError::Malformed("its membership lacks voters or their nodes"))
}

#[cfg(test)]
mod tests;
