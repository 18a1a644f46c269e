//! Golden bytes, round trips, and refusals of whatever is no entry.

use std::collections::{BTreeMap, BTreeSet};

use meridian_types::NodeId;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use super::*;

/// Every example of `testdata/entry_v1.hex` by its name.
fn golden() -> BTreeMap<&'static str, Bytes> {
    let text = include_str!("../../testdata/entry_v1.hex");
    let mut examples: BTreeMap<&str, String> = BTreeMap::new();
    let mut name = "";
    for line in text.lines() {
        let (digits, comment) = line.split_once('#').unwrap_or((line, ""));
        if let Some(title) = comment.strip_prefix("# ") {
            name = title;
        }
        examples.entry(name).or_default().extend(digits.split_whitespace());
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
    examples.into_iter().map(|(name, hex)| (name, hex.as_bytes().chunks(2).map(byte).collect())).collect()
}

fn member(node: u32) -> Member {
    Member { node: NodeId(node) }
}

fn joint() -> Membership {
    let nodes = (1..=4).map(|replica| (replica, member(10 + replica as u32)));
    let configs = vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([2, 3])];
    Membership::new(configs, nodes.collect::<BTreeMap<_, _>>()).expect("voters have nodes")
}

fn command() -> Command {
    let session = SessionId { birth: Timestamp::new(-2).expect("in range"), nonce: 0x0102_0304_0506_0708 };
    let header = Header {
        kind: KIND_MACHINE_MIN,
        map_version: 3,
        stamp: Stamp(-1),
        request: RequestId { session, seq: 9 },
        pending_from: 8,
        database: DatabaseId(5),
    };
    Command { header, payload: Bytes::from_static(b"frame") }
}

#[test]
fn the_examples_have_their_golden_bytes() {
    let golden = golden();
    let entries = [
        ("blank", Entry::new(log_id(1, 2, 0), Payload::Blank)),
        ("membership", Entry::new(log_id(1, 2, 3), Payload::Membership(joint()))),
        ("normal", Entry::new(log_id(0x0807_0605_0403_0201, 2, 4), Payload::Normal(command()))),
    ];
    for (name, entry) in entries {
        let (head, payload) = encode(&entry);
        assert_eq!([&head[..], &payload].concat(), golden[name], "{name}: the format changed: raise its version");
        assert_eq!(head.len(), HEAD_BYTES, "{name}");
        assert_eq!(decode(&head, payload), Ok(entry), "{name}");
    }
    let vote = Vote { leader_id: LeaderId::new(7, 2), committed: true };
    assert_eq!(encode_vote(&vote), golden["vote"]);
    assert_eq!(encode_log_id(&log_id(7, 2, 5)), golden["log id"]);
}

#[test]
fn what_is_no_entry_is_refused_by_name() {
    let (head, payload) = encode(&Entry::new(log_id(1, 2, 3), Payload::Normal(command())));
    let refused = |at: usize, byte: u8, payload: &Bytes| {
        let mut head = head.to_vec();
        head[at] = byte;
        decode(&head, payload.clone()).expect_err("refused").to_string()
    };
    assert_eq!(decode(&head[..24], payload.clone()), Err(EntryError::Malformed("its head is cut short")));
    assert_eq!(refused(24, 2, &payload), "the entry has format version 2, this binary reads version 1");
    assert_eq!(refused(25, 2, &payload), "the entry is malformed: its kind is unknown");
    assert_eq!(refused(25, 15, &payload), "the entry is malformed: its kind is unknown");
    assert_eq!(refused(25, KIND_BLANK, &Bytes::new()), "the entry is malformed: an entry of Raft's own has a header");
    assert_eq!(refused(26, 1, &payload), "the entry is malformed: its reserved bytes are not 0");
    assert_eq!(refused(51, 0x7f, &payload), "the entry is malformed: its session's birth");

    let newer = [&[0; 24][..], &[9], &[0; 100]].concat();
    assert_eq!(decode(&newer, Bytes::new()), Err(EntryError::Version(9)), "whatever its size");
    let (blank, _) = encode(&Entry::new(log_id(1, 2, 3), Payload::Blank));
    assert_eq!(decode(&blank, payload), Err(EntryError::Malformed("a blank entry has a payload")));
}

