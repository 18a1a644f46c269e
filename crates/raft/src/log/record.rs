//! Bytes of records and group commits. Layout: docs/formats/log.md. Kinds are stored: never renumber.
//!
//! Pure: never touches a file, and never trusts a length before the bytes that remain were counted.

use bytes::{Buf, BufMut, Bytes, TryGetError};
use meridian_types::{GroupId, Incarnation, Mutant, limits};

use super::index::Points;

/// Commits start on multiples of this, so that writing one never rewrites a sector that holds synced bytes.
pub(super) const SECTOR: u64 = 512;

const COMMIT_MAGIC: [u8; 4] = *b"MCMT";
const COMMIT_HEADER_BYTES: usize = 24;
const RECORD_HEADER_BYTES: usize = 17;
/// What an entry's record holds besides its head and payload.
pub(super) const ENTRY_OVERHEAD_BYTES: usize = RECORD_HEADER_BYTES + 12;
/// The kinds of records in words; a kind's number is its place, counted from 1.
pub(super) const KIND_NAMES: [&str; 8] =
    ["entry", "vote", "committed", "truncate", "purge", "group removed", "checkpoint", "copy"];

const _: () =
    assert!(limits::MESSAGE_BYTES_MAX < u32::MAX as usize / 2, "whatever a peer sends fits a record's length");

/// One life of one group: whose record it is.
pub(super) type Key = (GroupId, Incarnation);

/// One entry of a group, opaque to the log. It comes in two parts so that its owner need not copy them together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LogEntry {
    /// Position in the group; contiguous.
    pub(crate) index: u64,
    /// What the owner keeps about the entry: its log id and kind.
    pub(crate) head: Bytes,
    /// What the entry carries.
    pub(crate) payload: Bytes,
}

impl LogEntry {
    /// Bytes of both parts.
    pub(super) fn bytes(&self) -> usize {
        self.head.len() + self.payload.len()
    }
}

/// One step of a group's life.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Record {
    /// The entry after the last one.
    Entry(LogEntry),
    /// The vote from here on.
    Vote(Bytes),
    /// How far the group is known to be committed; rides unsynced.
    Committed(Bytes),
    /// Entries from `next` on are gone; `next` is the index of the one that comes next.
    Truncate { next: u64 },
    /// Entries up to and including `upto` are gone; `id` is the log id of that entry.
    Purge { upto: u64, id: Bytes },
    /// The group is gone.
    GroupRemoved,
    /// All about the group but its entries, as of a segment's start.
    Checkpoint(Points),
    /// The entry that stands at this index is here as well, so that the segment it was in can go.
    Copy(LogEntry),
}

/// Why bytes are no record.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum DecodeError {
    /// Fewer bytes than the record claims, or a checksum that does not match: torn or damaged.
    #[error("its checksum or length is wrong")]
    Damaged,
    /// A good checksum over something that this version does not know.
    #[error("kind {0} with this body is unknown to this version: run the version that wrote it")]
    Foreign(u8),
}

impl From<TryGetError> for DecodeError {
    fn from(_: TryGetError) -> Self {
        Self::Damaged
    }
}

impl Record {
    /// The number that stands for this kind on disk.
    pub(super) fn kind(&self) -> u8 {
        match self {
            Self::Entry(_) => 1,
            Self::Vote(_) => 2,
            Self::Committed(_) => 3,
            Self::Truncate { .. } => 4,
            Self::Purge { .. } => 5,
            Self::GroupRemoved => 6,
            Self::Checkpoint(_) => 7,
            Self::Copy(_) => 8,
        }
    }

    fn body_len(&self) -> usize {
        match self {
            Self::Entry(entry) | Self::Copy(entry) => ENTRY_OVERHEAD_BYTES - RECORD_HEADER_BYTES + entry.bytes(),
            Self::Vote(bytes) | Self::Committed(bytes) => bytes.len(),
            Self::Truncate { .. } => 8,
            Self::Purge { id, .. } => 8 + id.len(),
            Self::GroupRemoved => 0,
            Self::Checkpoint(points) => {
                let purged = points.purged.as_ref().map(|(_, id)| id);
                let parts = [points.vote.as_ref(), points.committed.as_ref(), purged];
                16 + parts.into_iter().map(|part| 5 + part.map_or(0, Bytes::len)).sum::<usize>()
            }
        }
    }

    /// Bytes of the record as stored, header included.
    pub(super) fn encoded_len(&self) -> usize {
        RECORD_HEADER_BYTES + self.body_len()
    }

