//! `bars`: every bar that was set for the speed and the size of a cluster, measured now and here, and whether it holds.
//!
//! A bar that could not be measured does not hold: what is missing must not look like what is good. One measure that fails
//! takes none of the others with it.

mod disk; // what the disk itself takes
mod table; // the bars, and what is told of them
mod writes; // the measures of Meridian alone

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use meridian_env::{Env, real};

use crate::compare::figures::{Comparison, Metric, Skipped, median};
use crate::compare::{Bench, CompareError, Rows, compare, install};
use crate::drive::DriveError;
use crate::engine::{self, EngineError};
use crate::generate::Shape;
use crate::load::LoadError;
use crate::queries::Questions;
use crate::queries::peers::table::{Line, Table};
use crate::queries::peers::{self, Engine, PeersError};
use crate::servers::{Product, ServerError, unless_interrupted};
use crate::source::Source;
use table::{BARS, Figure, Measure};

/// Why a measure has no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BarsError {
    /// A comparison failed, or nothing can be started.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// A server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A run.
    #[error(transparent)]
    Drive(#[from] DriveError),
    /// The rows.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The disk beside the database.
    #[error("fdatasync beside the database: {0}")]
    Disk(std::io::Error),
    /// The storage of one shard.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The query types.
    #[error(transparent)]
    Peers(#[from] PeersError),
    /// Whom a bar names is not here.
    #[error("{0}")]
    NoPeer(
        /// Who, and what brings it here.
        String,
    ),
}

/// What to measure, and how long.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    bench: Bench,
    /// Only this measure; may be given more than once. The bars of the others do not hold then.
    #[arg(long, value_enum)]
    only: Vec<Measure>,
    /// The Python that has the modules duckdb, chdb and pyarrow.
    #[arg(long, value_name = "PATH", default_value = "python3")]
    python: PathBuf,
    /// Fewer points and runs: to see that it works, not to quote.
    #[arg(long)]
    quick: bool,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// How much is sent.
#[derive(Clone, Copy, Debug)]
struct Effort {
    runs: u32,
    lines_points: u64,
    frames_points: u64,
    series_points: u64,
    /// Of one field, for ten million series.
    engine_points: u64,
    half_load_seconds: u64,
    /// Appends and fdatasyncs before, and as many behind.
    syncs: u32,
    /// Of each query type.
    executions: u32,
}

const FULL: Effort = Effort {
    runs: 5,
    lines_points: 10_000_000,
    frames_points: 20_000_000,
    series_points: 20_000_000,
    engine_points: 40_000_000,
    half_load_seconds: 30,
    syncs: 2_000,
    executions: 20,
};
const QUICK: Effort = Effort {
    runs: 2,
    lines_points: 2_000_000,
    frames_points: 4_000_000,
    series_points: 10_000_000,
    engine_points: 20_000_000,
    half_load_seconds: 10,
    syncs: 500,
    executions: 5,
};

/// Makes the measures, and gives the report and whether all bars hold.
pub(crate) fn start(args: &Args) -> Result<(String, ExitCode), CompareError> {
    let program = args.bench.program()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CompareError::Start)?;
    let env = real::env().map_err(CompareError::Start)?;
    let work = measure(&env, args, &program);
    let done = runtime.block_on(unless_interrupted(work)).map_err(CompareError::Start)?;
    let figures = done.ok_or(CompareError::Interrupted)?;
    let text = if args.json { table::json(&figures) } else { table::table(&figures) };
    Ok((text, if table::all_hold(&figures) { ExitCode::SUCCESS } else { ExitCode::FAILURE }))
}

