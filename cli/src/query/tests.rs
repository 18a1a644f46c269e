//! Answers as text in each format, and arguments as the router gets them.

use meridian_types::Value;
use proptest::prelude::*;

use super::rows::{CSV_HEAD_ROWS, PAGE_ROWS};
use super::*;

const START: i64 = 1_767_225_600_000_000_000;

fn row(seconds: i64, tags: &[(&str, &str)], values: Vec<Option<Value>>) -> ResultRow {
    ResultRow {
        time: START + seconds * 1_000_000_000,
        tags: tags.iter().map(|(k, v)| v1::Tag { key: (*k).into(), value: (*v).into() }).collect(),
        values,
    }
}

fn header(columns: &[(&str, v1::FieldType)]) -> v1::QueryHeader {
    let column = |(name, field_type): &(&str, v1::FieldType)| v1::Column {
        name: (*name).into(),
        r#type: i32::from(*field_type),
    };
    v1::QueryHeader { columns: columns.iter().map(column).collect() }
}

fn printed(format: Format, select: &v1::Select, header: v1::QueryHeader, parts: Vec<Vec<ResultRow>>) -> String {
    let mut printer = Printer::new(format, Layout::of(select).with(header));
    let mut text = Vec::new();
    for rows in parts {
        text.extend(printer.rows(rows).expect("good rows"));
    }
    text.extend(printer.end());
    String::from_utf8(text).expect("text")
}

/// All formats, each under its name.
fn all(select: &v1::Select, header: &v1::QueryHeader, rows: &[ResultRow]) -> String {
    let formats = [Format::Table, Format::Json, Format::Csv];
    let text = |f| format!("--- {f:?}\n{}", printed(f, select, header.clone(), vec![rows.to_vec()]));
    formats.into_iter().map(text).collect()
}

#[test]
fn raw_rows_of_every_type() {
    use v1::FieldType::{Boolean, Float, Integer, String, Unsigned};
    let header = header(&[("f", Float), ("i", Integer), ("u", Unsigned), ("b", Boolean), ("s", String)]);
    let rows = [
        row(
            0,
            &[("host", "a"), ("region", "eu")],
            vec![
                Some(Value::F64(0.1)),
                Some(Value::I64(i64::MIN)),
                Some(Value::U64(u64::MAX)),
                Some(Value::Bool(true)),
                Some(Value::Str("comma, \"quote\"\nline".into())),
            ],
        ),
        row(1, &[("host", "b")], vec![Some(Value::F64(f64::NAN)), None, None, None, None]),
        row(2, &[], vec![Some(Value::F64(1e300)), None, None, None, Some(Value::Str("grün".into()))]),
        row(3, &[("az", "1")], vec![Some(Value::F64(f64::INFINITY)), Some(Value::I64(7)), None, None, None]),
        row(4, &[("az", "1")], vec![Some(Value::F64(f64::NEG_INFINITY)), None, Some(Value::U64(0)), None, None]),
        row(5, &[("az", "1")], vec![Some(Value::F64(-0.0)), None, None, Some(Value::Bool(false)), None]),
    ];
    assert_eq!(all(&v1::Select::default(), &header, &rows), include_str!("../../testdata/query_raw.txt"));
}

#[test]
fn names_that_clash_are_told_apart() {
    use v1::FieldType::Integer;
    let header = header(&[("host", Integer), ("time", Integer), ("tag:host", Integer)]);
    let tags = [("host", "a"), ("tag:host", "b"), ("time", "c")];
    let rows = [row(0, &tags, vec![Some(Value::I64(1)), Some(Value::I64(2)), Some(Value::I64(3))])];
    assert_eq!(all(&v1::Select::default(), &header, &rows), include_str!("../../testdata/query_clash.txt"));
}