    /// The same as the formats count it.
    pub(super) fn encoded_len_u32(&self) -> u32 {
        len_u32(self.encoded_len())
    }

    fn encode(&self, segment: u64, key: Key, buffer: &mut Vec<u8>) {
        let start = buffer.len();
        buffer.put_u32_le(len_u32(self.body_len()));
        buffer.put_u32_le(0);
        buffer.put_u8(self.kind());
        buffer.put_u32_le(key.0.0);
        buffer.put_u32_le(key.1.0);
        match self {
            Self::Entry(entry) | Self::Copy(entry) => {
                buffer.put_u64_le(entry.index);
                buffer.put_u32_le(len_u32(entry.head.len()));
                buffer.put_slice(&entry.head);
                buffer.put_slice(&entry.payload);
            }
            Self::Vote(bytes) | Self::Committed(bytes) => buffer.put_slice(bytes),
            Self::Truncate { next } => buffer.put_u64_le(*next),
            Self::Purge { upto, id } => {
                buffer.put_u64_le(*upto);
                buffer.put_slice(id);
            }
            Self::GroupRemoved => {}
            Self::Checkpoint(points) => {
                buffer.put_u64_le(points.next);
                buffer.put_u64_le(points.purged.as_ref().map_or(0, |(index, _)| *index));
                put_optional(buffer, points.vote.as_ref());
                put_optional(buffer, points.committed.as_ref());
                put_optional(buffer, points.purged.as_ref().map(|(_, id)| id));
            }
        }
        assert_eq!(buffer.len() - start, self.encoded_len(), "record of {key:?}");
        let crc = record_crc(segment, &buffer[start..start + 4], &buffer[start + 8..]);
        buffer[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    }

    /// Takes one record off the front of `input`. An entry shares `input`'s memory, everything else is copied.
    pub(super) fn decode(segment: u64, input: &mut Bytes) -> Result<(Key, Self), DecodeError> {
        let len = input.try_get_u32_le()?;
        let crc = input.try_get_u32_le()?;
        let covered = RECORD_HEADER_BYTES - 8 + len as usize;
        if input.len() < covered {
            return Err(DecodeError::Damaged);
        }
        let mut body = input.split_to(covered);
        if record_crc(segment, &len.to_le_bytes(), &body) != crc && !Mutant::TrustTornRecord.is_planted() {
            return Err(DecodeError::Damaged);
        }
        let kind = body.try_get_u8()?;
        let key = (GroupId(body.try_get_u32_le()?), Incarnation(body.try_get_u32_le()?));
        let record = Self::decode_body(kind, body).ok_or(DecodeError::Foreign(kind))?;
        Ok((key, record))
    }

    fn decode_body(kind: u8, mut body: Bytes) -> Option<Self> {
        let record = match kind {
            1 => Self::Entry(take_entry(&mut body)?),
            2 => Self::Vote(take_copy(&mut body)),
            3 => Self::Committed(take_copy(&mut body)),
            4 => Self::Truncate { next: body.try_get_u64_le().ok()? },
            5 => Self::Purge { upto: body.try_get_u64_le().ok()?, id: take_copy(&mut body) },
            6 => Self::GroupRemoved,
            7 => {
                let next = body.try_get_u64_le().ok()?;
                let purged = body.try_get_u64_le().ok()?;
                let vote = take_optional(&mut body)?;
                let committed = take_optional(&mut body)?;
                let purged = take_optional(&mut body)?.map(|id| (purged, id));
                Self::Checkpoint(Points { vote, committed, purged, next })
            }
            8 => Self::Copy(take_entry(&mut body)?),
            _ => return None,
        };
        body.is_empty().then_some(record)
    }
}

/// CRC-32C over the segment's number, the length and everything from the kind on, so that a record never reads as one of
/// another segment.
fn record_crc(segment: u64, len: &[u8], covered: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&segment.to_le_bytes()), len), covered)
}

fn len_u32(len: usize) -> u32 {
    u32::try_from(len).expect("records are bounded by what a message or a proposal can hold, far below 4 GiB")
}

fn put_optional(buffer: &mut Vec<u8>, bytes: Option<&Bytes>) {
    buffer.put_u8(u8::from(bytes.is_some()));
    buffer.put_u32_le(bytes.map_or(0, |b| len_u32(b.len())));
    buffer.put_slice(bytes.map_or(&[], |b| b));
}

