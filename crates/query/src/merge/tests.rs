//! Whole answers: any data cut into any shards, run, sent and merged, against a reference that looks at all points at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use meridian_types::{Duration, FieldType, SeriesKey, TimeRange};
use proptest::prelude::*;

use super::*;
use crate::condition::tests::{holds, order};
use crate::{Aggregate, Batches, Column, CompareOp, Condition, DecodeError, Needed, SeriesRows, Window, execute};

const FIELDS: [(&str, FieldType); 5] = [
    ("f", FieldType::F64),
    ("i", FieldType::I64),
    ("u", FieldType::U64),
    ("b", FieldType::Bool),
    ("s", FieldType::Str),
];

/// A value for each of some fields.
type Values = Vec<Option<Value>>;
/// A point: series, time, shard, and a value for each of [`FIELDS`].
type Point = (usize, i64, usize, Values);

fn keys() -> Vec<SeriesKey> {
    let tags: [&[(&str, &str)]; 4] =
        [&[], &[("host", "b")], &[("host", "b"), ("region", "x")], &[("host", "aa"), ("region", "x")]];
    tags.iter().map(|tags| SeriesKey::from_tags(&mut tags.to_vec()).expect("valid")).collect()
}

fn time(nanos: i64) -> Timestamp {
    Timestamp::new(nanos).expect("in range")
}

/// Values whose plain float sums are exact, so that the reference needs no accumulator.
fn values() -> impl Strategy<Value = Values> {
    let float = prop_oneof![
        8 => (-100_i32..100).prop_map(|v| f64::from(v) / 4.0),
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0]),
    ];
    let integer = prop_oneof![8 => -9_i64..9, 1 => any::<i64>()];
    let unsigned = prop_oneof![8 => 0_u64..9, 1 => any::<u64>()];
    let maybe = prop::option::of::<BoxedStrategy<Value>>;
    (
        maybe(float.prop_map(Value::F64).boxed()),
        maybe(integer.prop_map(Value::I64).boxed()),
        maybe(unsigned.prop_map(Value::U64).boxed()),
        maybe(any::<bool>().prop_map(Value::Bool).boxed()),
        maybe("[a-c]{0,3}".prop_map(Value::Str).boxed()),
    )
        .prop_map(|(f, i, u, b, s)| vec![f, i, u, b, s])
}

fn points() -> impl Strategy<Value = Vec<Point>> {
    let point = (0..4_usize, -30..30_i64, 0..4_usize, values());
    prop::collection::vec(point, 0..60).prop_map(|points| {
        let unique: BTreeMap<_, _> = points.into_iter().map(|p| ((p.0, p.1), p)).collect();
        unique.into_values().collect()
    })
}

fn conditions() -> impl Strategy<Value = Vec<(Condition, FieldType)>> {
    // Of the values that points have, so that some rows fulfil a condition and others do not.
    let condition = (0..FIELDS.len(), 0..FIELDS.len(), prop::sample::select(CompareOp::ALL.to_vec()), values());
    let condition = condition.prop_filter_map("no literal of such a type", |(field, literal, op, values)| {
        let (name, field_type) = FIELDS[field];
        let condition = Condition { field: name.to_owned(), op, value: values[literal].clone()? };
        condition.suits(field_type).then_some((condition, field_type))
    });
    prop::collection::vec(condition, 0..3)
}

fn plans() -> impl Strategy<Value = Plan> {
    let aggregates = prop::sample::subsequence(Aggregate::ALL.to_vec(), 0..=7);
    let fields = prop::sample::subsequence(FIELDS.to_vec(), 1..=5);
    let window = prop::option::of((1_i64..20, 0_i64..30));
    let group_by = prop::sample::subsequence(vec!["region", "host", "none"], 0..=3).prop_shuffle();
    let limits = (prop::option::of(0_u64..12), prop::option::of(0_u64..4));
    (aggregates, fields, window, group_by, any::<bool>(), limits, -40_i64..20, 1_i64..60, conditions()).prop_map(
        |(aggregates, mut fields, window, group_by, descending, (limit, group_limit), start, length, conditions)| {
            fields.retain(|(_, t)| aggregates.iter().all(|a| a.supports(*t)));
            if fields.is_empty() {
                fields.push(FIELDS[0]);
            }
            let span = |nanos| Duration::from_nanos(nanos).expect("not negative");
            let window = window.filter(|_| !aggregates.is_empty());
            Plan::builder("m", TimeRange::new(time(start), time(start + length)).expect("not empty"))
                .fields(fields.into_iter().map(|(name, t)| (name.to_owned(), t)))
                .conditions(conditions)
                .window(window.map(|(every, offset)| Window { every: span(every), offset: span(offset) }))
                .aggregates(aggregates)
                .group_by(group_by.into_iter().map(str::to_owned))
                .descending(descending)
                .group_limit(group_limit)
                .limit(limit)
                .build()
                .expect("valid")
        },
    )
}