#[test]
fn one_window_over_all_time_has_no_time() {
    let select = v1::Select {
        aggregates: vec![v1::Aggregate::Mean.into()],
        group_by: vec!["region".into(), "host".into()],
        ..v1::Select::default()
    };
    let header = header(&[("mean(usage)", v1::FieldType::Float)]);
    let rows = [
        row(0, &[("region", "eu"), ("host", "a")], vec![Some(Value::F64(1.0))]),
        row(0, &[("region", "us"), ("host", "")], vec![Some(Value::F64(2.5))]),
    ];
    assert_eq!(all(&select, &header, &rows), include_str!("../../testdata/query_window.txt"));
}

#[test]
fn no_rows_still_have_a_header() {
    let header = || header(&[("f", v1::FieldType::Float)]);
    let select = v1::Select { group_by: vec!["host".into()], ..v1::Select::default() };
    assert_eq!(printed(Format::Table, &select, header(), vec![]), "time  host  f\n");
    assert_eq!(printed(Format::Csv, &select, header(), vec![]), "time,host,f\n");
    assert_eq!(printed(Format::Json, &select, header(), vec![]), "");
}

#[test]
fn a_table_comes_in_pages() {
    let rows: Vec<_> = (0..2 * PAGE_ROWS as i64).map(|i| row(i, &[], vec![Some(Value::I64(i))])).collect();
    let parts = rows.chunks(300).map(<[_]>::to_vec).collect();
    let text = printed(Format::Table, &v1::Select::default(), header(&[("i", v1::FieldType::Integer)]), parts);
    assert_eq!(text.lines().filter(|line| line.starts_with("time")).count(), 2, "two headings and no empty page");
    assert_eq!(text.lines().count(), 2 * PAGE_ROWS + 3);
}

#[test]
fn csv_never_drops_a_tag() {
    let mut printer =
        Printer::new(Format::Csv, Layout::of(&v1::Select::default()).with(header(&[("i", v1::FieldType::Integer)])));
    let some = |tag| vec![row(0, &[(tag, "x")], vec![Some(Value::I64(1))]); CSV_HEAD_ROWS - 1];
    assert_eq!(printer.rows(some("a")).expect("good rows"), b"", "the header waits for tags");
    let text = printer.rows(some("b")).expect("good rows");
    assert!(text.starts_with(b"time,a,b,i\n2026-01-01T00:00:00Z,x,,1\n"));
    printer.rows(some("a")).expect("good rows");
    let late = printer.rows(some("c")).expect_err("too late");
    assert_eq!(late.exit_code(), 3);
    assert!(late.render().contains("--format json"));
}

#[test]
fn a_row_of_the_wrong_width_is_refused() {
    let mut printer = Printer::new(Format::Json, Layout::of(&v1::Select::default()).with(header(&[])));
    let error = printer.rows(vec![row(0, &[], vec![None])]).expect_err("refused");
    assert_eq!(error.to_string(), "the answer has a row of 1 values, not 0");
}

proptest! {
    #[test]
    fn every_label_is_its_own(names in prop::collection::btree_set("(tag:|field:)?(tag:|field:)?(time|a|b)", 0..9),
                              tags in prop::collection::btree_set("(tag:|field:)?(tag:|field:)?(time|a|b)", 0..9)) {
        let columns: Vec<_> = names.iter().map(|name| (name.as_str(), v1::FieldType::Integer)).collect();
        let tags: Vec<_> = tags.iter().map(|tag| (tag.as_str(), "x")).collect();
        let rows = vec![row(0, &tags, vec![None; columns.len()])];
        let text = printed(Format::Csv, &v1::Select::default(), header(&columns), vec![rows]);
        let labels: Vec<_> = text.lines().next().expect("a header").split(',').collect();
        let distinct: std::collections::BTreeSet<_> = labels.iter().collect();
        prop_assert_eq!(distinct.len(), 1 + columns.len() + tags.len(), "{:?}", labels);
    }

    #[test]
    fn floats_read_back(bits: u64) {
        let v = f64::from_bits(bits);
        let header = header(&[("f", v1::FieldType::Float)]);
        let rows = vec![row(0, &[], vec![Some(Value::F64(v))])];
        let text = printed(Format::Csv, &v1::Select::default(), header, vec![rows]);
        let cell = text.trim_end().rsplit(',').next().expect("a cell");
        let read: f64 = cell.parse().expect("a float");
        prop_assert!(read.to_bits() == bits || (read.is_nan() && v.is_nan()), "{} is not {:?}", cell, v);
    }
}

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn select(line: &str) -> Result<v1::Select, CliError> {
    let words = std::iter::once("query").chain(line.split_whitespace());
    let line = <Line as clap::Parser>::try_parse_from(words).expect("understood");
    line.args.select(Timestamp::new(START).expect("in range"))
}

