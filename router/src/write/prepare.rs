//! Rows to frames: checks each row against the map, finds its shard, and cuts at the size of a proposal. Pure, and
//! deterministic: the same rows under the same rules give the same frames, so that a repetition is the same request.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use meridian_client::{Database, Map};
use meridian_frame::{Frame, FrameBuilder, PushError};
use meridian_types::{Code, Failure, FieldType, ShardId, Timestamp, ValueRef, limits, name_is_valid};

use super::refused::{Refused, RowError};
use super::source::{Row, Sink, Source};
use super::unseen::Unseen;
use super::{no_owner, over_limit};

/// From here on a frame is full: the next row would mostly not fit.
const FRAME_FULL_BYTES: usize = limits::PROPOSAL_BYTES_MAX / 8 * 7;

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
    /// Whether unseen fields were registered: one that the map still lacks is refused.
    pub(crate) registered: bool,
}

/// What became of the rows of one request.
#[derive(Default, Debug)]
pub(crate) struct Prepared {
    /// The good rows: frames in the order of the rows, none over the limit of a proposal.
    pub(crate) frames: BTreeMap<ShardId, Vec<Bytes>>,
    pub(crate) refused: Refused,
    /// Rows, good and bad.
    pub(crate) rows: u64,
    /// Fields that the map lacks. If there are any, there are no frames.
    pub(super) unseen: Unseen,
}

/// Turns rows into frames. A failure is one of the whole request.
pub(crate) fn prepare(rules: &Rules, source: &Source) -> Result<Prepared, Failure> {
    let mut preparing = Preparing {
        rules,
        shards: BTreeMap::new(),
        unseen: Unseen::default(),
        refused: Refused::default(),
        rows: 0,
        points: 0,
    };
    source.read(&mut preparing)?;
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
                let shard = map.shard_of(database, row.measurement, row.key, time).ok_or_else(|| no_owner(map))?;
                let growing = self.shards.entry(shard).or_default();
                if let Err(error) = growing.push(&row, time, self.rules.one_frame) {
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
    fn judge<'r>(&self, row: &Row<'r>) -> Result<(Timestamp, UnseenOf<'r>), RowError> {
        let time = row.time.or(self.rules.default_time).ok_or(RowError::NoTime)?;
        if time > self.rules.latest {
            return Err(RowError::Ahead { time, latest: self.rules.latest });
        }
        if time < self.rules.earliest {
            let Database { retention, name, .. } = &*self.rules.database;
            return Err(RowError::Old { time, retention: *retention, database: name.clone() });
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
        Ok((time, unseen))
    }

    fn finish(self) -> Result<Prepared, Failure> {
        let mut prepared = Prepared { refused: self.refused, rows: self.rows, ..Prepared::default() };
        if !self.unseen.is_empty() {
            prepared.unseen = self.unseen;
            return Ok(prepared);
        }
        for (shard, growing) in self.shards {
            let frames = growing.finish(shard)?;
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

/// The frames of one shard.
#[derive(Default, Debug)]
struct Growing {
    full: Vec<Bytes>,
    next: FrameBuilder,
}

impl Growing {
    fn push(&mut self, row: &Row<'_>, time: Timestamp, one_frame: bool) -> Result<(), PushError> {
        match self.next.push(row.measurement, row.key, time, row.fields) {
            Err(PushError::FrameFull { .. }) if !self.next.is_empty() => {
                self.close();
                self.next.push(row.measurement, row.key, time, row.fields)?;
            }
            other => other?,
        }
        if !one_frame && self.next.bytes() >= FRAME_FULL_BYTES {
            self.close();
        }
        Ok(())
    }

    fn close(&mut self) {
        if !self.next.is_empty() {
            self.full.push(std::mem::take(&mut self.next).finish());
        }
    }

    /// All frames, cut once more where many fields made one grow past the limit within a single row.
    fn finish(mut self, shard: ShardId) -> Result<Vec<Bytes>, Failure> {
        self.close();
        let mut frames = Vec::with_capacity(self.full.len());
        for bytes in self.full {
            if bytes.len() <= limits::PROPOSAL_BYTES_MAX {
                frames.push(bytes);
                continue;
            }
            let frame = Frame::check(bytes).map_err(|e| Failure::new(Code::Internal, e.to_string()))?;
            let parts = frame.split(limits::PROPOSAL_BYTES_MAX, |_, _| shard);
            let parts = parts.map_err(|e| Failure::new(e.code(), e.to_string()))?;
            frames.extend(parts.into_iter().map(|(_, part)| part));
        }
        Ok(frames)
    }
}

#[cfg(test)]
mod tests;
