//! Rows as the engine hands them over: one series at a time, one column a field. Never holds more than one series.

use std::ops::Range;
use std::sync::Arc;

use meridian_types::{FieldType, SeriesKey, Value};

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
}

impl SeriesRows {
    /// Whether any field has a value in any of these rows.
    pub(crate) fn has_value(&self, mut rows: Range<usize>) -> bool {
        rows.any(|row| self.columns.iter().flatten().any(|c| c.has(row)))
    }

    /// Drops all rows but those that are `kept`, with their memory.
    pub(crate) fn keep(&mut self, kept: &[bool]) {
        if kept.iter().all(|kept| *kept) {
            return;
        }
        keep(&mut self.times, kept);
        self.columns.iter_mut().flatten().for_each(|column| each!(column, values => keep(values, kept)));
    }

    /// Asserts what the engine promises, before anything relies on it; `read` are the fields of the columns.
    pub(crate) fn assert_fits(&self, read: &[(&str, FieldType)]) {
        assert_eq!(self.columns.len(), read.len(), "series {:?} has a column for each field", self.key);
        for (column, (name, field_type)) in self.columns.iter().zip(read) {
            let Some(column) = column else { continue };
            assert_eq!(column.len(), self.times.len(), "series {:?}, field {name:?}: one value a row", self.key);
            assert_eq!(column.field_type(), *field_type, "series {:?}, field {name:?}: of its type", self.key);
        }
    }
}

/// Values of one field, one a row; `None` where the row has none.
#[derive(Clone, Debug)]
pub enum Column {
    /// Of type float.
    F64(Vec<Option<f64>>),
    /// Of type integer.
    I64(Vec<Option<i64>>),
    /// Of type unsigned.
    U64(Vec<Option<u64>>),
    /// Of type boolean.
    Bool(Vec<Option<bool>>),
    /// Of type string.
    Str(Vec<Option<Arc<str>>>),
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
            Self::F64(values) => values[row].map(Value::F64),
            Self::I64(values) => values[row].map(Value::I64),
            Self::U64(values) => values[row].map(Value::U64),
            Self::Bool(values) => values[row].map(Value::Bool),
            Self::Str(values) => values[row].as_deref().map(|text| Value::Str(text.to_owned())),
        }
    }

    /// Whether the row has a value.
    pub(crate) fn has(&self, row: usize) -> bool {
        each!(self, values => values[row].is_some())
    }

    /// Whether the row has a value that is not NaN.
    pub(crate) fn has_number(&self, row: usize) -> bool {
        if let Self::F64(values) = self { values[row].is_some_and(|v| !v.is_nan()) } else { self.has(row) }
    }

    /// Whether some row has a value that is not NaN: one that `first` and `last` take.
    pub fn has_numbers(&self) -> bool {
        (0..self.len()).any(|row| self.has_number(row))
    }

    /// Values in these rows, NaN included.
    pub(crate) fn count(&self, rows: Range<usize>) -> u64 {
        each!(self, values => values[rows].iter().flatten().count() as u64)
    }

    /// Bytes of a row's text; zero for other types.
    pub(crate) fn text_bytes(&self, row: usize) -> usize {
        if let Self::Str(values) = self { values[row].as_deref().map_or(0, str::len) } else { 0 }
    }

    /// Drops all other rows, with their memory.
    pub(crate) fn retain(&mut self, rows: Range<usize>) {
        each!(self, values => {
            values.truncate(rows.end);
            values.drain(..rows.start);
            values.shrink_to_fit();
        });
    }
}

fn keep<T>(values: &mut Vec<T>, kept: &[bool]) {
    let mut kept = kept.iter();
    values.retain(|_| kept.next() == Some(&true));
    values.shrink_to_fit();
}

impl PartialEq for Column {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.field_type() == other.field_type()
            && (0..self.len()).all(|row| self.value(row) == other.value(row))
    }
}
