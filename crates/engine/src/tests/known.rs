//! Chunks of which so much is known that they need not be decoded: with them, each answer is that of all rows.

use std::path::Path;

use meridian_env::Rng;
use meridian_env::sim::SimHost;
use meridian_query::{Aggregate, Batch, CompareOp, Condition, Selection, Window, execute};
use meridian_types::Duration;

use super::*;

/// Rows of one series at equal distances, over each other and over those of others; long enough that chunks have statistics.
#[derive(Clone, Debug)]
struct Walk {
    host: u8,
    start: i64,
    step: i64,
    rows: u16,
    /// Of [`FIELDS`], by bits.
    fields: u8,
    /// Each value is left out where it is zero by this number.
    gaps: u16,
    seed: u64,
}

#[derive(Clone, Debug)]
enum Step {
    Write(Walk),
    Delete(Option<u8>, i64, i64),
    Flush,
    /// It is looked at what is being flushed.
    Freeze,
    Upkeep,
}

const FIELDS: [(&str, FieldType); 5] = [
    ("f", FieldType::F64),
    ("i", FieldType::I64),
    ("u", FieldType::U64),
    ("b", FieldType::Bool),
    ("s", FieldType::Str),
];

fn of_walk(field: &str, at: i64) -> Value {
    match field {
        "f" if at % 17 == 3 => Value::F64(f64::NAN),
        "f" if at == 50 => Value::F64(-0.0),
        "f" => Value::F64((at - 50) as f64 / 4.0),
        "i" => Value::I64(at - 50),
        "u" => Value::U64(at.cast_unsigned()),
        "b" => Value::Bool(at > 50),
        _ => Value::Str(format!("{at:03}")),
    }
}

