//! The measures of Meridian alone: frames as fast as they are taken, the latency at half of that, and many series.
//!
//! Never sets figures of different servers or hours against each other: what is divided was measured side by side.

use std::path::Path;

use meridian_env::Env;

use super::disk::fdatasync_micros;
use super::table::Figure;
use super::{BarsError, Effort};
use crate::compare::figures::median;
use crate::drive::{Way, drive, router};
use crate::feed::Feed;
use crate::generate::Shape;
use crate::load::Mode;
use crate::servers::{Product, Server};
use crate::source::Source;

const SHAPE: Shape =
    Shape { source: Source::Cpu, series: 4_000, fields: 10, rows_per_batch: 3_000, points: 1, seed: 1 };
const WAY: Way = Way { mode: Mode::Frames, concurrency: 8, rate: None };
/// Frames that are encoded ahead for a run at a rate: bounds memory.
const HALF_LOAD_POINTS_MAX: u64 = 100_000_000;
/// The cores that the bars were set for.
const CORES: usize = 2;
const SERIES: [u32; 2] = [10_000, 1_000_000];

/// Frames as fast as they are taken, then at half of that beside what the disk itself takes.
pub(crate) async fn frames(
    env: &Env,
    program: &Path,
    parent: &Path,
    effort: &Effort,
) -> Result<Vec<Figure>, BarsError> {
    let mut server = Server::start(env, Product::Meridian, program, parent).await?;
    let mut lengths = vec![effort.frames_points; effort.runs as usize];
    lengths.push(HALF_LOAD_POINTS_MAX);
    let mut feed = Feed::frames(env, router(env, &server), &SHAPE, &lengths).await?;
    let (mut rates, mut cpu, mut points) = (Vec::new(), Vec::new(), 0);
    for _ in 0..effort.runs {
        let round = feed.round(effort.frames_points)?;
        let driven = drive(env, &server, WAY, &SHAPE, &round).await?;
        points += driven.tally.points;
        rates.push(driven.tally.points as f64 / driven.seconds);
        cpu.push(driven.cpu_seconds / driven.tally.points as f64);
    }
    let rate = median(&rates);
    let (latency, written) = half_load(env, &server, effort, feed, rate).await?;
    let closing = server.close().await?;
    let cpu = (median(&cpu) + closing / (points + written) as f64) * 1e6;
    let made_of = format!("median of {} runs of {} points", effort.runs, points / u64::from(effort.runs));
    let cpu = Figure::new("frames_cpu_seconds", cpu, format!("{made_of}, three replicas, flush at the end included"));
    let key = "frames_million_per_second";
    let rate = match std::thread::available_parallelism().map_or(0, std::num::NonZero::get) {
        CORES => Figure::new(key, rate / 1e6, format!("{made_of}, the loader on the same cores")),
        cores => Figure::missing(key, format!("{cores} cores, not {CORES}: taskset -c 0,1 meridian-benches bars")),
    };
    Ok(vec![cpu, rate, latency])
}

/// Writes at half of `rate`, and what that was in points.
async fn half_load(
    env: &Env,
    server: &Server,
    effort: &Effort,
    mut feed: Feed,
    rate: f64,
) -> Result<(Figure, u64), BarsError> {
    let half = (rate / 2.0) as u64;
    let points = half.saturating_mul(effort.half_load_seconds).clamp(1, HALF_LOAD_POINTS_MAX);
    let round = feed.round(points)?;
    let probe = || fdatasync_micros(env, server.dir().to_owned(), effort.syncs);
    // Before and behind, since a disk that is shared has its hours.
    let mut disk = probe().await.map_err(BarsError::Disk)?;
    let driven = drive(env, server, Way { rate: Some(half), ..WAY }, &SHAPE, &round).await?;
    disk.add(probe().await.map_err(BarsError::Disk)?).expect("both have the same bounds");
    let [p50, p99] = [0.5, 0.99].map(|quantile| driven.tally.latency.value_at_quantile(quantile) as f64 / 1e3);
    let [disk_p50, disk_p99] = [0.5, 0.99].map(|quantile| disk.value_at_quantile(quantile) as f64 / 1e3);
    let detail = format!(
        "writes p50 {p50:.2} ms, p99 {p99:.2} ms at {half} points/s for {:.0} s; fdatasync of 64 KiB p50 {disk_p50:.2} ms, \
         p99 {disk_p99:.2} ms of {}",
        driven.seconds,
        disk.len(),
    );
    Ok((Figure::new("half_load_p99_ratio", p99 / disk_p99, detail), driven.tally.points))
}

/// A cluster, and the series that it holds.
struct Side {
    server: Server,
    shape: Shape,
    feed: Feed,
    /// Points a second, of each turn.
    rates: Vec<f64>,
}

/// The same points of a million series and of ten thousand, in turns, once all series are known.
pub(crate) async fn series(
    env: &Env,
    program: &Path,
    parent: &Path,
    effort: &Effort,
) -> Result<Vec<Figure>, BarsError> {
    let mut sides = Vec::new();
    for series in SERIES {
        let shape = Shape { series, ..SHAPE };
        let server = Server::start(env, Product::Meridian, program, parent).await?;
        let known = u64::from(series) * u64::from(shape.fields);
        let mut lengths = vec![effort.series_points; effort.runs as usize];
        lengths.push(known);
        let mut feed = Feed::frames(env, router(env, &server), &shape, &lengths).await?;
        drive(env, &server, WAY, &shape, &feed.round(known)?).await?;
        sides.push(Side { server, shape, feed, rates: Vec::new() });
    }
    for _ in 0..effort.runs {
        for side in &mut sides {
            let round = side.feed.round(effort.series_points)?;
            let driven = drive(env, &side.server, WAY, &side.shape, &round).await?;
            side.rates.push(driven.tally.points as f64 / driven.seconds);
        }
    }
    let [few, many] = [&sides[0].rates, &sides[1].rates];
    let ratios: Vec<_> = many.iter().zip(few).map(|(many, few)| many / few).collect();
    let detail = format!(
        "{:.2} M points/s of {} series, {:.2} M points/s of {}, {} turns of {} points, all series known before",
        median(many) / 1e6,
        SERIES[1],
        median(few) / 1e6,
        SERIES[0],
        effort.runs,
        effort.series_points,
    );
    Ok(vec![Figure::new("series_rate_ratio", median(&ratios), detail)])
}
