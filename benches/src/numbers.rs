//! The series of a run as its shards know them: asked for before the clock starts, with one row of each series in front of the
//! run's first. That is how a client sends that goes on for longer than a bench.

use std::sync::Arc;

use bytes::Bytes;
use meridian_client::{Bounds, Encoder, Made, Series, Writer, WriterSettings};
use meridian_env::Env;
use meridian_frame::PushError;
use meridian_types::{ShardId, Timestamp, ValueRef, limits};
use tonic::transport::Channel;

use crate::frames::FramesError;
use crate::generate::{Host, Shape, Walk};
use crate::load::LoadError;

/// Writes a row of each series at `before` to `database`, and gives the series with what their shards call them, in the order of
/// the walk.
pub(crate) async fn learn(
    env: &Env,
    router: Channel,
    database: &str,
    shape: &Shape,
    before: Timestamp,
) -> Result<Vec<Arc<Series>>, LoadError> {
    let once = Shape { points: u64::from(shape.series) * u64::from(shape.fields), ..shape.clone() };
    let mut walk = Walk::new(&once, before, 0)?;
    let fields = shape.field_names();
    // One frame after the other, so that numbers follow the walk, whatever the network does.
    let settings = WriterSettings { window: 1, ..WriterSettings::default() };
    let mut writer = Writer::open(env, router, database, settings);
    let mut all = Vec::with_capacity(shape.series as usize);
    while let Some((host, time)) = walk.next_row() {
        let series = writer.series(host.source.measurement(), &host.key);
        writer.push_to(&series, time, &row(&fields, host)).await.map_err(FramesError::Failed)?;
        all.push(series);
    }
    let report = writer.flush().await.map_err(FramesError::Failed)?;
    report.all_stored().map_err(FramesError::Failed)?;
    match all.iter().filter(|series| series.number().is_none()).count() {
        0 => Ok(all),
        unnumbered => Err(FramesError::Unnumbered(unnumbered).into()),
    }
}

/// The one shard of a frame whose series go by number, the frame, and its rows.
pub(crate) type Request = (Option<ShardId>, Bytes, u64);

/// The rows of a walk on their way into frames.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    fields: Vec<String>,
    series: std::iter::Cycle<std::slice::Iter<'a, Arc<Series>>>,
    encoder: Encoder,
}

impl<'a> Rows<'a> {
    /// Rows of `series`, from the first one on, in the order of the walk.
    pub(crate) fn new(shape: &Shape, series: &'a [Arc<Series>]) -> Self {
        let bounds = Bounds { bytes: limits::PROPOSAL_BYTES_MAX, rows: shape.rows_per_batch as usize };
        Self { fields: shape.field_names(), series: series.iter().cycle(), encoder: Encoder::new(bounds) }
    }

    /// Adds the next row; gives the frame that is full now, if one is.
    pub(crate) fn push(&mut self, host: &Host, time: Timestamp) -> Result<Option<Request>, PushError> {
        let series = self.series.next().expect("a shape has a series");
        Ok(self.encoder.push(series, time, &row(&self.fields, host))?.map(request))
    }

    /// The frames that are not full.
    pub(crate) fn finish(mut self) -> impl Iterator<Item = Request> {
        std::iter::from_fn(move || self.encoder.close()).map(request)
    }
}

fn request(made: Made) -> Request {
    (made.shard, made.bytes, made.rows.len() as u64)
}

fn row<'a>(fields: &'a [String], host: &Host) -> Vec<(&'a str, ValueRef<'static>)> {
    fields.iter().map(String::as_str).zip(host.row()).collect()
}
