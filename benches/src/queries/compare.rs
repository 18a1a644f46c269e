//! Whether an answer is the one that it must be, and where it first is not. Pure. Lets nothing pass: names and types of
//! columns, order, times, tags, values to the last bit.

use meridian_proto::{ResultRow, v1};
use meridian_types::{Timestamp, Value};

use crate::queries::reference::Answer;

/// The first place at which two answers differ.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Difference {
    pub(crate) expected: String,
    pub(crate) seen: String,
}

/// Where `seen` first is not as expected.
pub(crate) fn difference(expected: &Answer, seen: &Answer) -> Option<Difference> {
    let columns = (expected.columns != seen.columns)
        .then(|| Difference { expected: columns_text(&expected.columns), seen: columns_text(&seen.columns) });
    columns.or_else(|| {
        let rows = expected.rows.len().max(seen.rows.len());
        let differs = |at: &usize| !same(expected.rows.get(*at), seen.rows.get(*at));
        let at = (0..rows).find(differs)?;
        let text = |answer: &Answer| {
            let row = answer.rows.get(at).map_or_else(|| "none".to_owned(), row_text);
            format!("row {} of {}: {row}", at + 1, answer.rows.len())
        };
        Some(Difference { expected: text(expected), seen: text(seen) })
    })
}

fn same(expected: Option<&ResultRow>, seen: Option<&ResultRow>) -> bool {
    let (Some(expected), Some(seen)) = (expected, seen) else { return expected.is_none() && seen.is_none() };
    // Comparing floats by `==` would let -0.0 pass for 0.0.
    let bits = |row: &ResultRow| -> Vec<Option<u64>> {
        let of = |cell: &Option<Value>| if let Some(Value::F64(float)) = cell { Some(float.to_bits()) } else { None };
        row.values.iter().map(of).collect()
    };
    expected == seen && bits(expected) == bits(seen)
}

fn columns_text(columns: &[v1::Column]) -> String {
    let text = |column: &v1::Column| format!("{} {:?}", column.name, column.r#type());
    format!("columns {}", columns.iter().map(text).collect::<Vec<_>>().join(", "))
}

fn row_text(row: &ResultRow) -> String {
    let time = Timestamp::new(row.time).map_or_else(|error| error.to_string(), |time| time.to_string());
    let tags: Vec<_> = row.tags.iter().map(|tag| format!("{}={}", tag.key, tag.value)).collect();
    let value = |cell: &Option<Value>| match cell {
        None => "nothing".to_owned(),
        Some(Value::F64(value)) => format!("{value:?}"),
        Some(Value::I64(value)) => value.to_string(),
        Some(Value::U64(value)) => format!("{value}u"),
        Some(Value::Bool(value)) => value.to_string(),
        Some(Value::Str(value)) => format!("{value:?}"),
    };
    let values: Vec<_> = row.values.iter().map(value).collect();
    format!("{time} {{{}}} {}", tags.join(","), values.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(rows: &[(i64, &str, Value)]) -> Answer {
        let row = |(time, host, value): &(i64, &str, Value)| ResultRow {
            time: *time,
            tags: [v1::Tag { key: "hostname".into(), value: (*host).to_owned() }].into(),
            values: vec![Some(value.clone())],
        };
        let columns = vec![v1::Column { name: "max(a)".into(), r#type: v1::FieldType::Integer.into() }];
        Answer { columns, rows: rows.iter().map(row).collect() }
    }

    #[test]
    fn the_first_difference_is_shown() {
        let one = answer(&[(0, "a", Value::I64(1)), (0, "b", Value::F64(0.0))]);
        assert_eq!(difference(&one, &one), None);
        let other = answer(&[(0, "a", Value::I64(1)), (0, "b", Value::F64(-0.0)), (1, "c", Value::I64(3))]);
        let found = difference(&one, &other).expect("signs differ");
        assert_eq!(found.expected, "row 2 of 2: 1970-01-01T00:00:00Z {hostname=b} 0.0");
        assert_eq!(found.seen, "row 2 of 3: 1970-01-01T00:00:00Z {hostname=b} -0.0");
        let more = answer(&[(0, "a", Value::I64(1)), (0, "b", Value::F64(0.0)), (1, "c", Value::U64(3))]);
        let found = difference(&one, &more).expect("one row more");
        assert_eq!(found.expected, "row 3 of 2: none");
        assert_eq!(found.seen, "row 3 of 3: 1970-01-01T00:00:00.000000001Z {hostname=c} 3u");
    }

    #[test]
    fn order_types_and_columns_count() {
        let (a, b) = ((0, "a", Value::I64(1)), (0, "b", Value::I64(1)));
        assert!(difference(&answer(&[a.clone(), b.clone()]), &answer(&[b, a.clone()])).is_some());
        assert!(difference(&answer(&[a]), &answer(&[(0, "a", Value::U64(1))])).is_some());
        let mut renamed = answer(&[]);
        renamed.columns[0].name = "max(b)".into();
        let found = difference(&answer(&[]), &renamed).expect("another name");
        assert_eq!((&*found.expected, &*found.seen), ("columns max(a) Integer", "columns max(b) Integer"));
    }
}
