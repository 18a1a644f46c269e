//! The hash by which replicas are compared: of everything a reader could see, in an order that is the same everywhere.
//!
//! It must never cover what is local: chunk cuts, column numbers, the order of a hash map. Series numbers follow from
//! the log and not from the content, so they are left out as well: equal content has an equal hash.

use meridian_types::{FieldType, SeriesNumber, TimeRange};
use xxhash_rust::xxh3::Xxh3;

use crate::Engine;
use crate::merge::Merged;
use crate::series::Series;
use crate::table::{Column, Measurement};

impl Engine {
    /// Hash of the logical content: dropped databases, databases, measurements, fields with their types, series keys,
    /// times and values, in key order. Equal on all replicas that applied the same log up to the same index. Reads every
    /// row: the cost of a query for everything.
    pub fn content_hash(&self) -> u64 {
        let mut content = Content(Xxh3::new());
        content.number(self.dropped.len() as u64);
        for database in &self.dropped {
            content.number(u64::from(database.0));
        }
        content.number(self.databases.len() as u64);
        for (id, database) in &self.databases {
            content.number(u64::from(id.0));
            content.number(database.measurements.len() as u64);
            for (name, measurement) in &database.measurements {
                content.bytes(name.as_bytes());
                content.measurement(measurement, |number| self.series[number.0 as usize].as_deref());
            }
        }
        content.0.digest()
    }
}

/// Everything goes in with its length or its count before it, so that no two contents are the same bytes.
struct Content(Xxh3);

impl Content {
    fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    fn measurement<'a>(&mut self, measurement: &Measurement, find: impl Fn(SeriesNumber) -> Option<&'a Series>) {
        let columns: Vec<(&str, Column)> = measurement.columns().collect();
        self.number(columns.len() as u64);
        for (name, column) in &columns {
            self.bytes(name.as_bytes());
            self.number(column.field_type as u64);
        }
        let mut all: Vec<&Series> = measurement.series().iter().filter_map(|number| find(*number)).collect();
        all.sort_unstable_by_key(|series| series.key());
        self.number(all.len() as u64);
        for series in all {
            self.bytes(series.key().as_bytes());
            self.rows(series, &columns);
        }
    }

    fn rows(&mut self, series: &Series, columns: &[(&str, Column)]) {
        let numbers: Vec<u16> = columns.iter().map(|(_, column)| column.number).collect();
        let merged = Merged::new(series.parts(TimeRange::ALL), TimeRange::ALL, &numbers);
        let times = merged.times();
        self.number(times.len() as u64);
        for time in times {
            self.0.update(&time.to_le_bytes());
        }
        for (_, column) in columns {
            let values = merged.column(column.number, |chunk, cell| (chunk, cell)).unwrap_or_default();
            self.number(values.iter().flatten().count() as u64);
            for (row, value) in values.iter().enumerate() {
                let Some((chunk, cell)) = value else { continue };
                self.number(row as u64);
                match column.field_type {
                    FieldType::Str => self.bytes(chunk.string(*cell).as_bytes()),
                    _ => self.number(*cell),
                }
            }
        }
    }
}
