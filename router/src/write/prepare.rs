//! Rows to frames: checks each row against the map, finds its shard, and cuts at the size of a proposal. Pure, and
//! deterministic: the same rows under the same rules give the same frames, so that a repetition is the same request.

use std::collections::BTreeMap;
use std::sync::Arc;

use meridian_client::{Database, Map};
use meridian_frame::PushError;
use meridian_types::{Failure, FieldType, ShardId, Timestamp, ValueRef, limits, name_is_valid};

use super::growing::{Growing, Made};
use super::refused::{Refused, RowError};
use super::series::AllMet;
use super::source::{Row, Series, Sink, Source};
use super::unseen::Unseen;
use super::{no_owner, over_limit};

/// What rows are judged by.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) map: Arc<Map>,
    pub(crate) database: Arc<Database>,
    /// For rows without a time; `None` refuses them.
    pub(crate) default_time: Option<Timestamp>,
    /// The first instant that a row may have.
    pub(crate) earliest: Timestamp,
    /// The last instant that a row may have.
    pub(crate) latest: Timestamp,
    /// Whether a shard may get one frame only.
    pub(crate) one_frame: bool,
    /// Whether series that a shard has told the numbers of go by number. Whoever repeats a request through another router
    /// needs the same bytes again, which go by key alone.
    pub(crate) by_number: bool,
    /// Whether unseen fields were registered: one that the map still lacks is refused.
    pub(crate) registered: bool,
}

/// What became of the rows of one request.
#[derive(Default, Debug)]
pub(crate) struct Prepared {
    /// The good rows: frames in the order of the rows, none over the limit of a proposal.
    pub(crate) frames: BTreeMap<ShardId, Vec<Made>>,
    pub(crate) refused: Refused,
    /// Rows, good and bad.
    pub(crate) rows: u64,
    /// Fields that the map lacks. If there are any, there are no frames.
    pub(super) unseen: Unseen,
}

/// Turns rows into frames. A failure is one of the whole request.
pub(crate) fn prepare(rules: &Rules, all_met: &AllMet, source: &Source) -> Result<Prepared, Failure> {
    let mut preparing = Preparing {
        rules,
        shards: BTreeMap::new(),
        unseen: Unseen::default(),
        refused: Refused::default(),
        rows: 0,
        points: 0,
        last: Judged::default(),
    };
    all_met.meet(&rules.database, |meeting| source.read(meeting, &mut preparing))?;
    preparing.finish()
}

#[derive(Debug)]
struct Preparing<'a> {
    rules: &'a Rules,
    shards: BTreeMap<ShardId, Growing>,
    unseen: Unseen,
    refused: Refused,
    rows: u64,
    points: usize,
    last: Judged,
}

/// Which fields of which types the last good row had: mostly the next one has the same.
#[derive(Default, Debug)]
struct Judged {
    measurement: String,
    fields: Vec<(String, FieldType)>,
    shape: u64,
}

impl Judged {
    fn is_like(&mut self, row: &Row<'_>) -> bool {
        if row.shape != 0 && row.shape == self.shape {
            return self.measurement == row.measurement;
        }
        let same = |((name, value), known): (&(&str, ValueRef<'_>), &(String, FieldType))| {
            *name == known.0 && value.field_type() == known.1
        };
        let is_like = self.fields.len() == row.fields.len()
            && self.measurement == row.measurement
            && row.fields.iter().zip(&self.fields).all(same);
        if is_like {
            self.shape = row.shape;
        }
        is_like
    }

    fn set(&mut self, row: &Row<'_>) {
        self.shape = row.shape;
        row.measurement.clone_into(&mut self.measurement);
        self.fields.clear();
        self.fields.extend(row.fields.iter().map(|(name, value)| ((*name).to_owned(), value.field_type())));
    }
}

impl Sink for Preparing<'_> {
    fn row(&mut self, number: u64, row: Result<Row<'_>, RowError>) -> Result<(), Failure> {
        self.rows += 1;
        self.points += row.as_ref().map_or(0, |row| row.fields.len());
        if self.points > limits::REQUEST_POINTS_MAX {
            let max = limits::REQUEST_POINTS_MAX;
            return Err(over_limit(format!("the request has over {max} points (field values): send fewer at a time")));
        }
        let judged = row.and_then(|row| Ok((self.judge(&row)?, row)));
        match judged {
            Err(error) => self.refused.add(number, &error),
            // The rows will be looked at again.
            Ok(((_, unseen), row)) if !unseen.is_empty() => {
                for (name, field_type) in unseen {
                    self.unseen.add(row.measurement, name, field_type)?;
                }
            }
            Ok(((time, _), row)) if self.unseen.is_empty() => {
                let Rules { map, database, .. } = self.rules;
                let shard = match row.series {
                    Series::Met(met) => met.owner(map, time),
                    Series::Key(key) => map.shard_of(database, row.measurement, key, time),
                };
                let shard = shard.ok_or_else(|| no_owner(map))?;
                let by_number = self.rules.by_number;
                let growing = self.shards.entry(shard).or_insert_with(|| Growing::new(shard, by_number));
                if let Err(error) = growing.push(&row, time) {
                    self.refused.add(number, &error.into());
                }
            }
            Ok(_) => {}
        }
        Ok(())
    }
}

