//! One condition on one column against an order that looks at one value at a time. Whole answers are tested in `merge`.

use std::sync::Arc;

use meridian_types::{SeriesKey, TimeRange};
use proptest::prelude::*;

use super::*;

const EXACT: i64 = 1 << 53;

/// The rows that are left of a column of a field, by number.
fn left(op: CompareOp, literal: Value, column: Column) -> Vec<i64> {
    let (field_type, rows) = (column.field_type(), column.len());
    let condition = Condition { field: "f".into(), op, value: literal };
    let plan =
        Plan::builder("m", TimeRange::ALL).fields([("f".into(), field_type)]).conditions([(condition, field_type)]);
    let plan = plan.build().expect("valid");
    let series = SeriesRows {
        key: SeriesKey::default(),
        times: (0..rows as i64).collect(),
        columns: vec![Some(column.clone())],
        known: Vec::new(),
    };
    let SeriesRows { times, columns, .. } = Filter::new(&plan).apply(series);
    let values = columns[0].as_ref().expect("it was there");
    assert_eq!(values.len(), times.len());
    assert!(times.iter().enumerate().all(|(row, time)| values.value(row) == column.value(*time as usize)), "{times:?}");
    times
}

/// The rows that each comparison leaves, in the order of [`CompareOp::ALL`].
fn all(literal: Value, column: &Column) -> [Vec<i64>; 6] {
    CompareOp::ALL.map(|op| left(op, literal.clone(), column.clone()))
}

#[test]
fn numbers_are_compared_exactly() {
    let none = Vec::new;
    let whole = Column::I64(Values::from_iter([Some(EXACT - 1), Some(EXACT), Some(EXACT + 1), None]));
    let expected = [vec![0], vec![0, 1], vec![2], vec![1, 2], vec![1], vec![0, 2]];
    assert_eq!(all(Value::F64(EXACT as f64), &whole), expected);
    assert_eq!(all(Value::U64(EXACT.cast_unsigned()), &whole), expected);
    let floats = Column::F64(Values::from_iter([Some(EXACT as f64), Some((EXACT + 2) as f64), None]));
    let between = [vec![0], vec![0], vec![1], vec![1], none(), vec![0, 1]];
    assert_eq!(all(Value::I64(EXACT + 1), &floats), between, "rounded it would be the first");
    assert_eq!(all(Value::I64(EXACT + 2), &floats), [vec![0], vec![0, 1], none(), vec![1], vec![1], vec![0]]);
    let small = Column::I64(Values::from_iter([Some(-3), Some(-2), Some(2), Some(3)]));
    let halves = [vec![0, 1, 2], vec![0, 1, 2], vec![3], vec![3], none(), vec![0, 1, 2, 3]];
    assert_eq!(all(Value::F64(2.5), &small), halves);
    assert_eq!(
        all(Value::F64(-2.5), &small),
        [vec![0], vec![0], vec![1, 2, 3], vec![1, 2, 3], none(), vec![0, 1, 2, 3]]
    );
}

#[test]
fn literals_out_of_range_are_below_or_above_all() {
    let none = Vec::new;
    let signed = Column::I64(Values::from_iter([Some(i64::MIN), Some(i64::MAX)]));
    let unsigned = Column::U64(Values::from_iter([Some(0), Some(u64::MAX)]));
    let below = [none(), none(), vec![0, 1], vec![0, 1], none(), vec![0, 1]];
    let above = [vec![0, 1], vec![0, 1], none(), none(), none(), vec![0, 1]];
    for literal in [Value::I64(-1), Value::F64(-0.5), Value::F64(-1e300), Value::F64(f64::NEG_INFINITY)] {
        assert_eq!(all(literal, &unsigned), below);
    }
    for literal in [Value::F64(18_446_744_073_709_551_616.0), Value::F64(1e300), Value::F64(f64::INFINITY)] {
        assert_eq!(all(literal.clone(), &unsigned), above);
        assert_eq!(all(literal, &signed), above);
    }
    assert_eq!(all(Value::U64(1 << 63), &signed), above);
    assert_eq!(
        all(Value::F64(-9_223_372_036_854_775_808.0), &signed),
        [none(), vec![0], vec![1], vec![0, 1], vec![0], vec![1]]
    );
}

#[test]
fn nan_fulfils_only_not_equal_and_zeros_are_one() {
    let none = Vec::new;
    let floats = Column::F64(Values::from_iter([Some(f64::NAN), Some(-0.0), Some(0.0), None, Some(f64::INFINITY)]));
    let zero = [none(), vec![1, 2], vec![4], vec![1, 2, 4], vec![1, 2], vec![0, 4]];
    for literal in [Value::F64(0.0), Value::F64(-0.0), Value::I64(0), Value::U64(0)] {
        assert_eq!(all(literal, &floats), zero);
    }
    let nan = |values| [none(), none(), none(), none(), none(), values];
    assert_eq!(all(Value::F64(f64::NAN), &floats), nan(vec![0, 1, 2, 4]));
    assert_eq!(all(Value::F64(f64::NAN), &Column::I64(Values::from_iter([Some(0), None]))), nan(vec![0]));
    let infinite = [vec![1, 2], vec![1, 2, 4], none(), vec![4], vec![4], vec![0, 1, 2]];
    assert_eq!(all(Value::F64(f64::INFINITY), &floats), infinite);
}

