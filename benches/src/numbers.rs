//! Which numbers the shards give to the series of a run: asked for before the clock starts, with one row of each series in front
//! of the run's first; and frames that name series by them. That is how a client sends that goes on for longer than a bench.

use std::collections::BTreeMap;

use bytes::Bytes;
use meridian_env::Env;
use meridian_frame::{FrameBuilder, Place, PushError, series_check};
use meridian_types::{SeriesNumber, Timestamp, limits};

use crate::frames::{self, FramesError, Stream};
use crate::generate::{Host, Shape, Walk};
use crate::load::LoadError;

/// What one shard calls one series.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Numbered {
    pub(crate) shard: u32,
    number: SeriesNumber,
    check: u32,
}

impl Numbered {
    pub(crate) fn new(shard: u32, number: SeriesNumber, host: &Host) -> Self {
        Self { shard, number, check: series_check(&host.key) }
    }
}

/// Writes a row of each series at `before`, and gives what their shards call them, in the order of the walk.
pub(crate) async fn learn(
    env: &Env,
    mut stream: Stream,
    shape: &Shape,
    before: Timestamp,
) -> Result<Vec<Numbered>, LoadError> {
    let once = Shape { points: u64::from(shape.series) * u64::from(shape.fields), ..shape.clone() };
    let mut walk = Walk::new(&once, before, 0)?;
    let fields = shape.field_names();
    let mut learnt = Vec::with_capacity(shape.series as usize);
    loop {
        let (mut frame, mut checks) = (FrameBuilder::new(), Vec::new());
        while frame.bytes() <= frames::FRAME_BYTES
            && let Some((host, time)) = walk.next_row()
        {
            frames::encode(&mut frame, &fields, host, time)?;
            checks.push(series_check(&host.key));
        }
        if frame.is_empty() {
            return Ok(learnt);
        }
        let reply = stream.exchange(env, frame.finish()).await?;
        if reply.series_numbers.len() != checks.len() || reply.series_shards.len() != checks.len() {
            return Err(FramesError::Unnumbered { series: checks.len(), numbers: reply.series_numbers.len() }.into());
        }
        let said = reply.series_shards.into_iter().zip(reply.series_numbers).zip(checks);
        learnt.extend(said.map(|((shard, number), check)| Numbered { shard, number: SeriesNumber(number), check }));
    }
}

/// Rows on their way into frames of one shard each.
#[derive(Debug)]
pub(crate) struct Sharded<'a> {
    numbered: &'a [Numbered],
    rows_max: u64,
    growing: BTreeMap<u32, Growing>,
    /// Where the rows of a series go in the frame that its shard is at, which is told by its own number.
    places: Vec<Option<(u64, Place)>>,
}

#[derive(Debug)]
struct Growing {
    frame: FrameBuilder,
    number: u64,
}

impl<'a> Sharded<'a> {
    /// Frames of at most `rows_max` rows, of the series that are `numbered`.
    pub(crate) fn new(numbered: &'a [Numbered], rows_max: u64) -> Self {
        Self { numbered, rows_max, growing: BTreeMap::new(), places: vec![None; numbered.len()] }
    }

    /// Adds the next row of the series with this place in the walk; gives a frame, its shard and its rows if that fills it.
    pub(crate) fn push(
        &mut self,
        series: usize,
        fields: &[String],
        host: &Host,
        time: Timestamp,
    ) -> Result<Option<(u32, Bytes, u64)>, PushError> {
        let Numbered { shard, number, check } = self.numbered[series];
        let fresh = || Growing { frame: FrameBuilder::bounded(limits::PROPOSAL_BYTES_MAX), number: 0 };
        let growing = self.growing.entry(shard).or_insert_with(fresh);
        let place = match self.places[series] {
            Some((frame, place)) if frame == growing.number => place,
            _ => {
                let place = growing.frame.by_number(host.source.measurement(), number, check)?;
                self.places[series] = Some((growing.number, place));
                place
            }
        };
        let row: Vec<_> = fields.iter().map(String::as_str).zip(host.row()).collect();
        growing.frame.push_at(place, time, &row)?;
        let rows = growing.frame.rows() as u64;
        // A row takes as much as those before it did.
        let is_full = growing.frame.bytes() / rows as usize * (rows as usize + 2) > limits::PROPOSAL_BYTES_MAX;
        Ok((rows == self.rows_max || is_full).then(|| (shard, growing.close(), rows)))
    }

    /// The frames that are not full.
    pub(crate) fn finish(self) -> impl Iterator<Item = (u32, Bytes, u64)> {
        let left = self.growing.into_iter().filter(|(_, growing)| !growing.frame.is_empty());
        left.map(|(shard, mut growing)| {
            let rows = growing.frame.rows() as u64;
            (shard, growing.close(), rows)
        })
    }
}

impl Growing {
    fn close(&mut self) -> Bytes {
        self.number += 1;
        std::mem::replace(&mut self.frame, FrameBuilder::bounded(limits::PROPOSAL_BYTES_MAX)).finish()
    }
}

#[cfg(test)]
mod tests {
    use meridian_frame::Frame;

    use super::*;
    use crate::source::Source;

    #[test]
    fn every_row_is_in_a_frame_of_its_shard() {
        let shape = Shape { source: Source::Cpu, series: 7, fields: 3, rows_per_batch: 4, points: 300, seed: 1 };
        let numbered: Vec<_> =
            (0..7).map(|n| Numbered { shard: 1 + n % 3, number: SeriesNumber(10 + n), check: n }).collect();
        let mut walk = Walk::new(&shape, Timestamp::default(), 1_000).expect("valid tags");
        let (mut sharded, mut frames, fields) = (Sharded::new(&numbered, 4), Vec::new(), shape.field_names());
        for row in 0..100 {
            let (host, time) = walk.next_row().expect("100 rows");
            frames.extend(sharded.push(row % 7, &fields, host, time).expect("good rows"));
        }
        assert!(frames.iter().all(|(_, _, rows)| *rows == 4));
        frames.extend(sharded.finish());
        assert_eq!(frames.iter().map(|(_, _, rows)| rows).sum::<u64>(), 100);
        for (shard, bytes, rows) in frames {
            let frame = Frame::check(bytes).expect("a frame");
            assert_eq!((frame.rows() as u64, frame.points() as u64), (rows, rows * 3));
            let numbers = frame.tables().iter().flat_map(|table| table.runs().iter().map(|run| run.series.number()));
            assert!(numbers.into_iter().all(|n| n.is_some_and(|n| 1 + (n.0 - 10) % 3 == shard)));
        }
    }
}
