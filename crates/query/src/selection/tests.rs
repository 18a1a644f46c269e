//! What selections cover, and what becomes of their bytes.

use meridian_types::Timestamp;
use proptest::prelude::*;

use super::*;

fn time(nanos: i64) -> Timestamp {
    Timestamp::new(nanos).expect("in range")
}

fn key(tags: &[(&str, &str)]) -> SeriesKey {
    SeriesKey::from_tags(&mut tags.to_vec()).expect("valid")
}

fn matcher(tag: &str, op: MatchOp, value: &str) -> Matcher {
    Matcher::new(tag, op, value).expect("valid")
}

fn example() -> Selection {
    Selection::builder(TimeRange::new(time(-1), time(258)).expect("not empty"))
        .measurement(Some("cpu".into()))
        .matchers([matcher("host", MatchOp::Eq, "a"), matcher("az", MatchOp::NotEq, "")])
        .build()
        .expect("valid")
}

/// Stored in logs and manifests: these bytes never change for version 1.
#[test]
fn golden_bytes() {
    let expected: &[u8] = b"\x01\x01\x03\0\0\0cpu\
        \xff\xff\xff\xff\xff\xff\xff\xff\x02\x01\0\0\0\0\0\0\
        \x02\0\0\0\x04\0\0\0host\x01\x01\0\0\0a\x02\0\0\0az\x02\0\0\0\0";
    assert_eq!(example().encode(), expected);
    assert_eq!(Selection::decode(expected), Ok(example()));
    let all = Selection::builder(TimeRange::ALL).build().expect("valid");
    let bounds = [Timestamp::MIN, Timestamp::END].map(|t| t.nanos().to_le_bytes()).concat();
    assert_eq!(all.encode(), [&[1, 0], &bounds[..], &[0; 4]].concat());
    assert_eq!(Selection::decode(&all.encode()), Ok(all));
}

#[test]
fn what_is_covered() {
    let (a, b, none) = (key(&[("az", "1"), ("host", "a")]), key(&[("az", "1"), ("host", "b")]), key(&[("host", "a")]));
    let selection = example();
    assert!(selection.matches("cpu", &a));
    assert!(!selection.matches("mem", &a), "another measurement");
    assert!(!selection.matches("cpu", &b), "another host");
    assert!(!selection.matches("cpu", &none), "a tag that is missing is empty");
    let all = Selection::builder(TimeRange::ALL).build().expect("valid");
    assert!(all.matches("cpu", &a) && all.matches("mem", &SeriesKey::default()));
}

#[test]
fn what_is_no_selection_is_refused() {
    let builder = || Selection::builder(TimeRange::ALL);
    let refused = |builder: SelectionBuilder, code, part: &str| {
        let error = builder.build().expect_err("refused");
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    };
    refused(builder().measurement(Some(String::new())), Code::BadRequest, "no name");
    refused(builder().measurement(Some("a\0".into())), Code::BadRequest, "no name");
    let many = vec![matcher("a", MatchOp::Eq, "b"); MATCHERS_MAX + 1];
    refused(builder().matchers(many), Code::OverLimit, "65 matchers");
    refused(builder().matchers([matcher("a", MatchOp::Re, "b.*")]), Code::BadRequest, "\"a\" has =~");
    refused(builder().matchers([matcher("a", MatchOp::NotRe, "b.*")]), Code::BadRequest, "\"a\" has !~");
    let long = "x".repeat(limits::TAG_VALUE_BYTES_MAX + 1);
    refused(builder().matchers([matcher("a", MatchOp::Eq, &long)]), Code::OverLimit, "4097 bytes");
    let name = "x".repeat(limits::NAME_BYTES_MAX);
    refused(builder().matchers(vec![matcher(&name, MatchOp::Eq, "a"); 5]), Code::OverLimit, "the selection has");
}

#[test]
fn cuts_patterns_and_other_versions_are_no_selection() {
    let bytes = example().encode();
    for len in 0..bytes.len() {
        assert!(Selection::decode(&bytes[..len]).is_err(), "cut to {len}");
    }
    assert!(Selection::decode(&[&bytes[..], &[0]].concat()).is_err(), "one byte too many");
    let other = [&[9], &bytes[1..]].concat();
    assert_eq!(Selection::decode(&other), Err(DecodeError::Version { found: 9, known: VERSION }));
    let at = bytes.windows(5).position(|w| w == b"host\x01").expect("it has the tag") + 4;
    let mut pattern = bytes.clone();
    pattern[at] = MatchOp::Re as u8;
    assert!(Selection::decode(&pattern).is_err(), "what a pattern matches may change");
}

fn any_matcher() -> impl Strategy<Value = Matcher> {
    let op = prop_oneof![Just(MatchOp::Eq), Just(MatchOp::NotEq)];
    ("[a-c]{1,2}", op, "[x-z]{0,2}").prop_map(|(tag, op, value)| matcher(&tag, op, &value))
}

fn any_selection() -> impl Strategy<Value = Selection> {
    let matchers = proptest::collection::vec(any_matcher(), 0..5);
    (proptest::option::of("[a-b]{1,2}"), matchers, -100_i64..100, 1_i64..100).prop_map(|(name, list, start, len)| {
        let range = TimeRange::new(time(start), time(start + len)).expect("not empty");
        Selection::builder(range).measurement(name).matchers(list).build().expect("valid")
    })
}

proptest! {
    #[test]
    fn selections_read_back(selection in any_selection()) {
        prop_assert_eq!(Selection::decode(&selection.encode()), Ok(selection));
    }

    /// The same rows by the plainest means.
    #[test]
    fn all_conditions_must_hold(selection in any_selection(), name in "[a-b]{1,2}",
                                tags in proptest::collection::btree_map("[a-c]{1,2}", "[x-z]{1,2}", 0..4)) {
        let list: Vec<_> = tags.iter().map(|(k, v)| (&**k, &**v)).collect();
        let mut expected = selection.measurement.is_none() || selection.measurement.as_deref() == Some(&*name);
        for one in &selection.matchers {
            let value = tags.get(one.tag()).map_or("", |v| v);
            expected &= (value == one.value()) == (one.op() == MatchOp::Eq);
        }
        prop_assert_eq!(selection.matches(&name, &key(&list)), expected);
    }

    #[test]
    fn any_bytes_are_a_selection_or_an_error(bytes: Vec<u8>) {
        drop(Selection::decode(&bytes));
        drop(Selection::decode(&[&[VERSION][..], &bytes].concat()));
    }

    #[test]
    fn a_damaged_selection_never_panics(selection in any_selection(), at: usize, byte: u8) {
        let mut bytes = selection.encode();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(read) = Selection::decode(&bytes) {
            prop_assert_eq!(read.encode(), bytes, "what is read is canonical");
        }
    }
}
