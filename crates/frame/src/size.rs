//! How large a frame will be, kept while rows join it, so that builder and split cut at a size without encoding first.
//!
//! Never below what `write` makes of the same rows: it counts a bitmap for each field and a byte for each truth value.

use meridian_types::{SeriesKey, ValueRef};

/// Magic, version, length and checksum.
pub(crate) const HEADER_BYTES: usize = 12;

/// Encoding and length before the bytes of a column.
const COLUMN_HEADER_BYTES: usize = 5;

/// Bytes of one table, as its series, fields, rows and values are added in any order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TableSize {
    rows: usize,
    fields: usize,
    bytes: usize,
}

impl TableSize {
    /// A table without rows: name, counts and the head of the times.
    pub(crate) fn new(measurement: &str) -> Self {
        Self { rows: 0, fields: 0, bytes: 2 + measurement.len() + 10 + COLUMN_HEADER_BYTES }
    }

    /// A series and its run.
    pub(crate) fn add_series(&mut self, key: &SeriesKey) {
        self.bytes += 1 + 4 + key.as_bytes().len() + 8;
    }

    /// A field: name, type, presence flag and the head of its values.
    pub(crate) fn add_field(&mut self, name: &str) {
        self.fields += 1;
        self.bytes += 2 + name.len() + 2 + COLUMN_HEADER_BYTES;
    }

    /// A row: its time.
    pub(crate) fn add_row(&mut self) {
        self.rows += 1;
        self.bytes += 8;
    }

    /// A value of a row.
    pub(crate) fn add_value(&mut self, value: ValueRef<'_>) {
        self.bytes += match value {
            ValueRef::F64(_) | ValueRef::I64(_) | ValueRef::U64(_) => 8,
            ValueRef::Bool(_) => 1,
            ValueRef::Str(text) => 4 + text.len(),
        };
    }

    /// How many fields were added.
    pub(crate) fn fields(self) -> usize {
        self.fields
    }

    /// All of it, in bytes.
    pub(crate) fn total(self) -> usize {
        self.bytes + self.fields * self.rows.div_ceil(8)
    }
}
