//! What is written: rows whose values name their write, so that any value that is seen can be traced to who sent it. Pure.

use std::collections::VecDeque;
use std::fmt;

use meridian_env::Rng;
use meridian_types::{TimeRange, Timestamp, Value};
use serde::{Deserialize, Serialize};

/// The database of a trial.
pub const DATABASE: &str = "trial";
/// Its measurements: a series belongs to the one that its number gives.
pub const MEASUREMENTS: [&str; 6] = ["cpu", "disk", "load", "mem", "net", "swap"];

/// Where data time begins: before every clock of a trial, so that no point is from the future.
const BASE_NANOS: i64 = 1_760_000_000_000_000_000;
/// Data time between two new rows.
const STEP_NANOS: i64 = 1_000_000;
const DAY_NANOS: i64 = 24 * 3_600 * 1_000_000_000;
/// After so many batches a measurement gets a field.
const FIELD_EVERY: u64 = 25;
/// Rows that later ones may overwrite or delete: each place is written a few times, none for ever.
const RECENT_ROWS: usize = 256;

/// A field of every measurement, one of each type.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Field {
    /// An integer: the serial number itself.
    Serial,
    /// An unsigned integer that no signed one can hold.
    Unsigned,
    /// A float.
    Level,
    /// A truth value: names its write only as far as one bit can.
    Flag,
    /// A text with what needs escapes, of many lengths.
    Text,
}

impl Field {
    /// All fields, in the order of their bits.
    pub const ALL: [Self; 5] = [Self::Serial, Self::Unsigned, Self::Level, Self::Flag, Self::Text];

    /// Its name in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Serial => "serial",
            Self::Unsigned => "unsigned",
            Self::Level => "level",
            Self::Flag => "flag",
            Self::Text => "text",
        }
    }

    /// The field of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }

    /// What the row with this serial number writes into the field.
    pub fn value(self, serial: i64) -> Value {
        match self {
            Self::Serial => Value::I64(serial),
            Self::Unsigned => Value::U64(u64::MAX - serial.unsigned_abs()),
            // Exact: serial numbers stay far below 2^52.
            Self::Level => Value::F64(serial as f64 + 0.5),
            Self::Flag => Value::Bool(serial % 2 == 0),
            Self::Text => {
                let filling = "=".repeat(serial.unsigned_abs() as usize % 60);
                Value::Str(format!("of \"{serial}\", \\ é {filling}"))
            }
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }

    /// From which batch on a measurement has it: one comes after the other, for as long as most trials last, so that again and
    /// again somebody does not know yet what another has just written. The serial number is there from the first row on.
    fn begins_at(self, measurement: usize) -> u64 {
        match self as usize {
            0 => 0,
            at => FIELD_EVERY * (1 + (at - 1) * MEASUREMENTS.len() + measurement) as u64,
        }
    }
}

/// A series: everything about it follows from its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Series(pub u32);

impl Series {
    /// Which of [`MEASUREMENTS`] it belongs to: eight series take turns in two of them, the next eight in the next two.
    pub fn measurement(self) -> usize {
        let number = self.0 as usize;
        (number % 2 + number / 8 * 2) % MEASUREMENTS.len()
    }

    /// Its tags.
    pub fn tags(self) -> [(&'static str, String); 2] {
        [("host", format!("h{}", self.0)), ("zone", format!("z{}", self.0 % 3))]
    }

    /// The series of these tags, if they are a series' tags.
    pub fn of<'a>(tags: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<Self> {
        let mut tags: Vec<_> = tags.into_iter().collect();
        tags.sort_unstable();
        let host = tags.iter().find(|(name, _)| *name == "host")?.1;
        let series = Self(host.strip_prefix('h')?.parse().ok()?);
        let own = series.tags();
        tags.iter().copied().eq(own.iter().map(|(name, value)| (*name, value.as_str()))).then_some(series)
    }
}

/// What the newest write decides: one field of one series at one time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// Whose.
    pub series: Series,
    /// Nanoseconds since 1970.
    pub time: i64,
    /// Which field.
    pub field: Field,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (measurement, host) = (MEASUREMENTS[self.series.measurement()], self.series.0);
        write!(f, "{measurement},host=h{host} {} at {}", self.field.name(), self.time)
    }
}

/// One row of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Names the row among all of a trial; its values follow from it.
    pub serial: i64,
    /// Whose.
    pub series: Series,
    /// Nanoseconds since 1970.
    pub time: i64,
    /// The fields it has, as bits.
    fields: u8,
}

impl Row {
    /// A row with the given fields.
    pub fn new(serial: i64, series: Series, time: i64, fields: impl IntoIterator<Item = Field>) -> Self {
        Self { serial, series, time, fields: fields.into_iter().fold(0, |bits, field| bits | field.bit()) }
    }

    /// Its fields.
    pub fn fields(self) -> impl Iterator<Item = Field> {
        Field::ALL.into_iter().filter(move |field| self.fields & field.bit() != 0)
    }

    /// Its values, each with its place.
    pub fn values(self) -> impl Iterator<Item = (Place, Value)> {
        self.fields()
            .map(move |field| (Place { series: self.series, time: self.time, field }, field.value(self.serial)))
    }
}