fn value_of<'a>(values: &'a [Option<Value>], field: &str) -> Option<&'a Value> {
    values[FIELDS.iter().position(|(name, _)| *name == field).expect("one of them")].as_ref()
}

/// The points of a plan's range that have any of these fields, as (time, key, values).
fn points_of<'a>(
    plan: &Plan,
    fields: impl Iterator<Item = (&'a str, FieldType)> + Clone,
    points: &[Point],
) -> Vec<(i64, SeriesKey, Values)> {
    let wanted = |values: &Values| fields.clone().map(|(name, _)| value_of(values, name).cloned()).collect();
    let points = points.iter().map(|(series, t, _, values)| (*t, keys()[*series].clone(), wanted(values)));
    points
        .filter(|(t, _, values): &(_, _, Values)| plan.range.contains(time(*t)) && values.iter().any(Option::is_some))
        .collect()
}

fn fulfils(plan: &Plan, values: &[Option<Value>]) -> bool {
    plan.conditions.iter().all(|(condition, _)| {
        let order = |value: &Value| match (value, &condition.value) {
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            (Value::Str(a), Value::Str(b)) => Some(a.cmp(b)),
            (a, b) => order(a, b),
        };
        value_of(values, &condition.field).is_some_and(|value| holds(condition.op, order(value)))
    })
}

/// The points that a plan asks for.
fn selected(plan: &Plan, points: &[Point]) -> Vec<(i64, SeriesKey, Values)> {
    let points: Vec<Point> = points.iter().filter(|(_, _, _, values)| fulfils(plan, values)).cloned().collect();
    points_of(plan, plan.fields.iter().map(|(name, field_type)| (name.as_str(), *field_type)), &points)
}

fn column(field_type: FieldType, values: &[Option<Value>]) -> Option<Column> {
    macro_rules! pick {
        ($variant:ident, $value:ident => $it:expr) => {{
            let pick = |v: &Option<Value>| if let Some(Value::$variant($value)) = v { Some($it) } else { None };
            Column::$variant(values.iter().map(pick).collect())
        }};
    }
    values.iter().any(Option::is_some).then(|| match field_type {
        FieldType::F64 => pick!(F64, v => *v),
        FieldType::I64 => pick!(I64, v => *v),
        FieldType::U64 => pick!(U64, v => *v),
        FieldType::Bool => pick!(Bool, v => *v),
        FieldType::Str => pick!(Str, v => v.as_str().into()),
    })
}

/// What an engine gives for some of the points.
fn series(plan: &Plan, points: &[Point]) -> Vec<SeriesRows> {
    let mut by_key: BTreeMap<SeriesKey, BTreeMap<i64, Values>> = BTreeMap::new();
    let read: Vec<_> = plan.read_fields().collect();
    for (t, key, values) in points_of(plan, read.iter().copied(), points) {
        by_key.entry(key).or_default().insert(t, values);
    }
    let rows = |(key, rows): (SeriesKey, BTreeMap<i64, Values>)| SeriesRows {
        key,
        times: rows.keys().copied().collect(),
        columns: (0..read.len())
            .map(|field| column(read[field].1, &rows.values().map(|values| values[field].clone()).collect::<Vec<_>>()))
            .collect(),
        known: Vec::new(),
    };
    by_key.into_iter().map(rows).collect()
}

