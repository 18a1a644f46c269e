//! openraft's messages as protobuf, both ways. What comes in is checked here, because openraft asserts what it takes to be
//! true of its peers and adds without a look at what fits: nothing that a peer can send may make it panic.

use meridian_proto::v1;
use openraft::entry::RaftEntry;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, StreamAppendResult};
use openraft::raft::{VoteRequest, VoteResponse};

use crate::entry::{self, EntryError};
use crate::types::{LogId, TypeConfig, Vote};

/// Highest term that is taken from a peer. Every election adds one: half of what fits leaves more of them than a cluster can
/// hold, even after a peer made up a term.
const TERM_MAX: u64 = u64::MAX / 2;

fn term_in(term: u64) -> Result<u64, EntryError> {
    if term > TERM_MAX {
        return Err(EntryError::Malformed("its term is one that no election reaches"));
    }
    Ok(term)
}

pub(crate) fn vote_out(vote: &Vote) -> v1::Vote {
    v1::Vote { term: vote.leader_id.term, replica: vote.leader_id.node_id, committed: vote.committed }
}

pub(crate) fn vote_in(vote: Option<v1::Vote>) -> Result<Vote, EntryError> {
    let vote = vote.ok_or(EntryError::Malformed("a vote is missing"))?;
    let leader_id = openraft::impls::leader_id_adv::LeaderId { term: term_in(vote.term)?, node_id: vote.replica };
    Ok(Vote { leader_id, committed: vote.committed })
}

pub(crate) fn id_out(id: &LogId) -> v1::LogId {
    v1::LogId { term: id.leader_id.term, replica: id.leader_id.node_id, index: id.index }
}

fn one_id_in(id: v1::LogId) -> Result<LogId, EntryError> {
    log_id_in(entry::log_id(id.term, id.replica, id.index))
}

/// A log id that came in other bytes of a peer's.
pub(crate) fn log_id_in(id: LogId) -> Result<LogId, EntryError> {
    term_in(id.leader_id.term)?;
    with_successor(id)
}

pub(crate) fn id_in(id: Option<v1::LogId>) -> Result<Option<LogId>, EntryError> {
    id.map(one_id_in).transpose()
}

fn with_successor(id: LogId) -> Result<LogId, EntryError> {
    if id.index == u64::MAX {
        return Err(EntryError::Malformed("no entry follows the last index"));
    }
    Ok(id)
}

pub(crate) fn append_out(group: v1::GroupRef, request: AppendEntriesRequest<TypeConfig>) -> v1::AppendRequest {
    let entries = request.entries.iter().map(|e| {
        let (head, payload) = entry::encode(e);
        v1::Entry { head, payload }
    });
    v1::AppendRequest {
        group: Some(group),
        vote: Some(vote_out(&request.vote)),
        previous: request.prev_log_id.as_ref().map(id_out),
        committed: request.leader_commit.as_ref().map(id_out),
        entries: entries.collect(),
    }
}

pub(crate) fn append_in(request: v1::AppendRequest) -> Result<AppendEntriesRequest<TypeConfig>, EntryError> {
    let vote = vote_in(request.vote)?;
    if !vote.committed {
        return Err(EntryError::Malformed("an append comes from a leader, and its vote is not committed"));
    }
    let (previous, committed) = (id_in(request.previous)?, id_in(request.committed)?);
    let entries: Result<Vec<_>, _> = request.entries.into_iter().map(|e| entry::decode(&e.head, e.payload)).collect();
    let entries = entries?;
    let mut last = previous;
    for entry in &entries {
        let id = with_successor(entry.log_id())?;
        if id.index != last.map_or(0, |last| last.index + 1) {
            return Err(EntryError::Malformed("the entries of an append do not follow each other"));
        }
        if last.is_some_and(|last| id.leader_id < last.leader_id) {
            return Err(EntryError::Malformed("an entry of an append has an earlier leader than the one before it"));
        }
        last = Some(id);
    }
    // The leaders of entries never go back, so that the last one's is the latest; this bounds their terms as well.
    if last.max(committed).is_some_and(|id| id.leader_id > vote.leader_id) {
        return Err(EntryError::Malformed("an append names an entry of a later leader than its own"));
    }
    Ok(AppendEntriesRequest { vote, prev_log_id: previous, entries, leader_commit: committed })
}

