//! Rows to frames, under a map that is made the way routers get theirs.

use meridian_dialect::line_protocol::Precision;
use meridian_proto::v1;
use meridian_types::{SLOTS, TimeRange};

use bytes::Bytes;
use meridian_env::Rng;
use meridian_frame::{Frame, SeriesRef};
use meridian_types::{Code, SeriesNumber};

use super::*;

/// As a router does that has met no series yet.
fn prepare(rules: &Rules, source: &Source) -> Result<Prepared, Failure> {
    super::prepare(rules, &nobody_met(), source)
}

fn nobody_met() -> AllMet {
    AllMet::new(&Rng::from_seed(7))
}

/// A map with one database, two shards of every other slot each, and the given fields of `cpu`.
fn rules(fields: &[(&str, FieldType)]) -> Rules {
    let entry = |(field, field_type): &(&str, FieldType)| v1::FieldEntry {
        database: 1,
        measurement: "cpu".into(),
        field: (*field).into(),
        r#type: v1::FieldType::from(*field_type).into(),
    };
    let database = v1::Database { id: 1, name: "d".into(), ..v1::Database::default() };
    let slots = (0..SLOTS as u32).map(|slot| 1 + slot % 2).collect();
    let epoch = v1::Epoch { id: 1, range: Some(TimeRange::ALL.into()), slots };
    let update = v1::CatalogueUpdate {
        version: 7,
        databases: Some(v1::DatabaseList { databases: vec![database.clone()] }),
        epochs: Some(v1::EpochList { epochs: vec![epoch] }),
        fields: Some(v1::FieldList { replace: true, fields: fields.iter().map(entry).collect() }),
        ..v1::CatalogueUpdate::default()
    };
    Rules {
        map: Arc::new(Map::default().updated(update).expect("a valid update")),
        database: Arc::new(Database::try_from(database).expect("valid")),
        default_time: Some(time(5_000)),
        earliest: Timestamp::MIN,
        latest: time(10_000),
        one_frame: false,
        by_number: true,
        registered: false,
    }
}

fn time(nanos: i64) -> Timestamp {
    Timestamp::new(nanos).expect("in range")
}

fn lines(text: &str) -> Source {
    Source::Lines { body: Bytes::copy_from_slice(text.as_bytes()), precision: Precision::Nanos }
}

/// `measurement{tags} field=value.. @time` of every row of every frame, by shard and in the frames' order.
fn rows(prepared: &Prepared) -> Vec<String> {
    let mut out = Vec::new();
    for made in prepared.frames.values().flatten() {
        let frame = Frame::check(made.bytes.clone()).expect("a valid frame");
        for table in frame.tables() {
            for run in table.runs() {
                let SeriesRef::Key(key) = &run.series else { panic!("nobody has told a number") };
                for row in run.rows.clone() {
                    let fields = table.fields().iter().filter_map(|f| Some(format!("{}={:?}", f.name, f.get(row)?)));
                    let fields = fields.collect::<Vec<_>>().join(" ");
                    out.push(format!("{}{key:?} {fields} @{}", table.measurement(), table.times()[row]));
                }
            }
        }
    }
    out.sort();
    out
}

fn refused(prepared: &Prepared) -> Vec<String> {
    prepared.refused.first().iter().map(|r| format!("{} {} {}", r.number, r.code, r.reason)).collect()
}

#[test]
fn good_lines_become_rows_and_bad_ones_are_named() {
    let rules = rules(&[("v", FieldType::F64), ("n", FieldType::I64)]);
    let text =
        "cpu,host=a v=1 100\ncpu,host=b n=2i\nnonsense\ncpu,host=a v=1i 200\ncpu v=3 10001\ncpu,host=a v=4 10000";
    let prepared = prepare(&rules, &lines(text)).expect("no failure of the whole");
    assert_eq!(
        rows(&prepared),
        [
            "cpu{\"host\": \"a\"} v=F64(1.0) @100",
            "cpu{\"host\": \"a\"} v=F64(4.0) @10000",
            "cpu{\"host\": \"b\"} n=I64(2) @5000",
        ]
    );
    assert_eq!(
        refused(&prepared),
        [
            "3 E0001 the line has no field: write name=value after the measurement and its tags, with a space between",
            "4 E0004 field \"v\" of measurement \"cpu\" is float, not integer: send float, or use another name",
            "5 E0005 timestamp 1970-01-01T00:00:00.000010001Z is after 1970-01-01T00:00:00.00001Z, the last that the \
             database's `future` setting allows now: check the precision and the clock",
        ]
    );
    assert_eq!((prepared.rows, prepared.refused.total()), (6, 3));
}

