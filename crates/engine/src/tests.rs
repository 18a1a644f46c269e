//! The engine against a model that is a sorted map of points, and what it refuses.

use std::collections::BTreeMap;

use meridian_frame::{Frame, FrameBuilder};
use meridian_query::{MatchOp, Matcher, Needed, Plan, SeriesRows};
use meridian_types::{
    Code, DatabaseId, FieldType, SeriesKey, SeriesNumber, TimeRange, Timestamp, Value, ValueRef, limits,
};
use proptest::prelude::*;

mod even;
mod files;
mod known;
mod narrow;
mod needed;
mod tags;

use crate::{Engine, Stats, View, WriteRefused, Written};

const D1: DatabaseId = DatabaseId(1);
const D2: DatabaseId = DatabaseId(2);

fn key(host: &str) -> SeriesKey {
    SeriesKey::from_tags(&mut [("host", host), ("region", "eu")]).expect("valid")
}

fn at(time: i64) -> Timestamp {
    Timestamp::new(time).expect("in range")
}

/// Measurement, host, time and fields.
type Given<'a> = (&'a str, &'a str, i64, &'a [(&'a str, ValueRef<'a>)]);

fn frame(rows: &[Given<'_>]) -> Frame {
    let mut builder = FrameBuilder::new();
    for (measurement, host, time, fields) in rows {
        builder.push(measurement, &key(host), at(*time), fields).expect("valid");
    }
    Frame::check(builder.finish()).expect("valid")
}

/// The hash by which replicas are compared.
fn hash_of(engine: &Engine) -> u64 {
    engine.content().hash().expect("whole files")
}

fn ask(measurement: &str, range: TimeRange, fields: &[(&str, FieldType)], matchers: Vec<Matcher>) -> Plan {
    let fields = fields.iter().map(|(name, kind)| ((*name).to_owned(), *kind));
    Plan::builder(measurement, range).fields(fields).matchers(matchers).build().expect("valid")
}

// ---- against the model ----

/// One row of a test frame; fields as (index, choice of value).
#[derive(Clone, Debug)]
struct Row {
    measurement: u8,
    host: u8,
    time: i64,
    fields: BTreeMap<u8, u8>,
}

type Frames = Vec<(DatabaseId, Vec<Row>)>;
type Point = (String, SeriesKey, String, i64);

/// The naive engine.
#[derive(Clone, PartialEq, Debug, Default)]
struct Model(BTreeMap<(DatabaseId, Point), Value>);

impl Row {
    fn named(&self) -> Vec<(String, Value)> {
        self.fields.iter().map(|(field, choice)| (field_name(*field), value(*field, *choice))).collect()
    }
}

fn field_name(field: u8) -> String {
    format!("f{field}")
}

fn field_type(field: u8) -> FieldType {
    FieldType::ALL[usize::from(field % 5)]
}

fn value(field: u8, choice: u8) -> Value {
    let n = usize::from(choice % 4);
    match field_type(field) {
        FieldType::F64 => Value::F64([0.0, -0.0, f64::NAN, 1.5][n]),
        FieldType::I64 => Value::I64([0, -1, i64::MIN, i64::MAX][n]),
        FieldType::U64 => Value::U64([0, 1, 2, u64::MAX][n]),
        FieldType::Bool => Value::Bool(n % 2 == 0),
        FieldType::Str => Value::Str(["", "a", "é", "long enough to show"][n].to_owned()),
    }
}

fn encode(rows: &[Row]) -> Frame {
    let mut builder = FrameBuilder::new();
    for row in rows {
        let named = row.named();
        let fields: Vec<(&str, ValueRef<'_>)> = named.iter().map(|(name, v)| (name.as_str(), v.as_ref())).collect();
        let (measurement, key) = (format!("m{}", row.measurement), key(&format!("h{}", row.host)));
        builder.push(&measurement, &key, at(row.time), &fields).expect("valid");
    }
    Frame::check(builder.finish()).expect("valid")
}

impl Model {
    fn write(&mut self, database: DatabaseId, rows: &[Row]) {
        for row in rows {
            for (name, value) in row.named() {
                let point = (format!("m{}", row.measurement), key(&format!("h{}", row.host)), name, row.time);
                self.0.insert((database, point), value);
            }
        }
    }

    fn answer(&self, database: DatabaseId, plan: &Plan) -> BTreeMap<Point, Value> {
        let asked = |(measurement, key, field, time): &Point| {
            *measurement == plan.measurement
                && plan.range.contains(at(*time))
                && plan.read_fields().any(|(name, _)| name == field)
                && plan.matches(key)
        };
        let mine = self.0.iter().filter(|((d, point), _)| *d == database && asked(point));
        mine.map(|((_, point), value)| (point.clone(), value.clone())).collect()
    }
}

/// The points of an answer to a plan without conditions, after checking the form that every answer has.
fn points(plan: &Plan, view: View) -> BTreeMap<Point, Value> {
    let mut all = BTreeMap::new();
    let mut seen = Vec::new();
    for rows in view.series(&Needed::of(plan)) {
        let SeriesRows { key, times, columns, known } = rows.expect("whole files");
        assert!(known.is_empty(), "raw rows have their values");
        assert!(!seen.contains(&key), "a series comes once");
        assert!(times.is_sorted_by(|a, b| a < b), "one row a timestamp, by time: {times:?}");
        assert_eq!(columns.len(), plan.read_fields().count());
        let mut filled = vec![false; times.len()];
        for (column, (name, kind)) in columns.iter().zip(plan.read_fields()) {
            let Some(column) = column else { continue };
            assert_eq!((column.len(), column.field_type()), (times.len(), kind));
            let mut any = false;
            for (row, time) in times.iter().enumerate() {
                let Some(value) = column.value(row) else { continue };
                (any, filled[row]) = (true, true);
                all.insert((plan.measurement.clone(), key.clone(), name.to_owned(), *time), value);
            }
            assert!(any, "a column without a value is None");
        }
        assert!(!filled.is_empty() && filled.iter().all(|f| *f), "no series and no row comes without a value");
        seen.push(key);
    }
    all
}

/// Frames over few series, times and fields, so that most rows meet others; `fields` bounds the field indices.
fn frames(fields: u8) -> impl Strategy<Value = Frames> {
    let fields = prop::collection::btree_map(0..fields, any::<u8>(), 1..5);
    let row = (0_u8..2, 0_u8..3, -9_i64..15, fields);
    let row = row.prop_map(|(measurement, host, time, fields)| Row { measurement, host, time, fields });
    let frame = (1_u32..3).prop_map(DatabaseId);
    prop::collection::vec((frame, prop::collection::vec(row, 1..24)), 1..10)
}

fn plan() -> impl Strategy<Value = Plan> {
    let ops = [
        (MatchOp::Eq, "h0"),
        (MatchOp::NotEq, "h1"),
        (MatchOp::Re, "h[12]"),
        (MatchOp::NotRe, "h2|x"),
        (MatchOp::Eq, ""),
    ];
    let matchers = prop::collection::vec(prop::sample::select(ops.to_vec()), 0..2);
    let span = prop_oneof![Just(None), (-12_i64..16, 1_i64..20).prop_map(Some)];
    let fields = prop::collection::btree_set(0_u8..150, 1..40);
    (0_u8..2, span, fields, matchers).prop_map(|(m, span, fields, matchers)| {
        let range = span.map_or(TimeRange::ALL, |(start, len)| TimeRange::new(at(start), at(start + len)).unwrap());
        // Most fields are drawn low; the others ask for what is rarely there.
        let fields = fields.into_iter().map(|f| if f % 2 == 0 { f } else { f % 7 });
        let fields: BTreeMap<String, FieldType> = fields.map(|f| (field_name(f), field_type(f))).collect();
        let matchers = matchers.into_iter().map(|(op, value)| Matcher::new("host", op, value).unwrap());
        Plan::builder(format!("m{m}"), range).fields(fields).matchers(matchers).build().unwrap()
    })
}

fn everything(measurement: u8) -> Plan {
    let fields = (0..150).map(|f| (field_name(f), field_type(f)));
    Plan::builder(format!("m{measurement}"), TimeRange::ALL).fields(fields).build().expect("valid")
}

proptest! {
    #[test]
    fn answers_are_those_of_the_model(
        frames in prop_oneof![frames(7), frames(150)],
        plans in prop::collection::vec(plan(), 4),
        chunk_rows in prop::sample::select(vec![1, 2, 7, 64, 1_024]),
    ) {
        let (mut engine, mut model) = (Engine::with_chunk_rows(7, chunk_rows), Model::default());
        let mut before = Vec::new();
        for (database, rows) in &frames {
            for plan in plans.iter().chain(&[everything(0), everything(1)]) {
                before.push((plan.clone(), engine.view(*database, plan), model.answer(*database, plan)));
            }
            let written = engine.write(*database, &encode(rows)).expect("valid");
            model.write(*database, rows);
            prop_assert_eq!(written.points, rows.iter().map(|r| r.fields.len() as u64).sum::<u64>());
            for plan in &plans {
                for database in [D1, D2] {
                    prop_assert_eq!(points(plan, engine.view(database, plan)), model.answer(database, plan));
                }
            }
        }
        for (plan, view, answer) in before {
            prop_assert_eq!(points(&plan, view), answer, "a view never sees a later write");
        }
    }

    #[test]
    fn chunk_cuts_and_seeds_show_nowhere(frames in prop_oneof![frames(7), frames(150)]) {
        let mut engines = [(1, 1), (2, 3), (3, 50), (3, 1_024)].map(|(seed, rows)| Engine::with_chunk_rows(seed, rows));
        for (database, rows) in &frames {
            let frame = encode(rows);
            let written = engines.each_mut().map(|engine| engine.write(*database, &frame).expect("valid"));
            prop_assert!(written.iter().all(|w| *w == written[0]));
        }
        let hashes = engines.each_ref().map(hash_of);
        prop_assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{:?}", hashes);
    }

    #[test]
    fn the_hash_changes_exactly_when_the_content_does(frames in frames(4)) {
        let (mut engine, mut model) = (Engine::with_chunk_rows(7, 4), Model::default());
        for (database, rows) in &frames {
            for row in rows {
                let (content, hash) = (model.clone(), hash_of(&engine));
                engine.write(*database, &encode(std::slice::from_ref(row))).expect("valid");
                model.write(*database, std::slice::from_ref(row));
                prop_assert_eq!(model == content, hash_of(&engine) == hash);
            }
        }
    }

    #[test]
    fn stats_count_what_is_held(frames in frames(7)) {
        let mut engine = Engine::with_chunk_rows(7, 5);
        let mut model = Model::default();
        for (database, rows) in &frames {
            engine.write(*database, &encode(rows)).expect("valid");
            model.write(*database, rows);
        }
        let held: (u64, u64) = engine.series.iter().flatten().map(|s| (s.size().points, s.size().bytes))
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        prop_assert_eq!(engine.stats().points, held.0);
        prop_assert!(engine.stats().bytes > held.1 && held.0 >= model.0.len() as u64);
        engine.drop_database(D1);
        engine.drop_database(D2);
        prop_assert_eq!(engine.stats(), Stats::default());
    }
}

// ---- what is refused, and other single facts ----

#[test]
fn a_refusal_leaves_no_trace() {
    let mut engine = Engine::new(7);
    engine.write(D1, &frame(&[("cpu", "a", 1, &[("load", ValueRef::F64(1.0))])])).expect("valid");
    let (hash, stats) = (hash_of(&engine), engine.stats());
    let mixed = frame(&[
        ("a_new_one", "a", 1, &[("load", ValueRef::F64(2.0))]),
        ("cpu", "a", 2, &[("idle", ValueRef::F64(2.0))]),
        ("cpu", "b", 2, &[("load", ValueRef::F64(2.0))]),
        ("cpu2", "b", 2, &[("load", ValueRef::I64(2))]),
    ]);
    let wrong = frame(&[
        ("a_new_one", "a", 1, &[("load", ValueRef::F64(2.0))]),
        ("cpu", "b", 2, &[("idle", ValueRef::F64(2.0)), ("load", ValueRef::I64(2))]),
    ]);
    let refused = engine.write(D1, &wrong).expect_err("load is a float");
    assert_eq!(refused.code(), Code::TypeConflict);
    assert_eq!(
        refused.to_string(),
        "field \"load\" of measurement \"cpu\" is float and was given integer: send float, or use another name"
    );
    assert_eq!((hash_of(&engine), engine.stats()), (hash, stats));
    assert_eq!(engine.write(D1, &mixed).expect("valid").series, [1, 0, 2, 3].map(SeriesNumber));
    engine.write(D2, &wrong).expect("another database has types of its own");
}

#[test]
fn a_dropped_database_is_gone_for_good() {
    let mut engine = Engine::new(7);
    let row = frame(&[("cpu", "a", 1, &[("load", ValueRef::F64(1.0))])]);
    engine.write(D1, &row).expect("valid");
    engine.write(D2, &row).expect("valid");
    let plan = ask("cpu", TimeRange::ALL, &[("load", FieldType::F64)], Vec::new());
    let (view, hash) = (engine.view(D1, &plan), hash_of(&engine));
    engine.drop_database(D1);
    assert_eq!(view.series(&Needed::of(&plan)).count(), 1, "a view still sees what it saw");
    assert_eq!(engine.view(D1, &plan).series(&Needed::of(&plan)).count(), 0);
    assert_eq!(engine.view(D2, &plan).series(&Needed::of(&plan)).count(), 1);
    assert_ne!(hash_of(&engine), hash);
    let refused = engine.write(D1, &row).expect_err("dropped");
    assert_eq!((refused.clone(), refused.code()), (WriteRefused::DatabaseDropped { database: D1 }, Code::NoDatabase));
    assert_eq!(engine.stats().series, 1);
    let more = engine.write(D2, &frame(&[("cpu", "b", 1, &[("load", ValueRef::F64(1.0))])])).expect("valid");
    assert_eq!(more.series, [SeriesNumber(2)], "the number of a dropped series is never given again");
    engine.drop_database(DatabaseId(9));
    assert!(engine.write(DatabaseId(9), &row).is_err(), "dropped before it was written");
}

/// A row of a series named by number.
fn numbered(measurement: &str, time: i64, number: u32, check: u32) -> Frame {
    let mut builder = FrameBuilder::new();
    let place = builder.by_number(measurement, SeriesNumber(number), check).expect("a name");
    builder.push_at(place, at(time), &[("load", ValueRef::F64(1.0))]).expect("a row");
    Frame::check(builder.finish()).expect("valid")
}

#[test]
fn a_series_may_be_named_by_its_number_and_nothing_else_may() {
    let mut engine = Engine::new(7);
    let row = |measurement, time| frame(&[(measurement, "a", time, &[("load", ValueRef::F64(1.0))])]);
    let check = meridian_frame::series_check(&key("a"));
    assert_eq!(engine.write(D1, &row("cpu", 1)).expect("valid").series, [SeriesNumber(0)]);
    assert_eq!(engine.write(D1, &row("mem", 1)).expect("valid").series, [SeriesNumber(1)]);
    assert_eq!(engine.write(D2, &row("cpu", 1)).expect("valid").series, [SeriesNumber(2)]);
    let hash = hash_of(&engine);
    for (database, measurement, number, check, why) in [
        (D1, "cpu", 0, check ^ 1, "another key"),
        (D1, "cpu", 1, check, "another measurement"),
        (D1, "cpu", 2, check, "another database"),
        (D1, "cpu", 3, check, "not given yet"),
        (D1, "new", 3, check, "no such measurement"),
        (DatabaseId(3), "cpu", 0, check, "no such database"),
    ] {
        let refused = engine.write(database, &numbered(measurement, 2, number, check)).expect_err(why);
        let (measurement, number) = (measurement.to_owned(), SeriesNumber(number));
        assert_eq!(refused.code(), Code::SendKeys);
        assert_eq!(refused, WriteRefused::SendKeys { measurement, number }, "{why}");
    }
    assert_eq!(hash_of(&engine), hash);
    let written = engine.write(D1, &numbered("mem", 2, 1, check)).expect("known");
    assert_eq!((written.points, written.series), (1, vec![SeriesNumber(1)]));
    let mut same = Engine::new(7);
    for (database, measurement, time) in [(D1, "cpu", 1), (D1, "mem", 1), (D1, "mem", 2), (D2, "cpu", 1)] {
        same.write(database, &row(measurement, time)).expect("valid");
    }
    assert_eq!(hash_of(&engine), hash_of(&same));
    engine.drop_database(D2);
    assert!(engine.write(D1, &numbered("cpu", 2, 2, check)).is_err(), "a dropped series");
}

#[test]
fn equal_content_has_an_equal_hash_whatever_the_numbers() {
    let a = frame(&[("cpu", "a", 1, &[("load", ValueRef::F64(1.0)), ("up", ValueRef::Bool(true))])]);
    let b = frame(&[("cpu", "b", 1, &[("up", ValueRef::Bool(true))]), ("mem", "b", 1, &[("used", ValueRef::U64(1))])]);
    let [mut one, mut two] = [Engine::new(1), Engine::new(2)];
    for frame in [&a, &b] {
        one.write(D1, frame).expect("valid");
    }
    for frame in [&b, &a] {
        two.write(D1, frame).expect("valid");
    }
    assert_eq!(hash_of(&one), hash_of(&two));
}

#[test]
fn no_measurement_gets_more_fields_than_the_limit() {
    let mut engine = Engine::new(7);
    let names: Vec<String> = (0..limits::FIELDS_MAX).map(|i| format!("f{i}")).collect();
    let fields: Vec<_> = names.iter().map(|name| (name.as_str(), ValueRef::U64(1))).collect();
    assert_eq!(engine.write(D1, &frame(&[("wide", "a", 1, &fields)])).expect("valid").points, 1_024);
    let refused = engine.write(D1, &frame(&[("wide", "a", 1, &[("more", ValueRef::U64(1))])])).expect_err("too many");
    assert_eq!(refused.code(), Code::OverLimit);
    let plan = ask("wide", TimeRange::ALL, &[("f0", FieldType::U64), ("f1023", FieldType::U64)], Vec::new());
    assert_eq!(points(&plan, engine.view(D1, &plan)).len(), 2);
}

#[test]
fn long_texts_fill_a_chunk_before_its_rows_do() {
    let mut engine = Engine::new(7);
    let texts: Vec<String> = (0..40).map(|i| format!("{i:065535}")).collect();
    for (text, time) in texts.iter().zip(0..) {
        engine.write(D1, &frame(&[("log", "a", -time, &[("line", ValueRef::Str(text))])])).expect("valid");
    }
    let plan = ask("log", TimeRange::ALL, &[("line", FieldType::Str)], Vec::new());
    let rows = engine.view(D1, &plan).series(&Needed::of(&plan)).next().expect("one series").expect("whole files");
    let column = rows.columns[0].as_ref().expect("has lines");
    for (row, time) in rows.times.iter().enumerate() {
        assert_eq!(column.value(row), Some(Value::Str(texts[usize::try_from(-time).unwrap()].clone())));
    }
    assert!(engine.series[0].as_ref().unwrap().sealed(TimeRange::ALL).len() >= 3, "cut by bytes");
}

#[test]
fn what_is_accepted_has_its_numbers_before_its_rows() {
    let mut engine = Engine::new(7);
    let row = |time| frame(&[("cpu", "a", time, &[("load", ValueRef::F64(1.0)), ("idle", ValueRef::I64(2))])]);
    engine.write(D1, &row(1)).expect("valid");
    let accepted = engine.accept(D1, row(2)).expect("valid");
    assert_eq!(*accepted.written(), Written { points: 2, series: vec![SeriesNumber(0)] });
    assert_eq!(engine.stats().points, 2, "the rows are not there yet");
    engine.store(&accepted);
    assert_eq!(engine.stats().points, 4);
}

#[test]
fn a_series_of_one_row_is_small() {
    let mut engine = Engine::new(7);
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let fields = names.map(|name| (name, ValueRef::F64(1.0)));
    for i in 0..1_000 {
        engine.write(D1, &frame(&[("cpu", &format!("host-{i:04}"), 1, &fields)])).expect("valid");
    }
    let stats = engine.stats();
    assert_eq!((stats.series, stats.points), (1_000, 10_000));
    assert!(stats.bytes < 500 * stats.series, "{stats:?}");
}

#[test]
fn a_view_goes_to_another_thread() {
    fn goes<T: Send + 'static>() {}
    goes::<View>();
}

#[test]
fn a_field_of_another_type_in_the_plan_has_no_values() {
    let mut engine = Engine::new(7);
    engine.write(D1, &frame(&[("cpu", "a", 1, &[("load", ValueRef::F64(1.0))])])).expect("valid");
    let plan = ask("cpu", TimeRange::ALL, &[("load", FieldType::I64)], Vec::new());
    assert_eq!(engine.view(D1, &plan).series(&Needed::of(&plan)).count(), 0);
}