/// A delete of all fields of some rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Delete {
    /// Which of [`MEASUREMENTS`].
    pub measurement: usize,
    /// One series of it, or all.
    pub series: Option<Series>,
    /// The half-open range of data time.
    pub range: TimeRange,
}

/// Draws what is written next. Shared by all clients, so that they overwrite and delete each other's rows.
#[derive(Debug)]
pub struct Generator {
    rng: Rng,
    series: u32,
    serial: i64,
    batches: u64,
    recent: VecDeque<(Series, i64)>,
}

impl Generator {
    /// A generator over `series` series that draws from `rng`.
    pub fn new(rng: Rng, series: u32) -> Self {
        assert!(series > 0, "without a series there is nothing to write");
        Self { rng, series, serial: 0, batches: 0, recent: VecDeque::with_capacity(RECENT_ROWS) }
    }

    /// Up to `rows` rows for one request, each of another (series, time).
    pub fn batch(&mut self, rows: usize) -> Vec<Row> {
        self.batches += 1;
        let mut batch: Vec<Row> = Vec::with_capacity(rows);
        for _ in 0..rows {
            let row = self.row();
            if !batch.iter().any(|earlier| (earlier.series, earlier.time) == (row.series, row.time)) {
                batch.push(row);
            }
        }
        batch
    }

    fn row(&mut self) -> Row {
        self.serial += 1;
        let (series, time) = match self.recent_place() {
            Some(place) if self.rng.below(10) < 3 => place,
            _ => self.new_place(),
        };
        let drawn = 1 + self.rng.below((1 << Field::ALL.len()) - 1) as u8;
        let is_there = |field: &Field| self.batches >= field.begins_at(series.measurement());
        let fields = Field::ALL.into_iter().filter(is_there).fold(0, |bits, field| bits | field.bit() & drawn);
        // Every row has a field.
        let fields = if fields == 0 { Field::Serial.bit() } else { fields };
        Row { serial: self.serial, series, time, fields }
    }

    fn recent_place(&self) -> Option<(Series, i64)> {
        let count = self.recent.len() as u64;
        (count > 0).then(|| self.recent[self.rng.below(count) as usize])
    }

    /// Mostly a little after what came before, sometimes late, and sometimes of another day.
    fn new_place(&mut self) -> (Series, i64) {
        let series = Series(self.rng.below(self.series.into()) as u32);
        let late = match self.rng.below(20) {
            0 => DAY_NANOS,
            1 => 30 * DAY_NANOS,
            2..=6 => self.rng.below(500) as i64 * STEP_NANOS,
            _ => 0,
        };
        let place = (series, BASE_NANOS + self.serial * STEP_NANOS - late);
        if self.recent.len() == RECENT_ROWS {
            self.recent.pop_front();
        }
        self.recent.push_back(place);
        place
    }

    /// A delete around a row of late: of its series, or of all.
    pub fn delete(&mut self) -> Option<Delete> {
        let (series, time) = self.recent_place()?;
        let around = || self.rng.below(40) as i64 * STEP_NANOS;
        let at = |nanos| Timestamp::default().saturating_add(nanos);
        let range = TimeRange::new(at(time - around()), at(time + 1 + around())).expect("it holds the row's time");
        let series_only = self.rng.below(8) > 0;
        Some(Delete { measurement: series.measurement(), series: series_only.then_some(series), range })
    }

    /// A range of data time in which rows of late lie, and one of their series.
    pub fn recent_range(&mut self) -> Option<(Series, TimeRange)> {
        let (series, time) = self.recent_place()?;
        let at = |nanos| Timestamp::default().saturating_add(nanos);
        let range = TimeRange::new(at(time - 50 * STEP_NANOS), at(time + 50 * STEP_NANOS));
        Some((series, range.expect("it has a length")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_name_their_write_and_have_one_type_a_field() {
        for field in Field::ALL {
            let (one, other) = (field.value(7), field.value(8));
            assert_eq!(one.field_type(), other.field_type());
            assert_ne!(one, other);
            assert_eq!(Field::named(field.name()), Some(field));
        }
    }

    #[test]
    fn a_series_is_known_by_all_of_its_tags() {
        let series = Series(17);
        let tags = series.tags();
        let tags: Vec<_> = tags.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(Series::of(tags.clone()), Some(series));
        assert_eq!(Series::of(tags[..1].to_vec()), None);
        assert_eq!(Series::of([("host", "h17"), ("zone", "z0")]), None);
        assert_eq!(Series::of([("host", "h017"), ("zone", "z2")]), None, "another spelling is another series");
    }

    #[test]
    fn batches_overwrite_and_hold_no_place_twice() {
        let mut generator = Generator::new(Rng::from_seed(1), 5);
        let rows: Vec<Row> = (0..200).flat_map(|_| generator.batch(10)).collect();
        let mut places: Vec<_> = rows.iter().map(|row| (row.series, row.time)).collect();
        assert!(rows.iter().all(|row| row.fields().count() > 0));
        places.sort_unstable();
        places.dedup();
        assert!(places.len() * 10 < rows.len() * 9, "{} places in {} rows", places.len(), rows.len());
        let delete = generator.delete().expect("there are rows");
        assert!(places.iter().any(|(_, time)| delete.range.start().nanos() <= *time));
    }
}
