//! Frames that clients made: checked whole, split by shard, proposed under the client's request id.

use std::collections::BTreeMap;

use bytes::Bytes;
use meridian_client::{Database, Map};
use meridian_env::{Class, Context, run};
use meridian_frame::{Frame, SeriesRef};
use meridian_proto::{request_id, v1};
use meridian_types::{Code, Epoch, Failure, SeriesNumber, ShardId, Timestamp, limits};

use super::growing::Made;
use super::prepare::not_one_frame;
use super::refused::Refused;
use super::verdict::All;
use super::{INLINE_BYTES_MAX, Ids, Stored, Unseen, check_birth, earliest, is_made, latest, no_owner};
use crate::front::Front;

/// What a row and a value take in memory, and of the budget, beside the bytes that they came in.
const ROW_BYTES: usize = 64;
const POINT_BYTES: usize = 8;

impl Front {
    /// Stores a frame as a whole or not at all in each of its shards.
    pub(crate) async fn write_frame(&self, context: &Context, request: v1::FrameRequest) -> Result<Stored, Failure> {
        let ids = Ids::Exactly { request: request_id(request.request.as_ref())?, pending_from: request.pending_from };
        let clock = self.env.clock.wall();
        check_birth(ids, clock)?;
        let (request_shard, mut held) = (request.shard, self.budget.hold());
        held.grow_to(request.frame.len())?;
        self.metrics.body_bytes.inc_by(request.frame.len() as u64);
        let frame = self.heavy(request.frame.len(), move || check(request.frame)).await?;
        // Packed, all of it may have been much smaller.
        held.grow_to(frame.bytes().len() + ROW_BYTES * frame.rows() + POINT_BYTES * frame.points())?;
        let mut database = self.target(context, &request.database).await?;
        check_times(&frame, &database, ids, clock)?;
        let unseen = unseen(&self.cluster.map(), &database, &frame)?;
        if !unseen.is_empty() {
            if !is_made(&database) {
                database = self.made(context, database).await?;
                // Another request may have made it, with its own settings.
                check_times(&frame, &database, ids, clock)?;
            }
            self.register(context, database.id, &unseen).await?;
        }
        let (map, id, rows, bytes) = (self.cluster.map(), database.id, frame.rows() as u64, frame.bytes().len());
        if !self::unseen(&map, &database, &frame)?.is_empty() {
            let text = format!("a measurement would have over {} fields, the limit", limits::FIELDS_MAX);
            return Err(Failure::new(Code::OverLimit, text));
        }
        let wanted = (request_shard != 0).then_some(ShardId(request_shard));
        let Parts { frames, owners } = self.heavy(bytes, move || split(&map, &database, &frame, wanted)).await?;
        let All { points, witnesses, series } = self.propose(context, id, frames, ids).await?;
        self.metrics.points_written.inc_by(points);
        let series = in_order_of(&owners, &series);
        Ok(Stored { points, witnesses, refused: Refused::default(), rows, series })
    }

    /// Runs a job on `bytes` bytes where it does not hold up connections.
    async fn heavy<T: Send + 'static>(&self, bytes: usize, job: impl FnOnce() -> T + Send + 'static) -> T {
        if bytes <= INLINE_BYTES_MAX { job() } else { run(&*self.env.work, Class::Scan, job).await }
    }
}

fn check(bytes: Bytes) -> Result<Frame, Failure> {
    Frame::check(bytes).map_err(|error| Failure::new(error.code(), error.to_string()))
}

fn check_times(frame: &Frame, database: &Database, ids: Ids, clock: Timestamp) -> Result<(), Failure> {
    let times = || frame.tables().iter().flat_map(|table| table.times().iter().copied());
    let latest = latest(database, clock);
    let text = if let Some(time) = times().max().filter(|time| *time > latest.nanos()) {
        format!(
            "the frame has the time {time} ns, after {latest}, the last that the database's `future` setting allows now"
        )
    } else if let Some(time) = times().min().filter(|time| *time < earliest(database, ids, clock).nanos()) {
        let Database { retention, name, .. } = database;
        format!("the frame has the time {time} ns, older than the retention of {retention} of database {name:?}")
    } else {
        return Ok(());
    };
    Err(Failure::new(Code::TimeOutOfRange, text + ": nothing of the frame is stored"))
}