async fn measure(env: &Env, args: &Args, program: &Path) -> Vec<Figure> {
    let effort = if args.quick { QUICK } else { FULL };
    let parent = args.bench.parent();
    let mut figures = Vec::new();
    for measure in [Measure::Compare, Measure::Frames, Measure::Series, Measure::Engine, Measure::Queries] {
        if !args.only.is_empty() && !args.only.contains(&measure) {
            continue;
        }
        let made = match measure {
            Measure::Compare => lines(env, program, &parent, &effort).await,
            Measure::Frames => writes::frames(env, program, &parent, &effort).await,
            Measure::Series => writes::series(env, program, &parent, &effort).await,
            Measure::Engine => engine_alone(&parent, &effort),
            Measure::Queries => queries(env, args, program, &effort).await,
        };
        figures.extend(made.unwrap_or_else(|error| missing(measure, &error.to_string())));
    }
    figures
}

/// What a measure that failed leaves of its bars.
fn missing(measure: Measure, why: &str) -> Vec<Figure> {
    BARS.iter().filter(|bar| bar.measure == measure).map(|bar| Figure::missing(bar.key, why)).collect()
}

/// Line protocol, against VictoriaMetrics.
async fn lines(env: &Env, program: &Path, parent: &Path, effort: &Effort) -> Result<Vec<Figure>, BarsError> {
    let found = install::find(&[Product::VictoriaMetrics], false)?;
    if let Some(missing) = found.skipped.first() {
        return Err(BarsError::NoPeer(missing.note()));
    }
    let rows = Rows {
        source: Source::Cpu,
        series: 4_000,
        fields: 10,
        rows_per_batch: 10_000,
        points: effort.lines_points,
        runs: effort.runs,
        concurrency: 8,
        seed: 1,
    };
    let cpu = compare(env, program, parent, &rows, &found).await?;
    let rows = Rows { source: Source::Sensors, fields: 4, ..rows };
    let sensors = compare(env, program, parent, &rows, &found).await?;
    Ok(vec![
        ratio(&cpu, "lines_cpu_ratio", "cpu_seconds_per_million_points"),
        ratio(&cpu, "bytes_ratio", "bytes_per_point_and_copy"),
        ratio(&sensors, "bytes_sensors_ratio", "bytes_per_point_and_copy"),
    ])
}

fn engine_shape(series: u32, fields: u32, points: u64) -> Shape {
    Shape { source: Source::Cpu, series, fields, rows_per_batch: 10_000, points, seed: 1 }
}

/// The storage of one shard, on this thread.
fn engine_alone(parent: &Path, effort: &Effort) -> Result<Vec<Figure>, BarsError> {
    const ENGINE_SERIES: [u32; 2] = [10_000, 10_000_000];
    let mut rates = Vec::new();
    for _ in 0..effort.runs {
        rates.push(1e9 / engine::alone(parent, &engine_shape(4_000, 10, effort.frames_points))?.storage_nanos());
    }
    let detail = format!("median of {} runs of {} points: write, flush and merge", effort.runs, effort.frames_points);
    let one = Figure::new("engine_million_per_second", median(&rates) / 1e6, detail);
    // Once each: a run of ten million series takes minutes, and the ratio is far from what a minute changes.
    let nanos = |series| {
        let figures = engine::alone(parent, &engine_shape(series, 1, effort.engine_points));
        figures.map(|figures| figures.storage_nanos())
    };
    let [few, many] = [nanos(ENGINE_SERIES[0])?, nanos(ENGINE_SERIES[1])?];
    let detail = format!(
        "{:.2} M points/s of {} series, {:.2} M points/s of {}, {} points: write, flush and merge of known series",
        1e3 / many,
        ENGINE_SERIES[1],
        1e3 / few,
        ENGINE_SERIES[0],
        effort.engine_points,
    );
    Ok(vec![one, Figure::new("engine_series_ratio", few / many, detail)])
}

