//! What a query reads: the series it asks for as they were at one moment, shared with the engine and not copied.
//!
//! It must never see a write that came after it was taken. While it lives, a write to one of its series first copies that
//! series' open rows, and the files that it may read stay; a series is let go as soon as it has been read.

use std::sync::Arc;

use meridian_query::{Column, Needed, Newest, Plan, SeriesRows};
use meridian_types::{DatabaseId, FieldType, TimeRange, Timestamp};

use crate::Engine;
use crate::block::Wanted;
use crate::conditions::Conditions;
use crate::error::StoreError;
use crate::merge::Merged;
use crate::read::{Parts, Reader, Sources};
use crate::series::{Series, keys};
use crate::shortcuts::Shortcuts;
use crate::table::Column as Stored;

/// Where the newest rows or values are enough, so much of the end of a series is read at first, and then ever more. The times of
/// tests are a few nanoseconds apart.
const NEWEST_NANOS: i64 = if cfg!(test) { 2 } else { 1_000_000_000 };
const NEWEST_GROWTH: i64 = 8;

/// The series that a plan asks for, as of one moment.
pub struct View {
    /// `None` if retention has cut off all that was asked for.
    range: Option<TimeRange>,
    /// One for each field that the plan reads; `None` if the measurement has no such field of that type.
    fields: Vec<Option<Stored>>,
    /// With the conditions on columns that there are; those on others are left to the run.
    shortcuts: Shortcuts,
    /// What of each series is enough.
    newest: Option<Newest>,
    /// In order of their numbers.
    series: Vec<Arc<Series>>,
    sources: Sources,
}

impl Engine {
    /// Whether [`Engine::view`] looks at no more than so many series and values of tags. Finds that out without looking at them.
    pub fn is_view_at_most(&self, looks: usize, database: DatabaseId, plan: &Plan) -> bool {
        let measurement = self.databases.get(&database).and_then(|home| home.measurements.get(&*plan.measurement));
        measurement.is_none_or(|m| m.postings().takes_at_most(looks, &plan.matchers, &keys(&self.series)))
    }

    /// Takes what the plan needs: the series of its measurement that fulfil its matchers and may have rows in its range.
    /// Costs a look at these series, and at the values of each tag that a pattern is about; copies no rows, so that a lock around
    /// the engine is held for short.
    /// A field that has another type here than in the plan has no values.
    pub fn view(&self, database: DatabaseId, plan: &Plan) -> View {
        let measurement = self.databases.get(&database).and_then(|home| home.measurements.get(&*plan.measurement));
        let stored = |name: &str, field_type: FieldType| {
            measurement?.column(name).filter(|column| column.field_type == field_type)
        };
        let fields: Vec<Option<Stored>> = plan.read_fields().map(|(name, kind)| stored(name, kind)).collect();
        let conditions = plan
            .conditions
            .iter()
            .filter_map(|(condition, field_type)| Some((stored(&condition.field, *field_type)?, condition.clone())));
        let whole = plan.whole().map(|whole| (whole, fields.clone()));
        let shortcuts = Shortcuts { conditions: Conditions::new(conditions.collect()), whole };
        let range = self.after_cutoff(database, plan.range);
        let sources = self.sources(database, range.unwrap_or(plan.range));
        let may_have_rows = |series: &Series| !sources.is_empty() || series.overlaps(plan.range);
        let series = measurement
            .filter(|_| range.is_some() && fields.iter().any(Option::is_some))
            .map(|measurement| measurement.postings().matching(&plan.matchers, &keys(&self.series)))
            .into_iter()
            .flatten()
            .filter_map(|number| self.series[number.0 as usize].as_ref())
            .filter(|series| may_have_rows(series))
            .cloned()
            .collect();
        View { range, fields, shortcuts, newest: plan.newest(), series, sources }
    }
}

impl View {
    /// Whether there is no series: nothing is to be read.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// The rows of each series, in order of the series' numbers: sorted by time, those of one time merged by field, the
    /// later in the log winning; inside the plan's range, with the fields that it reads. Rows and series that have none of these
    /// fields are left out, and those of times that are not `needed` any more. Of a plan that wants the newest rows or values,
    /// older rows are left out, too, and of one under conditions rows that do not fulfil them may be. Rows of which aggregates need
    /// no values may come without. The work of reading happens as the iterator goes, one series at a time. After an error there is
    /// no answer: what came before it is a part.
    pub fn series(self, needed: &Needed) -> impl Iterator<Item = Result<SeriesRows, StoreError>> {
        let Self { range, fields, shortcuts, newest, series, sources } = self;
        let mut numbers: Vec<u16> = fields.iter().flatten().map(|column| column.number).collect();
        numbers.sort_unstable();
        let mut asked = Asked { reader: sources.reader(), fields, numbers, shortcuts };
        series.into_iter().filter_map(move |series| {
            let range = needed.within(range?)?;
            let rows = match newest {
                Some(newest) => asked.newest(newest, &series, range),
                None => asked.rows(&series, range),
            };
            rows.transpose()
        })
    }
}

/// What is read of each series.
struct Asked {
    reader: Reader,
    fields: Vec<Option<Stored>>,
    /// Of these columns, in order.
    numbers: Vec<u16>,
    shortcuts: Shortcuts,
}

impl Asked {
    fn rows(&mut self, series: &Series, range: TimeRange) -> Result<Option<SeriesRows>, StoreError> {
        let Parts { rows, known } = self.reader.parts(series, range, Wanted::Only(&self.numbers), &self.shortcuts)?;
        let merged = Merged::new(rows, range, &self.numbers);
        let times = merged.times();
        let columns = || self.fields.iter().map(|field| field.and_then(|stored| merged.values(stored))).collect();
        let is_empty = times.is_empty() && known.is_empty();
        Ok((!is_empty).then(|| SeriesRows { key: series.key().clone(), columns: columns(), times, known }))
    }

    /// The end of a series: as much as it takes until that is enough, or all.
    fn newest(&mut self, newest: Newest, series: &Series, range: TimeRange) -> Result<Option<SeriesRows>, StoreError> {
        let Some(last) = self.reader.last_time(series)? else { return Ok(None) };
        let end = Timestamp::new(last).unwrap_or_default().min(range.end());
        let mut length = NEWEST_NANOS;
        loop {
            let start = end.saturating_add(-length);
            if start <= range.start() {
                return self.rows(series, range);
            }
            let rows = match TimeRange::new(start, range.end()) {
                Ok(end) => self.rows(series, end)?,
                Err(_) => None,
            };
            let is_there = |(field, column): (&Option<Stored>, &Option<Column>)| {
                field.is_none() || column.as_ref().is_some_and(Column::has_numbers)
            };
            let is_enough = |rows: &SeriesRows| match newest {
                Newest::Values => self.fields.iter().zip(&rows.columns).all(is_there),
                Newest::Rows(count) => rows.times.len() >= count,
            };
            if let Some(rows) = rows.filter(is_enough) {
                return Ok(Some(rows));
            }
            length = length.saturating_mul(NEWEST_GROWTH);
        }
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (range, fields) = (&self.range, &self.fields);
        f.debug_struct("View")
            .field("range", range)
            .field("fields", fields)
            .field("series", &self.series.len())
            .finish()
    }
}
