//! How rows in any order become a frame. Equal rows in equal order give equal bytes, in every process.
//!
//! Looks series, names and measurements up in ordered maps, not hashed ones: clients choose them, and no seed comes
//! this far. Never cuts: when a frame is full it says so, and the caller starts the next.

use std::collections::BTreeMap;

use bytes::Bytes;
use meridian_types::{Code, FieldType, SeriesKey, TimeError, Timestamp, ValueRef, limits, name_is_valid};

use crate::{
    Field, SeriesRef,
    column::Column,
    size::{HEADER_BYTES, TableSize},
    write::{self, Selection},
};

/// Why a row cannot join a frame.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PushError {
    /// A measurement's or a field's name is no name.
    #[error("a {what} name of {bytes} bytes is none: use 1 to {max} bytes without NUL", max = limits::NAME_BYTES_MAX)]
    Name {
        /// `measurement` or `field`.
        what: &'static str,
        /// Its size.
        bytes: usize,
    },
    /// A row without a value.
    #[error("the row has no field: give it at least one")]
    NoField,
    /// Two values of one field in one row.
    #[error("field {0:?} is given twice in one row")]
    FieldTwice(String),
    /// A value of another type than an earlier one of the same field.
    #[error("field {field:?} of measurement {measurement:?} is {earlier} in this frame, not {seen}")]
    Type {
        /// Whose field.
        measurement: String,
        /// Which field.
        field: String,
        /// The type of its values so far.
        earlier: FieldType,
        /// The type of the refused value.
        seen: FieldType,
    },
    /// More fields than a measurement may have.
    #[error("measurement {measurement:?} would have {fields} fields, over {max}", max = limits::FIELDS_MAX)]
    TooManyFields {
        /// Whose fields.
        measurement: String,
        /// How many they would be.
        fields: usize,
    },
    /// A text over its limit.
    #[error("the value of field {field:?} has {bytes} bytes, over {max}", max = limits::STRING_VALUE_BYTES_MAX)]
    StringTooLong {
        /// Which field.
        field: String,
        /// Its size.
        bytes: usize,
    },
    /// A time that cannot be stored.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// A row that no proposal could carry, even alone.
    #[error("the row needs {0} bytes, over the limit of {max}: give it fewer fields", max = limits::PROPOSAL_BYTES_MAX)]
    RowTooLarge(usize),
    /// With this row the frame would be larger than a frame may be: the row is good, and has its place in the next
    /// frame.
    #[error(
        "the frame would have {bytes} bytes and {points} points, over the limit of {} or {}: start another",
        limits::FRAME_BYTES_MAX,
        limits::REQUEST_POINTS_MAX
    )]
    FrameFull {
        /// Bytes with this row.
        bytes: usize,
        /// Points with this row.
        points: usize,
    },
}

impl PushError {
    /// The code to refuse the row with.
    pub fn code(&self) -> Code {
        match self {
            Self::Name { .. } | Self::NoField | Self::FieldTwice(_) => Code::BadRequest,
            Self::Type { .. } => Code::TypeConflict,
            Self::TooManyFields { .. } | Self::StringTooLong { .. } => Code::OverLimit,
            Self::RowTooLarge(_) | Self::FrameFull { .. } => Code::OverLimit,
            Self::Time(_) => Code::TimeOutOfRange,
        }
    }
}

/// Builds a frame from rows in any order. Groups them by measurement, then by series, both sorted, and keeps the order
/// of the rows inside a series as pushed.
#[derive(Debug)]
pub struct FrameBuilder {
    tables: Vec<TableBuilder>,
    by_measurement: BTreeMap<String, usize>,
    rows: usize,
    points: usize,
    bytes: usize,
}

impl Default for FrameBuilder {
    fn default() -> Self {
        Self { tables: Vec::new(), by_measurement: BTreeMap::new(), rows: 0, points: 0, bytes: HEADER_BYTES }
    }
}

