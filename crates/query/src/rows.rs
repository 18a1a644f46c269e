//! Rows as the engine hands them over: one series at a time, one column a field. Never holds more than one series.

use std::ops::Range;
use std::sync::Arc;

use meridian_types::{FieldType, SeriesKey, Value};

use crate::KnownRows;

macro_rules! each {
    ($column:expr, $values:ident => $do:expr) => {
        match $column {
            Column::F64($values) => $do,
            Column::I64($values) => $do,
            Column::U64($values) => $do,
            Column::Bool($values) => $do,
            Column::Str($values) => $do,
        }
    };
}

/// Rows of one series inside a plan's range: sorted by time, one row a timestamp.
#[derive(Clone, PartialEq, Debug)]
pub struct SeriesRows {
    /// Which series.
    pub key: SeriesKey,
    /// Time of each row in nanoseconds, strictly ascending, inside the plan's range.
    pub times: Vec<i64>,
    /// One for each of [`crate::Plan::read_fields`]; as long as `times`, of the field's type. `None`: no value of that field.
    pub columns: Vec<Option<Column>>,
    /// Other rows, of which nothing else is told: of aggregates without conditions only, and for each as much as they take. Each lie
    /// inside one window, and none between or at the times of others.
    pub known: Vec<KnownRows>,
}

impl SeriesRows {
    /// Whether any field has a value in any of these rows.
    pub(crate) fn has_value(&self, rows: Range<usize>) -> bool {
        self.columns.iter().flatten().any(|column| column.has_any(rows.clone()))
    }

    /// Drops all rows but those that are `kept`, with their memory.
    pub(crate) fn keep(&mut self, kept: &[bool]) {
        if kept.iter().all(|kept| *kept) {
            return;
        }
        keep(&mut self.times, kept);
        self.columns.iter_mut().flatten().for_each(|column| each!(column, values => values.keep(kept)));
    }

    /// Asserts what the engine promises, before anything relies on it; `read` are the fields of the columns.
    pub(crate) fn assert_fits(&self, read: &[(&str, FieldType)]) {
        let columns = std::iter::once(self.columns.len()).chain(self.known.iter().map(|rows| rows.columns.len()));
        for columns in columns {
            assert_eq!(columns, read.len(), "series {:?} has a column for each field", self.key);
        }
        for (column, (name, field_type)) in self.columns.iter().zip(read) {
            let Some(column) = column else { continue };
            assert_eq!(column.len(), self.times.len(), "series {:?}, field {name:?}: one value a row", self.key);
            assert_eq!(column.field_type(), *field_type, "series {:?}, field {name:?}: of its type", self.key);
        }
    }
}

/// Values of one field, one a row or none.
#[derive(Clone, PartialEq, Debug)]
pub enum Column {
    /// Of type float.
    F64(Values<f64>),
    /// Of type integer.
    I64(Values<i64>),
    /// Of type unsigned.
    U64(Values<u64>),
    /// Of type boolean.
    Bool(Values<bool>),
    /// Of type string.
    Str(Values<Arc<str>>),
}

