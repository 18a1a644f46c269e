//! How rows in any order become a frame. Equal rows in equal order give equal bytes, in every process.
//!
//! Looks series, names and measurements up in ordered maps, not hashed ones: clients choose them, and no seed comes
//! this far; a caller that has looked a series up itself asks for its place once. Never cuts: when a frame is full it says
//! so, and the caller starts the next.

use std::collections::BTreeMap;

use bytes::Bytes;
use meridian_types::{Code, FieldType, SeriesKey, SeriesNumber, TimeError, Timestamp, ValueRef, limits, name_is_valid};

use crate::column::Column;
use crate::size::{HEADER_BYTES, TableSize};
use crate::write::{self, Selection};
use crate::{Field, SeriesRef, series_check_after};

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
        "the frame would have {bytes} bytes and {points} points, over its bound or the limit of {}: start another",
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

/// Builds a frame from rows in any order. Groups them by measurement, sorted, then by series: those by key before those by
/// number, each in the order in which their first rows came; and keeps the order of the rows inside a series as pushed.
#[derive(Debug)]
pub struct FrameBuilder {
    tables: Vec<TableBuilder>,
    by_measurement: BTreeMap<String, usize>,
    /// The columns of the row that is being pushed.
    slots: Vec<usize>,
    /// Table and shape of the last row, if `slots` are the columns of any other like it.
    shaped: Option<(usize, u64)>,
    rows: usize,
    points: usize,
    bytes: usize,
    bytes_max: usize,
}

/// Where the rows of one series go in one builder.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    table: usize,
    series: usize,
}

impl Default for FrameBuilder {
    fn default() -> Self {
        Self::bounded(limits::FRAME_BYTES_MAX)
    }
}

impl FrameBuilder {
    /// A builder without rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// A builder that is full at this many bytes already. Each row that is not refused for itself fits when it is the first,
    /// however small the bound.
    pub fn bounded(bytes_max: usize) -> Self {
        Self {
            tables: Vec::new(),
            by_measurement: BTreeMap::new(),
            slots: Vec::new(),
            shaped: None,
            rows: 0,
            points: 0,
            bytes: HEADER_BYTES,
            bytes_max,
        }
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
        check_name("measurement", measurement)?;
        let table = self.table(measurement);
        let series = match self.tables[table].by_key.get(key) {
            Some(series) => *series,
            None => {
                let Place { series, .. } = self.add_series(table, SeriesRef::Key(key.clone()), 0);
                self.tables[table].by_key.insert(key.clone(), series);
                series
            }
        };
        self.push_at(Place { table, series }, time, fields)
    }

    /// A place for a series by key, for callers that look series up themselves. Asked twice for one series, it gives two
    /// places, and the frame has the series twice.
    pub fn by_key(&mut self, measurement: &str, key: SeriesKey) -> Result<Place, PushError> {
        check_name("measurement", measurement)?;
        let table = self.table(measurement);
        Ok(self.add_series(table, SeriesRef::Key(key), 0))
    }

    /// A place for a series by number, with the [`crate::series_check`] of its key. Else like [`FrameBuilder::by_key`].
    pub fn by_number(&mut self, measurement: &str, number: SeriesNumber, check: u32) -> Result<Place, PushError> {
        check_name("measurement", measurement)?;
        let table = self.table(measurement);
        Ok(self.add_series(table, SeriesRef::Number(number), check))
    }

