//! openraft's messages as protobuf, both ways.

use meridian_proto::v1;
use openraft::entry::RaftEntry;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, StreamAppendResult};
use openraft::raft::{VoteRequest, VoteResponse};

use crate::entry::{self, EntryError};
use crate::types::{LogId, TypeConfig, Vote};

pub(crate) fn vote_out(vote: &Vote) -> v1::Vote {
    v1::Vote { term: vote.leader_id.term, replica: vote.leader_id.node_id, committed: vote.committed }
}

pub(crate) fn vote_in(vote: Option<v1::Vote>) -> Result<Vote, EntryError> {
    let vote = vote.ok_or(EntryError::Malformed("a vote is missing"))?;
    let leader_id = openraft::impls::leader_id_adv::LeaderId { term: vote.term, node_id: vote.replica };
    Ok(Vote { leader_id, committed: vote.committed })
}

pub(crate) fn id_out(id: &LogId) -> v1::LogId {
    v1::LogId { term: id.leader_id.term, replica: id.leader_id.node_id, index: id.index }
}

pub(crate) fn id_in(id: v1::LogId) -> LogId {
    entry::log_id(id.term, id.replica, id.index)
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
    let entries: Result<Vec<_>, _> = request.entries.into_iter().map(|e| entry::decode(&e.head, e.payload)).collect();
    let (entries, previous) = (entries?, request.previous.map(id_in));
    // openraft asserts that entries follow each other, and the log that the first one follows its last: a peer must not be
    // able to make them fail.
    let mut expected = match &previous {
        Some(previous) => previous.index.checked_add(1),
        None => Some(0),
    };
    if expected.is_none() {
        return Err(EntryError::Malformed("no entry follows the last index"));
    }
    for entry in &entries {
        if Some(entry.log_id_parts().1) != expected {
            return Err(EntryError::Malformed("the entries of an append do not follow each other"));
        }
        expected = expected.and_then(|index| index.checked_add(1));
    }
    Ok(AppendEntriesRequest {
        vote: vote_in(request.vote)?,
        prev_log_id: previous,
        entries,
        leader_commit: request.committed.map(id_in),
    })
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
        Part::Appended(appended) => Ok(appended.last.map(id_in)),
        Part::Conflict(at) => Err(StreamAppendError::Conflict(id_in(at))),
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
        Part::Appended(v1::Appended { last, .. }) => AppendEntriesResponse::PartialSuccess(last.map(id_in)),
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
    Ok(VoteRequest {
        vote: vote_in(request.vote)?,
        last_log_id: request.last.map(id_in),
        leadership_transfer: request.leader_transfer,
    })
}

pub(crate) fn vote_reply_out(reply: &VoteResponse<TypeConfig>) -> v1::VoteReply {
    v1::VoteReply {
        vote: Some(vote_out(&reply.vote)),
        granted: reply.vote_granted,
        last: reply.last_log_id.as_ref().map(id_out),
    }
}

pub(crate) fn vote_reply_in(reply: v1::VoteReply) -> Result<VoteResponse<TypeConfig>, EntryError> {
    Ok(VoteResponse { vote: vote_in(reply.vote)?, vote_granted: reply.granted, last_log_id: reply.last.map(id_in) })
}

#[cfg(test)]
mod tests;
