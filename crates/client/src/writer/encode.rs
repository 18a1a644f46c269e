//! Rows into frames: one frame a shard for series whose numbers are known, one for all others, which names them by key. Pure.
//!
//! Never sends and never decides when rows are late: a frame is closed when it is full or when its owner says so.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use meridian_frame::{Frame, FrameBuilder, Place, PushError};
use meridian_proto::v1;
use meridian_types::{Map, SeriesNumber, ShardId, Timestamp, ValueRef, limits};

use super::series::Series;

/// When a frame is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Before a row with which it could have more bytes than this. Each row that is no larger than
    /// [`limits::PROPOSAL_BYTES_MAX`] fits when it is the first.
    pub bytes: usize,
    /// With this many rows, at least one.
    pub rows: usize,
}

/// A frame that is ready to leave, and what is in it.
#[derive(Clone, Debug)]
pub struct Made {
    /// The one shard that it is for, by whose numbers it names its series; none if it names them by key.
    pub shard: Option<ShardId>,
    /// The encoded frame.
    pub bytes: Bytes,
    /// Which rows it has, by the count of its encoder, in its own order.
    pub rows: Vec<u64>,
    /// The series of its runs, in its order.
    series: Vec<(Arc<Series>, Option<SeriesNumber>)>,
}

/// A row that fits no frame by key, and why.
pub(super) type Misfit = (u64, PushError);

impl Made {
    /// What shards told of the series that it names by key; nothing if they have stored it before.
    pub(super) fn learn(&self, reply: &v1::FrameReply) {
        let keyed = self.series.iter().filter(|(_, number)| number.is_none());
        for ((series, _), (shard, number)) in keyed.zip(reply.series_shards.iter().zip(&reply.series_numbers)) {
            series.learn(ShardId(*shard), SeriesNumber(*number));
        }
    }

    /// Its shard means other series by the numbers, or none.
    pub(super) fn forget(&self) {
        let Some(shard) = self.shard else { return };
        let numbers = self.series.iter().filter_map(|(series, number)| Some((series, (*number)?)));
        numbers.for_each(|(series, number)| series.forget(shard, number));
    }

    /// The same rows by key, in frames of at most `rows_max` rows.
    pub(super) fn by_keys(&self, rows_max: usize) -> Vec<Result<Self, Misfit>> {
        let bounds = Bounds { bytes: limits::PROPOSAL_BYTES_MAX, rows: rows_max };
        let mut encoder = Encoder { by_number: false, ..Encoder::new(bounds) };
        let frame = Frame::check(self.bytes.clone()).expect("an encoder made it");
        let runs = frame.tables().iter().flat_map(|table| table.runs().iter().map(move |run| (table, run)));
        let (mut rows, mut parts) = (self.rows.iter().copied(), Vec::new());
        for ((table, run), (series, _)) in runs.zip(&self.series) {
            for (at, row) in run.rows.clone().zip(rows.by_ref()) {
                let fields = table.fields().iter();
                let fields: Vec<_> = fields.filter_map(|field| Some((&*field.name, field.get(at)?))).collect();
                let time = Timestamp::new(table.times()[at]).expect("the frame was checked");
                match encoder.push_as(row, series, time, &fields) {
                    Ok(full) => parts.extend(full.map(Ok)),
                    Err(error) => parts.push(Err((row, error))),
                }
            }
        }
        parts.extend(std::iter::from_fn(|| encoder.close()).map(Ok));
        parts
    }
}

/// Rows on their way into frames.
#[derive(Debug)]
pub struct Encoder {
    bounds: Bounds,
    by_number: bool,
    growing: BTreeMap<Option<ShardId>, Growing>,
    rows: u64,
}