#[test]
fn arguments_become_a_select() {
    let found = select(
        "cpu --db m --fields a,b --where host=x=y --where az!~ --where r=~e.* --where z!=1 --start -1h --every 1m \
         --offset 10s --agg mean,max --group-by host,az --desc --group-limit 2 --limit 5",
    );
    use v1::MatchOp::{Eq, NotEq, NotRe, Re};
    let matcher =
        |tag: &str, op: v1::MatchOp, value: &str| v1::Matcher { tag: tag.into(), op: op.into(), value: value.into() };
    let expected = v1::Select {
        database: "m".into(),
        measurement: "cpu".into(),
        fields: vec!["a".into(), "b".into()],
        range: Some(v1::TimeRange { start: START - 3_600_000_000_000, end: Timestamp::END.nanos() }),
        matchers: vec![
            matcher("host", Eq, "x=y"),
            matcher("az", NotRe, ""),
            matcher("r", Re, "e.*"),
            matcher("z", NotEq, "1"),
        ],
        every: 60_000_000_000,
        offset: 10_000_000_000,
        aggregates: vec![v1::Aggregate::Mean.into(), v1::Aggregate::Max.into()],
        group_by: vec!["host".into(), "az".into()],
        descending: true,
        group_limit: Some(2),
        limit: Some(5),
        conditions: Vec::new(),
    };
    assert_eq!(found.expect("a select"), expected);
    assert_eq!(select("cpu --db m").expect("a select").range, None);
}

#[test]
fn conditions_on_fields_stand_beside_those_on_tags() {
    use v1::CompareOp::{Eq, Ge, Gt, Le, Lt, NotEq};
    let found = select("cpu --db m --where a>b=c --where host=a>b").expect("a select");
    let tag = v1::Matcher { tag: "host".into(), op: v1::MatchOp::Eq.into(), value: "a>b".into() };
    assert_eq!(found.matchers, [tag], "the first operator decides");
    assert_eq!(found.conditions.len(), 1);
    for (text, op, value) in [
        ("f>90", Gt, Value::I64(90)),
        ("f>=-0.5", Ge, Value::F64(-0.5)),
        ("f<18446744073709551615", Lt, Value::U64(u64::MAX)),
        ("f<=1e3", Le, Value::F64(1e3)),
        ("f<+Inf", Lt, Value::F64(f64::INFINITY)),
        ("f==true", Eq, Value::Bool(true)),
        ("f<>false", NotEq, Value::Bool(false)),
        ("f==idle", Eq, Value::Str("idle".into())),
        ("f==nan", Eq, Value::Str("nan".into())),
        ("f==\"42\"", Eq, Value::Str("42".into())),
        ("f<>\"", NotEq, Value::Str("\"".into())),
        ("f==", Eq, Value::Str(String::new())),
    ] {
        let found = select(&format!("cpu --db m --where {text}")).expect("a select");
        let value = Some(Some(value).into());
        assert_eq!(found.conditions, [v1::Condition { field: "f".into(), op: op.into(), value }], "{text}");
        assert!(found.matchers.is_empty(), "{text}");
        assert!(matcher(text).is_err(), "{text}");
    }
}

#[test]
fn bad_times_are_usage_errors() {
    for line in ["cpu --db m --start yesterday", "cpu --db m --start now --end -1h", "cpu --db m --end 1700000000"] {
        let error = select(line).expect_err("refused");
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}
