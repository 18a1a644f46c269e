//! Known values by hand, and what holds of any rows.

use meridian_env::Rng;
use proptest::prelude::*;

use super::*;
use crate::queries::draw::Extent;
use crate::queries::kinds::{self, HOUR_NANOS, MINUTE_NANOS, named};
use crate::source::Source;

const SECOND: i64 = 1_000_000_000;

/// Hosts a (number 1, tag `host_1`) and b (number 0, tag `host_10`): rows from time 0 on, of which the first field is what
/// `value(number of the row, number of the host)` says, and every other one more than the one before.
fn reference(rows: usize, value: impl Fn(usize, usize) -> u8) -> Reference {
    let key = |name: &str| SeriesKey::from_tags(&mut [("hostname", name), ("arch", "x64")]).expect("valid");
    let mut values = Vec::new();
    for row in 0..rows {
        for host in 0..2 {
            values.extend((0..FIELDS as u8).map(|field| value(row, host) + field));
        }
    }
    Reference { start: Timestamp::default(), hosts: vec![key("host_10"), key("host_1")], values }
}

fn drawn(name: &str, hosts: &[u32], start: i64, end: i64) -> Drawn {
    let time = |nanos| Timestamp::new(nanos).expect("in range");
    let range = TimeRange::new(time(start), time(end)).expect("not empty");
    Drawn { kind: named(name).expect("it is there"), hosts: hosts.iter().copied().collect(), range }
}

/// Seconds, value of the tag `hostname`, and values.
fn rows(answer: &Answer) -> Vec<(i64, String, Vec<f64>)> {
    let number = |cell: &Option<Value>| match cell {
        Some(Value::I64(value)) => *value as f64,
        Some(Value::F64(value)) => *value,
        other => panic!("{other:?}"),
    };
    let host = |row: &ResultRow| row.tags.iter().find(|tag| tag.key == "hostname").map_or("", |tag| &tag.value).into();
    let row = |row: &ResultRow| (row.time / SECOND, host(row), row.values.iter().map(number).collect());
    answer.rows.iter().map(row).collect()
}