#[test]
fn what_is_older_than_the_retention_is_refused_by_line_and_by_row() {
    let mut rules = rules(&[("v", FieldType::F64)]);
    let week = meridian_types::parse_duration("7d").expect("a span");
    rules.database = Arc::new(Database { retention: week, ..(*rules.database).clone() });
    rules.earliest = time(100);
    let prepared = prepare(&rules, &lines("cpu v=1 100\ncpu v=2 99\ncpu v=3\ncpu v=4 -1")).expect("no failure");
    assert_eq!(rows(&prepared), ["cpu{} v=F64(1.0) @100", "cpu{} v=F64(3.0) @5000"]);
    let remedy = "is older than the retention of 1w of database \"d\": check the precision, or write it to a database \
                  that keeps points for longer";
    assert_eq!(
        refused(&prepared),
        [
            format!("2 E0005 timestamp 1970-01-01T00:00:00.000000099Z {remedy}"),
            format!("4 E0005 timestamp 1969-12-31T23:59:59.999999999Z {remedy}"),
        ]
    );
    let field = v1::Field { name: "v".into(), value: Some(v1::field::Value::F64(1.0)) };
    let row = |time| v1::Row { measurement: "cpu".into(), time: Some(time), fields: vec![field.clone()], tags: vec![] };
    let prepared = prepare(&rules, &Source::Rows { rows: vec![row(100), row(99)].into(), bytes: 100 });
    let prepared = prepared.expect("no failure of the whole");
    assert_eq!(rows(&prepared), ["cpu{} v=F64(1.0) @100"]);
    assert_eq!(refused(&prepared), [format!("1 E0005 timestamp 1970-01-01T00:00:00.000000099Z {remedy}")]);
}

#[test]
fn unseen_fields_are_asked_for_once_each_and_with_their_first_type() {
    let mut rules = rules(&[("v", FieldType::F64)]);
    let text = "cpu v=1,a=1i 1\ncpu a=2i,b=true 2\ncpu a=3 3\nmem b=\"x\" 4\ncpu v=1i,c=1 5";
    let prepared = prepare(&rules, &lines(text)).expect("no failure of the whole");
    let unseen: Vec<_> = prepared.unseen.iter().map(|(m, f, t)| format!("{m} {f} {t}")).collect();
    assert_eq!(unseen, ["cpu a integer", "cpu b boolean", "mem b string"], "a refused line names no field");
    assert!(prepared.frames.is_empty());
    // What the catalogue did not take is refused when the rows are looked at again.
    rules.registered = true;
    let again = prepare(&rules, &lines(text)).expect("no failure of the whole");
    assert!(again.unseen.is_empty() && again.frames.is_empty());
    assert_eq!(
        refused(&again)[0],
        "1 E0003 measurement \"cpu\" has no room for field \"a\": 1024 fields are the limit"
    );
}