impl Column {
    /// Rows.
    pub fn len(&self) -> usize {
        each!(self, values => values.len())
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type of its values.
    pub fn field_type(&self) -> FieldType {
        match self {
            Self::F64(_) => FieldType::F64,
            Self::I64(_) => FieldType::I64,
            Self::U64(_) => FieldType::U64,
            Self::Bool(_) => FieldType::Bool,
            Self::Str(_) => FieldType::Str,
        }
    }

    /// The value of a row; `row` must be below [`Column::len`].
    pub fn value(&self, row: usize) -> Option<Value> {
        match self {
            Self::F64(values) => values.get(row).copied().map(Value::F64),
            Self::I64(values) => values.get(row).copied().map(Value::I64),
            Self::U64(values) => values.get(row).copied().map(Value::U64),
            Self::Bool(values) => values.get(row).copied().map(Value::Bool),
            Self::Str(values) => values.get(row).map(|text| Value::Str((**text).to_owned())),
        }
    }

    /// Whether the row has a value.
    pub(crate) fn has(&self, row: usize) -> bool {
        each!(self, values => values.has(row))
    }

    /// Whether one of these rows has a value.
    pub(crate) fn has_any(&self, rows: Range<usize>) -> bool {
        each!(self, values => values.count(rows) > 0)
    }

    /// Whether the row has a value that is not NaN.
    pub(crate) fn has_number(&self, row: usize) -> bool {
        if let Self::F64(values) = self { values.get(row).is_some_and(|v| !v.is_nan()) } else { self.has(row) }
    }

    /// Whether some row has a value that is not NaN: one that `first` and `last` take.
    pub fn has_numbers(&self) -> bool {
        (0..self.len()).any(|row| self.has_number(row))
    }

    /// Values in these rows, NaN included.
    pub(crate) fn count(&self, rows: Range<usize>) -> u64 {
        each!(self, values => values.count(rows) as u64)
    }

    /// Bytes of a row's text; zero for other types.
    pub(crate) fn text_bytes(&self, row: usize) -> usize {
        if let Self::Str(values) = self { values.get(row).map_or(0, |text| text.len()) } else { 0 }
    }

    /// Drops all other rows, with their memory.
    pub(crate) fn retain(&mut self, rows: Range<usize>) {
        each!(self, values => values.retain(rows));
    }
}

/// Values of one type, one a row or none. Such columns mostly have one in every row, and then are as dense as can be.
#[derive(Clone, Debug)]
pub struct Values<T> {
    /// One a row; it means nothing where the row has none.
    values: Vec<T>,
    /// Which rows have one; `None`: all.
    present: Option<Vec<bool>>,
}

impl<T> Values<T> {
    /// One value in each row.
    pub fn dense(values: Vec<T>) -> Self {
        Self { values, present: None }
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The value of a row; `row` must be below [`Values::len`].
    pub fn get(&self, row: usize) -> Option<&T> {
        self.has(row).then(|| &self.values[row])
    }

    /// The values that there are.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        (0..self.len()).filter_map(|row| self.get(row))
    }

    /// Whether the row has a value.
    pub(crate) fn has(&self, row: usize) -> bool {
        self.present.as_ref().is_none_or(|present| present[row])
    }

    /// How many of these rows have a value.
    pub(crate) fn count(&self, rows: Range<usize>) -> usize {
        self.present.as_ref().map_or(rows.len(), |present| present[rows].iter().filter(|is| **is).count())
    }

    /// Folds the values that these rows have. One loop for columns without holes, so that nothing is looked up inside of it.
    pub(crate) fn fold<A>(&self, rows: Range<usize>, begin: A, mut take: impl FnMut(A, &T) -> A) -> A {
        let values = &self.values[rows.clone()];
        match &self.present {
            None => values.iter().fold(begin, take),
            Some(present) => {
                let there = values.iter().zip(&present[rows]).filter(|(_, is)| **is);
                there.fold(begin, |folded, (value, _)| take(folded, value))
            }
        }
    }

    /// Takes the rows out of `kept` that have no value, or one of which it does not hold.
    pub(crate) fn narrow(&self, kept: &mut [bool], holds: impl Fn(&T) -> bool) {
        kept.iter_mut().zip(&self.values).for_each(|(kept, value)| *kept &= holds(value));
        if let Some(present) = &self.present {
            kept.iter_mut().zip(present).for_each(|(kept, is)| *kept &= is);
        }
    }

    fn retain(&mut self, rows: Range<usize>) {
        fn cut<T>(values: &mut Vec<T>, rows: Range<usize>) {
            values.truncate(rows.end);
            values.drain(..rows.start);
            values.shrink_to_fit();
        }
        cut(&mut self.values, rows.clone());
        self.present.iter_mut().for_each(|present| cut(present, rows.clone()));
    }

    /// Drops all rows but those that are `kept`, with their memory.
    fn keep(&mut self, kept: &[bool]) {
        keep(&mut self.values, kept);
        self.present.iter_mut().for_each(|present| keep(present, kept));
    }
}

impl<T: Default> FromIterator<Option<T>> for Values<T> {
    fn from_iter<I: IntoIterator<Item = Option<T>>>(rows: I) -> Self {
        let (mut values, mut present) = (Vec::new(), Vec::new());
        for value in rows {
            present.push(value.is_some());
            values.push(value.unwrap_or_default());
        }
        let is_dense = present.iter().all(|is| *is);
        Self { values, present: (!is_dense).then_some(present) }
    }
}

impl<T: PartialEq> PartialEq for Values<T> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && (0..self.len()).all(|row| self.get(row) == other.get(row))
    }
}

fn keep<T>(values: &mut Vec<T>, kept: &[bool]) {
    let mut kept = kept.iter();
    values.retain(|_| kept.next() == Some(&true));
    values.shrink_to_fit();
}
