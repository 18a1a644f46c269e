//! One run: encode everything, ask what is there, start the clock, send, stop the clock, ask what is there now.
//!
//! Nothing is encoded while the clock runs, so that the time and the CPU in between are the cluster's and the sending's. A
//! run that did not store exactly what it sent has no figures.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use meridian_client::Series;
use meridian_env::{Class, Env, real};
use meridian_frame::PushError;
use meridian_types::{KeyError, ShardId, TimeError, TimeRange, Timestamp, database_name_is_valid};
use tonic::transport::Channel;

use crate::check::{CheckError, Router};
use crate::cpu::{self, CpuError};
use crate::frames::{self, FramesError};
use crate::generate::{INTERVAL_NANOS, Shape, Walk};
use crate::lines::{self, LinesError};
use crate::numbers::{self, Rows};
use crate::pace::{Batch, Pace, Tally};
use crate::report::{Measured, Report};

/// Memory that the encoded batches may take.
const BATCHES_BYTES_MAX: usize = 4 << 30;

/// Where load goes.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Target {
    /// HTTP address of a router, for lines.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8086")]
    pub(crate) http: String,
    /// gRPC address of a router, for frames and for the counts.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7171")]
    pub(crate) grpc: String,
    /// Database to write to; made if it is not there.
    #[arg(long, default_value = "bench", value_parser = database)]
    pub(crate) db: String,
    /// Requests under way at a time: connections for lines, frames of one stream for frames.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub(crate) concurrency: u32,
    /// Process of the cluster whose CPU time counts; may be given more than once.
    #[arg(long)]
    pub(crate) pid: Vec<u32>,
}