#[test]
fn rows_of_grpc_are_checked_as_lines_are() {
    let mut rules = rules(&[("v", FieldType::F64)]);
    let tag = |key: &str, value: &str| v1::Tag { key: key.into(), value: value.into() };
    let field = |name: &str, v: f64| v1::Field { name: name.into(), value: Some(v1::field::Value::F64(v)) };
    let row = |tags: Vec<v1::Tag>, time, fields| v1::Row { measurement: "cpu".into(), tags, time, fields };
    let list = vec![
        row(vec![tag("b", "2"), tag("a", "1")], Some(1), vec![field("v", f64::NAN)]),
        row(vec![tag("a", "")], Some(1), vec![field("v", 1.0)]),
        row(vec![], Some(i64::MAX), vec![field("v", 1.0)]),
        row(vec![], Some(1), vec![]),
        row(vec![], Some(1), vec![field("v", 1.0), field("v", 2.0)]),
        row(vec![], Some(1), vec![v1::Field { name: "v".into(), value: None }]),
        row(vec![], Some(1), vec![field("", 1.0)]),
        row(vec![], None, vec![field("v", 7.0)]),
    ];
    let source = Source::Rows { rows: list.into(), bytes: 100 };
    let prepared = prepare(&rules, &source).expect("no failure of the whole");
    assert_eq!(rows(&prepared), ["cpu{\"a\": \"1\", \"b\": \"2\"} v=F64(NaN) @1", "cpu{} v=F64(7.0) @5000"]);
    let numbers: Vec<_> = prepared.refused.first().iter().map(|r| (r.number, r.code)).collect();
    let bad = Code::BadRequest;
    assert_eq!(numbers, [(1, bad), (2, Code::TimeOutOfRange), (3, bad), (4, bad), (5, bad), (6, bad)]);
    rules.default_time = None;
    let named = prepare(&rules, &source).expect("no failure of the whole");
    assert_eq!(named.refused.first().last().map(|r| r.number), Some(7), "a request with an id gives its times");
}

#[test]
fn frames_fit_proposals_and_repetitions_are_the_same() {
    let rules = rules(&[("v", FieldType::F64), ("s", FieldType::Str)]);
    let text: String =
        (0..60_000).map(|i| format!("cpu,host=h{} v={i},s=\"{i:0>40}\" {}\n", i % 50, i % 9_999)).collect();
    let prepared = prepare(&rules, &lines(&text)).expect("no failure of the whole");
    assert_eq!(prepared.frames.len(), 2, "both shards");
    for frames in prepared.frames.values() {
        assert!(frames.len() > 1 && frames.iter().all(|made| made.bytes.len() <= limits::PROPOSAL_BYTES_MAX));
    }
    assert_eq!(rows(&prepared).len(), 60_000);
    let again = prepare(&rules, &lines(&text)).expect("no failure of the whole");
    let bytes = |prepared: &Prepared| -> Vec<Bytes> {
        prepared.frames.values().flatten().map(|made| made.bytes.clone()).collect()
    };
    assert_eq!(bytes(&again), bytes(&prepared));
    let one_frame = Rules { one_frame: true, ..rules };
    let failure = prepare(&one_frame, &lines(&text)).expect_err("a request id names one frame a shard");
    assert_eq!(failure.code, Code::OverLimit);
}

/// A row with very many new fields can make a frame jump over the limit at once.
#[test]
fn a_frame_that_jumps_over_the_limit_is_cut() {
    let names: Vec<_> = (0..1_000).map(|i| format!("f{i}")).collect();
    let mut fields: Vec<_> = names.iter().map(|name| (&**name, FieldType::F64)).collect();
    fields.push(("v", FieldType::F64));
    let few: String = (0..30_000).map(|i| format!("cpu v=1 {}\n", i % 9_999)).collect();
    let many = names.iter().map(|name| format!("{name}=1")).collect::<Vec<_>>().join(",");
    let prepared = prepare(&rules(&fields), &lines(&format!("{few}cpu {many} 7\n"))).expect("no failure of the whole");
    let frames: Vec<_> = prepared.frames.values().flatten().map(|made| made.bytes.len()).collect();
    assert!(frames.len() > 1 && frames.iter().all(|len| *len <= limits::PROPOSAL_BYTES_MAX), "{frames:?}");
    assert_eq!(rows(&prepared).len(), 30_001);
}

#[test]
fn too_many_points_fail_the_whole_request() {
    let text = "cpu v=1,n=1i 1\n".repeat(limits::REQUEST_POINTS_MAX / 2 + 1);
    let rules = rules(&[("v", FieldType::F64), ("n", FieldType::I64)]);
    assert_eq!(prepare(&rules, &lines(&text)).map(|_| ()).map_err(|f| f.code), Err(Code::OverLimit));
}

