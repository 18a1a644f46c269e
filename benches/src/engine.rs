//! The storage engine of one shard under load, without network, Raft or a second thread: frames are checked and written, the
//! head is flushed as often as a node would, blocks are merged until there is nothing to merge.
//!
//! All frames are encoded before anything is measured. A run whose rows are not all there at the end has no figures.

mod figures;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use meridian_client::Series;
use meridian_engine::{Engine, Point, StoreError, WriteRefused};
use meridian_env::{Env, real};
use meridian_frame::{Frame, FrameError, PushError};
use meridian_query::{Column, Needed, Plan};
use meridian_types::{DatabaseId, FieldType, KeyError, SeriesNumber, ShardId, TimeRange, Timestamp};

use crate::cpu::{self, CpuError, ThreadTime};
use crate::generate::{Host, INTERVAL_NANOS, Shape, Walk};
use crate::numbers::Rows;
use figures::Cost;
pub(crate) use figures::{Figures, Stage};

const DATABASE: DatabaseId = DatabaseId(1);
/// A node's longest time partition: a day.
const PARTITION_NANOS: i64 = 86_400_000_000_000;
/// Where a day begins, so that a run of less than a day is one partition.
const START_NANOS: i64 = 19_675 * PARTITION_NANOS;

/// What half of a node's memory leaves to each of 8 shards.
const FLUSH_BYTES: u64 = 64 << 20;

/// What to write, and where.
#[derive(clap::Args, Clone, Debug)]
#[command(mut_arg("rows_per_batch", |arg| arg.default_value("10000").help("Rows of one frame at most")))]
pub(crate) struct Args {
    #[command(flatten)]
    shape: Shape,
    /// Directory for the files, which must not exist; without it one is made here and removed at the end.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Flush when rows take so many bytes of memory: by default what half of a node's memory leaves to each of 8 shards.
    #[arg(long, default_value_t = FLUSH_BYTES, value_parser = clap::value_parser!(u64).range(1..))]
    flush_bytes: u64,
    /// Flush after so many points instead.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    flush_points: Option<u64>,
    /// Name series by their keys in every frame, and not by number once they are known.
    #[arg(long)]
    keys: bool,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    /// No clock or no directory.
    #[error("this process cannot start: {0}")]
    Start(#[from] std::io::Error),
    /// The generator made a series that is none.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The generator made a row that is none.
    #[error(transparent)]
    Row(#[from] PushError),
    /// What was encoded is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame was refused.
    #[error(transparent)]
    Refused(#[from] WriteRefused),
    /// The files failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing could be measured.
    #[error(transparent)]
    Cpu(#[from] CpuError),
    /// What was written is not what is there.
    #[error(
        "{written} points with the sum {sum} were written, and a view at the end has {found} with the sum {found_sum}"
    )]
    Lost {
        /// Points of all frames.
        written: u64,
        /// Of their values.
        sum: i128,
        /// Points that the view has.
        found: u64,
        /// Of their values.
        found_sum: i128,
    },
}

/// Everything that will be written: first each series by key, then, unless all of it goes so, by the numbers that the engine
/// gives in the order in which it meets them.
struct Encoded {
    by_key: Vec<Bytes>,
    by_number: Vec<Bytes>,
    rows: u64,
    sum: i128,
}

/// Makes the run and gives its report.
pub(crate) fn start(args: &Args) -> Result<String, EngineError> {
    let env = real::env()?;
    let (_removed_at_the_end, dir) = match &args.dir {
        Some(dir) => (None, dir.clone()),
        None => {
            let made = tempfile::Builder::new().prefix("meridian-benches-").tempdir_in(".")?;
            let dir = made.path().to_owned();
            (Some(made), dir)
        }
    };
    let encoded = encode(&args.shape, args.keys)?;
    let engine = Engine::open(Arc::clone(&env.disk), &dir, "bench", args.shape.seed)?;
    let figures = Run::new(&env, engine)?.all(args, &encoded)?;
    Ok(if args.json { figures.json(args) } else { figures.table(args) })
}

/// What rows of this shape cost one engine, with the settings that the command has when none are given, on files in `parent` that
/// are gone at the end.
pub(crate) fn alone(parent: &Path, shape: &Shape) -> Result<Figures, EngineError> {
    let env = real::env()?;
    let shape = shape.clone();
    let args = Args { shape, dir: None, flush_bytes: FLUSH_BYTES, flush_points: None, keys: false, json: false };
    let encoded = encode(&args.shape, args.keys)?;
    let dir = tempfile::Builder::new().prefix("meridian-benches-").tempdir_in(parent)?;
    let engine = Engine::open(Arc::clone(&env.disk), dir.path(), "bench", args.shape.seed)?;
    Run::new(&env, engine)?.all(&args, &encoded)
}

fn encode(shape: &Shape, keys: bool) -> Result<Encoded, EngineError> {
    let start = Timestamp::new(START_NANOS).expect("in range");
    let mut walk = Walk::new(shape, start, INTERVAL_NANOS)?;
    let measurement: Arc<str> = shape.source.measurement().into();
    let of_host = |host: &Host| Arc::new(Series::new(Arc::clone(&measurement), host.key.clone()));
    let series: Vec<_> = walk.hosts().iter().map(of_host).collect();
    let mut encoded = Encoded { by_key: Vec::new(), by_number: Vec::new(), rows: 0, sum: 0 };
    let first = if keys { shape.rows() } else { shape.series.into() };
    encoded.by_key = encoded.frames(&mut walk, Rows::new(shape, &series), first)?;
    // At most ten million.
    (0..).zip(&series).for_each(|(number, series)| series.learn(ShardId(1), SeriesNumber(number)));
    encoded.by_number = encoded.frames(&mut walk, Rows::new(shape, &series), u64::MAX)?;
    Ok(encoded)
}

impl Encoded {
    /// The next rows of a walk, `rows_max` at most.
    fn frames(&mut self, walk: &mut Walk, mut rows: Rows<'_>, rows_max: u64) -> Result<Vec<Bytes>, EngineError> {
        let (mut made, end) = (Vec::new(), self.rows.saturating_add(rows_max));
        while self.rows < end
            && let Some((host, time)) = walk.next_row()
        {
            made.extend(rows.push(host, time)?);
            self.add(host);
        }
        made.extend(rows.finish());
        Ok(made.into_iter().map(|(_, bytes, _)| bytes).collect())
    }

    fn add(&mut self, host: &Host) {
        self.rows += 1;
        self.sum += host.values.iter().map(|value| i128::from(*value)).sum::<i128>();
    }
}

struct Run<'a> {
    env: &'a Env,
    cpu: ThreadTime,
    engine: Engine,
    costs: [Cost; 5],
    index: u64,
    row_bytes_max: u64,
}

impl<'a> Run<'a> {
    fn new(env: &'a Env, engine: Engine) -> Result<Self, EngineError> {
        let cpu = ThreadTime::of_this()?;
        Ok(Self { env, cpu, engine, costs: [Cost::default(); 5], index: 0, row_bytes_max: 0 })
    }

