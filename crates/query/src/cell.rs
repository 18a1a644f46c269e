//! One cell of an answer while it is made: a raw value, or an aggregate's state that takes rows and merges with the states
//! of other shards. Merging is exact, so that its order never shows.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use meridian_types::{FieldType, Mutant, SeriesKey, Value};

use crate::exact_sum::ExactSum;
use crate::rows::Values;
use crate::wire::{DecodeError, Reader, put_bytes};
use crate::{Aggregate, Column, Known, KnownRows, SeriesRows};

/// What a value column of a plan holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// Index into the plan's fields.
    pub(crate) field: usize,
    pub(crate) field_type: FieldType,
    /// `None`: the value itself.
    pub(crate) aggregate: Option<Aggregate>,
}

/// State of one cell; which variant, its [`Kind`] says.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    /// No aggregate.
    Raw(Option<Value>),
    /// `count`.
    Count(u64),
    /// `sum` and `mean` of integers: 2^63 values of 2^64 fit.
    Whole { sum: i128, count: u64 },
    /// `sum` and `mean` of floats; the count is without NaN.
    Float { sum: ExactSum, count: u64 },
    /// `min` and `max`.
    Extreme(Option<Value>),
    /// `first` and `last`.
    Edge(Option<Edge>),
}

/// A value and its place in the order that `first` and `last` follow.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Edge {
    time: i64,
    key: Arc<SeriesKey>,
    value: Value,
}

/// Rows of one series in one window.
#[derive(Debug)]
pub(crate) enum Run<'a> {
    Rows(&'a SeriesRows, Range<usize>),
    /// Without their values.
    Known(&'a KnownRows),
}

impl Run<'_> {
    /// Whether any field has a value in any of the rows.
    pub(crate) fn has_value(&self) -> bool {
        match self {
            Self::Rows(series, rows) => series.has_value(rows.clone()),
            Self::Known(rows) => rows.columns.iter().any(Option::is_some),
        }
    }
}

/// An integer sum that its type cannot hold.
#[derive(Debug)]
pub(crate) struct Overflow;

impl Cell {
    /// The state before any row.
    pub(crate) fn empty(kind: Kind) -> Self {
        match kind.aggregate {
            None => Self::Raw(None),
            Some(Aggregate::Count) => Self::Count(0),
            Some(Aggregate::Sum | Aggregate::Mean) if kind.field_type == FieldType::F64 => {
                Self::Float { sum: ExactSum::default(), count: 0 }
            }
            Some(Aggregate::Sum | Aggregate::Mean) => Self::Whole { sum: 0, count: 0 },
            Some(Aggregate::Min | Aggregate::Max) => Self::Extreme(None),
            Some(Aggregate::First | Aggregate::Last) => Self::Edge(None),
        }
    }

    /// Takes some rows of the series of this key.
    pub(crate) fn absorb(&mut self, kind: Kind, key: &Arc<SeriesKey>, run: &Run<'_>) {
        match run {
            Run::Rows(series, rows) => self.absorb_rows(kind, key, series, rows.clone()),
            Run::Known(rows) => {
                if let Some(known) = &rows.columns[kind.field] {
                    self.merge(kind, Self::of_known(kind, key, rows, known));
                }
            }
        }
    }

    /// The state after rows of which this is known, which must be enough for it.
    fn of_known(kind: Kind, key: &Arc<SeriesKey>, rows: &KnownRows, known: &Known) -> Self {
        let edge = |time, value: &Value| Edge { time, key: Arc::clone(key), value: value.clone() };
        let has_numbers = known.numbers > 0;
        match (kind.aggregate, known.sum, &known.ends) {
            (Some(Aggregate::Count), ..) => Self::Count(known.count),
            (Some(Aggregate::Sum | Aggregate::Mean), Some(sum), _) => Self::Whole { sum, count: known.numbers },
            (Some(Aggregate::Min), ..) => Self::Extreme(has_numbers.then(|| known.min.clone())),
            (Some(Aggregate::Max), ..) => Self::Extreme(has_numbers.then(|| known.max.clone())),
            (Some(Aggregate::First), _, Some((first, _))) => Self::Edge(Some(edge(rows.first, first))),
            (Some(Aggregate::Last), _, Some((_, last))) => Self::Edge(Some(edge(rows.last, last))),
            _ => unreachable!("not known is what {kind:?} takes: {known:?}"),
        }
    }