#[test]
fn a_membership_that_cannot_decide_is_refused() {
    let bytes = encode_membership(&joint());
    for cut in 0..bytes.len() {
        assert!(decode_membership(bytes.slice(..cut)).is_err(), "cut at {cut}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(decode_membership(longer.into()).is_err());

    let (head, _) = encode(&Entry::new(log_id(1, 2, 3), Payload::Membership(joint())));
    let none = encode_membership(&Membership::default());
    assert_eq!(decode_membership(none.clone()), Ok(Membership::default()), "a machine that has applied none says so");
    assert_eq!(decode(&head, none), Err(EntryError::Malformed("its membership has no voters")));
    let lacking = EntryError::Malformed("its membership lacks voters or their nodes");
    assert_eq!(decode_membership(Bytes::from_static(&[1, 0, 0, 0, 0])), Err(lacking.clone()), "an empty configuration");
    assert_eq!(decode_membership(Bytes::from_static(&[1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0])), Err(lacking));
}

fn any_id() -> impl Strategy<Value = LogId> {
    any::<(u64, u64, u64)>().prop_map(|(term, replica, index)| log_id(term, replica, index))
}

/// One configuration or two, voters and learners.
fn any_membership() -> impl Strategy<Value = Membership> {
    let configs = vec(btree_set(any::<u64>(), 1..6), 1..3);
    let learners = btree_map(any::<u64>(), any::<u32>(), 0..4);
    (configs, learners, any::<u32>()).prop_map(|(configs, learners, node)| {
        let learners = learners.into_iter().map(|(replica, node)| (replica, member(node)));
        let voters = configs.iter().flatten().map(|replica| (*replica, member(node ^ (*replica as u32))));
        let nodes: BTreeMap<_, _> = learners.chain(voters).collect();
        Membership::new(configs, nodes).expect("voters have nodes")
    })
}

prop_compose! {
    fn any_command()(
        kind in KIND_MACHINE_MIN..,
        numbers in any::<(u64, i64, u64, u64, u64, u32)>(),
        birth in Timestamp::MIN.nanos()..Timestamp::END.nanos(),
        payload in vec(any::<u8>(), 0..64),
    ) -> Command {
        let (map_version, stamp, nonce, seq, pending_from, database) = numbers;
        let session = SessionId { birth: Timestamp::new(birth).expect("in range"), nonce };
        let (stamp, request, database) = (Stamp(stamp), RequestId { session, seq }, DatabaseId(database));
        Command { header: Header { kind, map_version, stamp, request, pending_from, database }, payload: payload.into() }
    }
}

fn any_payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        Just(Payload::Blank),
        any_membership().prop_map(Payload::Membership),
        any_command().prop_map(Payload::Normal),
    ]
}

proptest! {
    #[test]
    fn every_entry_round_trips(id in any_id(), payload in any_payload()) {
        let entry = Entry::new(id, payload);
        let (head, payload) = encode(&entry);
        prop_assert_eq!(decode(&head, payload), Ok(entry));
    }

    #[test]
    fn votes_and_ids_round_trip(id in any_id(), committed: bool) {
        let vote = Vote { leader_id: id.leader_id, committed };
        prop_assert_eq!(decode_vote(&encode_vote(&vote)), Ok(vote));
        prop_assert_eq!(decode_log_id(&encode_log_id(&id)), Ok(id));
    }

    /// What decodes is what would be encoded: nothing in an entry is passed over, but for the order of ids in a membership.
    #[test]
    fn any_bytes_are_an_entry_or_an_error(
        mut head in vec(any::<u8>(), HEAD_BYTES),
        kind in 0_u8..20,
        is_zero: bool,
        payload in vec(0_u8..3, 0..40),
    ) {
        if is_zero {
            head[26..].fill(0);
        }
        head[24] = VERSION;
        head[25] = kind;
        let payload = Bytes::from(payload);
        if let Ok(entry) = decode(&head, payload.clone()) {
            let (again, bytes) = encode(&entry);
            prop_assert_eq!(&again[..], &head[..]);
            prop_assert!(kind == KIND_MEMBERSHIP || bytes == payload);
            prop_assert_eq!(decode(&again, bytes), Ok(entry));
        }
    }

    #[test]
    fn nothing_panics(bytes in vec(any::<u8>(), 0..200), payload in vec(any::<u8>(), 0..200)) {
        let _entry = decode(&bytes, payload.clone().into());
        let _vote = decode_vote(&bytes);
        let _id = decode_log_id(&bytes);
        let _membership = decode_membership(payload.into());
    }
}