/// The query types of TSBS, against all peers that are here.
async fn queries(env: &Env, args: &Args, program: &Path, effort: &Effort) -> Result<Vec<Figure>, BarsError> {
    let questions =
        Questions { hosts: 100, days: 3, quick: args.quick, seed: 1, executions: effort.executions, only: Vec::new() };
    let table = peers::compare(env, program, &args.bench.parent(), &args.python, &questions).await?;
    if table.peers.is_empty() {
        return Err(BarsError::NoPeer(table.skipped.iter().map(Skipped::note).collect::<Vec<_>>().join("; ")));
    }
    Ok(vec![small(&table), won(&table)])
}

/// What one copy takes by what ClickHouse takes.
fn small(table: &Table) -> Figure {
    let (key, name) = ("bytes_clickhouse_ratio", Engine::ClickHouse.name());
    let Some((ours, theirs)) = table.bytes_beside(name) else {
        return Figure::missing(key, format!("{name} is not here: {}", Engine::ClickHouse.remedy()));
    };
    let detail =
        format!("bytes a point on disk, one copy: {ours:.3} by {theirs:.3} with the codecs that take it the least");
    Figure::new(key, ours / theirs, detail)
}

/// How many types are answered as fast as by the fastest peer; of the aim, how many in half its time.
fn won(table: &Table) -> Figure {
    let (all, halved) = (table.lines.len(), table.at_most(0.5));
    let ratio = |line: &Line| match table.best(line) {
        Some((name, ratio)) => format!("{} {ratio:.2} by {name}", line.query),
        None => format!("{} by nobody", line.query),
    };
    let peers: Vec<_> = table.peers.iter().map(|peer| peer.name).collect();
    let detail = format!(
        "of {all}; {halved} take at most half of it, which the aim asks of all. Against {}: {}",
        peers.join(", "),
        table.lines.iter().map(ratio).collect::<Vec<_>>().join(", "),
    );
    let figure = Figure::new("query_types_won", table.at_most(1.0) as f64, detail);
    Figure { for_aim: Some(halved as f64), ..figure }
}

/// Ours by those of the one peer.
fn ratio(comparison: &Comparison, key: &'static str, metric: &str) -> Figure {
    let (Some(peer), Some(metric)) = (comparison.peers.first(), Metric::by_key(metric)) else {
        return Figure::missing(key, "there is no such figure");
    };
    let [ours, theirs] = [&comparison.ours, peer].map(|product| metric.median(product));
    let detail = format!("{}: {ours:.3} by {theirs:.3}, {} turns", metric.name, comparison.ours.runs.len());
    Figure::new(key, metric.ratio(&comparison.ours, peer), detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::figures::tests::comparison;
    use crate::queries::peers::table::tests::table as peers_table;

    #[test]
    fn a_measure_that_fails_leaves_each_of_its_bars_unknown() {
        let figures = missing(Measure::Frames, "it broke");
        assert_eq!(figures.len(), 3);
        assert!(figures.iter().all(|figure| figure.value == Err("it broke".into())) && !table::all_hold(&figures));
    }

    #[test]
    fn a_ratio_names_what_it_is_made_of() {
        let figure = ratio(&comparison(), "bytes_ratio", "bytes_per_point");
        assert_eq!(figure.value, Ok(3.0));
        assert_eq!(figure.detail, "bytes a point on disk, all copies: 1.500 by 0.500, 3 turns");
        assert!(ratio(&comparison(), "bytes_ratio", "no_such").value.is_err());
    }

    #[test]
    fn a_peer_that_is_not_here_has_no_bytes() {
        assert!(small(&peers_table()).value.is_err_and(|why| why.contains("pip install chdb")));
    }

    #[test]
    fn a_query_type_is_won_against_the_fastest_of_those_who_answered() {
        let figure = won(&peers_table());
        assert_eq!((figure.value, figure.for_aim), (Ok(2.0), Some(1.0)));
        assert_eq!(
            figure.detail,
            "of 4; 1 take at most half of it, which the aim asks of all. Against One, Two: cpu-max-all-8 0.50 by One, \
             high-cpu-all 1.50 by Two, lastpoint 1.00 by Two, single-groupby-1-1-1 by nobody"
        );
    }
}
