//! A long run at the highest rate that a cluster holds, with a retention so short that data goes as fast as it comes: what the
//! cluster keeps in memory, in the log and in blocks must level off.
//!
//! Data time is wall time, so that retention bites. Each round is encoded while the one before is sent. Never calls a run good in
//! which a row that retention has not reached is missing, or one is there that it has passed.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use meridian_client::Series;
use meridian_env::{Class, Env, deadline, real};
use meridian_types::{TimeRange, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::check::{Cluster, Router};
use crate::generate::Shape;
use crate::load::{Link, LoadError, Mode, frame_batches, line_batches};
use crate::pace::{Batch, Pace, Tally};
use crate::{cpu, load, numbers};

/// How often levels are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// After two minutes a retention of one has begun to take what comes; the next three are what the last three are compared with.
const WARM: Duration = Duration::from_secs(120);
const BASE_ENDS: Duration = Duration::from_secs(300);
const LAST: Duration = Duration::from_secs(180);
/// How much higher the mean of the end may be than the mean of the base: a level moves up and down by a block or a segment.
const GROWTH_MAX: f64 = 1.25;
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// How long, how much, and where.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// How points travel.
    #[arg(long, value_enum, default_value = "lines")]
    mode: Mode,
    /// Points a second to send; without it as fast as they are taken.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    #[command(flatten)]
    to: load::Target,
    #[command(flatten)]
    shape: Shape,
    /// How long to write.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(30..=86_400))]
    seconds: u64,
    /// Retention of the database, in seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(10..=60))]
    retention: u32,
}

/// What the nodes hold at one time, all together.
#[derive(Clone, Copy, Debug, Default)]
struct Levels {
    since: Duration,
    points: u64,
    cpu: f64,
    rows: f64,
    log: f64,
    files: f64,
    blocks: f64,
    resident: f64,
}

/// Rows of one round, all of whose times lie in `range`.
#[derive(Clone, Copy, Debug)]
struct Round {
    range: TimeRange,
    rows: u64,
}

/// Makes the run and gives its report.
pub(crate) fn start(args: &Args) -> Result<String, LoadError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(LoadError::Start)?;
    let env = real::env().map_err(LoadError::Start)?;
    runtime.block_on(run(&env, args))
}

async fn run(env: &Env, args: &Args) -> Result<String, LoadError> {
    let to = &args.to;
    let channel = meridian_client::connect(env, &to.grpc);
    let router = Router::new(env, channel.clone());
    let retention = Duration::from_secs(args.retention.into());
    router.create_database(&to.db, retention).await?;
    let cluster = router.cluster().await?;
    let mut data_end = env.clock.wall().saturating_add(-1_000_000_000);
    let series = match args.mode {
        Mode::Lines => Vec::new(),
        Mode::Frames => {
            let before = data_end.saturating_add(-1);
            numbers::learn(env, channel.clone(), &to.db, &args.shape, before).await?
        }
    };
    let series: Arc<[Arc<Series>]> = series.into();
    let (mut all, mut rounds, mut levels) = (Tally::new(), Vec::<Round>::new(), Vec::<Levels>::new());
    let (mut next, mut round) = encode(env, args, &series, &mut data_end).await?;
    let (begun, cpu_before) = (env.clock.now(), cpu_of(&to.pid)?);
    let ends = begun + Duration::from_secs(args.seconds);
    while env.clock.now() < ends {
        let link = Link::open(env, args.mode, to, channel.clone()).await?;
        let due = |rate: u64| begun + Duration::from_secs_f64(all.points as f64 / rate as f64);
        let pace = Pace::new(args.rate.map_or_else(|| env.clock.now(), due), None, args.rate);
        let (sent, encoded) = tokio::join!(link.send(env, &next, pace), encode(env, args, &series, &mut data_end));
        all.add(&sent?);
        rounds.push(round);
        (next, round) = encoded?;
        let since = env.clock.now() - begun;
        if levels.last().is_none_or(|last| since >= last.since + LOOK_EVERY) {
            levels.push(look(env, &cluster.http, &to.pid, since, all.points).await?);
        }
    }
    let seconds = (env.clock.now() - begun).as_secs_f64();
    let cpu = cpu_of(&to.pid)? - cpu_before;
    check(env, args, &router, &rounds, retention).await?;
    let first = Levels { cpu: cpu_before, ..Levels::default() };
    let (report, grows) = report(args, &cluster, &all, (seconds, cpu), (first, &levels));
    if grows { Err(LoadError::Grows(report)) } else { Ok(report) }
}

