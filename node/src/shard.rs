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
        // Equal ids with unequal bytes are two requests: the second must not be told the outcome of the first.
        let check = crc32c::crc32c(payload);
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