    fn all(mut self, args: &Args, encoded: &Encoded) -> Result<Figures, EngineError> {
        let process = std::process::id();
        cpu::forget_peak_of(process)?;
        let before = cpu::peak_bytes_of(process)?;
        let first = if args.keys { Stage::Write } else { Stage::Register };
        let (mut points, mut unflushed, mut before_this) = (0, 0, first);
        let keyed = encoded.by_key.iter().map(|bytes| (first, bytes));
        for (stage, bytes) in keyed.chain(encoded.by_number.iter().map(|bytes| (Stage::Write, bytes))) {
            if std::mem::replace(&mut before_this, stage) != stage {
                self.flush(first)?;
                unflushed = 0;
            }
            let frame = self.timed(Stage::Check, |_| Ok(Frame::check(bytes.clone())?))?;
            let written = self.timed(stage, |run| Ok(run.engine.write(DATABASE, &frame)?))?;
            self.costs[stage as usize].points += written.points;
            self.index += 1;
            points += written.points;
            unflushed += written.points;
            let rows = self.engine.stats().row_bytes;
            self.row_bytes_max = self.row_bytes_max.max(rows);
            if args.flush_points.map_or(rows >= args.flush_bytes, |most| unflushed >= most) {
                self.flush(stage)?;
                unflushed = 0;
            }
        }
        self.flush(before_this)?;
        let peak_bytes = cpu::peak_bytes_of(process)?.saturating_sub(before);
        self.verify(&args.shape, points, encoded)?;
        self.costs[Stage::Check as usize].points = points;
        // What registers series is told with its flushes.
        let stored = self.costs[Stage::Write as usize].points;
        for stage in [Stage::Flush, Stage::Compact] {
            self.costs[stage as usize].points = stored;
        }
        let stats = self.engine.stats();
        Ok(Figures {
            points,
            rows: encoded.rows,
            costs: self.costs,
            file_bytes: stats.file_bytes,
            blocks: stats.blocks,
            row_bytes_max: self.row_bytes_max,
            peak_bytes,
        })
    }

