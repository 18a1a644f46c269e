//! What one shard sends: how batches are cut, what the limit saves, and what is refused. Answers are tested in `merge`.

use meridian_types::{TimeRange, Timestamp, Value};

use super::*;
use crate::{Aggregate, Values, Window};
use crate::{BATCH_BYTES_MAX, Batch};

fn plan(columns: &[FieldType], limit: Option<u64>) -> crate::PlanBuilder {
    let range = TimeRange::new(Timestamp::MIN, Timestamp::END).expect("not empty");
    let fields = columns.iter().enumerate().map(|(i, t)| (format!("f{i}"), *t));
    Plan::builder("m", range).fields(fields).limit(limit)
}

fn key(host: usize) -> SeriesKey {
    SeriesKey::from_tags(&mut [("host", &format!("h{host}"))]).expect("valid")
}

fn integers(host: usize, times: Range<i64>) -> SeriesRows {
    let values = times.clone().map(Some).collect();
    SeriesRows { key: key(host), times: times.collect(), columns: vec![Some(Column::I64(values))], known: Vec::new() }
}

fn second_windows(builder: crate::PlanBuilder) -> Plan {
    let every = meridian_types::Duration::from_nanos(1).expect("positive");
    let offset = meridian_types::Duration::default();
    builder.aggregates([Aggregate::Sum]).window(Some(Window { every, offset })).build().expect("valid")
}

#[test]
fn batches_are_cut_by_rows_and_by_bytes() {
    let integer = plan(&[FieldType::I64], None).build().expect("valid");
    let batches = execute(&integer, [integers(0, 0..5_000), integers(1, 0..5_000)].into_iter(), &Needed::of(&integer))
        .expect("runs");
    assert_eq!(batches.map(|b| b.len()).collect::<Vec<_>>(), [4_096, 4_096, 1_808]);

    let text: Arc<str> = "x".repeat(300 << 10).into();
    let strings = SeriesRows {
        key: key(0),
        times: (0..7).collect(),
        columns: vec![Some(Column::Str(Values::from_iter(vec![Some(Arc::clone(&text)); 7])))],
        known: Vec::new(),
    };
    let plan = plan(&[FieldType::Str], None).build().expect("valid");
    let batches: Vec<Batch> = execute(&plan, [strings].into_iter(), &Needed::of(&plan)).expect("runs").collect();
    assert_eq!(batches.iter().map(Batch::len).collect::<Vec<_>>(), [3, 3, 1]);
    assert!(batches.iter().all(|b| b.encode().len() <= BATCH_BYTES_MAX));
}

#[test]
fn no_batch_when_there_is_nothing_to_say() {
    let empty = SeriesRows { key: key(0), times: vec![1], columns: vec![None], known: Vec::new() };
    let null = SeriesRows {
        key: key(1),
        times: vec![1],
        columns: vec![Some(Column::I64(Values::from_iter([None])))],
        known: Vec::new(),
    };
    let raw = plan(&[FieldType::I64], None).build().expect("valid");
    assert_eq!(execute(&raw, [empty.clone(), null.clone()].into_iter(), &Needed::of(&raw)).expect("runs").count(), 0);
    let sums = second_windows(plan(&[FieldType::I64], None));
    assert_eq!(execute(&sums, [empty, null].into_iter(), &Needed::of(&sums)).expect("runs").count(), 0);
    let none = plan(&[FieldType::I64], Some(0)).build().expect("valid");
    assert_eq!(execute(&none, [integers(0, 0..9)].into_iter(), &Needed::of(&none)).expect("runs").count(), 0);
}

#[test]
fn rows_without_their_values_count_as_with_them() {
    let known = |rows: Range<i64>| {
        let (first, last) = (rows.start, rows.end - 1);
        let count = (rows.end - rows.start).cast_unsigned();
        let known = crate::Known {
            count,
            numbers: count,
            min: Value::I64(first),
            max: Value::I64(last),
            ends: Some((Value::I64(first), Value::I64(last))),
            sum: Some(rows.map(i128::from).sum()),
        };
        crate::KnownRows { first, last, columns: vec![Some(known)] }
    };
    let window =
        Window { every: meridian_types::Duration::from_nanos(10).expect("positive"), offset: Default::default() };
    for (limit, descending) in [(None, false), (Some(1), false), (Some(2), true), (None, true)] {
        let plan =
            plan(&[FieldType::I64], limit).aggregates(Aggregate::ALL).window(Some(window)).descending(descending);
        let plan = plan.build().expect("valid");
        let run = |some: SeriesRows| {
            let all = [some, integers(1, 5..33)].into_iter();
            execute(&plan, all, &Needed::of(&plan)).expect("runs").map(|batch| batch.encode()).collect::<Vec<_>>()
        };
        for taken in [vec![10..20, 21..24], vec![0..5, 5..10, 20..30]] {
            let times: Vec<i64> = (0..40).filter(|time| !taken.iter().any(|rows| rows.contains(time))).collect();
            let columns = vec![Some(Column::I64(times.iter().copied().map(Some).collect()))];
            let some = SeriesRows { key: key(0), times, columns, known: taken.into_iter().map(known).collect() };
            assert_eq!(run(some), run(integers(0, 0..40)), "{plan:?}");
        }
    }
}