/// The rows of the time since the last round, encoded on another thread.
async fn encode(
    env: &Env,
    args: &Args,
    series: &Arc<[Arc<Series>]>,
    data_end: &mut Timestamp,
) -> Result<(Vec<Batch>, Round), LoadError> {
    let (start, end) = (*data_end, env.clock.wall());
    let shape = args.shape.clone();
    let rows = shape.rows();
    let steps = i64::try_from(rows.div_ceil(shape.series.into())).expect("at most POINTS_MAX");
    let interval = ((end.nanos() - start.nanos()) / steps).max(1);
    let range = TimeRange::new(start, start.saturating_add(steps * interval))?;
    *data_end = range.end();
    let (mode, series) = (args.mode, Arc::clone(series));
    let job = move || match mode {
        Mode::Lines => line_batches(&shape, start, interval),
        Mode::Frames => frame_batches(&shape, start, interval, &series),
    };
    let batches = meridian_env::run(&*env.work, Class::Scan, job).await?;
    Ok((batches, Round { range, rows }))
}

fn cpu_of(pids: &[u32]) -> Result<f64, LoadError> {
    Ok(pids.iter().map(|pid| cpu::seconds_of(*pid)).sum::<Result<f64, _>>()?)
}

async fn look(env: &Env, nodes: &[String], pids: &[u32], since: Duration, points: u64) -> Result<Levels, LoadError> {
    let mut levels = Levels { since, points, ..Levels::default() };
    for node in nodes {
        let text = metrics(env, node).await?;
        levels.rows += value(&text, "meridian_node_row_bytes");
        levels.log += value(&text, "meridian_node_log_bytes");
        levels.files += value(&text, "meridian_node_file_bytes");
        levels.blocks += value(&text, "meridian_node_blocks");
    }
    levels.cpu = cpu_of(pids)?;
    for pid in pids {
        levels.resident += cpu::resident_bytes_of(*pid)? as f64;
    }
    Ok(levels)
}

async fn metrics(env: &Env, node: &str) -> Result<String, LoadError> {
    let unreachable = |why: String| LoadError::Metrics { node: node.to_owned(), why };
    let ask = async {
        let mut conn = env.net.connect(node).await?;
        conn.write_all(format!("GET /metrics HTTP/1.1\r\nhost: {node}\r\nconnection: close\r\n\r\n").as_bytes())
            .await?;
        let mut answer = String::new();
        conn.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
        Ok::<String, std::io::Error>(answer)
    };
    let asked = deadline(&*env.clock, env.clock.now() + LOOK_EVERY, ask).await;
    let text = asked.map_err(|_| unreachable("no answer".into()))?.map_err(|error| unreachable(error.to_string()))?;
    if text.starts_with("HTTP/1.1 200") { Ok(text) } else { Err(unreachable("it shows no metrics".into())) }
}

/// The value of a metric without labels; 0 if it is not there.
fn value(text: &str, name: &str) -> f64 {
    let mut values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    values.next().unwrap_or(0.0)
}

/// What retention has not reached is there, all of it; what it has passed is gone.
async fn check(
    env: &Env,
    args: &Args,
    router: &Router,
    rounds: &[Round],
    retention: Duration,
) -> Result<(), LoadError> {
    let rows = (args.to.db.as_str(), args.shape.source.measurement());
    let field = args.shape.field_names().swap_remove(0);
    let ago = |times: f64| {
        let nanos = i64::try_from(retention.mul_f64(times).as_nanos()).expect("an hour at most");
        env.clock.wall().saturating_add(-nanos)
    };
    let (kept, gone) = (ago(0.6), ago(2.0));
    let recent: Vec<&Round> = rounds.iter().filter(|round| round.range.start() >= kept).collect();
    let (Some(first), Some(last)) = (recent.first(), recent.last()) else { return Err(LoadError::Unchecked) };
    let sent: u64 = recent.iter().map(|round| round.rows).sum();
    let range = TimeRange::new(first.range.start(), last.range.end())?;
    let found = i128::from(router.count(rows, &field, range).await?);
    if found != i128::from(sent) {
        return Err(LoadError::Miscounted { sent, found });
    }
    let old = router.count(rows, &field, TimeRange::new(Timestamp::MIN, gone)?).await?;
    if old > 0 { Err(LoadError::Kept { rows: old }) } else { Ok(()) }
}

