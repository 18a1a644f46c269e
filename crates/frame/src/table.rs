//! What a frame holds once it is read: tables of runs, times and fields. Reading it cannot fail.
//!
//! Only `check` makes a [`Frame`], so whoever holds one knows that all of it was verified.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use meridian_types::{FieldType, SeriesKey, SeriesNumber, ValueRef};

use crate::column::Column;

/// A checked frame: every length, name, key, type, time and encoding and the checksum have been verified, so that
/// reading it cannot fail. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Frame {
    pub(crate) bytes: Bytes,
    pub(crate) tables: Arc<[Table]>,
    pub(crate) rows: usize,
    pub(crate) points: usize,
}

impl Frame {
    /// The encoded frame, as it was checked.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Rows of all tables, at least one.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Field values of all tables, at least one a row, at most [`meridian_types::limits::REQUEST_POINTS_MAX`].
    pub fn points(&self) -> usize {
        self.points
    }

    /// The tables, at least one, sorted by measurement; no measurement comes twice.
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }
}

/// The rows of one measurement: runs of series over shared columns.
#[derive(Clone, Debug)]
pub struct Table {
    pub(crate) measurement: String,
    pub(crate) runs: Vec<Run>,
    pub(crate) check: u32,
    pub(crate) times: Vec<i64>,
    pub(crate) fields: Vec<Field>,
}

impl Table {
    /// The measurement's name.
    pub fn measurement(&self) -> &str {
        &self.measurement
    }

    /// Which rows belong to which series, in order: the rows of the table are the rows of the runs, one after another.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// [`series_check_after`] each of the keys that the series by number stand for, as the frame's sender believes; 0 without any.
    pub fn numbers_check(&self) -> u32 {
        self.check
    }

    /// The time of each row in nanoseconds since 1970-01-01 UTC, each one that can be stored; in no order.
    pub fn times(&self) -> &[i64] {
        &self.times
    }

    /// The fields, at least one, sorted by name; no name comes twice.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// How many rows there are, at least one. Each has a value in at least one field.
    pub fn rows(&self) -> usize {
        self.times.len()
    }
}

/// Rows of one series, next to each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// Whose rows.
    pub series: SeriesRef,
    /// Which rows of the table, never none.
    pub rows: Range<usize>,
}

/// A series, by its key or by the number that its shard gave it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SeriesRef {
    /// By its tags: good in every shard.
    Key(SeriesKey),
    /// By number, learnt from an earlier reply: good in one incarnation of one shard only.
    Number(SeriesNumber),
}

impl SeriesRef {
    /// Its number, if it is given by number.
    pub fn number(&self) -> Option<SeriesNumber> {
        match self {
            Self::Key(_) => None,
            Self::Number(number) => Some(*number),
        }
    }
}

/// CRC-32C of a key's canonical bytes: what the check of a table's numbered series is made of.
pub fn series_check(key: &SeriesKey) -> u32 {
    crc32c::crc32c(key.as_bytes())
}

/// The check of the numbered series of a table, one more than those of which `before` is it: from 0 on, of the
/// [`series_check`] of each in their order. So a number that means another series than its sender believes is noticed.
pub fn series_check_after(before: u32, check: u32) -> u32 {
    crc32c::crc32c_append(before, &check.to_le_bytes())
}

/// One field of a table: its name, and a value for some of the table's rows.
#[derive(Clone, Debug)]
pub struct Field {
    /// The field's name.
    pub name: String,
    /// Its values, at least one.
    pub values: Column,
}

impl Field {
    /// The type of its values.
    pub fn field_type(&self) -> FieldType {
        self.values.field_type()
    }

    /// The value of a row of the table; nothing where the row has none.
    pub fn get(&self, row: usize) -> Option<ValueRef<'_>> {
        self.values.get(row)
    }
}