impl FrameBuilder {
    /// A builder without rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a row: the values that `fields` gives to the series `key` of `measurement` at `time`. Refuses what
    /// [`crate::Frame::check`] would refuse, a type that differs from an earlier row's, and a row that does not fit;
    /// then nothing is changed.
    pub fn push(
        &mut self,
        measurement: &str,
        key: &SeriesKey,
        time: Timestamp,
        fields: &[(&str, ValueRef<'_>)],
    ) -> Result<(), PushError> {
        Timestamp::new(time.nanos())?;
        check_name("measurement", measurement)?;
        check_row(measurement, key, fields)?;
        let known = self.by_measurement.get(measurement).copied();
        let new = TableBuilder::new(measurement);
        let table = known.map_or(&new, |index| &self.tables[index]);
        let slots = table.slots(measurement, fields)?;
        let size = table.size_with(key, fields, &slots);
        let before = if known.is_some() { table.size.total() } else { 0 };
        let (bytes, points) = (self.bytes - before + size.total(), self.points + fields.len());
        if bytes > limits::FRAME_BYTES_MAX || points > limits::REQUEST_POINTS_MAX {
            return Err(PushError::FrameFull { bytes, points });
        }
        (self.rows, self.points, self.bytes) = (self.rows + 1, points, bytes);
        let index = known.unwrap_or_else(|| {
            self.by_measurement.insert(measurement.to_owned(), self.tables.len());
            self.tables.push(new);
            self.tables.len() - 1
        });
        self.tables[index].size = size;
        self.tables[index].push(key, time, fields, &slots);
        Ok(())
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Field values so far.
    pub fn points(&self) -> usize {
        self.points
    }

    /// A bound on the size of the encoded frame in bytes: never below it, and above it by no more than a bit a row and
    /// field and a byte a truth value. Costs nothing to ask.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is no row yet.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The encoded frame. A frame without rows is none: [`crate::Frame::check`] refuses it, so do not send it.
    pub fn finish(self) -> Bytes {
        let mut out = write::start();
        out.reserve(self.bytes - HEADER_BYTES);
        let mut tables: Vec<_> = self.tables.into_iter().map(Some).collect();
        for (measurement, index) in self.by_measurement {
            let table = tables[index].take().expect("each table has one measurement");
            table.write(&measurement, &mut out);
        }
        write::finish(out)
    }
}

/// The rows of one measurement, in the order in which they were pushed.
#[derive(Debug)]
struct TableBuilder {
    size: TableSize,
    series: BTreeMap<SeriesKey, usize>,
    fields: Vec<Field>,
    by_name: BTreeMap<String, usize>,
    series_of_rows: Vec<usize>,
    times: Vec<i64>,
}

impl TableBuilder {
    fn new(measurement: &str) -> Self {
        Self {
            size: TableSize::new(measurement),
            series: BTreeMap::new(),
            fields: Vec::new(),
            by_name: BTreeMap::new(),
            series_of_rows: Vec::new(),
            times: Vec::new(),
        }
    }

    /// The place of each field of a row in `self.fields`; new fields get the places after.
    fn slots(&self, measurement: &str, row: &[(&str, ValueRef<'_>)]) -> Result<Vec<usize>, PushError> {
        let mut slots = Vec::with_capacity(row.len());
        let mut new = BTreeMap::new();
        for (i, (name, value)) in row.iter().enumerate() {
            if let Some(slot) = self.slot(i, name) {
                let (earlier, seen) = (self.fields[slot].field_type(), value.field_type());
                if earlier != seen {
                    let (measurement, field) = (measurement.to_owned(), (*name).to_owned());
                    return Err(PushError::Type { measurement, field, earlier, seen });
                }
                slots.push(slot);
                continue;
            }
            check_name("field", name)?;
            let slot = self.fields.len() + new.len();
            if new.insert(*name, slot).is_some() {
                return Err(PushError::FieldTwice((*name).to_owned()));
            }
            slots.push(slot);
        }
        let fields = self.fields.len() + new.len();
        if fields > limits::FIELDS_MAX {
            return Err(PushError::TooManyFields { measurement: measurement.to_owned(), fields });
        }
        match slot_given_twice(&slots) {
            Some(slot) => Err(PushError::FieldTwice(self.fields[slot].name.clone())),
            None => Ok(slots),
        }
    }

    /// Rows of one measurement mostly name the same fields in the same order, so the `i`th field of a row is first
    /// sought at the `i`th place.
    fn slot(&self, i: usize, name: &str) -> Option<usize> {
        if self.fields.get(i).is_some_and(|field| field.name == name) {
            return Some(i);
        }
        self.by_name.get(name).copied()
    }

    fn size_with(&self, key: &SeriesKey, row: &[(&str, ValueRef<'_>)], slots: &[usize]) -> TableSize {
        let mut size = self.size;
        size.add_row();
        if !self.series.contains_key(key) {
            size.add_series(key);
        }
        for ((name, value), slot) in row.iter().zip(slots) {
            if *slot >= self.fields.len() {
                size.add_field(name);
            }
            size.add_value(*value);
        }
        size
    }

    fn push(&mut self, key: &SeriesKey, time: Timestamp, fields: &[(&str, ValueRef<'_>)], slots: &[usize]) {
        let row = self.times.len();
        for ((name, value), slot) in fields.iter().zip(slots) {
            if *slot == self.fields.len() {
                self.by_name.insert((*name).to_owned(), *slot);
                self.fields.push(Field { name: (*name).to_owned(), values: Column::new(value.field_type()) });
            }
            self.fields[*slot].values.push(row, *value).expect("types were compared before anything was changed");
        }
        let next = self.series.len();
        let series = match self.series.get(key) {
            Some(series) => *series,
            None => *self.series.entry(key.clone()).or_insert(next),
        };
        self.series_of_rows.push(series);
        self.times.push(time.nanos());
    }

    /// Rows go out by series in the order of their keys: the places of a counting sort.
    fn write(self, measurement: &str, out: &mut Vec<u8>) {
        let mut counts = vec![0; self.series.len()];
        self.series_of_rows.iter().for_each(|series| counts[*series] += 1);
        let mut next_place = vec![0; counts.len()];
        let mut sum = 0;
        for series in self.series.values() {
            next_place[*series] = sum;
            sum += counts[*series];
        }
        let mut rows = vec![0; self.times.len()];
        for (row, series) in self.series_of_rows.iter().enumerate() {
            rows[next_place[*series]] = row;
            next_place[*series] += 1;
        }
        let series: Vec<_> = self.series.into_iter().map(|(key, index)| (SeriesRef::Key(key), counts[index])).collect();
        let selection = Selection {
            measurement,
            runs: series.iter().map(|(series, rows)| (series, *rows)).collect(),
            rows,
            times: &self.times,
            fields: self.by_name.values().map(|slot| &self.fields[*slot]).collect(),
        };
        write::write_table(out, &selection);
    }
}

fn check_name(what: &'static str, name: &str) -> Result<(), PushError> {
    if name_is_valid(name) { Ok(()) } else { Err(PushError::Name { what, bytes: name.len() }) }
}

/// What can be told of a row without the rows before it.
fn check_row(measurement: &str, key: &SeriesKey, fields: &[(&str, ValueRef<'_>)]) -> Result<(), PushError> {
    if fields.is_empty() {
        return Err(PushError::NoField);
    }
    let mut alone = TableSize::new(measurement);
    alone.add_series(key);
    alone.add_row();
    for (name, value) in fields {
        alone.add_field(name);
        alone.add_value(*value);
        if let ValueRef::Str(text) = value
            && text.len() > limits::STRING_VALUE_BYTES_MAX
        {
            return Err(PushError::StringTooLong { field: (*name).to_owned(), bytes: text.len() });
        }
    }
    let bytes = HEADER_BYTES + alone.total();
    if bytes > limits::PROPOSAL_BYTES_MAX { Err(PushError::RowTooLarge(bytes)) } else { Ok(()) }
}

fn slot_given_twice(slots: &[usize]) -> Option<usize> {
    if slots.is_sorted_by(|a, b| a < b) {
        return None;
    }
    let mut sorted = slots.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}