#[test]
fn booleans_and_strings_have_their_order() {
    let booleans = Column::Bool(Values::from_iter([Some(false), Some(true), None]));
    assert_eq!(all(Value::Bool(true), &booleans), [vec![0], vec![0, 1], vec![], vec![1], vec![1], vec![0]]);
    let text = |text: &str| Some(Arc::from(text));
    let strings = Column::Str(Values::from_iter([text(""), text("a"), None, text("ab"), text("b")]));
    let expected = [vec![0, 1], vec![0, 1, 3], vec![4], vec![3, 4], vec![3], vec![0, 1, 4]];
    assert_eq!(all(Value::Str("ab".into()), &strings), expected);
}

#[test]
fn a_field_without_any_value_fulfils_nothing_and_columns_of_conditions_are_cut_off() {
    let condition = |field: &str, op| (Condition { field: field.into(), op, value: Value::I64(1) }, FieldType::I64);
    let plan = Plan::builder("m", TimeRange::ALL).fields([("a".into(), FieldType::F64), ("b".into(), FieldType::I64)]);
    let both = [condition("c", CompareOp::NotEq), condition("b", CompareOp::Ge), condition("c", CompareOp::Lt)];
    let plan = plan.conditions(both).build().expect("valid");
    let read = [("a", FieldType::F64), ("b", FieldType::I64), ("c", FieldType::I64)];
    assert_eq!(plan.read_fields().collect::<Vec<_>>(), read);
    let integers = |values: [i64; 3]| Some(Column::I64(values.into_iter().map(Some).collect()));
    let series = |c| SeriesRows {
        key: SeriesKey::default(),
        times: vec![5, 6, 7],
        columns: vec![None, integers([0, 1, 2]), c],
        known: Vec::new(),
    };
    let found = Filter::new(&plan).apply(series(integers([0, 0, 1])));
    assert_eq!((found.times, found.columns), (vec![6], vec![None, Some(Column::I64(Values::from_iter([Some(1)])))]));
    assert_eq!(Filter::new(&plan).apply(series(None)).times, [] as [i64; 0]);
}

/// Numbers around those where types end and floats grow coarse.
fn number() -> impl Strategy<Value = Value> {
    let near = [0, EXACT.into(), -i128::from(EXACT), i64::MIN.into(), i64::MAX.into(), u64::MAX.into()];
    let near = (prop::sample::select(near.to_vec()), -3_i128..4).prop_map(|(near, by)| near + by);
    let floats = vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 1e300, f64::MIN_POSITIVE];
    prop_oneof![
        near.clone().prop_map(|n| Value::F64(n as f64)),
        near.clone().prop_map(|n| Value::I64(i64::try_from(n).unwrap_or(0))),
        near.prop_map(|n| Value::U64(u64::try_from(n).unwrap_or(0))),
        (-20_i8..20).prop_map(|n| Value::F64(f64::from(n) / 4.0)),
        any::<f64>().prop_map(Value::F64),
        prop::sample::select(floats).prop_map(Value::F64),
    ]
}

/// Of one type, with gaps.
fn numbers() -> impl Strategy<Value = Column> {
    (prop::collection::vec(prop::option::of(number()), 0..40), 0..3_usize).prop_map(|(values, field_type)| {
        macro_rules! pick {
            ($variant:ident) => {{
                let pick = |v: Option<Value>| if let Some(Value::$variant(v)) = v { Some(v) } else { None };
                Column::$variant(values.into_iter().map(pick).collect())
            }};
        }
        match field_type {
            0 => pick!(F64),
            1 => pick!(I64),
            _ => pick!(U64),
        }
    })
}

/// The order of two numbers of any types.
pub(crate) fn order(a: &Value, b: &Value) -> Option<Ordering> {
    let whole = |v: &Value| match v {
        Value::I64(v) => Some(i128::from(*v)),
        Value::U64(v) => Some(i128::from(*v)),
        _ => None,
    };
    match (a, b) {
        (Value::F64(a), Value::F64(b)) => a.partial_cmp(b),
        // Whole parts first; where they are the same, the fraction decides.
        (Value::F64(a), _) if a.is_nan() => None,
        (Value::F64(a), _) if a.is_infinite() => a.partial_cmp(&0.0),
        (Value::F64(a), b) => Some((a.trunc() as i128).cmp(&whole(b)?).then(a.fract().partial_cmp(&0.0)?)),
        (a, Value::F64(_)) => order(b, a).map(Ordering::reverse),
        (a, b) => Some(whole(a)?.cmp(&whole(b)?)),
    }
}