/// Runs and merges on each of the nodes, sends and merges again; `ahead` batches of each node are pushed before they are wanted.
fn answer(
    plan: &Plan,
    shards: Vec<Vec<SeriesRows>>,
    nodes: usize,
    rows_max: usize,
    ahead: usize,
) -> Result<Vec<Row>, ExecError> {
    let mut merge = Merge::new(plan.clone(), nodes);
    let mut parts: Vec<Vec<Batches>> = (0..nodes).map(|_| Vec::new()).collect();
    for (number, series) in shards.into_iter().enumerate() {
        let batches = execute(plan, series.into_iter(), &Needed::of(plan)).expect("small");
        parts[number % nodes].push(batches);
    }
    let sent = |batch: Batch| Batch::decode(plan, &batch.encode()).expect("what was encoded");
    let node = |parts: Vec<Batches>| {
        let merged = Batches::merged(plan, parts).rows_max(rows_max);
        let (mut left, is_known) = (merged.rows_at_most().unwrap_or(usize::MAX), merged.rows_at_most().is_some());
        assert!(is_known || plan.is_raw(), "windows are counted");
        merged.map(sent).inspect(move |batch| left = left.checked_sub(batch.len()).expect("no more than said"))
    };
    let mut inputs: Vec<_> = parts.into_iter().map(node).collect();
    for (input, batches) in inputs.iter_mut().enumerate() {
        batches.take(ahead).for_each(|batch| merge.push(input, batch));
    }
    let mut rows = Vec::new();
    while !merge.done() {
        if let Some(input) = merge.wants() {
            match inputs[input].next() {
                Some(batch) => merge.push(input, batch),
                None => merge.finish_input(input),
            }
        }
        rows.extend(merge.take()?);
    }
    Ok(rows)
}

fn reference(plan: &Plan, points: &[Point]) -> Result<Vec<Row>, ExecError> {
    let group = |key: &SeriesKey| plan.group_by.iter().map(|t| key.tag(t).to_owned()).collect::<Vec<_>>();
    let order = |t: i64| if plan.descending { -t } else { t };
    let mut selected = selected(plan, points);
    selected.sort_by_key(|(t, key, _)| (*t, key.clone()));
    let limit = plan.limit.map_or(usize::MAX, |limit| limit as usize);
    let mut of_group = BTreeMap::new();
    let mut is_taken = |group: &[String]| {
        let rows = of_group.entry(group.to_vec()).or_insert(0);
        *rows += 1;
        plan.group_limit.is_none_or(|limit| *rows <= limit)
    };
    if plan.aggregates.is_empty() {
        selected.sort_by_key(|(t, key, _)| (group(key), order(*t), key.clone()));
        selected.retain(|(_, key, _)| is_taken(&group(key)));
        let row =
            |(t, key, values): (i64, SeriesKey, _)| Row { time: time(t), tags: Tags::Series(Arc::new(key)), values };
        return Ok(selected.into_iter().map(row).take(limit).collect());
    }
    let label = |t: i64| match plan.window {
        Some(w) => t - (t - w.offset.nanos()).rem_euclid(w.every.nanos()),
        None => plan.range.start().nanos(),
    };
    let mut windows: BTreeMap<(Vec<String>, i64), Vec<Values>> = BTreeMap::new();
    for (t, key, values) in selected {
        windows.entry((group(&key), order(label(t)))).or_default().push(values);
    }
    let row = |((group, label), rows): ((Vec<String>, i64), Vec<Values>)| {
        let values = plan.kinds().into_iter().map(|kind| {
            let values: Vec<Value> = rows.iter().filter_map(|values| values[kind.field].clone()).collect();
            reference_value(kind, values)
                .map_err(|()| ExecError::SumOverflow { column: format!("sum({})", plan.fields[kind.field].0) })
        });
        Ok(Row { time: time(order(label)), tags: Tags::Group(group.into()), values: values.collect::<Result<_, _>>()? })
    };
    windows.into_iter().filter(|((group, _), _)| is_taken(group)).take(limit).map(row).collect()
}

