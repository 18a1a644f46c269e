//! What a shard keeps beside the engine's state, as bytes in the manifest: the stamp and the request table. Layout:
//! docs/formats/manifest.md. The order of variants and fields is stored: only append, never reorder.

use meridian_types::{Code, Failure, Incarnation, LogIndex, Mutant, SessionId, ShardId, Stamp, Timestamp, Witness};
use serde::{Deserialize, Serialize};

use crate::requests::{Outcome, Requests, SessionParts};
use crate::shard::{REQUESTS, Reply};

const VERSION: u8 = 1;

#[derive(Serialize, Deserialize)]
struct State {
    stamp: Stamp,
    floor: Option<Timestamp>,
    sessions: Vec<Session>,
}

#[derive(Serialize, Deserialize)]
struct Session {
    id: SessionId,
    pending_from: u64,
    used: Stamp,
    outcomes: Vec<(u64, u32, StoredReply)>,
}

/// Replies that a repeated request gets.
#[derive(Serialize, Deserialize)]
enum StoredReply {
    Written { at: StoredWitness, points: u64 },
    Refused { code: u16, message: String, retry_after_ms: Option<u32> },
    Dropped,
    Deleted { at: StoredWitness },
    Cut,
    Marked { index: LogIndex },
}

#[derive(Serialize, Deserialize)]
struct StoredWitness {
    shard: ShardId,
    incarnation: Incarnation,
    index: LogIndex,
    stamp: Stamp,
}

/// Bytes that are no state of this version.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error("the shard's state has format version {0}, this binary reads version {VERSION}")]
    Version(u8),
    #[error("the shard's state cannot be read")]
    Malformed,
}

/// The bytes that [`decode`] reads.
pub(crate) fn encode(stamp: Stamp, requests: &Requests<Reply>) -> Vec<u8> {
    let (floor, sessions) = requests.parts();
    let session = |parts: SessionParts<Reply>| Session {
        id: parts.id,
        pending_from: parts.pending_from,
        used: parts.used,
        outcomes: parts.outcomes.into_iter().map(|(seq, o)| (seq, o.check, stored(o.reply))).collect(),
    };
    let sessions = sessions.filter(|_| !Mutant::DropRequests.is_planted()).map(session).collect();
    let state = State { stamp, floor, sessions };
    postcard::to_extend(&state, vec![VERSION]).expect("numbers and texts are encoded into memory")
}

/// Stamp and request table.
pub(crate) fn decode(bytes: &[u8]) -> Result<(Stamp, Requests<Reply>), StateError> {
    let body = match bytes.split_first() {
        Some((&VERSION, body)) => body,
        Some((&other, _)) => return Err(StateError::Version(other)),
        None => return Err(StateError::Malformed),
    };
    let state: State = postcard::from_bytes(body).map_err(|_| StateError::Malformed)?;
    // The table counts on it: ids and seqs rise, and nothing was used after the last entry.
    let is_sound = |session: &Session| session.used <= state.stamp && session.outcomes.is_sorted_by(|a, b| a.0 < b.0);
    if !state.sessions.iter().all(is_sound) || !state.sessions.is_sorted_by(|a, b| a.id < b.id) {
        return Err(StateError::Malformed);
    }
    let sessions: Option<Vec<_>> = state.sessions.into_iter().map(session).collect();
    let sessions = sessions.ok_or(StateError::Malformed)?;
    Ok((state.stamp, Requests::restore(REQUESTS, state.floor, sessions)))
}

fn session(stored: Session) -> Option<SessionParts<Reply>> {
    let outcome = |(seq, check, stored)| Some((seq, Outcome { check, reply: reply(stored)? }));
    let outcomes: Option<Vec<_>> = stored.outcomes.into_iter().map(outcome).collect();
    Some(SessionParts { id: stored.id, pending_from: stored.pending_from, used: stored.used, outcomes: outcomes? })
}

fn stored(reply: Reply) -> StoredReply {
    let at = |w: Witness| StoredWitness { shard: w.shard, incarnation: w.incarnation, index: w.index, stamp: w.stamp };
    match reply {
        Reply::Written { witness, points, .. } => StoredReply::Written { at: at(witness), points },
        Reply::Refused(failure) => StoredReply::Refused {
            code: failure.code as u16,
            message: failure.message,
            retry_after_ms: failure.retry_after_ms,
        },
        Reply::Dropped => StoredReply::Dropped,
        Reply::Deleted { witness } => StoredReply::Deleted { at: at(witness) },
        Reply::Cut => StoredReply::Cut,
        Reply::Marked { index } => StoredReply::Marked { index },
    }
}

fn reply(stored: StoredReply) -> Option<Reply> {
    let at = |w: StoredWitness| Witness { shard: w.shard, incarnation: w.incarnation, index: w.index, stamp: w.stamp };
    Some(match stored {
        StoredReply::Written { at: w, points } => Reply::Written { witness: at(w), points, series: Vec::new() },
        StoredReply::Refused { code, message, retry_after_ms } => {
            let mut failure = Failure::new(Code::from_number(code)?, message);
            failure.retry_after_ms = retry_after_ms;
            Reply::Refused(failure)
        }
        StoredReply::Dropped => Reply::Dropped,
        StoredReply::Deleted { at: w } => Reply::Deleted { witness: at(w) },
        StoredReply::Cut => Reply::Cut,
        StoredReply::Marked { index } => Reply::Marked { index },
    })
}

#[cfg(test)]
mod tests {
    use meridian_types::RequestId;

    use super::*;

    fn request(birth: i64, seq: u64) -> RequestId {
        RequestId { session: SessionId { birth: Timestamp::new(birth).expect("in range"), nonce: 3 }, seq }
    }

    fn example() -> Requests<Reply> {
        let witness = Witness { shard: ShardId(4), incarnation: Incarnation(1), index: LogIndex(9), stamp: Stamp(100) };
        let mut requests = Requests::new(REQUESTS);
        let written = Outcome { check: 7, reply: Reply::Written { witness, points: 5, series: Vec::new() } };
        requests.record(request(1, 5), 5, Stamp(100), written);
        let refused = Reply::Refused(Failure::new(Code::TypeConflict, "no").retry_after_ms(5));
        requests.record(request(2, 0), 0, Stamp(101), Outcome { check: 8, reply: refused });
        requests.record(request(2, 1), 0, Stamp(102), Outcome { check: 9, reply: Reply::Deleted { witness } });
        requests
    }

    #[test]
    fn what_is_stored_comes_back_and_answers_alike() {
        let before = example();
        let bytes = encode(Stamp(102), &before);
        let (stamp, after) = decode(&bytes).expect("it was just encoded");
        assert_eq!(stamp, Stamp(102));
        for (id, check) in
            [(request(1, 5), 7), (request(1, 4), 7), (request(2, 0), 8), (request(2, 1), 9), (request(2, 2), 0)]
        {
            assert_eq!(after.find(id, check), before.find(id, check), "{id:?}");
        }
        assert_eq!(encode(stamp, &after), bytes);
    }

    #[test]
    fn other_bytes_are_refused() {
        let bytes = encode(Stamp(102), &example());
        assert!(matches!(decode(&[2]), Err(StateError::Version(2))));
        let ahead = encode(Stamp(101), &example());
        assert!(matches!(decode(&ahead), Err(StateError::Malformed)), "a session was used after the last entry");
        (0..bytes.len()).for_each(|at| assert!(decode(&bytes[..at]).is_err(), "cut at {at}"));
    }
}
