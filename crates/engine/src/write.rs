//! How a frame gets in: one pass checks all of it, so that a refusal leaves no trace, then its series get their numbers, and
//! then its rows are stored. What a frame is answered is certain before the last.
//!
//! It must never refuse for a reason that is not in the log, such as memory: all replicas answer alike.

use std::sync::Arc;

use meridian_frame::{Field, Frame, Run, SeriesRef, Table, series_check_after};
use meridian_types::{Code, DatabaseId, FieldType, Mutant, SeriesKey, SeriesNumber, limits};

use crate::Engine;
use crate::rows::Rows;
use crate::series::{Home, Identity, Marks, Series, keys};
use crate::stats::Stats;
use crate::table::Measurement;

/// What a write did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Written {
    /// Values stored, those counted that a later row of the same frame wrote over.
    pub points: u64,
    /// The numbers of the frame's series, one a run, in the order of its tables and their runs.
    pub series: Vec<SeriesNumber>,
}

/// Why nothing of a frame was stored. The same on all replicas.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WriteRefused {
    /// The database was dropped.
    #[error("database {database} is dropped and takes no more points: create it again, which gives it a new id")]
    DatabaseDropped {
        /// Which.
        database: DatabaseId,
    },
    /// A series is named by a number that does not stand for it here.
    #[error(
        "series number {number}, or one behind it, is not of the series of measurement {measurement:?} that the frame means: send the frame again with series keys"
    )]
    SendKeys {
        /// The measurement in which it was sought.
        measurement: String,
        /// The number, or the table's first where it is not known which it is.
        number: SeriesNumber,
    },
    /// A field has another type. The catalogue decides types before a write enters the log, so that this shows a bug.
    #[error(
        "field {field:?} of measurement {measurement:?} is {stored} and was given {given}: send {stored}, or use another name"
    )]
    TypeConflict {
        /// The measurement.
        measurement: String,
        /// The field.
        field: String,
        /// The type that the field has.
        stored: FieldType,
        /// The type in the frame.
        given: FieldType,
    },
    /// A measurement would have too many fields. Checked before a write enters the log, so that this shows a bug.
    #[error(
        "measurement {measurement:?} would have {fields} fields, over the limit of {max}: use fewer names, or tags",
        max = limits::FIELDS_MAX
    )]
    TooManyFields {
        /// The measurement.
        measurement: String,
        /// How many it would have.
        fields: usize,
    },
    /// The shard has given out all numbers.
    #[error(
        "the shard has given out {given} of {max} series numbers and they are never reused: make more shards",
        max = u32::MAX
    )]
    TooManySeries {
        /// How many it has given out.
        given: usize,
    },
}

impl WriteRefused {
    /// The stable code of this refusal.
    pub fn code(&self) -> Code {
        match self {
            Self::DatabaseDropped { .. } => Code::NoDatabase,
            Self::SendKeys { .. } => Code::SendKeys,
            Self::TypeConflict { .. } => Code::TypeConflict,
            Self::TooManyFields { .. } | Self::TooManySeries { .. } => Code::OverLimit,
        }
    }
}

/// A frame that is taken: its series have their numbers, and its rows are still to be stored.
#[must_use = "its rows are lost if it is not stored"]
#[derive(Debug)]
pub struct Accepted {
    database: DatabaseId,
    frame: Frame,
    written: Written,
}

impl Accepted {
    /// The frame.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// What storing it does.
    pub fn written(&self) -> &Written {
        &self.written
    }
}

impl Engine {
    /// Applies a frame in log order. The last write wins per (series, field, time), by log order and inside the frame by
    /// row order; times may come in any order and as often as they like. All or nothing: a refusal leaves no trace.
    pub fn write(&mut self, database: DatabaseId, frame: &Frame) -> Result<Written, WriteRefused> {
        let written = self.take(database, frame)?;
        self.put(database, frame, &written);
        Ok(written)
    }

    /// The first part of [`Engine::write`]: all of it that can be refused, in a fraction of the time. What is accepted must be
    /// stored, in this order, before anything but another accept is done with the engine.
    pub fn accept(&mut self, database: DatabaseId, frame: Frame) -> Result<Accepted, WriteRefused> {
        let written = self.take(database, &frame)?;
        Ok(Accepted { database, frame, written })
    }

    /// The second part.
    pub fn store(&mut self, accepted: &Accepted) {
        self.put(accepted.database, &accepted.frame, &accepted.written);
    }

    /// Checks all of a frame, and gives its columns and series their numbers.
    fn take(&mut self, database: DatabaseId, frame: &Frame) -> Result<Written, WriteRefused> {
        self.check(database, frame)?;
        let Self { hasher, databases, series, marks, .. } = self;
        let home = databases.entry(database).or_default();
        let mut written = Written::default();
        for table in frame.tables() {
            let measurement =
                home.measurements.entry(table.measurement().into()).or_insert_with(|| Measurement::new(*hasher));
            measurement.register(table.fields());
            written.points += table.fields().iter().map(|field| field.values.points() as u64).sum::<u64>();
            written.series.extend(table.runs().iter().map(|run| match &run.series {
                SeriesRef::Key(key) => {
                    let all = (&mut *series, &mut *marks);
                    number_of(key, (database, table.measurement()), measurement, all, &mut home.stats)
                }
                SeriesRef::Number(number) => *number,
            }));
        }
        Ok(written)
    }