    /// Brings the head into files, and merges them until there is nothing to merge. What the flush of new series costs, whose names go
    /// into files as well, counts as what it is.
    fn flush(&mut self, written: Stage) -> Result<(), EngineError> {
        let point = Point { index: self.index, mark: Vec::new(), state: Vec::new() };
        let (flush, compact) = match written {
            Stage::Register => (Stage::Register, Stage::Register),
            _ => (Stage::Flush, Stage::Compact),
        };
        self.timed(flush, |run| {
            if let Some(task) = run.engine.freeze(point, |_| PARTITION_NANOS) {
                let outcome = task.run()?;
                run.engine.install(outcome);
            }
            Ok(())
        })?;
        let merge = |run: &mut Self| {
            let Some(task) = run.engine.upkeep() else { return Ok(false) };
            let outcome = task.run()?;
            run.engine.install(outcome);
            Ok(true)
        };
        while self.timed(compact, merge)? {}
        Ok(())
    }

    fn timed<T>(
        &mut self,
        stage: Stage,
        work: impl FnOnce(&mut Self) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let (start, cpu) = (self.env.clock.now(), self.cpu.nanos()?);
        let done = work(self)?;
        let (cpu, wall) = (self.cpu.nanos()? - cpu, self.env.clock.now() - start);
        let cost = &mut self.costs[stage as usize];
        cost.calls += 1;
        cost.cpu_nanos += cpu;
        cost.wall_nanos += u64::try_from(wall.as_nanos()).expect("less than centuries");
        Ok(done)
    }

    /// Reads everything back.
    fn verify(&self, shape: &Shape, written: u64, encoded: &Encoded) -> Result<(), EngineError> {
        let of_type = |number| match shape.source.field(number).decimals {
            Some(_) => FieldType::F64,
            None => FieldType::I64,
        };
        let fields = shape.field_names().into_iter().enumerate().map(|(number, name)| (name, of_type(number)));
        let plan =
            Plan::builder(shape.source.measurement(), TimeRange::ALL).fields(fields).build().expect("the names differ");
        let (mut found, mut found_sum, mut rows) = (0, 0, 0);
        for series in self.engine.view(DATABASE, &plan).series(&Needed::of(&plan)) {
            let series = series?;
            rows += series.times.len() as u64;
            for (number, column) in series.columns.iter().enumerate() {
                let units = |value: &f64| shape.source.field(number).units(*value);
                let values: Vec<i64> = match column {
                    Some(Column::I64(values)) => values.iter().copied().collect(),
                    Some(Column::F64(values)) => values.iter().map(units).collect(),
                    _ => continue,
                };
                found += values.len() as u64;
                found_sum += values.into_iter().map(i128::from).sum::<i128>();
            }
        }
        let all = encoded.rows * u64::from(shape.fields);
        if (found, found_sum, rows, written) == (all, encoded.sum, encoded.rows, all) {
            return Ok(());
        }
        Err(EngineError::Lost { written, sum: encoded.sum, found, found_sum })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;

    fn shape() -> Shape {
        Shape { source: Source::Cpu, series: 30, fields: 3, rows_per_batch: 50, points: 9_000, seed: 1 }
    }

    #[test]
    fn a_run_writes_flushes_merges_and_finds_everything() {
        let dir = tempfile::tempdir().expect("a directory");
        for keys in [false, true] {
            let args = Args {
                shape: shape(),
                dir: Some(dir.path().join(keys.to_string())),
                flush_bytes: 1,
                flush_points: Some(900),
                keys,
                json: true,
            };
            let report: serde_json::Value = serde_json::from_str(&start(&args).expect("all is there")).expect("JSON");
            assert_eq!((&report["points"], &report["rows"]), (&9_000.into(), &3_000.into()));
            assert_eq!(report["stages"][2]["calls"], 60, "a frame of every 50 rows");
            assert!(report["blocks"].as_u64().is_some_and(|blocks| blocks < 10), "{report}");
        }
    }

    #[test]
    fn a_run_that_lost_rows_has_no_figures() {
        let (env, dir) = (real::env().expect("threads start"), tempfile::tempdir().expect("a directory"));
        let engine = Engine::open(Arc::clone(&env.disk), dir.path(), "bench", 1).expect("an empty directory");
        let encoded = encode(&shape(), false).expect("valid rows");
        let run = Run::new(&env, engine).expect("Linux");
        let lost = run.verify(&shape(), 9_000, &encoded).expect_err("nothing was written");
        assert!(matches!(lost, EngineError::Lost { written: 9_000, found: 0, .. }), "{lost}");
    }
}
