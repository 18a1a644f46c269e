//! The type of every field, decided once per (database, measurement, field) and kept until the database is dropped, and
//! the log of those decisions, from which watchers learn them in order.

use std::collections::BTreeMap;

use meridian_types::limits::FIELDS_MAX;
use meridian_types::{DatabaseId, FieldType};
use serde::{Deserialize, Serialize};

use crate::codec::DecodeError;
use crate::reply::{FieldConflict, FieldOverLimit};

/// Measurement -> field -> type of one database.
pub type FieldTypes = BTreeMap<String, BTreeMap<String, FieldType>>;

/// One decision about one field.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FieldRecord {
    /// Its number in the order of decisions, counted from 0 and never reused.
    pub seq: u64,
    /// Whose field.
    pub database: DatabaseId,
    /// Its measurement.
    pub measurement: String,
    /// Its name.
    pub field: String,
    /// Its type, for ever.
    pub field_type: FieldType,
}

/// Why one field was not registered.
pub(crate) enum FieldRefused {
    Conflict(FieldConflict),
    OverLimit(FieldOverLimit),
}

/// The records in the order of their numbers, and the same by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields {
    log: Vec<FieldRecord>,
    types: BTreeMap<DatabaseId, FieldTypes>,
}

impl Fields {
    /// All records of live databases.
    pub(crate) fn log(&self) -> &[FieldRecord] {
        &self.log
    }

    /// The records numbered `seq` and above.
    pub(crate) fn since(&self, seq: u64) -> &[FieldRecord] {
        &self.log[self.log.partition_point(|r| r.seq < seq)..]
    }

    pub(crate) fn get(&self, seq: u64) -> Option<&FieldRecord> {
        self.since(seq).first().filter(|r| r.seq == seq)
    }

    pub(crate) fn types(&self, database: DatabaseId) -> Option<&FieldTypes> {
        self.types.get(&database)
    }

    /// Decides the field of `record` unless it is decided; says whether that was new.
    pub(crate) fn register(&mut self, record: FieldRecord) -> Result<bool, FieldRefused> {
        assert!(self.log.last().is_none_or(|r| r.seq < record.seq), "field record {} is out of order", record.seq);
        let FieldRecord { measurement, field, field_type, .. } = &record;
        let types = self.types.entry(record.database).or_default();
        let known = types.get(measurement);
        if let Some(stored) = known.and_then(|fields| fields.get(field)) {
            if stored == field_type {
                return Ok(false);
            }
            let (measurement, field) = (measurement.clone(), field.clone());
            let conflict = FieldConflict { measurement, field, stored: *stored, given: *field_type };
            return Err(FieldRefused::Conflict(conflict));
        }
        if known.is_some_and(|fields| fields.len() >= FIELDS_MAX) {
            let over = FieldOverLimit { measurement: record.measurement, field: record.field };
            return Err(FieldRefused::OverLimit(over));
        }
        types.entry(measurement.clone()).or_default().insert(field.clone(), *field_type);
        self.log.push(record);
        Ok(true)
    }

    /// Forgets a database; gives the numbers of its records.
    pub(crate) fn forget(&mut self, database: DatabaseId) -> Vec<u64> {
        self.types.remove(&database);
        self.log.extract_if(.., |r| r.database == database).map(|r| r.seq).collect()
    }

    /// Takes stored records, in the order of their numbers.
    pub(crate) fn from_records(records: impl Iterator<Item = FieldRecord>) -> Result<Self, DecodeError> {
        let mut fields = Self::default();
        for record in records {
            if fields.log.last().is_some_and(|r| r.seq >= record.seq) {
                return Err(DecodeError::Inconsistent("field records are out of order"));
            }
            if !matches!(fields.register(record), Ok(true)) {
                return Err(DecodeError::Inconsistent("a field is decided twice, or its measurement has too many"));
            }
        }
        Ok(fields)
    }
}
