//! One shard as a replicated machine: frames into the engine, each request once. Deterministic; knows no clock, no disk.

use bytes::Bytes;
use meridian_engine::Engine;
use meridian_env::Halt;
use meridian_frame::Frame;
use meridian_raft::{Applied, Entry, Header, KIND_MACHINE_MIN, Machine};
use meridian_types::{Code, DatabaseId, Failure, Incarnation, LogIndex, RequestId, ShardId, Stamp, Witness, limits};

use crate::requests::{Known, Outcome, Requests};

/// The payload is a frame. Kinds are stored: never renumber.
pub(crate) const KIND_WRITE: u8 = KIND_MACHINE_MIN;
/// The header's database is dropped; no payload.
pub(crate) const KIND_DROP: u8 = KIND_MACHINE_MIN + 1;

/// What a shard answers to an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Reply {
    /// Field values stored, and where.
    Written { witness: Witness, points: u64 },
    /// Nothing was stored, and nothing will be for this entry.
    Refused(Failure),
    /// The database is gone.
    Dropped,
}

/// The state of one shard.
#[derive(Debug)]
pub(crate) struct Shard {
    id: ShardId,
    incarnation: Incarnation,
    engine: Engine,
    requests: Requests<Reply>,
    index: LogIndex,
    stamp: Stamp,
}

