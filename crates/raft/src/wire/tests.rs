//! Messages come back as they were sent, and what a peer should never send is an error, not a panic.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::types::{Entry, Payload};

fn id(index: u64) -> v1::LogId {
    v1::LogId { term: 3, replica: 1, index }
}

fn vote() -> Option<v1::Vote> {
    Some(v1::Vote { term: 3, replica: 1, committed: true })
}

fn blank(index: u64) -> v1::Entry {
    let (head, payload) = entry::encode(&Entry::new(entry::log_id(3, 1, index), Payload::Blank));
    v1::Entry { head, payload }
}

fn append(previous: Option<u64>, indexes: &[u64]) -> v1::AppendRequest {
    let group = Some(v1::GroupRef { group: 7, incarnation: 1, from: 1, to: 2 });
    let entries = indexes.iter().map(|index| blank(*index)).collect();
    v1::AppendRequest { group, vote: vote(), previous: previous.map(id), committed: previous.map(id), entries }
}

#[test]
fn an_append_is_read_only_if_its_entries_follow_each_other() {
    for (previous, indexes) in [(None, &[][..]), (None, &[0, 1]), (Some(4), &[]), (Some(4), &[5, 6])] {
        let request = append(previous, indexes);
        let read = append_in(request.clone()).expect("well formed");
        assert_eq!(append_out(request.group.expect("set"), read), request);
    }
    for (previous, indexes) in [(None, &[1][..]), (Some(4), &[4]), (Some(4), &[6]), (Some(4), &[5, 7])] {
        let error = append_in(append(previous, indexes)).expect_err("refused");
        assert_eq!(error, EntryError::Malformed("the entries of an append do not follow each other"));
    }
    for indexes in [&[][..], &[0], &[u64::MAX]] {
        let error = append_in(append(Some(u64::MAX), indexes)).expect_err("refused");
        assert_eq!(error, EntryError::Malformed("no entry follows the last index"));
    }
    let nobody = v1::AppendRequest { vote: None, ..append(None, &[]) };
    assert_eq!(append_in(nobody).err(), Some(EntryError::Malformed("a vote is missing")));
}

#[test]
fn a_reply_says_what_the_replica_said() {
    use openraft::raft::AppendEntriesResponse::{Conflict, HigherVote, PartialSuccess, Success};
    let higher = vote_in(vote()).expect("there");
    let last = Some(id_in(id(5)));
    for response in [Success, PartialSuccess(last), PartialSuccess(None), Conflict, HigherVote(higher)] {
        let shown = response.to_string();
        let back = response_in(response_out(response, Some(id(4)))).expect("well formed");
        assert_eq!(back.to_string(), shown);
    }
    let results: [StreamAppendResult<TypeConfig>; 4] = [
        Ok(last),
        Ok(None),
        Err(StreamAppendError::Conflict(id_in(id(4)))),
        Err(StreamAppendError::HigherVote(higher)),
    ];
    for result in results {
        assert_eq!(appended_in(appended_out(result.clone())).expect("well formed"), result);
    }
    let empty = v1::AppendReply::default();
    assert!(appended_in(empty).is_err() && response_in(empty).is_err());
}

prop_compose! {
    fn any_id()(numbers in any::<(u64, u64, u64)>()) -> v1::LogId {
        v1::LogId { term: numbers.0, replica: numbers.1, index: numbers.2 }
    }
}

prop_compose! {
    fn any_vote()(numbers in any::<(u64, u64, bool)>()) -> v1::Vote {
        v1::Vote { term: numbers.0, replica: numbers.1, committed: numbers.2 }
    }
}

proptest! {
    #[test]
    fn votes_come_back_as_they_were_sent(
        vote in any_vote(),
        last in option::of(any_id()),
        leader_transfer: bool,
        granted: bool,
    ) {
        let group = v1::GroupRef { group: 7, incarnation: 1, from: 1, to: 2 };
        let request = v1::VoteRequest { group: Some(group), vote: Some(vote), last, leader_transfer };
        let read = vote_request_in(request).expect("well formed");
        prop_assert_eq!(vote_request_out(group, &read), request);
        let reply = v1::VoteReply { vote: Some(vote), granted, last };
        prop_assert_eq!(vote_reply_out(&vote_reply_in(reply).expect("well formed")), reply);
    }

    #[test]
    fn any_append_is_read_or_refused(
        vote in option::of(any_vote()),
        previous in option::of(any_id()),
        committed in option::of(any_id()),
        indexes in vec(any::<u64>(), 0..4),
        junk in vec((vec(any::<u8>(), 0..100), vec(any::<u8>(), 0..20)), 0..2),
    ) {
        let junk = junk.into_iter().map(|(head, payload)| v1::Entry { head: head.into(), payload: payload.into() });
        let entries = indexes.into_iter().map(blank).chain(junk).collect();
        let _read = append_in(v1::AppendRequest { group: None, vote, previous, committed, entries });
    }
}