#[test]
fn a_swarm_of_long_new_names_fails_the_whole_request() {
    let measurement = "m".repeat(60 << 10);
    let line = |line: usize| {
        let fields = (0..400).map(|n| format!("f{line}_{n}=1")).collect::<Vec<_>>().join(",");
        format!("{measurement} {fields} 1\n")
    };
    let text: String = (0..200).map(line).collect();
    let failure = prepare(&rules(&[]), &lines(&text)).expect_err("24 GB of names, were each held");
    assert_eq!(failure.code, Code::OverLimit);
    assert!(failure.message.len() < 400 && failure.message.contains("new fields"), "{failure}");
}

#[test]
fn a_database_that_is_not_made_yet_tells_good_rows_from_bad() {
    let mut rules = rules(&[("v", FieldType::F64)]);
    rules.database = Arc::new(crate::write::target::not_made("d"));
    for bad in ["", "# comment", "nonsense", "cpu v=1 10001", "cpu v=1 1,"] {
        let prepared = prepare(&rules, &lines(bad)).expect("no failure of the whole");
        assert!(prepared.unseen.is_empty() && prepared.frames.is_empty(), "{bad:?}");
    }
    let prepared = prepare(&rules, &lines("nonsense\ncpu v=1 1")).expect("no failure of the whole");
    assert_eq!(prepared.unseen.iter().collect::<Vec<_>>(), [("cpu", "v", FieldType::F64)]);
}

#[test]
fn nothing_is_nothing() {
    let prepared = prepare(&rules(&[]), &lines("\n# comment\n\n")).expect("no failure of the whole");
    assert!(prepared.frames.is_empty() && prepared.rows == 0 && prepared.refused.total() == 0);
}

/// The series of all frames, by shard and in the frames' order.
fn series(prepared: &Prepared) -> Vec<SeriesRef> {
    let frame = |made: &Made| Frame::check(made.bytes.clone()).expect("a valid frame");
    let runs = |frame: Frame| -> Vec<SeriesRef> {
        frame.tables().iter().flat_map(|table| table.runs().iter().map(|run| run.series.clone())).collect()
    };
    prepared.frames.values().flatten().map(frame).flat_map(runs).collect()
}

#[test]
fn a_series_goes_by_the_number_that_its_shard_has_told() {
    let mut rules = rules(&[("v", FieldType::F64)]);
    let text: String = (0..40).map(|i| format!("cpu,host=h{} v={i} {i}\n", i % 10)).collect();
    let met = nobody_met();
    let first = super::prepare(&rules, &met, &lines(&text)).expect("no failure of the whole");
    let by_key = rows(&first);
    let mut told = 100;
    for (shard, frames) in &first.frames {
        for made in frames {
            assert!(made.by_keys(*shard).is_none(), "it has no number that could be wrong");
            let frame = Frame::check(made.bytes.clone()).expect("a valid frame");
            let runs: usize = frame.tables().iter().map(|table| table.runs().len()).sum();
            let numbers: Vec<_> = (told..).take(runs).map(SeriesNumber).collect();
            told += runs as u32;
            made.learn(*shard, &numbers);
        }
    }
    let more = format!("{text}cpu,host=new v=1 7\n");
    let mut second = super::prepare(&rules, &met, &lines(&more)).expect("no failure of the whole");
    let mut numbers: Vec<_> = series(&second).iter().filter_map(SeriesRef::number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (100..110).map(SeriesNumber).collect::<Vec<_>>());
    assert_eq!(series(&second).len(), 11, "and the new one by key");

    for (shard, frames) in &mut second.frames {
        let keyed = frames.iter().flat_map(|made| made.by_keys(*shard).expect("it has numbers"));
        *frames = keyed.collect();
    }
    let same: Vec<_> = rows(&second).into_iter().filter(|row| !row.contains("new")).collect();
    assert_eq!(same, by_key, "a shard that knows no number gets the same rows by key");
    let third = super::prepare(&rules, &met, &lines(&text)).expect("no failure of the whole");
    assert_eq!(rows(&third), by_key, "wrong numbers are forgotten");

    rules.by_number = false;
    third.frames.iter().for_each(|(shard, all)| all.iter().for_each(|m| m.learn(*shard, &[SeriesNumber(1); 10])));
    assert_eq!(rows(&super::prepare(&rules, &met, &lines(&text)).expect("no failure of the whole")), by_key);
}