    /// Takes the values of some rows.
    fn absorb_rows(&mut self, kind: Kind, key: &Arc<SeriesKey>, series: &SeriesRows, rows: Range<usize>) {
        let Some(column) = &series.columns[kind.field] else { return };
        match (&mut *self, column) {
            (Self::Count(count), column) => {
                let twice = Mutant::CountTwice.is_planted() && rows.len() > 1;
                *count += column.count(rows) + u64::from(twice);
            }
            (Self::Whole { sum, count }, Column::I64(values)) => add_whole(sum, count, values, rows),
            (Self::Whole { sum, count }, Column::U64(values)) => add_whole(sum, count, values, rows),
            (Self::Float { sum, count }, Column::F64(values)) => {
                values.fold(rows, (), |(), value| {
                    if !value.is_nan() {
                        sum.add(*value);
                        *count += 1;
                    }
                });
            }
            (Self::Extreme(_), column) => self.merge(kind, Self::Extreme(extreme(kind, column, rows))),
            (Self::Edge(_), column) => {
                let mut rows = rows;
                let found = |row: &usize| column.has_number(*row);
                let row = if kind.aggregate == Some(Aggregate::First) { rows.find(found) } else { rows.rfind(found) };
                let edge = row.and_then(|row| {
                    Some(Edge { time: series.times[row], key: Arc::clone(key), value: column.value(row)? })
                });
                self.merge(kind, Self::Edge(edge));
            }
            (cell, column) => unreachable!("a plan was built with {kind:?}: {cell:?} of {column:?}"),
        }
    }

    /// Takes all that went into `other`, which must be of the same kind.
    pub(crate) fn merge(&mut self, kind: Kind, other: Self) {
        match (self, other) {
            (Self::Raw(mine), Self::Raw(other)) => *mine = other,
            // Saturating, because a peer can send anything; true counts and sums stay far below.
            (Self::Count(mine), Self::Count(other)) => *mine = mine.saturating_add(other),
            (Self::Whole { sum, count }, Self::Whole { sum: more, count: other }) => {
                *sum = sum.saturating_add(more);
                *count = count.saturating_add(other);
            }
            (Self::Float { sum, count }, Self::Float { sum: more, count: other }) => {
                sum.merge(more);
                *count = count.saturating_add(other);
            }
            (Self::Extreme(mine), Self::Extreme(Some(other))) => {
                let better = if kind.aggregate == Some(Aggregate::Min) { Ordering::Less } else { Ordering::Greater };
                if mine.as_ref().is_none_or(|mine| compare(&other, mine) == better) {
                    *mine = Some(other);
                }
            }
            (Self::Edge(mine), Self::Edge(Some(other))) => {
                let better = if kind.aggregate == Some(Aggregate::First) { Ordering::Less } else { Ordering::Greater };
                let order = |a: &Edge, b: &Edge| (a.time, &a.key).cmp(&(b.time, &b.key));
                if mine.as_ref().is_none_or(|mine| order(&other, mine) == better) {
                    *mine = Some(other);
                }
            }
            (Self::Extreme(_), Self::Extreme(None)) | (Self::Edge(_), Self::Edge(None)) => {}
            (mine, other) => unreachable!("cells of one column are of one kind, {kind:?}: {mine:?}, {other:?}"),
        }
    }