/// Whether values that stand so fulfil a comparison.
pub(crate) fn holds(op: CompareOp, order: Option<Ordering>) -> bool {
    match op {
        CompareOp::Lt => order == Some(Ordering::Less),
        CompareOp::Le => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        CompareOp::Gt => order == Some(Ordering::Greater),
        CompareOp::Ge => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        CompareOp::Eq => order == Some(Ordering::Equal),
        CompareOp::NotEq => order != Some(Ordering::Equal),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn every_comparison_is_that_of_the_exact_order(column in numbers(), literal in number()) {
        for op in CompareOp::ALL {
            let fulfils = |row: &i64| column.value(*row as usize).is_some_and(|v| holds(op, order(&v, &literal)));
            let expected: Vec<i64> = (0..column.len() as i64).filter(fulfils).collect();
            prop_assert_eq!(left(op, literal.clone(), column.clone()), expected, "{} {:?}", op, literal);
        }
    }
}

/// All that is to be known of a column.
fn known(column: &Column) -> Known {
    let values: Vec<Value> = (0..column.len()).filter_map(|row| column.value(row)).collect();
    let total = |a: &Value, b: &Value| match (a, b) {
        (Value::F64(a), Value::F64(b)) => a.total_cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        _ => order(a, b).expect("whole numbers"),
    };
    let is_nan = |value: &Value| matches!(value, Value::F64(v) if v.is_nan());
    let mut numbers: Vec<Value> = values.iter().filter(|v| !is_nan(v)).cloned().collect();
    numbers.sort_by(total);
    let end = |value: Option<&Value>| value.cloned().unwrap_or(Value::Bool(false));
    let (min, max) = (end(numbers.first()), end(numbers.last()));
    Known { count: values.len() as u64, numbers: numbers.len() as u64, min, max, ends: None, sum: None }
}

fn is_left(condition: &Condition, column: &Column) -> bool {
    let mut kept = vec![true; column.len()];
    condition.narrow(column, &mut kept);
    kept.contains(&true)
}

/// Literals out of the column are those that stand next to its ends.
fn column_and_literal() -> impl Strategy<Value = (Column, Value)> {
    let alone = prop::collection::vec(prop::option::of(any::<bool>()), 0..4).prop_map(|values| {
        let literal = Value::Bool(values.len() % 2 == 0);
        (Column::Bool(values.into_iter().collect()), literal)
    });
    let near = (numbers(), any::<prop::sample::Index>(), -1_i8..2).prop_map(|(column, row, by)| {
        let literal = (!column.is_empty()).then(|| column.value(row.index(column.len()))).flatten();
        let literal = match literal {
            Some(Value::I64(v)) => Value::I64(v.saturating_add(by.into())),
            Some(Value::U64(v)) => Value::U64(v.saturating_add_signed(by.into())),
            Some(Value::F64(v)) => Value::F64(v + f64::from(by) / 4.0),
            _ => Value::I64(0),
        };
        (column, literal)
    });
    prop_oneof![4 => (numbers(), number()), 4 => near, 1 => alone]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]
    #[test]
    fn what_cannot_hold_leaves_no_row((column, literal) in column_and_literal()) {
        let known = known(&column);
        for op in CompareOp::ALL {
            let condition = Condition { field: "f".into(), op, value: literal.clone() };
            let (left, may) = (is_left(&condition, &column), condition.may_hold(&known));
            prop_assert!(may || !left, "{} {:?} of {:?}", op, literal, known);
            // Exact but for one value that may or may not be there.
            prop_assert!(left == may || op == CompareOp::Eq, "{} {:?} of {:?}", op, literal, known);
        }
    }
}

#[test]
fn what_may_be_equal_lies_between_the_ends() {
    let known = |min, max| Known { count: 2, numbers: 2, min, max, ends: None, sum: None };
    let equal = |value, known: &Known| Condition { field: "f".into(), op: CompareOp::Eq, value }.may_hold(known);
    let whole = known(Value::I64(2), Value::I64(4));
    for (literal, may) in [
        (Value::F64(1.0), false),
        (Value::F64(2.0), true),
        (Value::F64(2.5), false),
        (Value::U64(3), true),
        (Value::U64(5), false),
        (Value::U64(u64::MAX), false),
        (Value::F64(f64::NAN), false),
    ] {
        assert_eq!(equal(literal.clone(), &whole), may, "{literal:?}");
    }
    let floats = known(Value::F64(-0.0), Value::F64(EXACT as f64 * 4.0));
    assert!(equal(Value::F64(0.0), &floats) && equal(Value::I64(EXACT), &floats));
    assert!(!equal(Value::I64(EXACT + 1), &floats), "no float is that");
}