#[test]
fn a_limit_cuts_series_before_they_are_kept() {
    let plan = plan(&[FieldType::I64], Some(3)).descending(true).build().expect("valid");
    let mut first = FirstPlaces::new(3).expect("small");
    let kept = |first: &mut FirstPlaces, series| {
        let mut source = Source::new(&plan, series);
        first.cut(&mut source);
        assert_eq!(source.columns[0].as_ref().map(Column::len), Some(source.times.len()));
        source.times
    };
    assert_eq!(kept(&mut first, integers(0, 0..1_000)), [997, 998, 999]);
    assert_eq!(kept(&mut first, integers(1, 0..999)), [998], "one of the three, 998 of h0, comes before in key order");
    assert_eq!(kept(&mut first, integers(2, 0..997)), [] as [i64; 0]);
    let batches = execute(&plan, (0..9).map(|host| integers(host, 0..1_000)), &Needed::of(&plan)).expect("runs");
    assert_eq!(batches.map(|b| b.len()).sum::<usize>(), 3);
}

#[test]
fn too_many_windows_are_refused_unless_a_limit_bounds_them() {
    let run = |plan: &Plan, series: Vec<SeriesRows>| {
        aggregate(plan, series.into_iter(), &Needed::of(plan), 10).map(Iterator::count)
    };
    let all = second_windows(plan(&[FieldType::I64], None));
    assert_eq!(run(&all, vec![integers(0, 0..10), integers(1, 0..10)]), Ok(10));
    let error = run(&all, vec![integers(0, 0..11)]).expect_err("one more");
    assert_eq!(error, ExecError::TooManyGroups { limit: 10, columns: 1 });
    assert_eq!(error.code(), Code::OverLimit);
    let some = second_windows(plan(&[FieldType::I64], Some(10)));
    assert_eq!(run(&some, vec![integers(0, 5..500), integers(1, 0..400)]), Ok(10));
    let wide = plan(&[FieldType::I64; 1_000], None).aggregates([Aggregate::Sum, Aggregate::Mean]);
    assert_eq!(groups_max(&wide.build().expect("valid")), 2_000);
}

#[test]
fn a_raw_query_holds_no_more_than_its_bound() {
    let run = |plan: &Plan, series: Vec<SeriesRows>| {
        raw(plan, series.into_iter(), &Needed::of(plan), 10).map(Iterator::count)
    };
    let all = plan(&[FieldType::I64], None).build().expect("valid");
    assert_eq!(run(&all, vec![integers(0, 0..6), integers(1, 0..4)]), Ok(10));
    let refused = Err(ExecError::TooManyCells { limit: 10 });
    assert_eq!(run(&all, vec![integers(0, 0..6), integers(1, 0..5)]), refused);
    let mut taken = 0;
    let endless = (0..).map(|host| integers(host, 0..3)).inspect(|_| taken += 1);
    let error = raw(&all, endless, &Needed::of(&all), 10).map(Iterator::count).expect_err("it has no end");
    assert_eq!((taken, error.code()), (4, Code::OverLimit), "no series is read after the one too many");
    let text = error.to_string();
    for remedy in ["more than 10 cells", "shorter range", "fewer fields", "set a limit"] {
        assert!(text.contains(remedy), "{text}");
    }
}

#[test]
fn cells_are_counted_by_fields_and_text() {
    let cells = |columns: Vec<Option<Column>>| {
        let types = vec![FieldType::Str; columns.len()];
        let plan = plan(&types, None).build().expect("valid");
        Source::new(&plan, SeriesRows { key: key(0), times: vec![1, 2], columns, known: Vec::new() }).cells()
    };
    let numbers = || Some(Column::I64(Values::from_iter([Some(1), None])));
    assert_eq!(cells(vec![None]), 2, "times are held");
    assert_eq!(cells(vec![numbers(), None, numbers()]), 4);
    assert_eq!(cells(vec![Some(Column::Str(Values::from_iter([Some("x".repeat(160).into()), None])))]), 12);
}

#[test]
fn with_a_limit_rows_that_are_no_longer_needed_make_room() {
    let run = |limit, hosts: &[i64]| {
        let plan = plan(&[FieldType::I64], Some(limit)).build().expect("valid");
        let series = hosts.iter().zip(0..).map(|(start, host)| integers(host, *start..*start + 50));
        raw(&plan, series, &Needed::of(&plan), 10)
            .map(|entries| entries.map(|entry| entry.place.order).collect::<Vec<_>>())
    };
    // Each series begins before all that came until then, so that each has rows among the first when it comes.
    let backwards: Vec<i64> = (0..100).rev().map(|n| n * 100).collect();
    assert_eq!(run(10, &backwards), Ok((0..10).collect()));
    assert_eq!(run(10, &[300, 298, 296]), Ok(vec![296, 297, 298, 298, 299, 299, 300, 300, 300, 301]));
    for hosts in [&backwards[..], &[0, 100], &[100, 0]] {
        assert_eq!(run(11, hosts), Err(ExecError::TooManyCells { limit: 10 }), "however the series come");
    }
}

#[test]
fn a_row_that_no_message_can_carry_is_refused() {
    let text: Arc<str> = "x".repeat(1 << 20).into();
    let row = || SeriesRows {
        key: key(0),
        times: vec![1],
        columns: vec![Some(Column::Str(Values::from_iter([Some(Arc::clone(&text))]))); 16],
        known: Vec::new(),
    };
    for builder in [plan(&[FieldType::Str; 16], None), plan(&[FieldType::Str; 16], None).aggregates([Aggregate::Last])]
    {
        let plan = builder.build().expect("valid");
        let error = execute(&plan, [row()].into_iter(), &Needed::of(&plan)).expect_err("too large");
        assert_eq!(error.code(), Code::OverLimit, "{error}");
    }
}