    /// The value that users see.
    pub(crate) fn finish(self, kind: Kind) -> Result<Option<Value>, Overflow> {
        let mean = kind.aggregate == Some(Aggregate::Mean);
        Ok(match self {
            Self::Raw(value) | Self::Extreme(value) => value,
            Self::Edge(edge) => edge.map(|edge| edge.value),
            Self::Count(count) => Some(Value::U64(count)),
            Self::Whole { count: 0, .. } | Self::Float { count: 0, .. } => None,
            Self::Float { sum, count } => Some(Value::F64(sum.divided_by(if mean { count } else { 1 }))),
            Self::Whole { sum, count } if mean => Some(Value::F64(whole_mean(sum, count))),
            Self::Whole { sum, .. } if kind.field_type == FieldType::U64 => {
                Some(Value::U64(u64::try_from(sum).map_err(|_| Overflow)?))
            }
            Self::Whole { sum, .. } => Some(Value::I64(i64::try_from(sum).map_err(|_| Overflow)?)),
        })
    }

    /// Upper bound of what [`Cell::put`] appends and adds to the table of keys, in bytes.
    pub(crate) fn encoded_len(&self) -> usize {
        let value_len = |value: &Value| if let Value::Str(text) = value { 4 + text.len() } else { 8 };
        match self {
            Self::Raw(value) | Self::Extreme(value) => 1 + value.as_ref().map_or(0, value_len),
            Self::Count(_) => 8,
            Self::Whole { .. } => 24,
            Self::Float { sum, .. } => 8 + sum.encoded_len(),
            Self::Edge(edge) => {
                1 + edge.as_ref().map_or(0, |e| 8 + 4 + value_len(&e.value) + 4 + e.key.as_bytes().len())
            }
        }
    }

    /// Appends the state for [`Cell::take`]; `number` numbers the keys of the batch.
    pub(crate) fn put(&self, out: &mut Vec<u8>, mut number: impl FnMut(&Arc<SeriesKey>) -> u32) {
        match self {
            Self::Raw(value) | Self::Extreme(value) => {
                out.push(value.is_some().into());
                value.iter().for_each(|value| put_value(out, value));
            }
            Self::Count(count) => out.extend_from_slice(&count.to_le_bytes()),
            Self::Whole { sum, count } => {
                out.extend_from_slice(&sum.to_le_bytes());
                out.extend_from_slice(&count.to_le_bytes());
            }
            Self::Float { sum, count } => {
                sum.put(out);
                out.extend_from_slice(&count.to_le_bytes());
            }
            Self::Edge(edge) => {
                out.push(edge.is_some().into());
                if let Some(edge) = edge {
                    out.extend_from_slice(&edge.time.to_le_bytes());
                    out.extend_from_slice(&number(&edge.key).to_le_bytes());
                    put_value(out, &edge.value);
                }
            }
        }
    }

    /// Reads what [`Cell::put`] wrote of a cell of this kind; `keys` are the batch's.
    pub(crate) fn take(kind: Kind, reader: &mut Reader<'_>, keys: &[Arc<SeriesKey>]) -> Result<Self, DecodeError> {
        const WHAT: &str = "an aggregate";
        Ok(match Self::empty(kind) {
            Self::Raw(_) => Self::Raw(take_optional(kind.field_type, reader)?),
            Self::Extreme(_) => Self::Extreme(take_optional(kind.field_type, reader)?),
            Self::Count(_) => Self::Count(reader.u64(WHAT)?),
            Self::Whole { .. } => Self::Whole { sum: reader.i128(WHAT)?, count: reader.u64(WHAT)? },
            Self::Float { .. } => Self::Float { sum: ExactSum::take(reader)?, count: reader.u64(WHAT)? },
            Self::Edge(_) if !reader.flag(WHAT)? => Self::Edge(None),
            Self::Edge(_) => {
                let (time, key) = (reader.i64(WHAT)?, reader.u32(WHAT)? as usize);
                let key = Arc::clone(reader.check(keys.get(key), WHAT)?);
                Self::Edge(Some(Edge { time, key, value: take_value(kind.field_type, reader)? }))
            }
        })
    }
}

fn add_whole<T: Copy + Into<i128>>(sum: &mut i128, count: &mut u64, values: &Values<T>, rows: Range<usize>) {
    *count += values.count(rows.clone()) as u64;
    *sum = values.fold(rows, *sum, |sum, value| sum + (*value).into());
}