impl Encoder {
    /// No rows yet.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, by_number: true, growing: BTreeMap::new(), rows: 0 }
    }

    /// How many rows were taken: the number of the next one.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Takes a row of a series, by number if it has one; gives the frame that is full now, if one is.
    pub fn push(
        &mut self,
        series: &Arc<Series>,
        time: Timestamp,
        fields: &[(&str, ValueRef<'_>)],
    ) -> Result<Option<Made>, PushError> {
        let full = self.push_as(self.rows, series, time, fields)?;
        self.rows += 1;
        Ok(full)
    }

    fn push_as(
        &mut self,
        row: u64,
        series: &Arc<Series>,
        time: Timestamp,
        fields: &[(&str, ValueRef<'_>)],
    ) -> Result<Option<Made>, PushError> {
        let (shard, number) = series.number().filter(|_| self.by_number).unzip();
        let bytes_max = self.bounds.bytes;
        let growing = self.growing.entry(shard).or_insert_with(|| Growing::new(bytes_max));
        let mut full = None;
        match growing.push(row, series, number, time, fields) {
            Err(error) if is_between_rows(&error) && !growing.rows.is_empty() => {
                let mut fresh = Growing::new(bytes_max);
                fresh.push(row, series, number, time, fields)?;
                full = Some(std::mem::replace(growing, fresh).finish(shard));
            }
            pushed => pushed?,
        }
        if growing.rows.len() >= self.bounds.rows {
            let last = std::mem::replace(growing, Growing::new(bytes_max)).finish(shard);
            assert!(full.replace(last).is_none(), "a frame of one row had room for another");
        }
        Ok(full)
    }

    /// Closes one of the frames that are not full, if one has rows.
    pub fn close(&mut self) -> Option<Made> {
        loop {
            let (shard, growing) = self.growing.pop_first()?;
            if !growing.rows.is_empty() {
                return Some(growing.finish(shard));
            }
        }
    }
}

/// Whether a row is refused for what else is in the frame: which of them is the wrong one, the catalogue decides.
fn is_between_rows(error: &PushError) -> bool {
    matches!(error, PushError::FrameFull { .. } | PushError::Type { .. } | PushError::TooManyFields { .. })
}

/// The next frame of one shard.
#[derive(Debug)]
struct Growing {
    frame: FrameBuilder,
    /// Its series, and where their rows go.
    series: Vec<(Place, Arc<Series>, Option<SeriesNumber>)>,
    /// Which of them is at an address. None of these is given to another series while the frame holds them.
    by_address: Map<usize, usize>,
    /// The series of each row, and its number.
    rows: Vec<(usize, u64)>,
}

impl Growing {
    fn new(bytes_max: usize) -> Self {
        let frame = FrameBuilder::bounded(bytes_max);
        Self { frame, series: Vec::new(), by_address: Map::default(), rows: Vec::new() }
    }

    fn push(
        &mut self,
        row: u64,
        series: &Arc<Series>,
        number: Option<SeriesNumber>,
        time: Timestamp,
        fields: &[(&str, ValueRef<'_>)],
    ) -> Result<(), PushError> {
        let at = self.place(series, number)?;
        self.frame.push_at(self.series[at].0, time, fields)?;
        self.rows.push((at, row));
        Ok(())
    }

    fn place(&mut self, series: &Arc<Series>, number: Option<SeriesNumber>) -> Result<usize, PushError> {
        let address = Arc::as_ptr(series).addr();
        // A number that was told anew meanwhile is another place.
        let is_it = |at: &usize| self.series[*at].2 == number;
        if let Some(at) = self.by_address.get(&address).copied().filter(is_it) {
            return Ok(at);
        }
        let place = match number {
            Some(number) => self.frame.by_number(series.measurement(), number, series.check())?,
            None => self.frame.by_key(series.measurement(), series.key().clone())?,
        };
        self.by_address.insert(address, self.series.len());
        self.series.push((place, Arc::clone(series), number));
        Ok(self.series.len() - 1)
    }

    fn finish(mut self, shard: Option<ShardId>) -> Made {
        let mut by_place: Vec<usize> = (0..self.series.len()).collect();
        by_place.sort_unstable_by_key(|at| self.series[*at].0);
        let find = |place: Place| {
            let found = by_place.binary_search_by_key(&place, |at| self.series[*at].0);
            by_place[found.expect("it gave this place")]
        };
        let runs: Vec<usize> = self.frame.places().into_iter().map(find).collect();
        let mut rank = vec![0; self.series.len()];
        runs.iter().enumerate().for_each(|(run, at)| rank[*at] = run);
        // Rows of one series keep their order.
        self.rows.sort_by_key(|(at, _)| rank[*at]);
        let of_run = |at: &usize| (Arc::clone(&self.series[*at].1), self.series[*at].2);
        Made {
            shard,
            series: runs.iter().map(of_run).collect(),
            rows: self.rows.into_iter().map(|(_, row)| row).collect(),
            bytes: self.frame.finish(),
        }
    }
}

#[cfg(test)]
mod tests;