/// Fields of one row that the map lacks.
type UnseenOf<'a> = Vec<(&'a str, FieldType)>;

impl Preparing<'_> {
    /// The row's time and its unseen fields, if time and types are good.
    fn judge<'r>(&mut self, row: &Row<'r>) -> Result<(Timestamp, UnseenOf<'r>), RowError> {
        let time = row.time.or(self.rules.default_time).ok_or(RowError::NoTime)?;
        if time > self.rules.latest {
            return Err(RowError::Ahead { time, latest: self.rules.latest });
        }
        if time < self.rules.earliest {
            let Database { retention, name, .. } = &*self.rules.database;
            return Err(RowError::Old { time, retention: *retention, database: name.clone() });
        }
        if self.last.is_like(row) {
            return Ok((time, Vec::new()));
        }
        let known = self.rules.map.fields(self.rules.database.id, row.measurement);
        let type_of = |name: &str| known.and_then(|fields| fields.get(name)).copied();
        let mut unseen = Vec::new();
        for (name, value) in row.fields {
            match type_of(name) {
                Some(stored) if stored != value.field_type() => return Err(conflict(row, name, stored, *value)),
                Some(_) => {}
                None => unseen.push((*name, value.field_type())),
            }
        }
        if let Some((name, _)) = unseen.first() {
            check_name("measurement", row.measurement)?;
            unseen.iter().try_for_each(|(name, _)| check_name("field", name))?;
            if self.rules.registered {
                let (measurement, field) = (row.measurement.to_owned(), (*name).to_owned());
                return Err(RowError::NoRoom { measurement, field });
            }
        }
        if unseen.is_empty() {
            self.last.set(row);
        }
        Ok((time, unseen))
    }

    fn finish(self) -> Result<Prepared, Failure> {
        let mut prepared = Prepared { refused: self.refused, rows: self.rows, ..Prepared::default() };
        if !self.unseen.is_empty() {
            prepared.unseen = self.unseen;
            return Ok(prepared);
        }
        for (shard, growing) in self.shards {
            let frames = growing.finish();
            if self.rules.one_frame && frames.len() > 1 {
                return Err(not_one_frame(shard));
            }
            prepared.frames.insert(shard, frames);
        }
        prepared.frames.retain(|_, frames| !frames.is_empty());
        Ok(prepared)
    }
}

fn conflict(row: &Row<'_>, name: &str, stored: FieldType, value: ValueRef<'_>) -> RowError {
    let (measurement, field) = (row.measurement.to_owned(), name.to_owned());
    RowError::Type { measurement, field, stored, seen: value.field_type() }
}

fn check_name(what: &'static str, name: &str) -> Result<(), PushError> {
    if name_is_valid(name) { Ok(()) } else { Err(PushError::Name { what, bytes: name.len() }) }
}

/// The refusal of a request whose id can name one frame a shard only.
pub(super) fn not_one_frame(shard: ShardId) -> Failure {
    let max = limits::PROPOSAL_BYTES_MAX;
    over_limit(format!(
        "the part for {shard} is over {max} bytes, and a request id names one frame a shard: send fewer rows at a time"
    ))
}

#[cfg(test)]
mod tests;
