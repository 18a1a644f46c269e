//! The hash by which replicas are compared: of everything a reader could see, in an order that is the same everywhere.
//!
//! It must never cover what is local: chunk and block cuts, column numbers, the order of a hash map. Series numbers follow
//! from the log and not from the content, so they are left out as well: equal content has an equal hash.

use std::sync::Arc;

use meridian_types::{DatabaseId, TimeRange, Value};
use xxhash_rust::xxh3::Xxh3;

use crate::Engine;
use crate::block::Wanted;
use crate::error::StoreError;
use crate::merge::Merged;
use crate::read::{Reader, Sources};
use crate::series::Series;
use crate::shortcuts::Shortcuts;
use crate::table::{Column, Database, Measurement};

/// The logical content of an engine at one moment, to be hashed elsewhere. Pins the files, and makes writes copy the open rows
/// of the series that are not hashed yet.
#[derive(Debug)]
pub struct Content {
    dropped: Vec<DatabaseId>,
    databases: Vec<DatabaseContent>,
}

#[derive(Debug)]
struct DatabaseContent {
    id: DatabaseId,
    /// What retention has left; `None` if that is nothing.
    range: Option<TimeRange>,
    sources: Sources,
    measurements: Vec<MeasurementContent>,
}

#[derive(Debug)]
struct MeasurementContent {
    name: Box<str>,
    columns: Vec<(Box<str>, Column)>,
    series: Vec<Arc<Series>>,
}

impl Engine {
    /// What [`Content::hash`] is of. Copies no rows.
    pub fn content(&self) -> Content {
        let measurement = |(name, measurement): (&str, &Measurement)| MeasurementContent {
            name: name.into(),
            columns: measurement.columns().map(|(name, column)| (name.into(), column)).collect(),
            series: measurement.postings().series().filter_map(|n| self.series[n.0 as usize].clone()).collect(),
        };
        let database = |(id, home): (&DatabaseId, &Database)| DatabaseContent {
            id: *id,
            range: self.after_cutoff(*id, TimeRange::ALL),
            sources: self.sources(*id, TimeRange::ALL),
            measurements: home.measurements.iter().map(|(name, one)| measurement((name, one))).collect(),
        };
        Content {
            dropped: self.dropped.iter().copied().collect(),
            databases: self.databases.iter().map(database).collect(),
        }
    }
}

impl Content {
    /// Hash of the logical content: dropped databases, databases, cutoffs, measurements, fields with their types, series
    /// keys, times and values. Equal on all replicas that applied the same log up to the same index. Reads every row: the
    /// cost of a query for everything.
    pub fn hash(self) -> Result<u64, StoreError> {
        let mut hash = Hash(Xxh3::new());
        hash.number(self.dropped.len() as u64);
        self.dropped.iter().for_each(|database| hash.number(u64::from(database.0)));
        hash.number(self.databases.len() as u64);
        for database in self.databases {
            hash.number(u64::from(database.id.0));
            hash.number(database.range.map_or(0, |range| range.start().nanos().cast_unsigned()));
            hash.number(database.measurements.len() as u64);
            for measurement in database.measurements {
                // A measurement's series are in order of their numbers, and a reader goes forwards only.
                let reader = database.sources.clone().reader();
                hash.measurement(measurement, reader, database.range)?;
            }
        }
        Ok(hash.0.digest())
    }
}

/// Everything goes in with its length or its count before it, so that no two contents are the same bytes.
struct Hash(Xxh3);

impl Hash {
    fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    fn measurement(
        &mut self,
        measurement: MeasurementContent,
        mut reader: Reader,
        range: Option<TimeRange>,
    ) -> Result<(), StoreError> {
        self.bytes(measurement.name.as_bytes());
        self.number(measurement.columns.len() as u64);
        for (name, column) in &measurement.columns {
            self.bytes(name.as_bytes());
            self.number(column.field_type as u64);
        }
        self.number(measurement.series.len() as u64);
        // Each series is hashed by itself, and the sum does not depend on the order of their numbers.
        let mut sum = 0_u64;
        for series in measurement.series {
            let mut one = Self(Xxh3::new());
            one.bytes(series.key().as_bytes());
            if let Some(range) = range {
                one.rows(&series, &mut reader, &measurement.columns, range)?;
            }
            sum = sum.wrapping_add(one.0.digest());
        }
        self.number(sum);
        Ok(())
    }

    fn rows(
        &mut self,
        series: &Series,
        reader: &mut Reader,
        columns: &[(Box<str>, Column)],
        range: TimeRange,
    ) -> Result<(), StoreError> {
        let numbers: Vec<u16> = columns.iter().map(|(_, column)| column.number).collect();
        let merged =
            Merged::new(reader.parts(series, range, Wanted::All, &Shortcuts::default())?.rows, range, &numbers);
        let times = merged.times();
        self.number(times.len() as u64);
        for time in times {
            self.0.update(&time.to_le_bytes());
        }
        for (_, column) in columns {
            let found = merged.values(*column);
            let rows = 0..found.as_ref().map_or(0, |values| values.len());
            let value = |row: usize| Some((row, found.as_ref()?.value(row)?));
            self.number(rows.clone().filter_map(value).count() as u64);
            for (row, value) in rows.filter_map(value) {
                self.number(row as u64);
                match value {
                    Value::F64(value) => self.number(value.to_bits()),
                    Value::I64(value) => self.number(value.cast_unsigned()),
                    Value::U64(value) => self.number(value),
                    Value::Bool(value) => self.number(value.into()),
                    Value::Str(value) => self.bytes(value.as_bytes()),
                }
            }
        }
        Ok(())
    }
}