/// The aggregate of values in the order (time, series key).
fn reference_value(kind: Kind, values: Vec<Value>) -> Result<Option<Value>, ()> {
    let count = values.len() as u64;
    let values: Vec<Value> = values.into_iter().filter(|v| !matches!(v, Value::F64(v) if v.is_nan())).collect();
    let whole = |v: &Value| match v {
        Value::I64(v) => i128::from(*v),
        Value::U64(v) => i128::from(*v),
        _ => 0,
    };
    let float = |v: &Value| if let Value::F64(v) = v { *v } else { 0.0 };
    let aggregate = kind.aggregate.expect("aggregates only");
    if aggregate == Aggregate::Count {
        return Ok(Some(Value::U64(count)));
    }
    if values.is_empty() {
        return Ok(None);
    }
    let sum = values.iter().map(whole).sum::<i128>();
    let float_sum = values.iter().map(float).fold(0.0, |a, b| a + b);
    let compare = |a: &&Value, b: &&Value| float(a).total_cmp(&float(b)).then(whole(a).cmp(&whole(b)));
    Ok(match (aggregate, kind.field_type) {
        (Aggregate::First, _) => values.first().cloned(),
        (Aggregate::Last, _) => values.last().cloned(),
        (Aggregate::Min, _) => values.iter().min_by(compare).cloned(),
        (Aggregate::Max, _) => values.iter().max_by(compare).cloned(),
        (Aggregate::Sum, FieldType::F64) => Some(Value::F64(float_sum)),
        (Aggregate::Sum, FieldType::I64) => Some(Value::I64(i64::try_from(sum).map_err(|_| ())?)),
        (Aggregate::Sum, _) => Some(Value::U64(u64::try_from(sum).map_err(|_| ())?)),
        (_, FieldType::F64) => Some(Value::F64(float_sum / values.len() as f64)),
        _ => Some(Value::F64(crate::cell::whole_mean(sum, values.len() as u64))),
    })
}

/// NaN made of infinities has a sign that depends on the processor.
fn plain_nan(mut rows: Vec<Row>) -> Vec<Row> {
    for value in rows.iter_mut().flat_map(|row| row.values.iter_mut().flatten()) {
        if let Value::F64(v) = value
            && v.is_nan()
        {
            *v = f64::NAN;
        }
    }
    rows
}

fn shards_of(plan: &Plan, points: &[Point], shards: usize, reversed: bool) -> Vec<Vec<SeriesRows>> {
    let of_shard = |shard| {
        let points: Vec<Point> = points.iter().filter(|p| p.2 % shards == shard).cloned().collect();
        let mut series = series(plan, &points);
        if reversed {
            series.reverse();
        }
        series
    };
    (0..shards).map(of_shard).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]
    #[test]
    fn any_cut_into_shards_gives_the_reference(
        plan in plans(), points in points(), shards in 1..5_usize, nodes in 1..4_usize, reversed: bool,
        rows_max in 1..5_usize, ahead in 0..3_usize,
    ) {
        let plan = Plan::decode(&plan.encode()).expect("what was encoded");
        let answer = answer(&plan, shards_of(&plan, &points, shards, reversed), nodes, rows_max, ahead);
        prop_assert_eq!(answer.map(plain_nan), reference(&plan, &points).map(plain_nan));
    }

    #[test]
    fn a_damaged_batch_never_panics(
        plan in plans(), points in points(), at: prop::sample::Index, byte: u8, tail in 0..3_usize,
    ) {
        let batch = execute(&plan, series(&plan, &points).into_iter(), &Needed::of(&plan)).expect("small").next();
        let mut bytes = batch.map_or_else(|| Batch::new(plan.aggregates.is_empty(), Vec::new()).encode(), |b| b.encode());
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(bytes.len().saturating_sub(tail));
        if let Ok(batch) = Batch::decode(&plan, &bytes) {
            let mut merge = Merge::new(plan, 2);
            merge.push(0, batch.clone());
            merge.push(1, batch);
            merge.finish_input(0);
            merge.finish_input(1);
            let _ = merge.take();
        }
    }

    #[test]
    fn any_bytes_are_a_batch_or_an_error(plan in plans(), bytes: Vec<u8>) {
        let raw = u8::from(plan.aggregates.is_empty());
        let _ = Batch::decode(&plan, &[&[1, raw][..], &bytes].concat());
    }
}

