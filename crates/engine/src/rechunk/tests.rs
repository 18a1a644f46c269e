//! Whatever way rows are put together, a reader sees the same.

use std::collections::BTreeMap;

use meridian_types::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::block::{Encoded, Wanted};

const TYPES: [FieldType; 3] = [FieldType::I64, FieldType::Str, FieldType::F64];
const TEXTS: [&str; 4] = ["", "a", "é", "long enough to show"];

/// Rows of one part: the time, and a choice of value for each column that has one.
type Rows = BTreeMap<i64, [Option<u8>; 3]>;
/// What a reader sees: by time and column.
type Seen = BTreeMap<(i64, u16), String>;

fn chunk(rows: &Rows) -> Chunk {
    let (mut open, mut text) = (Builder::default(), String::new());
    for (time, values) in rows {
        open.row(*time);
        for (number, choice) in (0..).zip(values) {
            let Some(choice) = choice else { continue };
            if TYPES[usize::from(number)] == FieldType::Str {
                let value = TEXTS[usize::from(choice % 4)];
                open.cell(number, (text.len() as u64) << 32 | value.len() as u64);
                text.push_str(value);
            } else {
                open.cell(number, u64::from(*choice));
            }
        }
    }
    open.finish(text.into())
}

fn seen(chunk: &Chunk, into: &mut Seen) {
    for (row, time) in chunk.times().iter().enumerate() {
        for column in chunk.columns() {
            let Some(cell) = column.get(row) else { continue };
            let is_text = TYPES[usize::from(column.number())] == FieldType::Str;
            let value = if is_text { chunk.string(cell).to_owned() } else { cell.to_string() };
            into.insert((*time, column.number()), value);
        }
    }
}

fn parts() -> impl Strategy<Value = Vec<(Rows, bool)>> {
    let value = || prop::option::weighted(0.8, any::<u8>());
    let values = (value(), value(), value()).prop_filter("a row has a value", |v| v.0.or(v.1).or(v.2).is_some());
    let rows = prop::collection::btree_map(-40_i64..200, values.prop_map(|(a, b, c)| [a, b, c]), 1..40);
    // Half of the parts come after those before them, most of the others overlap.
    let part = (rows, any::<bool>(), any::<bool>());
    prop::collection::vec(part, 1..7).prop_map(|given| {
        let mut end = 0;
        let moved = given.into_iter().map(|(rows, follows, encoded)| {
            let start = rows.keys().next().copied().unwrap_or(0);
            let by = if follows { end + 1 - start } else { 0 };
            let rows: Rows = rows.into_iter().map(|(time, values)| (time + by, values)).collect();
            end = end.max(rows.keys().next_back().copied().unwrap_or(0));
            (rows, encoded)
        });
        moved.collect()
    })
}

proptest! {
    #[test]
    fn columns_and_rows_give_the_same(
        parts in parts(),
        has_text: bool,
        rows_max in prop::sample::select(vec![1, 2, 5, 16, 1_024]),
        partition in prop::sample::select(vec![3, 50, i64::MAX]),
        range in prop_oneof![Just((-1_000, 10_000)), (-40_i64..100, 1_i64..300).prop_map(|(start, len)| (start, start + len))],
        hidden in prop::option::weighted(0.2, (-40_i64..200, 1_i64..50)),
    ) {
        let at = |time| Timestamp::new(time).expect("in range");
        let range = TimeRange::new(at(range.0), at(range.1)).expect("not empty");
        let hidden: Vec<TimeRange> =
            hidden.iter().map(|(start, len)| TimeRange::new(at(*start), at(start + len)).expect("not empty")).collect();
        let cuts = Cuts { rows_max, partition };
        let (mut given, mut expected) = (Vec::new(), Seen::new());
        for (rows, is_encoded) in &parts {
            let mut rows = rows.clone();
            // Pieces are made only of what has no text.
            rows.values_mut().filter(|_| !has_text).for_each(|[number, text, _]| {
                *number = number.or(*text);
                *text = None;
            });
            let chunk = chunk(&rows);
            let mut all = Seen::new();
            seen(&chunk, &mut all);
            let visible = |time: i64| range.contains(at(time)) && !hidden.iter().any(|h| h.contains(at(time)));
            expected.extend(all.into_iter().filter(|((time, _), _)| visible(*time)));
            let sealed = if *is_encoded {
                Sealed::Encoded(Arc::new(Encoded::of(&chunk, &|column| TYPES[usize::from(column)]).expect("small")))
            } else {
                Sealed::Columns(Arc::new(chunk))
            };
            given.push(Given { rows: sealed, hidden: hidden.clone().into() });
        }
        let (mut found, mut end) = (Seen::new(), None);
        for sealed in rechunk(&given, &TYPES, range, cuts).expect("decodes") {
            let (first, last) = sealed.span().expect("has rows");
            prop_assert!(end < Some(first) && sealed.rows() <= rows_max);
            prop_assert_eq!(cuts.partition_of(first), cuts.partition_of(last));
            end = Some(last);
            seen(&sealed.chunk(Wanted::All).expect("decodes"), &mut found);
        }
        prop_assert_eq!(found, expected);
    }
}