/// What to send, how, and where.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// How points travel.
    #[arg(long, value_enum)]
    pub(crate) mode: Mode,
    #[command(flatten)]
    pub(crate) to: Target,
    #[command(flatten)]
    pub(crate) shape: Shape,
    /// Stop sending after this many seconds even if not all points are sent.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: Option<u64>,
    /// Points a second to send; without it each request waits for the answer to one before it.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rate: Option<u64>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How points travel.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// Line protocol over HTTP/1.1.
    Lines,
    /// Frames over gRPC.
    Frames,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// No runtime or no threads.
    #[error("this process cannot start: {0}")]
    Start(std::io::Error),
    /// The clock leaves no room for the run's timestamps.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// The generator made a series that is none.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The generator made a row that is none.
    #[error(transparent)]
    Row(#[from] PushError),
    /// Too much to prepare.
    #[error("the encoded batches take more than {BATCHES_BYTES_MAX} bytes: send fewer --points")]
    TooLarge,
    /// The cluster could not be asked.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// A line or its connection failed.
    #[error(transparent)]
    Lines(#[from] LinesError),
    /// A frame or its stream failed.
    #[error(transparent)]
    Frames(#[from] FramesError),
    /// A process cannot be measured.
    #[error(transparent)]
    Cpu(#[from] CpuError),
    /// A node's levels are not known.
    #[error("the metrics of {node}: {why}")]
    Metrics {
        /// Its address.
        node: String,
        /// What went wrong.
        why: String,
    },
    /// What a cluster holds does not level off.
    #[error("what the cluster holds does not level off:\n{0}")]
    Grows(
        /// The report.
        String,
    ),
    /// No round is within the retention, so that there is nothing to count.
    #[error(
        "a round takes longer than retention keeps it, so that nothing can be counted: send fewer --points a round"
    )]
    Unchecked,
    /// Retention has not taken what it should have.
    #[error("{rows} rows are there that are twice as old as the retention")]
    Kept {
        /// How many.
        rows: u64,
    },
    /// What was acknowledged is not what is there.
    #[error("{sent} rows were acknowledged and the query at the end counts {found} more than before: points are wrong")]
    Miscounted {
        /// Rows of all acknowledged batches.
        sent: u64,
        /// How many more rows there are.
        found: i128,
    },
}

fn database(name: &str) -> Result<String, String> {
    if database_name_is_valid(name) { Ok(name.to_owned()) } else { Err("use [A-Za-z_][A-Za-z0-9_.-]{0,63}".into()) }
}

/// Makes the run and gives its report.
pub(crate) fn start(args: &Args) -> Result<String, LoadError> {
    // One thread: what it uses is then easy to tell from what the cluster uses.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(LoadError::Start)?;
    let env = real::env().map_err(LoadError::Start)?;
    runtime.block_on(run(&env, args))
}

async fn run(env: &Env, args: &Args) -> Result<String, LoadError> {
    let channel = meridian_client::connect(env, &args.to.grpc);
    let router = Router::new(env, channel.clone());
    router.create_database(&args.to.db, Duration::ZERO).await?;
    let cluster = router.cluster().await?;
    let range = span(&args.shape, env.clock.wall())?;
    let idle = cpu::seconds_of_this()?;
    let shape = args.shape.clone();
    let batches = match args.mode {
        Mode::Lines => {
            let encode = move || line_batches(&shape, range.start(), INTERVAL_NANOS);
            meridian_env::run(&*env.work, Class::Scan, encode).await?
        }
        Mode::Frames => {
            let before = range.start().saturating_add(-INTERVAL_NANOS);
            let series = numbers::learn(env, channel.clone(), &args.to.db, &args.shape, before).await?;
            let encode = move || frame_batches(&shape, range.start(), INTERVAL_NANOS, &series);
            meridian_env::run(&*env.work, Class::Scan, encode).await?
        }
    };
    let encoding_cpu_seconds = cpu::seconds_of_this()? - idle;

    let rows = (args.to.db.as_str(), args.shape.source.measurement());
    let field = args.shape.field_names().swap_remove(0);
    let before = router.count(rows, &field, range).await?;
    let link = Link::open(env, args.mode, &args.to, channel).await?;
    let measured = measure(env, args, link, &batches).await?;
    let after = router.count(rows, &field, range).await?;
    let found = i128::from(after) - i128::from(before);
    if found != i128::from(measured.tally.rows) {
        return Err(LoadError::Miscounted { sent: measured.tally.rows, found });
    }
    let report = Report { args, cluster, measured, encoding_cpu_seconds };
    Ok(if args.json { report.json() } else { report.table() })
}

/// The data time of the run: it ends now, because points of the future are refused. It starts on a microsecond that no other
/// run started on, so that the rows of two runs never meet.
fn span(shape: &Shape, now: Timestamp) -> Result<TimeRange, TimeError> {
    let start = now.saturating_add(-shape.span_nanos());
    let start = Timestamp::new(start.nanos() - start.nanos().rem_euclid(1_000))?;
    TimeRange::new(start, start.saturating_add(shape.span_nanos()))
}

/// All batches of a run as lines, encoded; rows of a series are `interval` nanoseconds apart.
pub(crate) fn line_batches(shape: &Shape, start: Timestamp, interval: i64) -> Result<Vec<Batch>, LoadError> {
    let mut walk = Walk::new(shape, start, interval)?;
    let (fields, mut encoded) = (shape.field_names(), Encoded::new(shape));
    loop {
        match lines_batch(&mut walk, &fields, shape.rows_per_batch) {
            (_, 0) => return Ok(encoded.batches),
            (body, rows) => encoded.push(None, body, rows)?,
        }
    }
}

/// The same as frames of one shard each, whose series go by number.
pub(crate) fn frame_batches(
    shape: &Shape,
    start: Timestamp,
    interval: i64,
    series: &[Arc<Series>],
) -> Result<Vec<Batch>, LoadError> {
    let mut walk = Walk::new(shape, start, interval)?;
    let (mut rows, mut encoded) = (Rows::new(shape, series), Encoded::new(shape));
    while let Some((host, time)) = walk.next_row() {
        if let Some((shard, body, rows)) = rows.push(host, time)? {
            encoded.push(shard, body, rows)?;
        }
    }
    rows.finish().try_for_each(|(shard, body, rows)| encoded.push(shard, body, rows))?;
    Ok(encoded.batches)
}

/// Batches so far.
struct Encoded {
    fields: u64,
    batches: Vec<Batch>,
    rows: u64,
    bytes: usize,
}

impl Encoded {
    fn new(shape: &Shape) -> Self {
        Self { fields: shape.fields.into(), batches: Vec::new(), rows: 0, bytes: 0 }
    }

    fn push(&mut self, shard: Option<ShardId>, body: Bytes, rows: u64) -> Result<(), LoadError> {
        self.bytes += body.len();
        if self.bytes > BATCHES_BYTES_MAX {
            return Err(LoadError::TooLarge);
        }
        let (points, points_before) = (rows * self.fields, self.rows * self.fields);
        self.batches.push(Batch { body, rows, points, points_before, shard });
        self.rows += rows;
        Ok(())
    }
}

/// The next rows as lines, at most `rows_max`, and how many they are: none once the walk has ended.
pub(crate) fn lines_batch(walk: &mut Walk, fields: &[String], rows_max: u32) -> (Bytes, u64) {
    let (mut body, mut rows) = (Vec::new(), 0);
    while rows < u64::from(rows_max)
        && let Some((host, time)) = walk.next_row()
    {
        lines::encode(&mut body, fields, host, time);
        rows += 1;
    }
    (body.into(), rows)
}

/// Open connections of either mode.
#[derive(Debug)]
pub(crate) enum Link {
    Lines(lines::Connections),
    Frames(Box<frames::Stream>),
}

impl Link {
    pub(crate) async fn open(env: &Env, mode: Mode, to: &Target, channel: Channel) -> Result<Self, LoadError> {
        Ok(match mode {
            Mode::Lines => Self::Lines(lines::Connections::open(env, &to.http, &to.db, to.concurrency).await?),
            Mode::Frames => {
                let stream = frames::Stream::open(env, channel, &to.db, to.concurrency).await?;
                Self::Frames(Box::new(stream))
            }
        })
    }

    pub(crate) async fn send(self, env: &Env, batches: &[Batch], pace: Pace) -> Result<Tally, LoadError> {
        Ok(match self {
            Self::Lines(connections) => connections.run(env, batches, pace).await?,
            Self::Frames(stream) => stream.run(env, batches, pace).await?,
        })
    }
}

/// What lies between the start and the stop of the clock.
async fn measure(env: &Env, args: &Args, link: Link, batches: &[Batch]) -> Result<Measured, LoadError> {
    let used = || args.to.pid.iter().map(|pid| cpu::seconds_of(*pid)).collect::<Result<Vec<_>, _>>();
    let (servers, loader) = (used()?, cpu::seconds_of_this()?);
    let start = env.clock.now();
    let pace = Pace::new(start, args.seconds.map(Duration::from_secs), args.rate);
    let tally = link.send(env, batches, pace).await?;
    let seconds = env.clock.now().saturating_duration_since(start).as_secs_f64();
    let loader_cpu_seconds = cpu::seconds_of_this()? - loader;
    let servers_cpu_seconds = used()?.iter().zip(servers).map(|(after, before)| after - before).collect();
    let all_sent = tally.requests == batches.len() as u64;
    Ok(Measured { tally, seconds, servers_cpu_seconds, loader_cpu_seconds, all_sent })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;

    fn shape(rows_per_batch: u32) -> Shape {
        Shape { source: Source::Cpu, series: 300, fields: 10, rows_per_batch, points: 10_000, seed: 1 }
    }

    #[test]
    fn batches_hold_all_rows_once() {
        let batches = line_batches(&shape(300), Timestamp::default(), INTERVAL_NANOS).expect("small");
        let sizes: Vec<_> = batches.iter().map(|b| (b.rows, b.points, b.points_before)).collect();
        assert_eq!(sizes, [(300, 3_000, 0), (300, 3_000, 3_000), (300, 3_000, 6_000), (100, 1_000, 9_000)]);
    }

    #[test]
    fn a_run_ends_now_and_on_a_microsecond() {
        let now = Timestamp::new(1_700_000_000_123_456_789).expect("in range");
        let range = span(&shape(1), now).expect("in range");
        assert!(range.end() <= now && range.start().nanos() % 1_000 == 0);
        assert_eq!(range.end().nanos() - range.start().nanos(), 4 * 10_000_000_000, "1,000 rows of 300 series");
    }
}