impl Walk {
    fn frame(&self) -> Frame {
        let (rng, mut at_value) = (Rng::from_seed(self.seed), (self.seed % 101).cast_signed());
        let mut builder = FrameBuilder::new();
        for row in 0..i64::from(self.rows) {
            at_value = (at_value + (rng.u64() % 5).cast_signed() - 2).clamp(0, 100);
            let is_there = |field: usize| {
                self.fields >> field & 1 == 1 && (self.gaps == 0 || rng.u64() % u64::from(self.gaps) != 0)
            };
            let values: Vec<(&str, Value)> = (0..FIELDS.len())
                .filter(|field| is_there(*field))
                .map(|field| (FIELDS[field].0, of_walk(FIELDS[field].0, at_value)))
                .collect();
            let fields: Vec<(&str, ValueRef<'_>)> = values.iter().map(|(name, v)| (*name, v.as_ref())).collect();
            if !fields.is_empty() {
                let key = key(&format!("h{}", self.host));
                builder.push("m", &key, at(self.start + row * self.step), &fields).expect("valid");
            }
        }
        Frame::check(builder.finish()).expect("valid")
    }
}

fn walk() -> impl Strategy<Value = Walk> {
    let fields = prop_oneof![4 => Just(0b1_1111_u8), 2 => Just(0b111), 1 => 1_u8..32];
    let gaps = prop_oneof![4 => Just(0_u16), 1 => 2_u16..40];
    let start = prop_oneof![(0_i64..6).prop_map(|n| n * 130), -50_i64..900];
    (0_u8..2, start, 1_i64..3, 1_u16..260, fields, gaps, any::<u64>())
        .prop_map(|(host, start, step, rows, fields, gaps, seed)| Walk { host, start, step, rows, fields, gaps, seed })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let host = prop_oneof![Just(None), (0_u8..2).prop_map(Some)];
    let step = prop_oneof![
        8 => walk().prop_map(Step::Write),
        2 => (host, -60_i64..1_200, 1_i64..150).prop_map(|(host, start, len)| Step::Delete(host, start, start + len)),
        5 => Just(Step::Flush),
        1 => Just(Step::Freeze),
        2 => Just(Step::Upkeep),
    ];
    prop::collection::vec(step, 1..24)
}

fn condition() -> impl Strategy<Value = (Condition, FieldType)> {
    let literal = (-60_i64..120, 0_usize..4).prop_map(|(n, kind)| match kind {
        0 => Value::F64(n as f64 / 4.0),
        1 => Value::I64(n),
        2 => Value::U64(n.unsigned_abs()),
        _ => Value::F64(if n % 2 == 0 { f64::NAN } else { f64::INFINITY }),
    });
    let fields = prop_oneof![12 => prop::sample::select(FIELDS.to_vec()), 1 => Just(("absent", FieldType::I64))];
    (fields, prop::sample::select(CompareOp::ALL.to_vec()), literal, 0_i64..101).prop_map(
        |((field, field_type), op, literal, at)| {
            let value = if matches!(field, "b" | "s") { of_walk(field, at) } else { literal };
            (Condition { field: field.to_owned(), op, value }, field_type)
        },
    )
}

/// Plans in which chunks may be left undecoded.
fn asked() -> impl Strategy<Value = Plan> {
    let fields = prop_oneof![
        (0_usize..4, 1_usize..4).prop_map(|(first, count)| (first..(first + count).min(5)).collect::<Vec<_>>()),
        Just(vec![0, 1, 2]),
    ];
    let span = prop_oneof![3 => Just((-500_i64, 3_000_i64)), 2 => (-60_i64..800, 1_i64..900)];
    let numbers = prop::sample::subsequence(Aggregate::ALL.to_vec(), 0..4);
    let every = prop_oneof![Just(None), (60_i64..500).prop_map(Some)];
    let limit = prop_oneof![3 => Just(None), 1 => (1_u64..6).prop_map(Some)];
    let order = (any::<bool>(), any::<bool>(), limit.clone(), limit);
    let conditions = prop_oneof![Just(Vec::new()), prop::collection::vec(condition(), 1..4)];
    (fields, span, numbers, every, order, conditions).prop_map(
        |(fields, (start, len), aggregates, every, (descending, by_host, limit, group_limit), conditions)| {
            let fields: Vec<_> = fields.into_iter().map(|field| FIELDS[field]).collect();
            let supported = |a: &Aggregate| fields.iter().all(|(_, kind)| a.supports(*kind));
            let aggregates: Vec<Aggregate> = aggregates.into_iter().filter(supported).collect();
            let window = every.filter(|_| !aggregates.is_empty()).map(|every| Window {
                every: Duration::from_nanos(every).expect("positive"),
                offset: Duration::default(),
            });
            let range = TimeRange::new(at(start), at(start + len)).expect("not empty");
            Plan::builder("m", range)
                .fields(fields.iter().map(|(name, kind)| ((*name).to_owned(), *kind)))
                .aggregates(aggregates)
                .window(window)
                .conditions(conditions)
                .group_by(by_host.then(|| "host".to_owned()))
                .descending(descending)
                .limit(limit)
                .group_limit(group_limit)
                .build()
                .expect("valid")
        },
    )
}

/// What a plan makes of all rows, which no condition and no aggregate was told of.
fn of_all_rows(engine: &Engine, plan: &Plan) -> Vec<Vec<u8>> {
    let fields = plan.read_fields().map(|(name, kind)| (name.to_owned(), kind));
    let all = Plan::builder(&*plan.measurement, plan.range).fields(fields).build().expect("valid");
    let rows: Vec<SeriesRows> =
        engine.view(D1, &all).series(&Needed::of(&all)).map(|rows| rows.expect("whole files")).collect();
    execute(plan, rows.into_iter(), &Needed::of(plan)).expect("small").map(|batch: Batch| batch.encode()).collect()
}

fn answer(engine: &Engine, plan: &Plan) -> Vec<Vec<u8>> {
    let needed = Needed::of(plan);
    let rows = engine.view(D1, plan).series(&needed).map(|rows| rows.expect("whole files"));
    execute(plan, rows, &needed).expect("small").map(|batch| batch.encode()).collect()
}

fn open() -> Engine {
    let host = SimHost::new("n1", &Rng::from_seed(1));
    let mut engine = Engine::open(host.env_inline().disk, Path::new("/shard"), "s1/1/r1", 3).expect("an empty disk");
    engine.chunk_rows_max = 130;
    engine
}

fn delete(host: Option<u8>, start: i64, end: i64) -> Selection {
    let matchers = host.map(|host| Matcher::new("host", MatchOp::Eq, format!("h{host}")).expect("valid"));
    let range = TimeRange::new(at(start), at(end)).expect("not empty");
    Selection::builder(range).matchers(matchers).build().expect("valid")
}

fn freeze(engine: &mut Engine, index: u64) -> Option<crate::Task> {
    engine.freeze(crate::Point { index, mark: Vec::new(), state: Vec::new() }, |_| 1_000)
}

fn run(engine: &mut Engine, task: Option<crate::Task>) {
    if let Some(task) = task {
        let outcome = task.run().expect("the disk is fine");
        engine.install(outcome);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn what_is_left_undecoded_shows_nowhere(steps in steps(), plans in prop::collection::vec(asked(), 12)) {
        let (mut engine, mut plain) = (open(), Engine::new(5));
        for (step, index) in steps.iter().zip(1..) {
            let mut frozen = None;
            match step {
                Step::Write(walk) => {
                    for engine in [&mut engine, &mut plain] {
                        engine.write(D1, &walk.frame()).expect("valid");
                    }
                }
                Step::Delete(host, start, end) => {
                    for engine in [&mut engine, &mut plain] {
                        engine.delete(index, D1, delete(*host, *start, *end));
                    }
                }
                Step::Flush => {
                    let task = freeze(&mut engine, index);
                    run(&mut engine, task);
                }
                Step::Freeze => frozen = freeze(&mut engine, index),
                Step::Upkeep => {
                    let task = engine.upkeep();
                    run(&mut engine, task);
                }
            }
            for plan in &plans {
                prop_assert_eq!(answer(&engine, plan), of_all_rows(&plain, plan), "{:?}", plan);
            }
            run(&mut engine, frozen);
        }
    }
}

/// An engine with 400 rows in files, of which the walk of `i` rises from -50 to 50.
fn rising() -> Engine {
    let mut engine = open();
    let rows: Vec<(String, i64)> = (0..400).map(|row| ("a".to_owned(), row)).collect();
    let fields = |row: i64| [("i", ValueRef::I64(row / 4 - 50)), ("u", ValueRef::U64(row.cast_unsigned()))];
    let fields: Vec<_> = rows.iter().map(|(_, row)| fields(*row)).collect();
    let rows: Vec<Given<'_>> =
        rows.iter().zip(&fields).map(|((host, row), f)| ("m", host.as_str(), *row, &f[..])).collect();
    engine.write(D1, &frame(&rows)).expect("valid");
    let task = freeze(&mut engine, 1);
    run(&mut engine, task);
    engine
}

fn times(engine: &Engine, op: CompareOp, literal: i64) -> Vec<i64> {
    let condition = Condition { field: "i".to_owned(), op, value: Value::I64(literal) };
    let plan = Plan::builder("m", TimeRange::ALL).fields([("u".to_owned(), FieldType::U64)]);
    let plan = plan.conditions([(condition, FieldType::I64)]).build().expect("valid");
    engine.view(D1, &plan).series(&Needed::of(&plan)).flat_map(|rows| rows.expect("whole files").times).collect()
}

#[test]
fn rows_of_chunks_that_stand_alone_are_left_out_where_they_are() {
    let engine = rising();
    assert_eq!(times(&engine, CompareOp::Ge, 48), (392..400).collect::<Vec<_>>());
    assert_eq!(times(&engine, CompareOp::Gt, 49), [] as [i64; 0]);
    assert_eq!(times(&engine, CompareOp::Eq, -50), (0..4).collect::<Vec<_>>());
}

#[test]
fn a_chunk_that_another_one_overrules_is_read_whatever_it_says() {
    let mut engine = rising();
    engine.write(D1, &frame(&[("m", "a", 10, &[("i", ValueRef::I64(90))])])).expect("valid");
    engine.write(D1, &frame(&[("m", "a", 11, &[("u", ValueRef::U64(7))])])).expect("valid");
    let task = freeze(&mut engine, 2);
    run(&mut engine, task);
    let plan = |op, literal| {
        let condition = Condition { field: "i".to_owned(), op, value: Value::I64(literal) };
        let plan = Plan::builder("m", TimeRange::ALL).fields([("u".to_owned(), FieldType::U64)]);
        plan.conditions([(condition, FieldType::I64)]).build().expect("valid")
    };
    let high = plan(CompareOp::Gt, 80);
    assert_eq!(answer(&engine, &high), of_all_rows(&engine, &high), "its `u` is in a chunk without such an `i`");
    assert!(!answer(&engine, &high).is_empty());
    let low = plan(CompareOp::Lt, -47);
    assert_eq!(answer(&engine, &low), of_all_rows(&engine, &low), "one of them has another `u`");
}
