//! The names of one database: its measurements, their columns, and which series has which number.
//!
//! It must never hold rows, and never shows the order of its hash map: what lists series does so by number or by key.

use std::collections::BTreeMap;
use std::sync::Arc;

use meridian_frame::Field;
use meridian_types::{FieldType, Map, MapHasher, SeriesKey, SeriesNumber};

use crate::Stats;

/// One database.
#[derive(Debug, Default)]
pub(crate) struct Database {
    pub(crate) measurements: BTreeMap<Box<str>, Measurement>,
    pub(crate) stats: Stats,
}

/// One measurement.
#[derive(Debug)]
pub(crate) struct Measurement {
    /// By name.
    columns: BTreeMap<Box<str>, Column>,
    numbers: Map<Arc<SeriesKey>, SeriesNumber>,
    /// In order of their first appearance, which is the order of their numbers.
    series: Vec<SeriesNumber>,
}

/// A field, as rows name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Column {
    /// Given in order of first appearance in the measurement, from 0.
    pub(crate) number: u16,
    pub(crate) field_type: FieldType,
}

impl Measurement {
    pub(crate) fn new(hasher: MapHasher) -> Self {
        Self { columns: BTreeMap::new(), numbers: Map::with_hasher(hasher), series: Vec::new() }
    }

    pub(crate) fn column(&self, field: &str) -> Option<Column> {
        self.columns.get(field).copied()
    }

    /// Fields and their columns, by name.
    pub(crate) fn columns(&self) -> impl ExactSizeIterator<Item = (&str, Column)> {
        self.columns.iter().map(|(name, column)| (&**name, *column))
    }

    /// Gives every field its column, and lists them by column number.
    pub(crate) fn register<'f>(&mut self, fields: &'f [Field]) -> Vec<(u16, &'f Field)> {
        let mut listed = Vec::with_capacity(fields.len());
        for field in fields {
            let number = match self.column(&field.name) {
                Some(column) => column.number,
                None => {
                    let number = self.columns.len() as u16; // at most FIELDS_MAX: `write` has checked
                    let column = Column { number, field_type: field.field_type() };
                    self.columns.insert(field.name.as_str().into(), column);
                    number
                }
            };
            listed.push((number, field));
        }
        listed.sort_unstable_by_key(|(number, _)| *number);
        listed
    }

    pub(crate) fn number(&self, key: &SeriesKey) -> Option<SeriesNumber> {
        self.numbers.get(key).copied()
    }

    /// Takes in a new series.
    pub(crate) fn insert(&mut self, key: Arc<SeriesKey>, number: SeriesNumber) {
        self.numbers.insert(key, number);
        self.series.push(number);
    }

    /// All series, by number.
    pub(crate) fn series(&self) -> &[SeriesNumber] {
        &self.series
    }

    /// The number of the first series: it names the measurement among all that the engine ever had.
    pub(crate) fn home(&self) -> Option<SeriesNumber> {
        self.series.first().copied()
    }
}
