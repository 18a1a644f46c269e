//! The database that is asked: which rows it holds, and that it holds them. Loads them through the frames of `load` unless
//! they are there. Never adds to a database that holds something else.

use std::time::Duration;

use meridian_env::{Class, Env};
use meridian_proto::v1;
use meridian_types::{Code, TimeError, TimeRange, Timestamp};

use crate::check::{CheckError, Router};
use crate::frames::{self, FramesError};
use crate::generate::{INTERVAL_NANOS, Shape};
use crate::load::{LoadError, frame_batches};
use crate::numbers;
use crate::pace::Pace;
use crate::queries::ask::{AskError, Asker};
use crate::queries::kinds::{HOUR_NANOS, field_name};
use crate::source::CPU;

/// Frames under way while it is loaded.
const WINDOW: u32 = 8;

/// Why the rows are not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatasetError {
    /// No place in time.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// The cluster could not be asked.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// The newest row is not known.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The rows could not be encoded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The rows could not be written.
    #[error(transparent)]
    Frames(#[from] FramesError),
    /// Another data set, or half of this one.
    #[error(
        "database {database:?} holds {found} rows up to {end}, not the {expected} up to a whole hour that this command loads: \
         name another with --db"
    )]
    Foreign {
        /// Its name.
        database: String,
        /// Rows that it holds.
        found: u64,
        /// Behind its newest.
        end: Timestamp,
        /// Rows that it should hold.
        expected: u64,
    },
}

/// Rows that are there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dataset {
    pub(crate) range: TimeRange,
    /// How long it took to load them; none where they were there before.
    pub(crate) loading: Option<Duration>,
}

impl Dataset {
    /// Makes sure that the database holds the rows of `shape` and no others: queries without a start see all of it.
    pub(crate) async fn ensure(env: &Env, asker: &Asker, shape: &Shape) -> Result<Self, DatasetError> {
        let router = Router::new(env, asker.channel.clone());
        router.create_database(&asker.database, Duration::ZERO).await?;
        let (end, loading) = match newest(asker).await? {
            Some(newest) => (newest.saturating_add(INTERVAL_NANOS), None),
            None => {
                let end = hour_before(env.clock.wall())?;
                (end, Some(load(env, asker, shape, start(shape, end)).await?))
            }
        };
        let found = router.count((&asker.database, CPU), &field_name(0), TimeRange::ALL).await?;
        if found != shape.rows() || end.nanos() % HOUR_NANOS != 0 {
            let database = asker.database.clone();
            return Err(DatasetError::Foreign { database, found, end, expected: shape.rows() });
        }
        Ok(Self { range: TimeRange::new(start(shape, end), end)?, loading })
    }
}

/// The last whole hour: rows of the future are refused, and rows that end with an hour are told from others.
fn hour_before(now: Timestamp) -> Result<Timestamp, TimeError> {
    Timestamp::new(now.nanos() - now.nanos().rem_euclid(HOUR_NANOS))
}

fn start(shape: &Shape, end: Timestamp) -> Timestamp {
    end.saturating_add(-shape.span_nanos())
}

/// The time of the newest row.
async fn newest(asker: &Asker) -> Result<Option<Timestamp>, DatasetError> {
    let select = v1::Select {
        database: asker.database.clone(),
        measurement: CPU.to_owned(),
        descending: true,
        limit: Some(1),
        ..Default::default()
    };
    let rows = match asker.fetch(select).await {
        Ok(asked) => asked.answer.rows,
        // A fresh database does not know the measurement yet.
        Err(AskError::Failed(failure)) if failure.code == Code::NoMeasurement => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    Ok(rows.first().map(|row| Timestamp::new(row.time)).transpose()?)
}

async fn load(env: &Env, asker: &Asker, shape: &Shape, start: Timestamp) -> Result<Duration, DatasetError> {
    let rows = shape.clone();
    // The row that is written to learn a series' number is its first one, and is written over with itself.
    let series = numbers::learn(env, asker.channel.clone(), &asker.database, shape, start).await?;
    let encode = move || frame_batches(&rows, start, INTERVAL_NANOS, &series);
    let batches = meridian_env::run(&*env.work, Class::Scan, encode).await?;
    let stream = frames::Stream::open(env, asker.channel.clone(), &asker.database, WINDOW).await?;
    let begun = env.clock.now();
    stream.run(env, &batches, Pace::new(begun, None, None)).await?;
    Ok(env.clock.now().saturating_duration_since(begun))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;

    #[test]
    fn data_ends_at_a_whole_hour_that_is_past() {
        let time = |nanos| Timestamp::new(nanos).expect("in range");
        assert_eq!(hour_before(time(5 * HOUR_NANOS + 1)), Ok(time(5 * HOUR_NANOS)));
        assert_eq!(hour_before(time(5 * HOUR_NANOS)), Ok(time(5 * HOUR_NANOS)));
        let shape =
            Shape { source: Source::Cpu, series: 10, fields: 10, rows_per_batch: 1, points: 10 * 10 * 360, seed: 1 };
        assert_eq!(start(&shape, time(5 * HOUR_NANOS)), time(4 * HOUR_NANOS), "360 rows of each host are an hour");
    }
}