fn columns(answer: &Answer) -> Vec<String> {
    answer.columns.iter().map(|column| format!("{} {:?}", column.name, column.r#type())).collect()
}

#[test]
fn the_greatest_of_each_minute_and_windows_are_cut_at_the_ends() {
    // Host 0 counts up from 0, host 1 down from 50; rows at 0 s, 10 s, ... 130 s.
    let reference = reference(14, |row, host| if host == 0 { row as u8 } else { 50 - row as u8 });
    let (from, to) = (15 * SECOND, 125 * SECOND);
    let answer = reference.answer(&drawn("single-groupby-1-8-1", &[0, 1], from, to));
    assert_eq!(columns(&answer), ["max(usage_user) Integer"]);
    let expected = [(0, 48.0), (60, 44.0), (120, 38.0)].map(|(time, max)| (time, String::new(), vec![max]));
    assert_eq!(rows(&answer), expected);
    let answer = reference.answer(&drawn("single-groupby-5-1-1", &[0], from, to));
    let expected = [(0, 5.0), (60, 11.0), (120, 12.0)]
        .map(|(time, max)| (time, String::new(), (0..5).map(|field| max + f64::from(field)).collect()));
    assert_eq!(rows(&answer), expected);
}

#[test]
fn the_mean_of_each_hour_and_host_goes_by_the_names_of_hosts() {
    let reference = reference(361, |row, host| if host == 0 { (row % 2) as u8 } else { u8::from(row == 360) * 9 });
    let answer = reference.answer(&drawn("double-groupby-1", &[], SECOND, 2 * HOUR_NANOS));
    assert_eq!(columns(&answer), ["mean(usage_user) Float"]);
    // From 10 s on: 359 rows in the first hour, 180 of them odd, and one in the second.
    let expected = [(0, "host_1", 0.0), (3_600, "host_1", 9.0), (0, "host_10", 180.0 / 359.0), (3_600, "host_10", 0.0)]
        .map(|(time, host, mean)| (time, host.to_owned(), vec![mean]));
    assert_eq!(rows(&answer), expected);
}

#[test]
fn the_newest_minutes_end_before_the_end_and_come_newest_first() {
    let reference = reference(60, |row, _| row as u8);
    let query = drawn("groupby-orderby-limit", &[], Timestamp::MIN.nanos(), 400 * SECOND);
    let expected = [(360, 39.0), (300, 35.0), (240, 29.0), (180, 23.0), (120, 17.0)];
    assert_eq!(rows(&reference.answer(&query)), expected.map(|(time, max)| (time, String::new(), vec![max])));
    let query = drawn("groupby-orderby-limit", &[], Timestamp::MIN.nanos(), 70 * SECOND);
    assert_eq!(rows(&reference.answer(&query)).len(), 2, "there are no more");
}

#[test]
fn rows_above_the_threshold_come_by_time_then_by_series() {
    let reference = reference(3, |row, host| [[90, 91], [92, 90], [100 - 9, 93]][row][host]);
    let query = drawn("high-cpu-all", &[], 0, 20 * SECOND + 1);
    let found: Vec<_> = rows(&reference.answer(&query)).into_iter().map(|(time, host, v)| (time, host, v[0])).collect();
    let expected = [(0, "host_1", 91.0), (10, "host_10", 92.0), (20, "host_1", 93.0), (20, "host_10", 91.0)];
    assert_eq!(found, expected.map(|(time, host, value)| (time, host.to_owned(), value)));
    let one = reference.answer(&drawn("high-cpu-1", &[0], 0, 20 * SECOND));
    assert_eq!(rows(&one), [(10, "host_10".to_owned(), (0..10).map(|field| 92.0 + f64::from(field)).collect())]);
    assert_eq!(one.rows[0].tags.iter().map(|tag| &*tag.key).collect::<Vec<_>>(), ["arch", "hostname"], "with all tags");
}

#[test]
fn the_newest_row_of_each_host() {
    let reference = reference(7, |row, host| (10 * host + row) as u8);
    let found: Vec<_> = rows(&reference.answer(&drawn("lastpoint", &[], 0, 1)))
        .into_iter()
        .map(|(time, host, v)| (time, host, v[0], v[9]))
        .collect();
    assert_eq!(found, [(60, "host_1".to_owned(), 16.0, 25.0), (60, "host_10".to_owned(), 6.0, 15.0)]);
}

fn shape(series: u32, rows: u64, seed: u64) -> Shape {
    let points = rows * u64::from(series) * u64::from(FIELDS);
    Shape { source: Source::Cpu, series, fields: FIELDS, rows_per_batch: 1, points, seed }
}

#[test]
fn it_holds_the_rows_that_are_loaded() {
    let shape = shape(3, 50, 7);
    let start = Timestamp::new(5 * HOUR_NANOS).expect("in range");
    let reference = Reference::new(&shape, start).expect("valid tags");
    let mut walk = Walk::new(&shape, start, INTERVAL_NANOS).expect("valid tags");
    let mut expected = Vec::new();
    while let Some((host, time)) = walk.next_row() {
        expected.push((time.nanos() / SECOND, host.tags[0].1.clone(), host.values.iter().map(|v| *v as f64).collect()));
    }
    let all = Drawn { range: TimeRange::ALL, ..drawn("high-cpu-all", &[], 0, 1) };
    let mut found = rows(&Answer { columns: Vec::new(), rows: reference.rows_above(&all, -1) });
    let by_time = |a: &(i64, String, Vec<f64>), b: &(i64, String, Vec<f64>)| (a.0, &a.1).cmp(&(b.0, &b.1));
    found.sort_by(by_time);
    expected.sort_by(by_time);
    assert_eq!(found, expected);
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 32, ..Default::default() })]
    #[test]
    fn windows_are_ordered_and_hold_the_range(seed: u64, which in 0..kinds::ALL.len()) {
        let shape = shape(8, 13 * 360, seed);
        let reference = Reference::new(&shape, Timestamp::default()).expect("valid tags");
        let end = Timestamp::default().saturating_add(shape.span_nanos());
        let extent = Extent { hosts: 8, range: TimeRange::new(Timestamp::default(), end).expect("not empty") };
        let drawn = Drawn::new(named(kinds::ALL[which].name).expect("its name"), &Rng::from_seed(seed), extent);
        let answer = reference.answer(&drawn);
        let all = |row: &ResultRow| row.values.len() == drawn.kind.fields as usize;
        prop_assert!(answer.rows.iter().all(all) && answer.columns.len() == drawn.kind.fields as usize);
        let rows = rows(&answer);
        let places: Vec<_> = rows.iter().map(|(time, host, _)| (host.clone(), *time)).collect();
        let inside = |host| reference.rows_of(host, drawn.range).map(|(_, values)| values[0]);
        let greatest = reference.hosts_of(&drawn).into_iter().flat_map(inside).max().map(f64::from);
        let of_windows = rows.iter().map(|(_, _, values)| values[0]).reduce(f64::max);
        match drawn.kind.want {
            Want::Windows { aggregate, every, .. } => {
                prop_assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
                prop_assert!(places.iter().all(|(_, time)| time * SECOND % every == 0));
                prop_assert!(aggregate == v1::Aggregate::Mean || of_windows == greatest);
            }
            Want::NewestWindows { count, .. } => {
                prop_assert_eq!(rows.len() as u64, count);
                prop_assert!(places.windows(2).all(|pair| pair[0].1 - pair[1].1 == MINUTE_NANOS / SECOND));
            }
            Want::RowsAbove(threshold) => {
                prop_assert!(rows.iter().all(|(_, _, values)| values[0] > threshold as f64));
                prop_assert_eq!(greatest.is_some_and(|greatest| greatest > threshold as f64), !rows.is_empty());
            }
            Want::NewestRows => prop_assert_eq!(rows.len(), 8),
        }
    }
}