/// The reply to one request of a stream.
pub(crate) fn appended_out(result: StreamAppendResult<TypeConfig>) -> v1::AppendReply {
    use v1::append_reply::Result as Part;
    let result = match result {
        Ok(last) => Part::Appended(v1::Appended { last: last.as_ref().map(id_out), partial: false }),
        Err(StreamAppendError::Conflict(at)) => Part::Conflict(id_out(&at)),
        Err(StreamAppendError::HigherVote(vote)) => Part::HigherVote(vote_out(&vote)),
    };
    v1::AppendReply { result: Some(result) }
}

/// The reply to one request of a stream.
pub(crate) fn appended_in(reply: v1::AppendReply) -> Result<StreamAppendResult<TypeConfig>, EntryError> {
    use v1::append_reply::Result as Part;
    Ok(match reply.result.ok_or(EntryError::Malformed("an append's result is missing"))? {
        Part::Appended(appended) => Ok(id_in(appended.last)?),
        Part::Conflict(at) => Err(StreamAppendError::Conflict(one_id_in(at)?)),
        Part::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote_in(Some(vote))?)),
    })
}

/// The reply to a single append; `previous` is the request's, for a conflict.
pub(crate) fn response_out(
    response: AppendEntriesResponse<TypeConfig>,
    previous: Option<v1::LogId>,
) -> v1::AppendReply {
    use v1::append_reply::Result as Part;
    let result = match response {
        AppendEntriesResponse::Success => Part::Appended(v1::Appended { last: None, partial: false }),
        AppendEntriesResponse::PartialSuccess(last) => {
            Part::Appended(v1::Appended { last: last.as_ref().map(id_out), partial: true })
        }
        AppendEntriesResponse::Conflict => Part::Conflict(previous.unwrap_or_default()),
        AppendEntriesResponse::HigherVote(vote) => Part::HigherVote(vote_out(&vote)),
    };
    v1::AppendReply { result: Some(result) }
}

/// The reply to a single append.
pub(crate) fn response_in(reply: v1::AppendReply) -> Result<AppendEntriesResponse<TypeConfig>, EntryError> {
    use v1::append_reply::Result as Part;
    Ok(match reply.result.ok_or(EntryError::Malformed("an append's result is missing"))? {
        Part::Appended(v1::Appended { partial: false, .. }) => AppendEntriesResponse::Success,
        Part::Appended(v1::Appended { last, .. }) => AppendEntriesResponse::PartialSuccess(id_in(last)?),
        Part::Conflict(_) => AppendEntriesResponse::Conflict,
        Part::HigherVote(vote) => AppendEntriesResponse::HigherVote(vote_in(Some(vote))?),
    })
}

pub(crate) fn vote_request_out(group: v1::GroupRef, request: &VoteRequest<TypeConfig>) -> v1::VoteRequest {
    v1::VoteRequest {
        group: Some(group),
        vote: Some(vote_out(&request.vote)),
        last: request.last_log_id.as_ref().map(id_out),
        leader_transfer: request.leadership_transfer,
    }
}

pub(crate) fn vote_request_in(request: v1::VoteRequest) -> Result<VoteRequest<TypeConfig>, EntryError> {
    let vote = vote_in(request.vote)?;
    if vote.committed {
        return Err(EntryError::Malformed("a vote that is asked for is committed already"));
    }
    Ok(VoteRequest { vote, last_log_id: id_in(request.last)?, leadership_transfer: request.leader_transfer })
}

pub(crate) fn vote_reply_out(reply: &VoteResponse<TypeConfig>) -> v1::VoteReply {
    v1::VoteReply {
        vote: Some(vote_out(&reply.vote)),
        granted: reply.vote_granted,
        last: reply.last_log_id.as_ref().map(id_out),
    }
}

pub(crate) fn vote_reply_in(reply: v1::VoteReply) -> Result<VoteResponse<TypeConfig>, EntryError> {
    Ok(VoteResponse { vote: vote_in(reply.vote)?, vote_granted: reply.granted, last_log_id: id_in(reply.last)? })
}

#[cfg(test)]
mod tests;