fn take_optional(body: &mut Bytes) -> Option<Option<Bytes>> {
    let there = body.try_get_u8().ok()?;
    let len = body.try_get_u32_le().ok()? as usize;
    let bytes = (len <= body.len()).then(|| Bytes::copy_from_slice(&body.split_to(len)))?;
    match there {
        0 if len == 0 => Some(None),
        1 => Some(Some(bytes)),
        _ => None,
    }
}

fn take_entry(body: &mut Bytes) -> Option<LogEntry> {
    let index = body.try_get_u64_le().ok()?;
    let head = body.try_get_u32_le().ok()? as usize;
    let head = (head <= body.len()).then(|| body.split_to(head))?;
    Some(LogEntry { index, head, payload: std::mem::take(body) })
}

fn take_copy(body: &mut Bytes) -> Bytes {
    Bytes::copy_from_slice(&std::mem::take(body))
}

/// What stands in front of the records that were written and synced together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct CommitHeader {
    /// Bytes of the records.
    pub(super) length: u32,
    /// How many records.
    pub(super) count: u32,
    /// Up to this offset everything in the segment was synced before this commit was written. A commit that can be read is
    /// thus the proof that whatever is unreadable before this offset was damaged, not torn.
    pub(super) synced_upto: u64,
}

impl CommitHeader {
    /// Bytes of a commit header as stored.
    pub(super) const BYTES: usize = COMMIT_HEADER_BYTES;

    fn encode(&self, segment: u64, offset: u64) -> [u8; COMMIT_HEADER_BYTES] {
        let mut bytes = [0; COMMIT_HEADER_BYTES];
        let mut out = &mut bytes[..];
        out.put_slice(&COMMIT_MAGIC);
        out.put_u32_le(self.length);
        out.put_u32_le(self.count);
        out.put_u64_le(self.synced_upto);
        let crc = commit_crc(segment, offset, &bytes[..COMMIT_HEADER_BYTES - 4]);
        bytes[COMMIT_HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header of the commit at `offset` of `segment`; `None` if there is none.
    pub(super) fn decode(segment: u64, offset: u64, bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..COMMIT_HEADER_BYTES)?;
        let mut fields = bytes.strip_prefix(&COMMIT_MAGIC)?;
        let (length, count) = (fields.try_get_u32_le().ok()?, fields.try_get_u32_le().ok()?);
        let synced_upto = fields.try_get_u64_le().ok()?;
        let crc = commit_crc(segment, offset, &bytes[..COMMIT_HEADER_BYTES - 4]);
        (fields.try_get_u32_le() == Ok(crc) || Mutant::TrustTornRecord.is_planted()).then_some(Self {
            length,
            count,
            synced_upto,
        })
    }

    /// Bytes that the whole commit takes in the segment.
    pub(super) fn span(&self) -> u64 {
        commit_span(self.length as usize)
    }
}

/// CRC-32C over the segment's number, the commit's own offset (which catches a write that went elsewhere) and the fields.
fn commit_crc(segment: u64, offset: u64, fields: &[u8]) -> u32 {
    let seed = crc32c::crc32c_append(crc32c::crc32c(&segment.to_le_bytes()), &offset.to_le_bytes());
    crc32c::crc32c_append(seed, fields)
}

/// Bytes that a commit takes in the segment when its records take `records` bytes.
pub(super) fn commit_span(records: usize) -> u64 {
    ((COMMIT_HEADER_BYTES + records) as u64).next_multiple_of(SECTOR)
}

/// Appends one whole commit to `buffer`, which is written such that the commit lands at `offset` of `segment`.
pub(super) fn encode_commit<'a>(
    segment: u64,
    offset: u64,
    synced_upto: u64,
    records: impl Iterator<Item = (Key, &'a Record)>,
    buffer: &mut Vec<u8>,
) {
    assert!(offset.is_multiple_of(SECTOR) && synced_upto <= offset, "commit at {offset}, synced up to {synced_upto}");
    let start = buffer.len();
    buffer.put_bytes(0, COMMIT_HEADER_BYTES);
    let mut count = 0;
    for (key, record) in records {
        record.encode(segment, key, buffer);
        count += 1;
    }
    let length = len_u32(buffer.len() - start - COMMIT_HEADER_BYTES);
    let header = CommitHeader { length, count, synced_upto };
    buffer[start..start + COMMIT_HEADER_BYTES].copy_from_slice(&header.encode(segment, offset));
    buffer.resize(start + header.span() as usize, 0);
}

/// Where the first record of a commit at `offset` begins.
pub(super) fn first_record(offset: u64) -> u64 {
    offset + COMMIT_HEADER_BYTES as u64
}

#[cfg(test)]
mod tests;
