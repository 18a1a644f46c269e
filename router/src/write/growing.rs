//! The frames of one shard while rows join them, and what is learnt when one is stored. Pure.

use std::sync::Arc;

use bytes::Bytes;
use meridian_frame::{Frame, FrameBuilder, Place, PushError};
use meridian_types::{Map, SeriesNumber, ShardId, Timestamp, limits};

use super::series::Met;
use super::source::{Row, Series};

/// A frame, and which series this router believes to be in it.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) bytes: Bytes,
    /// The series of its runs, in order, if it was made of lines. Those that the frame names by number come with it.
    series: Vec<(Arc<Met>, Option<SeriesNumber>)>,
}

impl Made {
    /// A frame of which nothing is learnt.
    pub(crate) fn of(bytes: Bytes) -> Self {
        Self { bytes, series: Vec::new() }
    }

    /// The shard has stored it, and says which numbers the series have that it names by key.
    pub(crate) fn learn(&self, shard: ShardId, numbers: &[SeriesNumber]) {
        let keyed = self.series.iter().filter(|(_, number)| number.is_none());
        keyed.zip(numbers).for_each(|((met, _), number)| met.learn(shard, *number));
    }

    /// The shard does not know the numbers, or means others by them: the same rows by key, in as many frames as they need.
    /// `None` for a frame without numbers.
    pub(crate) fn by_keys(&self, shard: ShardId) -> Option<Vec<Self>> {
        if self.series.iter().all(|(_, number)| number.is_none()) {
            return None;
        }
        self.series.iter().for_each(|(met, _)| met.forget());
        let frame = Frame::check(self.bytes.clone()).ok()?;
        let keyed = frame.by_keys(|run| Some(self.series.get(run)?.0.key()))?;
        let parts = Frame::check(keyed).ok()?.split(limits::PROPOSAL_BYTES_MAX, |_, _| shard).ok()?;
        Some(parts.into_iter().map(|(_, part)| Self::of(part)).collect())
    }
}

/// The frames of one shard.
#[derive(Debug)]
pub(super) struct Growing {
    shard: ShardId,
    by_number: bool,
    full: Vec<Made>,
    next: FrameBuilder,
    /// The series of `next`, and where their rows go, in the order in which they came.
    series: Vec<(Place, Arc<Met>, Option<SeriesNumber>)>,
    /// Which of them has an id.
    by_id: Map<u64, usize>,
    /// The one that is expected next: rows mostly come again in the order of the first ones.
    expected: usize,
}

impl Growing {
    pub(super) fn new(shard: ShardId, by_number: bool) -> Self {
        let next = FrameBuilder::bounded(limits::PROPOSAL_BYTES_MAX);
        Self { shard, by_number, full: Vec::new(), next, series: Vec::new(), by_id: Map::default(), expected: 0 }
    }

    pub(super) fn push(&mut self, row: &Row<'_>, time: Timestamp) -> Result<(), PushError> {
        match self.try_push(row, time) {
            Err(PushError::FrameFull { .. }) if !self.next.is_empty() => {
                self.close();
                self.try_push(row, time)
            }
            other => other,
        }
    }

    fn try_push(&mut self, row: &Row<'_>, time: Timestamp) -> Result<(), PushError> {
        match row.series {
            Series::Key(key) => self.next.push(row.measurement, key, time, row.fields),
            Series::Met(met) => {
                let place = self.place(met)?;
                self.next.push_shaped(place, time, row.fields, row.shape)
            }
        }
    }

    fn place(&mut self, met: &Arc<Met>) -> Result<Place, PushError> {
        let is_it = |at: &usize| self.series.get(*at).is_some_and(|(_, one, _)| Arc::ptr_eq(one, met));
        let found = Some(self.expected).filter(is_it).or_else(|| self.by_id.get(&met.id).copied());
        if let Some(at) = found {
            self.expected = if at + 1 == self.series.len() { 0 } else { at + 1 };
            return Ok(self.series[at].0);
        }
        let number = met.number_in(self.shard).filter(|_| self.by_number);
        let place = match number {
            Some(number) => self.next.by_number(&met.measurement, number, met.check)?,
            None => self.next.by_key(&met.measurement, met.key())?,
        };
        self.by_id.insert(met.id, self.series.len());
        self.series.push((place, Arc::clone(met), number));
        Ok(place)
    }

    fn close(&mut self) {
        if self.next.is_empty() {
            return;
        }
        let builder = std::mem::replace(&mut self.next, FrameBuilder::bounded(limits::PROPOSAL_BYTES_MAX));
        self.by_id.clear();
        self.expected = 0;
        let mut series = std::mem::take(&mut self.series);
        series.sort_unstable_by_key(|(place, ..)| *place);
        let of_place = |place: Place| {
            let at = series.binary_search_by_key(&place, |(place, ..)| *place).ok()?;
            Some((Arc::clone(&series[at].1), series[at].2))
        };
        let series = builder.places().into_iter().map_while(of_place).collect();
        self.full.push(Made { bytes: builder.finish(), series });
    }

    /// All frames.
    pub(super) fn finish(mut self) -> Vec<Made> {
        self.close();
        self.full
    }
}
