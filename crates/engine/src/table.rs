//! The names of one database: its measurements, their columns, and which series has which number.
//!
//! It must never hold rows, and never shows the order of its hash table: what lists series does so by number or by key.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashTable;
use meridian_frame::Field;
use meridian_types::{FieldType, MapHasher, SeriesKey, SeriesNumber, Timestamp, Value};

use crate::Stats;
use crate::manifest::DatabaseState;
use crate::postings::{Postings, ShortHash};
use crate::series::Home;

/// One database.
#[derive(Debug, Default)]
pub(crate) struct Database {
    pub(crate) measurements: BTreeMap<Box<str>, Measurement>,
    /// What is in memory.
    pub(crate) stats: Stats,
    /// Rows before it are gone.
    pub(crate) cutoff: Option<Timestamp>,
}

impl Database {
    /// What a manifest keeps of it.
    pub(crate) fn state(&self) -> DatabaseState {
        let measurements = self.measurements.iter().map(|(name, measurement)| {
            let mut columns: Vec<(u16, (String, FieldType))> =
                measurement.columns().map(|(field, c)| (c.number, (field.to_owned(), c.field_type))).collect();
            columns.sort_unstable_by_key(|(number, _)| *number);
            (name.to_string(), columns.into_iter().map(|(_, column)| column).collect())
        });
        DatabaseState { cutoff: self.cutoff.map(Timestamp::nanos), measurements: measurements.collect() }
    }
}

/// One measurement.
#[derive(Debug)]
pub(crate) struct Measurement {
    /// By name.
    columns: BTreeMap<Box<str>, Column>,
    /// Of the columns, by number.
    types: Vec<FieldType>,
    hasher: MapHasher,
    /// Of the series, by the hashes of their keys; the keys stand with the series.
    numbers: HashTable<(ShortHash, SeriesNumber)>,
    postings: Postings,
    /// Known from the first series on.
    home: Option<Arc<Home>>,
}

/// A field, as rows name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Column {
    /// Given in order of first appearance in the measurement, from 0.
    pub(crate) number: u16,
    pub(crate) field_type: FieldType,
}

impl Column {
    /// The value that a cell of it stands for, unless that is text.
    pub(crate) fn value(self, cell: u64) -> Option<Value> {
        match self.field_type {
            FieldType::F64 => Some(Value::F64(f64::from_bits(cell))),
            FieldType::I64 => Some(Value::I64(cell.cast_signed())),
            FieldType::U64 => Some(Value::U64(cell)),
            FieldType::Bool => Some(Value::Bool(cell != 0)),
            FieldType::Str => None,
        }
    }
}

impl Measurement {
    pub(crate) fn new(hasher: MapHasher) -> Self {
        Self {
            columns: BTreeMap::new(),
            types: Vec::new(),
            hasher,
            numbers: HashTable::new(),
            postings: Postings::new(hasher),
            home: None,
        }
    }

    pub(crate) fn column(&self, field: &str) -> Option<Column> {
        self.columns.get(field).copied()
    }

    /// Fields and their columns, by name.
    pub(crate) fn columns(&self) -> impl ExactSizeIterator<Item = (&str, Column)> {
        self.columns.iter().map(|(name, column)| (&**name, *column))
    }

    /// Gives every field its column.
    pub(crate) fn register(&mut self, fields: &[Field]) {
        for field in fields {
            if self.column(&field.name).is_none() {
                let number = self.columns.len() as u16; // at most FIELDS_MAX: `write` has checked
                let column = Column { number, field_type: field.field_type() };
                self.columns.insert(field.name.as_str().into(), column);
                self.types.push(column.field_type);
            }
        }
    }

    /// The fields by column number; those that have none are left out.
    pub(crate) fn columns_of<'f>(&self, fields: &'f [Field]) -> Vec<(u16, &'f Field)> {
        let listed = fields.iter().filter_map(|field| Some((self.column(&field.name)?.number, field)));
        let mut listed: Vec<_> = listed.collect();
        listed.sort_unstable_by_key(|(number, _)| *number);
        listed
    }

    /// The number of the series with this key; `key_of` gives the keys of its series.
    pub(crate) fn number<'k>(
        &self,
        key: &SeriesKey,
        key_of: &impl Fn(SeriesNumber) -> &'k SeriesKey,
    ) -> Option<SeriesNumber> {
        let hash = ShortHash::of(self.hasher, key);
        let is_it = |(of, number): &(ShortHash, SeriesNumber)| *of == hash && key_of(*number) == key;
        self.numbers.find(hash.whole(), is_it).map(|(_, number)| *number)
    }

    /// Takes in a new series; returns how many bytes its tags take in the index, about.
    pub(crate) fn insert<'k>(
        &mut self,
        key: &SeriesKey,
        number: SeriesNumber,
        home: &Arc<Home>,
        key_of: &impl Fn(SeriesNumber) -> &'k SeriesKey,
    ) -> usize {
        let hash = ShortHash::of(self.hasher, key);
        self.numbers.insert_unique(hash.whole(), (hash, number), |(of, _)| of.whole());
        self.home.get_or_insert_with(|| Arc::clone(home));
        self.postings.insert(number, key, key_of)
    }

    /// Gives a column back its number, as a manifest lists it; `false` if it is not the next one.
    pub(crate) fn restore_column(&mut self, number: u16, name: &str, field_type: FieldType) -> bool {
        let is_next = usize::from(number) == self.columns.len();
        self.types.push(field_type);
        is_next && self.columns.insert(name.into(), Column { number, field_type }).is_none()
    }

    /// The types of the columns by number.
    pub(crate) fn types(&self) -> &[FieldType] {
        &self.types
    }

    /// Its series, and which of them have which tags.
    pub(crate) fn postings(&self) -> &Postings {
        &self.postings
    }

    /// What its series belong to, once it has one.
    pub(crate) fn home(&self) -> Option<&Arc<Home>> {
        self.home.as_ref()
    }
}