    /// Adds a row to the series of a place that this builder gave. Refuses as [`FrameBuilder::push`] does.
    pub fn push_at(&mut self, place: Place, time: Timestamp, fields: &[(&str, ValueRef<'_>)]) -> Result<(), PushError> {
        self.push_shaped(place, time, fields, 0)
    }

    /// Like [`FrameBuilder::push_at`], for a caller that knows which rows are alike: with the same `shape`, other than 0, they
    /// name the same fields, in the same order and of the same types. Names are not compared then.
    pub fn push_shaped(
        &mut self,
        place: Place,
        time: Timestamp,
        fields: &[(&str, ValueRef<'_>)],
        shape: u64,
    ) -> Result<(), PushError> {
        Timestamp::new(time.nanos())?;
        let table = &self.tables[place.table];
        check_texts(fields)?;
        if shape == 0 || self.shaped != Some((place.table, shape)) {
            self.shaped = None;
            self.slots.clear();
            table.find_slots(fields, &mut self.slots)?;
        }
        let size = table.size_with(place.series, fields, &self.slots);
        let before = if table.times.is_empty() { 0 } else { table.size.total() };
        if HEADER_BYTES + size.total() > limits::PROPOSAL_BYTES_MAX {
            check_alone(table, place.series, fields)?;
        }
        let (bytes, points) = (self.bytes - before + size.total(), self.points + fields.len());
        let bytes_max = if self.is_empty() { self.bytes_max.max(limits::PROPOSAL_BYTES_MAX) } else { self.bytes_max };
        if bytes > bytes_max || points > limits::REQUEST_POINTS_MAX {
            return Err(PushError::FrameFull { bytes, points });
        }
        (self.rows, self.points, self.bytes) = (self.rows + 1, points, bytes);
        self.tables[place.table].size = size;
        self.tables[place.table].push(place.series, time, fields, &self.slots);
        self.shaped = Some((place.table, shape));
        Ok(())
    }

    fn table(&mut self, measurement: &str) -> usize {
        if let Some(table) = self.by_measurement.get(measurement) {
            return *table;
        }
        self.by_measurement.insert(measurement.to_owned(), self.tables.len());
        self.tables.push(TableBuilder::new(measurement));
        self.tables.len() - 1
    }

    fn add_series(&mut self, table: usize, series: SeriesRef, check: u32) -> Place {
        let all = &mut self.tables[table].series;
        all.push(Member { series, check, rows: 0 });
        Place { table, series: all.len() - 1 }
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Field values so far.
    pub fn points(&self) -> usize {
        self.points
    }

    /// A bound on the size of the encoded frame in bytes, never below it: what it takes if no value can be packed. Costs
    /// nothing to ask.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is no row yet.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The places that have rows, in the order of the frame's tables and their runs.
    pub fn places(&self) -> Vec<Place> {
        let of_table = |table: &usize| {
            let table = *table;
            self.tables[table].order().into_iter().map(move |series| Place { table, series })
        };
        self.by_measurement.values().flat_map(of_table).collect()
    }

    /// The encoded frame. A frame without rows is none: [`crate::Frame::check`] refuses it, so do not send it.
    pub fn finish(self) -> Bytes {
        let mut out = write::start();
        for table in self.by_measurement.values().map(|table| &self.tables[*table]) {
            if !table.times.is_empty() {
                table.write(&mut out);
            }
        }
        write::finish(out)
    }
}

/// The rows of one measurement, in the order in which they were pushed.
#[derive(Debug)]
struct TableBuilder {
    measurement: String,
    size: TableSize,
    series: Vec<Member>,
    by_key: BTreeMap<SeriesKey, usize>,
    fields: Vec<Field>,
    by_name: BTreeMap<String, usize>,
    series_of_rows: Vec<usize>,
    times: Vec<i64>,
}

/// One series of a table; without rows until one was taken.
#[derive(Debug)]
struct Member {
    series: SeriesRef,
    check: u32,
    rows: usize,
}

impl TableBuilder {
    fn new(measurement: &str) -> Self {
        Self {
            measurement: measurement.to_owned(),
            size: TableSize::new(measurement),
            series: Vec::new(),
            by_key: BTreeMap::new(),
            fields: Vec::new(),
            by_name: BTreeMap::new(),
            series_of_rows: Vec::new(),
            times: Vec::new(),
        }
    }

    /// The place of each field of a row in `self.fields`; new fields get the places after.
    fn find_slots(&self, row: &[(&str, ValueRef<'_>)], slots: &mut Vec<usize>) -> Result<(), PushError> {
        if row.is_empty() {
            return Err(PushError::NoField);
        }
        let mut new = BTreeMap::new();
        for (i, (name, value)) in row.iter().enumerate() {
            if let Some(slot) = self.slot(i, name) {
                let (earlier, seen) = (self.fields[slot].field_type(), value.field_type());
                if earlier != seen {
                    let (measurement, field) = (self.measurement.clone(), (*name).to_owned());
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
            return Err(PushError::TooManyFields { measurement: self.measurement.clone(), fields });
        }
        match slot_given_twice(slots) {
            Some(slot) => Err(PushError::FieldTwice(self.fields[slot].name.clone())),
            None => Ok(()),
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

    fn size_with(&self, series: usize, row: &[(&str, ValueRef<'_>)], slots: &[usize]) -> TableSize {
        let mut size = self.size;
        size.add_row();
        let member = &self.series[series];
        if member.rows == 0 {
            size.add_series(&member.series);
        }
        for ((name, value), slot) in row.iter().zip(slots) {
            if *slot >= self.fields.len() {
                size.add_field(name);
            }
            size.add_value(*value);
        }
        size
    }

    fn push(&mut self, series: usize, time: Timestamp, fields: &[(&str, ValueRef<'_>)], slots: &[usize]) {
        let row = self.times.len();
        for ((name, value), slot) in fields.iter().zip(slots) {
            if *slot == self.fields.len() {
                self.by_name.insert((*name).to_owned(), *slot);
                self.fields.push(Field { name: (*name).to_owned(), values: Column::new(value.field_type()) });
            }
            self.fields[*slot].values.push(row, *value).expect("types were compared before anything was changed");
        }
        self.series[series].rows += 1;
        self.series_of_rows.push(series);
        self.times.push(time.nanos());
    }

    /// Series in the order in which they go out: those by key, then those by number.
    fn order(&self) -> Vec<usize> {
        let with_rows = || (0..self.series.len()).filter(|series| self.series[*series].rows > 0);
        let is_keyed = |series: &usize| self.series[*series].series.number().is_none();
        with_rows().filter(is_keyed).chain(with_rows().filter(|series| !is_keyed(series))).collect()
    }

    /// The places of a counting sort by series; `None` if the rows are in this order already.
    fn rows_by(&self, order: &[usize]) -> Option<Vec<u32>> {
        let mut next_place = vec![0; self.series.len()];
        let mut sum = 0;
        for series in order {
            next_place[*series] = sum;
            sum += self.series[*series].rows;
        }
        let mut rows = vec![0; self.times.len()];
        let mut is_sorted = true;
        for (row, series) in self.series_of_rows.iter().enumerate() {
            is_sorted &= next_place[*series] == row;
            rows[next_place[*series]] = row as u32; // a frame has at most REQUEST_POINTS_MAX rows
            next_place[*series] += 1;
        }
        (!is_sorted).then_some(rows)
    }

    fn write(&self, out: &mut Vec<u8>) {
        let order = self.order();
        let members = || order.iter().map(|series| &self.series[*series]);
        let numbered = members().filter(|member| member.series.number().is_some());
        let selection = Selection {
            measurement: &self.measurement,
            runs: members().map(|member| (&member.series, member.rows)).collect(),
            check: numbered.fold(0, |check, member| series_check_after(check, member.check)),
            rows: self.rows_by(&order),
            times: &self.times,
            fields: self.by_name.values().map(|slot| &self.fields[*slot]).collect(),
        };
        write::write_table(out, &selection);
    }
}

fn check_name(what: &'static str, name: &str) -> Result<(), PushError> {
    if name_is_valid(name) { Ok(()) } else { Err(PushError::Name { what, bytes: name.len() }) }
}

fn check_texts(fields: &[(&str, ValueRef<'_>)]) -> Result<(), PushError> {
    let bytes = |value: &ValueRef<'_>| if let ValueRef::Str(text) = value { text.len() } else { 0 };
    match fields.iter().find(|(_, value)| bytes(value) > limits::STRING_VALUE_BYTES_MAX) {
        Some((name, value)) => Err(PushError::StringTooLong { field: (*name).to_owned(), bytes: bytes(value) }),
        None => Ok(()),
    }
}

/// Whether the row alone would be a frame that can be proposed.
fn check_alone(table: &TableBuilder, series: usize, fields: &[(&str, ValueRef<'_>)]) -> Result<(), PushError> {
    let mut alone = TableSize::new(&table.measurement);
    alone.add_series(&table.series[series].series);
    alone.add_row();
    for (name, value) in fields {
        alone.add_field(name);
        alone.add_value(*value);
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
