//! How large a frame will be at most, kept while rows join it, so that builder and split cut at a size without encoding
//! first.
//!
//! Never below what `write` makes of the same rows: it counts every value as if it stood plain, and a bitmap for each field.

use meridian_types::ValueRef;

use crate::SeriesRef;
use crate::blocks::heads_bytes;

/// Magic, version, length and checksum.
pub(crate) const HEADER_BYTES: usize = 12;

/// Length before the blocks of a column.
const COLUMN_HEADER_BYTES: usize = 4;

/// Bytes of one table, as its series, fields, rows and values are added in any order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TableSize {
    rows: usize,
    series: usize,
    fields: usize,
    bytes: usize,
}

impl TableSize {
    /// A table without rows: name, counts, and the heads of the numbers with their check, the runs and the times.
    pub(crate) fn new(measurement: &str) -> Self {
        let counts = 4 + 2 + 4 + 4;
        let bytes = 2 + measurement.len() + counts + 3 * COLUMN_HEADER_BYTES + 4;
        Self { rows: 0, series: 0, fields: 0, bytes }
    }

    /// A series and its run.
    pub(crate) fn add_series(&mut self, series: &SeriesRef) {
        self.series += 1;
        self.bytes += 8 + match series {
            SeriesRef::Key(key) => 4 + key.as_bytes().len(),
            SeriesRef::Number(_) => 8,
        };
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
            ValueRef::Str(text) => 8 + text.len(),
        };
    }

    /// How many fields were added.
    pub(crate) fn fields(self) -> usize {
        self.fields
    }

    /// All of it, in bytes.
    pub(crate) fn total(self) -> usize {
        let of_a_field = self.rows.div_ceil(8) + heads_bytes(self.rows);
        self.bytes + self.fields * of_a_field + heads_bytes(self.rows) + 2 * heads_bytes(self.series)
    }
}
