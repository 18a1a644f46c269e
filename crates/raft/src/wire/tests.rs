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

fn blank_of(term: u64, replica: u64, index: u64) -> v1::Entry {
    let (head, payload) = entry::encode(&Entry::new(entry::log_id(term, replica, index), Payload::Blank));
    v1::Entry { head, payload }
}

fn blank(index: u64) -> v1::Entry {
    blank_of(3, 1, index)
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
    let last = append_in(append(Some(u64::MAX - 1), &[u64::MAX])).expect_err("refused");
    assert_eq!(last, EntryError::Malformed("no entry follows the last index"));
}

/// An append of (term 3, replica 1) after an entry of (2, 5) at index 4, with entries of these leaders.
fn append_of(leaders: &[(u64, u64)]) -> v1::AppendRequest {
    let entries = leaders.iter().zip(5..).map(|((term, replica), index)| blank_of(*term, *replica, index)).collect();
    let previous = Some(v1::LogId { term: 2, replica: 5, index: 4 });
    v1::AppendRequest { previous, committed: previous, entries, ..append(None, &[]) }
}

#[test]
fn the_leaders_of_an_append_never_go_back_nor_past_its_own() {
    for leaders in [&[][..], &[(2, 5), (2, 5)], &[(2, 5), (2, 6), (3, 0), (3, 1)], &[(3, 1)]] {
        append_in(append_of(leaders)).expect("well formed");
    }
    for leaders in [&[(2, 4)][..], &[(1, 9)], &[(3, 1), (3, 0)], &[(3, 0), (2, 9)]] {
        let error = append_in(append_of(leaders)).expect_err("refused");
        let back = "an entry of an append has an earlier leader than the one before it";
        assert_eq!(error, EntryError::Malformed(back), "{leaders:?}");
    }
    let later = Some(v1::LogId { term: 3, replica: 2, index: 4 });
    for append in [
        append_of(&[(3, 2)]),
        append_of(&[(3, 1), (4, 0)]),
        append_of(&[(u64::MAX, 0)]),
        v1::AppendRequest { previous: later, ..append(None, &[]) },
        v1::AppendRequest { committed: later, ..append(Some(4), &[]) },
    ] {
        let error = append_in(append).expect_err("refused");
        assert_eq!(error, EntryError::Malformed("an append names an entry of a later leader than its own"));
    }
}

#[test]
fn leaders_append_and_candidates_ask_for_votes() {
    let [candidate, leader] = [false, true].map(|committed| Some(v1::Vote { term: 3, replica: 1, committed }));
    let error = append_in(v1::AppendRequest { vote: candidate, ..append(None, &[]) }).expect_err("refused");
    assert_eq!(error, EntryError::Malformed("an append comes from a leader, and its vote is not committed"));
    let request = v1::VoteRequest { vote: candidate, ..Default::default() };
    vote_request_in(request).expect("well formed");
    let error = vote_request_in(v1::VoteRequest { vote: leader, ..request }).expect_err("refused");
    assert_eq!(error, EntryError::Malformed("a vote that is asked for is committed already"));
}

/// What each message that has a vote or the id of an entry comes to with these.
fn all_with(vote: v1::Vote, id: v1::LogId) -> Vec<Option<EntryError>> {
    use v1::append_reply::Result as Part;
    let candidate = Some(v1::Vote { committed: false, ..vote });
    let reply = |result| v1::AppendReply { result: Some(result) };
    let appended = Part::Appended(v1::Appended { last: Some(id), partial: true });
    let vote_is = Some(vote);
    vec![
        append_in(v1::AppendRequest { vote: vote_is, previous: Some(id), ..append(None, &[]) }).err(),
        append_in(v1::AppendRequest { vote: vote_is, committed: Some(id), ..append(None, &[]) }).err(),
        vote_request_in(v1::VoteRequest { vote: candidate, last: Some(id), ..Default::default() }).err(),
        vote_reply_in(v1::VoteReply { vote: vote_is, last: Some(id), granted: true }).err(),
        appended_in(reply(appended)).err().or(appended_in(reply(Part::HigherVote(vote))).err()),
        appended_in(reply(Part::Conflict(id))).err().or(appended_in(reply(Part::HigherVote(vote))).err()),
        response_in(reply(appended)).err().or(response_in(reply(Part::HigherVote(vote))).err()),
    ]
}

#[test]
fn no_term_and_no_index_is_taken_that_openraft_could_count_past_its_end() {
    let vote = v1::Vote { term: TERM_MAX, replica: 1, committed: true };
    let id = v1::LogId { term: TERM_MAX, replica: 1, index: u64::MAX - 1 };
    assert!(all_with(vote, id).iter().all(Option::is_none));
    for term in [TERM_MAX + 1, u64::MAX - 1, u64::MAX] {
        let cases = [(v1::Vote { term, ..vote }, id), (vote, v1::LogId { term, ..id })];
        for error in cases.into_iter().flat_map(|(vote, id)| all_with(vote, id)) {
            assert_eq!(error, Some(EntryError::Malformed("its term is one that no election reaches")));
        }
    }
    for error in all_with(vote, v1::LogId { index: u64::MAX, ..id }) {
        assert_eq!(error, Some(EntryError::Malformed("no entry follows the last index")));
    }
}

#[test]
fn a_reply_says_what_the_replica_said() {
    use openraft::raft::AppendEntriesResponse::{Conflict, HigherVote, PartialSuccess, Success};
    let higher = vote_in(vote()).expect("there");
    let last = id_in(Some(id(5))).expect("in bounds");
    for response in [Success, PartialSuccess(last), PartialSuccess(None), Conflict, HigherVote(higher)] {
        let shown = response.to_string();
        let back = response_in(response_out(response, Some(id(4)))).expect("well formed");
        assert_eq!(back.to_string(), shown);
    }
    let results: [StreamAppendResult<TypeConfig>; 4] = [
        Ok(last),
        Ok(None),
        Err(StreamAppendError::Conflict(one_id_in(id(4)).expect("in bounds"))),
        Err(StreamAppendError::HigherVote(higher)),
    ];
    for result in results {
        assert_eq!(appended_in(appended_out(result.clone())).expect("well formed"), result);
    }
    let empty = v1::AppendReply::default();
    assert!(appended_in(empty).is_err() && response_in(empty).is_err());
}

prop_compose! {
    fn any_id()(numbers in (0..=TERM_MAX, any::<u64>(), 0..u64::MAX)) -> v1::LogId {
        v1::LogId { term: numbers.0, replica: numbers.1, index: numbers.2 }
    }
}

prop_compose! {
    fn any_vote()(numbers in (0..=TERM_MAX, any::<(u64, bool)>())) -> v1::Vote {
        v1::Vote { term: numbers.0, replica: numbers.1.0, committed: numbers.1.1 }
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
        let candidate = v1::Vote { committed: false, ..vote };
        let request = v1::VoteRequest { group: Some(group), vote: Some(candidate), last, leader_transfer };
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