    /// Stores the rows of a frame that was taken.
    fn put(&mut self, database: DatabaseId, frame: &Frame, written: &Written) {
        let Self { tail_rows_max, databases, series, filled, .. } = self;
        let home = databases.get_mut(&database).expect("`take` has made it");
        let mut numbers = written.series.iter();
        for table in frame.tables() {
            let measurement = home.measurements.get(table.measurement()).expect("`take` has made it");
            let columns = measurement.columns_of(table.fields());
            let mask_words = (measurement.columns().len().saturating_sub(1) / 64 + 1) as u8; // at most FIELDS_MAX columns
            let late_points_count = !Mutant::IgnoreLatePoint.is_planted();
            let mut rows = if late_points_count { Rows::of(table, &columns, mask_words) } else { None };
            for (run, number) in table.runs().iter().zip(&mut numbers) {
                let one = series[number.0 as usize].as_mut();
                let one = one.expect("`take` found the numbers that the frame names, and gives live ones");
                let (before, was_empty) = (one.size(), one.is_empty());
                let grown = Arc::make_mut(one);
                grown.widen(mask_words);
                match &mut rows {
                    Some(rows) => grown.extend(rows, run.rows.clone(), measurement.types(), *tail_rows_max),
                    None => append(grown, table, run, &columns, (measurement.types(), *tail_rows_max)),
                }
                home.stats.replace(before, one.size());
                if was_empty && !one.is_empty() {
                    filled.push(*number);
                }
            }
        }
    }

    /// Whether `write` would take the frame. Changes nothing.
    fn check(&self, database: DatabaseId, frame: &Frame) -> Result<(), WriteRefused> {
        if self.dropped.contains(&database) {
            return Err(WriteRefused::DatabaseDropped { database });
        }
        let runs: usize = frame.tables().iter().map(|table| table.runs().len()).sum();
        if self.series.len() + runs > u32::MAX as usize {
            return Err(WriteRefused::TooManySeries { given: self.series.len() });
        }
        let home = self.databases.get(&database);
        for table in frame.tables() {
            let measurement = home.and_then(|home| home.measurements.get(table.measurement()));
            check_fields(table, measurement)?;
            self.check_numbers(table, measurement.and_then(Measurement::home).map(|home| home.number))?;
        }
        Ok(())
    }

    /// Whether each number of the table is one of measurement `home`, and all mean the series that the sender believes.
    fn check_numbers(&self, table: &Table, home: Option<SeriesNumber>) -> Result<(), WriteRefused> {
        let Marks { homes, checks } = &self.marks;
        let mut seen = 0;
        for number in table.runs().iter().filter_map(|run| run.series.number()) {
            // The series of a database that was dropped have a home that no measurement has any more.
            let one = homes.get(number.0 as usize).zip(checks.get(number.0 as usize));
            match one.filter(|(of, _)| Some(**of) == home) {
                Some((_, check)) => seen = series_check_after(seen, *check),
                None => return Err(send_keys(table, number)),
            }
        }
        match table.runs().iter().find_map(|run| run.series.number()) {
            Some(number) if seen != table.numbers_check() => Err(send_keys(table, number)),
            _ => Ok(()),
        }
    }
}

fn send_keys(table: &Table, number: SeriesNumber) -> WriteRefused {
    WriteRefused::SendKeys { measurement: table.measurement().to_owned(), number }
}

fn check_fields(table: &Table, measurement: Option<&Measurement>) -> Result<(), WriteRefused> {
    let mut fields = measurement.map_or(0, |measurement| measurement.columns().len());
    for field in table.fields() {
        let given = field.field_type();
        match measurement.and_then(|measurement| measurement.column(&field.name)) {
            None => fields += 1,
            Some(column) if column.field_type == given => {}
            Some(column) => {
                return Err(WriteRefused::TypeConflict {
                    measurement: table.measurement().to_owned(),
                    field: field.name.clone(),
                    stored: column.field_type,
                    given,
                });
            }
        }
    }
    if fields > limits::FIELDS_MAX {
        return Err(WriteRefused::TooManyFields { measurement: table.measurement().to_owned(), fields });
    }
    Ok(())
}

/// The number of the series with this key, given now if it has none.
fn number_of(
    key: &SeriesKey,
    (database, name): (DatabaseId, &str),
    measurement: &mut Measurement,
    (series, marks): (&mut Vec<Option<Arc<Series>>>, &mut Marks),
    stats: &mut Stats,
) -> SeriesNumber {
    if let Some(number) = measurement.number(key, &keys(series)) {
        return number;
    }
    let number = SeriesNumber(series.len() as u32); // `check` has left room
    let new_home = || Arc::new(Home { database, measurement: name.into(), number });
    let home = measurement.home().cloned().unwrap_or_else(new_home);
    stats.added(key, measurement.insert(key, number, &home, &keys(series)));
    let identity = Identity::new(number, key.clone(), home);
    marks.push(&identity);
    series.push(Some(Arc::new(Series::new(Arc::new(identity)))));
    number
}

/// Appends a run's rows one by one.
fn append(
    series: &mut Series,
    table: &Table,
    run: &Run,
    columns: &[(u16, &Field)],
    (types, rows_max): (&[FieldType], usize),
) {
    for row in run.rows.clone() {
        if Mutant::IgnoreLatePoint.is_planted() && series.span().is_some_and(|(_, last)| table.times()[row] < last) {
            continue;
        }
        let cells = columns.iter().filter_map(|(number, field)| Some((*number, field.get(row)?)));
        series.push(table.times()[row], cells, types, rows_max);
    }
}