/// The least or greatest number in these rows.
fn extreme(kind: Kind, column: &Column, rows: Range<usize>) -> Option<Value> {
    let least = kind.aggregate == Some(Aggregate::Min);
    match column {
        Column::F64(values) => {
            let better = if least { Ordering::Less } else { Ordering::Greater };
            let best = values.fold(rows, None, |best: Option<f64>, value| match best {
                _ if value.is_nan() => best,
                Some(best) if value.total_cmp(&best) != better => Some(best),
                _ => Some(*value),
            });
            best.map(Value::F64)
        }
        Column::I64(values) => whole_extreme(least, values, rows, i64::MIN, i64::MAX).map(Value::I64),
        Column::U64(values) => whole_extreme(least, values, rows, u64::MIN, u64::MAX).map(Value::U64),
        Column::Bool(_) | Column::Str(_) => None,
    }
}

/// The same of integers from `first` to `last`.
fn whole_extreme<T: Copy + Ord>(least: bool, values: &Values<T>, rows: Range<usize>, first: T, last: T) -> Option<T> {
    let best = |rows| match least {
        true => values.fold(rows, last, |best, value| best.min(*value)),
        false => values.fold(rows, first, |best, value| best.max(*value)),
    };
    (values.count(rows.clone()) > 0).then(|| best(rows))
}

/// The order of two numbers of one type.
fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::F64(a), Value::F64(b)) => a.total_cmp(b),
        (Value::I64(a), Value::I64(b)) => a.cmp(b),
        (Value::U64(a), Value::U64(b)) => a.cmp(b),
        _ => Ordering::Equal,
    }
}

/// `sum / count` (count not zero), rounded once, to nearest, ties to even.
pub(crate) fn whole_mean(sum: i128, count: u64) -> f64 {
    let magnitude = sum.unsigned_abs();
    if magnitude == 0 {
        return 0.0;
    }
    // With the top bit set, the quotient has at least 64 bits: more than the 53 of a float and one for rounding. What
    // is left over then only decides ties, which the last bit does as well.
    let shift = magnitude.leading_zeros();
    let (dividend, divisor) = (magnitude << shift, u128::from(count));
    let quotient = (dividend / divisor) | u128::from(dividend % divisor != 0);
    let mean = quotient as f64 / (1_u128 << shift) as f64;
    if sum < 0 { -mean } else { mean }
}

pub(crate) fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::F64(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::I64(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::U64(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::Bool(v) => out.push((*v).into()),
        Value::Str(v) => put_bytes(out, v.as_bytes()),
    }
}

pub(crate) fn take_value(field_type: FieldType, reader: &mut Reader<'_>) -> Result<Value, DecodeError> {
    const WHAT: &str = "a value";
    Ok(match field_type {
        FieldType::F64 => Value::F64(reader.f64(WHAT)?),
        FieldType::I64 => Value::I64(reader.i64(WHAT)?),
        FieldType::U64 => Value::U64(reader.u64(WHAT)?),
        FieldType::Bool => Value::Bool(reader.flag(WHAT)?),
        FieldType::Str => Value::Str(reader.str(WHAT)?.to_owned()),
    })
}

fn take_optional(field_type: FieldType, reader: &mut Reader<'_>) -> Result<Option<Value>, DecodeError> {
    if reader.flag("a value")? { Ok(Some(take_value(field_type, reader)?)) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_of_integers_are_rounded_once() {
        assert_eq!(whole_mean(0, 3), 0.0);
        assert_eq!(whole_mean(10, 4), 2.5);
        assert_eq!(whole_mean(-1, 3), -1.0 / 3.0);
        assert_eq!(whole_mean(1, u64::MAX), 1.0 / u64::MAX as f64);
        // Summed in f64 this would be 9007199254740992.
        assert_eq!(whole_mean(2 * ((1 << 53) + 1) + 2, 2), 9_007_199_254_740_994.0);
        assert_eq!(whole_mean(i128::MAX, 1), i128::MAX as f64);
        assert_eq!(whole_mean(i128::MIN, 1), i128::MIN as f64);
        assert_eq!(whole_mean(i128::from(i64::MAX) * 3, 3), i64::MAX as f64);
    }
}