type Column = (&'static str, fn(&Levels) -> f64);

const COLUMNS: [Column; 5] = [
    ("rows in memory", |levels| levels.rows / 1e6),
    ("log", |levels| levels.log / 1e6),
    ("files", |levels| levels.files / 1e6),
    ("blocks", |levels| levels.blocks),
    ("resident", |levels| levels.resident / 1e6),
];

fn report(
    args: &Args,
    cluster: &Cluster,
    all: &Tally,
    (seconds, cpu): (f64, f64),
    (mut before, levels): (Levels, &[Levels]),
) -> (String, bool) {
    let mut out = format!(
        "{} nodes, {} shards, {} replicas, fsync before each answer, retention {} s, {:.0} s: {:.2} M points/s acknowledged, p50 {:.1} and p99 {:.1} ms, {:.3} CPU-s a million, {} requests put off\n\n",
        cluster.nodes,
        cluster.shards,
        cluster.replicas,
        args.retention,
        seconds,
        all.points as f64 / seconds / 1e6,
        all.latency.value_at_quantile(0.5) as f64 / 1e3,
        all.latency.value_at_quantile(0.99) as f64 / 1e3,
        cpu / (all.points as f64 / 1e6),
        all.put_off,
    );
    out.push_str("all nodes, MB; each row the mean of a minute\n");
    let head = COLUMNS.map(|(name, _)| format!("{name:>15}")).concat();
    let _ = writeln!(out, "{:>6}{:>10}{:>12}{head}", "minute", "M points", "CPU-s a M");
    for minute in 0..=(seconds as u64 / 60) {
        let inside = |l: &&Levels| l.since.as_secs() / 60 == minute;
        let of_minute: Vec<&Levels> = levels.iter().filter(inside).collect();
        let Some(last) = of_minute.last() else { continue };
        let cells = COLUMNS.map(|(_, of)| format!("{:>15.1}", mean(of_minute.iter().map(|l| of(l)))));
        let (cpu, millions) = (last.cpu - before.cpu, (last.points - before.points) as f64 / 1e6);
        before = **last;
        let used = cpu / millions;
        let _ = writeln!(out, "{:>6}{:>10.0}{used:>12.3}{}", minute + 1, last.points as f64 / 1e6, cells.concat());
    }
    let (words, grows) = verdict(levels);
    (out + &words, grows)
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

/// Whether each level at the end is where it was before, in words, and whether one is not.
fn verdict(levels: &[Levels]) -> (String, bool) {
    let Some(last) = levels.last().filter(|last| last.since > BASE_ENDS + LAST) else {
        return ("\ntoo short to say whether it levels off\n".into(), false);
    };
    let mut grows = false;
    let of = |from: Duration, to: Duration| levels.iter().filter(move |l| (from..to).contains(&l.since));
    let mut out = String::from("\nlast three minutes against minutes three to five:");
    for (name, value) in COLUMNS {
        let base = mean(of(WARM, BASE_ENDS).map(value));
        let end = mean(of(last.since - LAST, Duration::MAX).map(value));
        let is_level = end <= base * GROWTH_MAX;
        grows |= !is_level;
        let word = if is_level { "level" } else { "GROWS" };
        let _ = write!(out, " {name} {:.2}x {word};", end / base.max(1e-9));
    }
    out.push('\n');
    (out, grows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, files: f64) -> Levels {
        let since = Duration::from_secs(seconds);
        Levels { since, points: 0, cpu: 0.0, rows: 1e6, log: 1e6, files, blocks: 3.0, resident: 1e6 }
    }

    #[test]
    fn what_grows_is_said_to_grow() {
        let level: Vec<_> = (0..60).map(|n| at(n * 10, 5e6)).collect();
        let (words, grows) = verdict(&level);
        assert!(!grows && !words.contains("GROWS"), "{words}");
        let rising: Vec<_> = (0..60).map(|n| at(n * 10, n as f64 * 1e6)).collect();
        let (words, grows) = verdict(&rising);
        assert!(grows && words.contains("files 2.4") && words.contains("GROWS"), "{words}");
        let (words, grows) = verdict(&level[..20]);
        assert!(!grows && words.contains("too short"), "{words}");
    }

    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        let text = "HTTP/1.1 200 OK\r\n\r\n# TYPE meridian_node_blocks gauge\nmeridian_node_blocks_old 9\nmeridian_node_blocks 7\n";
        assert_eq!((value(text, "meridian_node_blocks"), value(text, "meridian_node")), (7.0, 0.0));
    }
}