fn integers(times: &[i64]) -> SeriesRows {
    let values = times.iter().copied().map(Some).collect();
    SeriesRows {
        key: SeriesKey::default(),
        times: times.to_vec(),
        columns: vec![Some(Column::I64(values))],
        known: Vec::new(),
    }
}

fn sums() -> Plan {
    let window = Window { every: Duration::from_nanos(1).expect("positive"), offset: Duration::default() };
    Plan::builder("m", TimeRange::ALL)
        .fields([("i".to_owned(), FieldType::I64)])
        .aggregates([Aggregate::Sum])
        .window(Some(window))
        .build()
        .expect("valid")
}

fn batch(plan: &Plan, times: &[i64]) -> Batch {
    execute(plan, [integers(times)].into_iter(), &Needed::of(plan)).expect("runs").next().expect("rows")
}

fn times(rows: Result<Vec<Row>, ExecError>) -> Vec<i64> {
    rows.expect("no error").iter().map(|row| row.time.nanos()).collect()
}

#[test]
fn rows_come_as_soon_as_they_are_certain() {
    let plan = sums();
    let mut merge = Merge::new(plan.clone(), 2);
    assert_eq!((merge.wants(), merge.done()), (Some(0), false));
    merge.push(0, batch(&plan, &[1, 2, 5]));
    assert_eq!(merge.wants(), Some(1));
    assert_eq!(times(merge.take()), [] as [i64; 0]);
    merge.push(1, batch(&plan, &[2, 3]));
    assert_eq!(times(merge.take()), [1, 2, 3], "5 waits for what input 1 has next");
    assert_eq!(merge.wants(), Some(1));
    merge.finish_input(1);
    assert_eq!(
        (merge.wants(), times(merge.take())),
        (None, vec![5]),
        "input 0 had it last, so nothing can come before"
    );
    assert_eq!((merge.wants(), merge.done()), (Some(0), false));
    merge.finish_input(0);
    assert!(merge.done());
    assert!(Merge::new(plan, 0).done());
}

#[test]
fn rows_out_of_order_fail_the_answer() {
    let plan = sums();
    let mut merge = Merge::new(plan.clone(), 1);
    merge.push(0, batch(&plan, &[1, 2]));
    merge.push(0, batch(&plan, &[2]));
    assert_eq!((merge.wants(), merge.done()), (None, false));
    assert_eq!(merge.take(), Err(ExecError::OutOfOrder { input: 0 }));

    let mut entries = batch(&plan, &[1, 2]).into_entries();
    entries.reverse();
    let error = Batch::decode(&plan, &Batch::new(false, entries).encode()).expect_err("out of order");
    assert!(matches!(error, DecodeError::Malformed { .. }), "{error}");
}

#[test]
fn a_batch_of_another_kind_is_refused() {
    let raw = Plan::builder("m", TimeRange::ALL).fields([("i".to_owned(), FieldType::I64)]).build().expect("valid");
    assert!(Batch::decode(&sums(), &batch(&raw, &[1]).encode()).is_err());
    let mut other = batch(&raw, &[1]).encode();
    other[0] = 2;
    assert_eq!(Batch::decode(&raw, &other).map(|b| b.len()), Err(DecodeError::Version { found: 2, known: 1 }));
}

#[test]
fn an_overflow_past_the_limit_hurts_nobody() {
    let huge = |times: &[i64]| SeriesRows {
        key: SeriesKey::default(),
        times: times.to_vec(),
        columns: vec![Some(Column::I64(crate::Values::from_iter(vec![Some(i64::MAX); times.len()])))],
        known: Vec::new(),
    };
    let run = |limit| {
        let plan = Plan { limit, ..sums() };
        answer(&plan, vec![vec![huge(&[1, 2])], vec![huge(&[2])]], 2, 9, 0)
    };
    assert_eq!(times(run(Some(1))), [1]);
    let error = run(None).expect_err("2 * i64::MAX");
    assert_eq!(error, ExecError::SumOverflow { column: "sum(i)".into() });
    assert_eq!(Arc::new(error).code(), meridian_types::Code::SumOverflow);
}