/// The fields of a frame that the map lacks; refuses the frame if it has one of another type.
fn unseen(map: &Map, database: &Database, frame: &Frame) -> Result<Unseen, Failure> {
    let mut unseen = Unseen::default();
    for table in frame.tables() {
        for field in table.fields() {
            let (measurement, seen) = (table.measurement(), field.field_type());
            match map.field_type(database.id, measurement, &field.name) {
                None => unseen.add(measurement, &field.name, seen)?,
                Some(stored) if stored != seen => {
                    let text = format!(
                        "field {:?} of measurement {measurement:?} is {stored}, not {seen}: nothing of the frame is stored",
                        field.name
                    );
                    return Err(Failure::new(Code::TypeConflict, text));
                }
                Some(_) => {}
            }
        }
    }
    Ok(unseen)
}

/// A frame, cut by shard.
struct Parts {
    frames: BTreeMap<ShardId, Vec<Made>>,
    /// Of each series that the frame names by key, in its order.
    owners: Vec<ShardId>,
}

/// One frame a shard. Runs are split by their series alone, so all times must fall into one epoch. A frame that is `wanted`
/// in one shard goes there whole, and the shard judges the series that it names by number.
fn split(map: &Map, database: &Database, frame: &Frame, wanted: Option<ShardId>) -> Result<Parts, Failure> {
    let times = || frame.tables().iter().flat_map(|table| table.times().iter().copied());
    let (first, last) = (times().min().unwrap_or_default(), times().max().unwrap_or_default());
    let epoch = |nanos| {
        let time = Timestamp::new(nanos).ok()?;
        map.epochs.iter().find(|epoch| epoch.range.contains(time))
    };
    let (Some(from), Some(to)) = (epoch(first), epoch(last)) else { return Err(no_owner(map)) };
    if from.id != to.id {
        let text =
            format!("the frame reaches over {}, where owners change: send a frame for each side", from.range.end());
        return Err(Failure::new(Code::BadRequest, text));
    }
    let time = Timestamp::new(first).map_err(|error| Failure::new(Code::TimeOutOfRange, error.to_string()))?;
    // `from` was found at this time, so every series has an owner in it.
    let owner = |measurement: &str, key: &_| map.shard_of(database, measurement, key, time).unwrap_or_default();
    let runs = frame.tables().iter().flat_map(|table| table.runs().iter().map(move |run| (table.measurement(), run)));
    let keyed = runs.filter_map(|(measurement, run)| match &run.series {
        SeriesRef::Key(key) => Some(owner(measurement, key)),
        SeriesRef::Number(_) => None,
    });
    let owners: Vec<ShardId> = keyed.collect();
    if let Some(wanted) = wanted {
        check_wanted(from, wanted, &owners)?;
        if frame.bytes().len() > limits::PROPOSAL_BYTES_MAX {
            return Err(not_one_frame(wanted));
        }
        return Ok(Parts { frames: BTreeMap::from([(wanted, vec![Made::of(frame.bytes().clone())])]), owners });
    }
    let mut left = owners.iter().copied();
    let parts = frame.split(limits::PROPOSAL_BYTES_MAX, |_, _| left.next().unwrap_or_default());
    let mut shards = BTreeMap::new();
    for (shard, part) in parts.map_err(|error| Failure::new(error.code(), error.to_string()))? {
        if shards.insert(shard, vec![Made::of(part)]).is_some() {
            return Err(not_one_frame(shard));
        }
    }
    Ok(Parts { frames: shards, owners })
}

/// Whether a frame's sender knows the owners of an epoch as this router does: if not, it must learn them anew.
fn check_wanted(epoch: &Epoch, wanted: ShardId, owners: &[ShardId]) -> Result<(), Failure> {
    if epoch.table.shards().binary_search(&wanted).is_ok() && owners.iter().all(|owner| *owner == wanted) {
        return Ok(());
    }
    let text = format!("{wanted} does not own all series of the frame at its times: send it with keys, for no shard");
    Err(Failure::new(Code::SendKeys, text))
}

/// What the shards said of their series, in the order of the frame; nothing if one did not say it of all.
fn in_order_of(owners: &[ShardId], said: &BTreeMap<ShardId, Vec<SeriesNumber>>) -> Vec<(ShardId, SeriesNumber)> {
    let mut left: BTreeMap<ShardId, _> = said.iter().map(|(shard, numbers)| (*shard, numbers.iter())).collect();
    let next = |shard: &ShardId| Some((*shard, *left.get_mut(shard)?.next()?));
    owners.iter().map(next).collect::<Option<_>>().unwrap_or_default()
}