impl Shard {
    /// An empty shard, whose log is applied from its start. `seed` keys its hash tables.
    pub(crate) fn new(id: ShardId, incarnation: Incarnation, seed: u64) -> Self {
        Self {
            id,
            incarnation,
            engine: Engine::new(seed),
            requests: Requests::new(limits::SESSIONS_MAX),
            index: LogIndex(0),
            stamp: Stamp::default(),
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Up to where a read of the state now sees.
    pub(crate) fn witness(&self) -> Witness {
        Witness { shard: self.id, incarnation: self.incarnation, index: self.index, stamp: self.stamp }
    }

    fn write(&mut self, header: &Header, payload: &Bytes) -> Reply {
        // Equal ids with unequal bytes or databases are two requests: the second must not be told the outcome of the first.
        let check = crc32c::crc32c_append(crc32c::crc32c(&header.database.0.to_le_bytes()), payload);
        if header.request.session.birth.nanos() > self.stamp.0.saturating_add(limits::SESSION_AHEAD_NANOS_MAX) {
            // Its eviction would raise the floor into the future and lock out every session until then.
            return refused(Code::TimeOutOfRange, id_text(header.request, "has a session from the future"));
        }
        match self.requests.find(header.request, check) {
            Known::Done(reply) => return reply,
            Known::Reused => return refused(Code::RequestIdReused, id_text(header.request, "names another request")),
            Known::Expired => {
                return refused(Code::SessionExpired, id_text(header.request, "is too old to know what became of it"));
            }
            Known::New => {}
        }
        let reply = self.store(header.database, payload);
        if !matches!(&reply, Reply::Refused(failure) if failure.code == Code::SendKeys) {
            let outcome = Outcome { check, reply: reply.clone() };
            self.requests.record(header.request, header.pending_from, self.stamp, outcome);
        }
        reply
    }

    fn store(&mut self, database: DatabaseId, payload: &Bytes) -> Reply {
        // The leader has checked the frame; what passed there and fails here fails on every replica alike.
        let frame = match Frame::check(payload.clone()) {
            Ok(frame) => frame,
            Err(error) => return refused(error.code(), error.to_string()),
        };
        match self.engine.write(database, &frame) {
            Ok(written) => Reply::Written { witness: self.witness(), points: written.points },
            Err(error) => refused(error.code(), error.to_string()),
        }
    }
}

fn refused(code: Code, mut message: String) -> Reply {
    if message.len() > limits::OUTCOME_BYTES_MAX {
        message.truncate(message.floor_char_boundary(limits::OUTCOME_BYTES_MAX));
    }
    Reply::Refused(Failure::new(code, message))
}

fn id_text(request: RequestId, what: &str) -> String {
    let session = request.session;
    format!("request {}-{:x}-{} {what}", session.birth.nanos(), session.nonce, request.seq)
}

impl Machine for Shard {
    type Reply = Reply;

    fn applied(&self) -> Option<Applied> {
        None
    }

    fn apply(&mut self, run: &[Entry], _applied: &Applied) -> Result<Vec<Reply>, Halt> {
        let apply = |entry: &Entry| {
            self.index = entry.index;
            self.stamp = self.stamp.next(entry.header.stamp);
            match entry.header.kind {
                KIND_WRITE => Ok(self.write(&entry.header, &entry.payload)),
                KIND_DROP => {
                    self.engine.drop_database(entry.header.database);
                    Ok(Reply::Dropped)
                }
                kind => Err(Halt::new(format!("{}: entry {} has the unknown kind {kind}", self.id, entry.index))),
            }
        };
        run.iter().map(apply).collect()
    }
}

#[cfg(test)]
mod tests {
    use meridian_frame::FrameBuilder;
    use meridian_types::{SeriesKey, SessionId, Timestamp, ValueRef};

    use super::*;

    fn shard() -> Shard {
        Shard::new(ShardId(1), Incarnation(1), 0)
    }

    fn frame(value: i64) -> Bytes {
        let mut frame = FrameBuilder::new();
        let key = SeriesKey::from_tags(&mut [("host", "a")]).expect("a key");
        let time = Timestamp::new(0).expect("in range");
        frame.push("m", &key, time, &[("v", ValueRef::I64(value))]).expect("a row");
        frame.finish()
    }

    fn entry(index: u64, seq: u64, database: u32, payload: Bytes) -> Entry {
        let session = SessionId { birth: Timestamp::new(5).expect("in range"), nonce: 1 };
        let header = Header {
            kind: KIND_WRITE,
            map_version: 0,
            stamp: Stamp(10),
            request: RequestId { session, seq },
            pending_from: 0,
            database: DatabaseId(database),
        };
        Entry { index: LogIndex(index), header, payload }
    }

    fn apply(shard: &mut Shard, entry: Entry) -> Reply {
        let mut replies = shard.apply(&[entry], &Applied(Bytes::new())).expect("no halt");
        replies.pop().expect("one reply an entry")
    }

    fn code(reply: &Reply) -> Option<Code> {
        match reply {
            Reply::Refused(failure) => Some(failure.code),
            _ => None,
        }
    }

    #[test]
    fn a_repeated_request_is_answered_alike_and_applied_once() {
        let mut shard = shard();
        let first = apply(&mut shard, entry(1, 7, 1, frame(1)));
        assert!(matches!(first, Reply::Written { points: 1, .. }));
        assert!(matches!(apply(&mut shard, entry(2, 8, 1, frame(2))), Reply::Written { .. }));
        let hash = shard.engine().content_hash();
        assert_eq!(apply(&mut shard, entry(3, 7, 1, frame(1))), first, "the outcome of the first, at its index");
        assert_eq!(shard.engine().content_hash(), hash, "a late repetition overwrites nothing");
    }

    /// The same id and bytes for another database are another request: telling it the first one's outcome would acknowledge
    /// what is not stored.
    #[test]
    fn an_id_names_one_request_to_one_database() {
        let mut shard = shard();
        apply(&mut shard, entry(1, 7, 1, frame(1)));
        assert_eq!(code(&apply(&mut shard, entry(2, 7, 2, frame(1)))), Some(Code::RequestIdReused));
        assert_eq!(code(&apply(&mut shard, entry(3, 7, 1, frame(9)))), Some(Code::RequestIdReused));
    }

    #[test]
    fn a_session_from_the_future_is_refused() {
        let mut shard = shard();
        let mut early = entry(1, 7, 1, frame(1));
        early.header.request.session.birth = Timestamp::new(limits::SESSION_AHEAD_NANOS_MAX + 100).expect("in range");
        assert_eq!(code(&apply(&mut shard, early)), Some(Code::TimeOutOfRange));
    }

    #[test]
    fn what_is_no_frame_is_refused_and_an_unknown_kind_halts() {
        let mut shard = shard();
        assert!(code(&apply(&mut shard, entry(1, 1, 1, Bytes::from_static(b"poison")))).is_some());
        let mut unknown = entry(2, 2, 1, Bytes::new());
        unknown.header.kind = 200;
        assert!(shard.apply(&[unknown], &Applied(Bytes::new())).is_err(), "a newer version's entry is never guessed");
    }
}
