//! `profile`: where the nanoseconds of a point go, by the threads of a cluster that really takes it, and by stage alone.
//!
//! The first table adds up to what the cluster used, flush included. The second is the same work on one thread without a cluster:
//! what it leaves of the first is network, Raft, the kernel, and memory that is not near any more.

use std::fmt::Write as _;
use std::process::ExitCode;

use meridian_dialect::line_protocol::{self, Heads, Line, Precision};
use meridian_env::real;
use meridian_frame::{FrameBuilder, Place, PushError};
use meridian_types::{Map, SeriesKey, SeriesNumber, Timestamp};
use serde_json::{Value, json};

use crate::bars::BarsError;
use crate::compare::{Bench, CompareError};
use crate::cpu::{Thread, ThreadTime};
use crate::drive::{Driven, Way, drive, router};
use crate::engine::{self, Stage};
use crate::feed::{Feed, Round};
use crate::generate::Shape;
use crate::load::{LoadError, Mode};
use crate::servers::{Product, Server, unless_interrupted};

/// What to profile.
#[derive(clap::Args, Clone, Debug)]
#[command(mut_arg("rows_per_batch", |arg| arg.default_value("10000")))]
pub(crate) struct Args {
    #[command(flatten)]
    bench: Bench,
    #[command(flatten)]
    shape: Shape,
    /// How points travel.
    #[arg(long, value_enum, default_value_t = Mode::Lines)]
    mode: Mode,
    /// Print one JSON object instead of tables.
    #[arg(long)]
    json: bool,
}

/// Replicas and shards of a cluster that `dev` starts.
const REPLICAS: u32 = 3;
const SHARDS: u32 = 8;

/// Of the frames that are made alone: the name costs nothing a point.
const MEASUREMENT: &str = "m";

/// What threads do, by how their names begin. Linux cuts names at 15 bytes.
const GROUPS: [(&str, &str, &str); 7] = [
    ("tokio-rt", "runtime", "HTTP, gRPC and Raft; small frames checked"),
    ("meridian-scan", "scan", "lines read, frames made and checked"),
    ("meridian-log", "log", "entries appended and synced"),
    ("meridian-answe", "answer", "the same where a client waits: frames checked, read, laid into the head"),
    ("meridian-apply", "apply", "frames read, rows into the head, packed"),
    ("meridian-flush", "flush", "the head into blocks"),
    ("meridian-compac", "compact", "blocks into larger ones"),
];
const OTHERS: (&str, &str) = ("others", "the catalogue, and threads that ended");

/// CPU nanoseconds a point of some threads.
#[derive(Clone, PartialEq, Debug)]
struct Group {
    name: &'static str,
    what: &'static str,
    user: f64,
    kernel: f64,
}

/// One stage on one thread.
#[derive(Clone, PartialEq, Debug)]
struct Alone {
    stage: &'static str,
    /// CPU nanoseconds a point that passes through it.
    nanos: f64,
    /// How often a point passes through it in the whole cluster.
    times: u32,
}

#[derive(Debug)]
struct Profile {
    points: u64,
    groups: Vec<Group>,
    /// CPU nanoseconds a point of a flush of all that is still in memory.
    closing: f64,
    alone: Vec<Alone>,
}

/// Makes the run and gives its report.
pub(crate) fn start(args: &Args) -> Result<(String, ExitCode), BarsError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CompareError::Start)?;
    let done = runtime.block_on(unless_interrupted(profile(args))).map_err(CompareError::Start)?;
    let profile = done.ok_or(CompareError::Interrupted)??;
    let text = if args.json { profile.json(args) } else { profile.tables(args) };
    Ok((text, ExitCode::SUCCESS))
}

async fn profile(args: &Args) -> Result<Profile, BarsError> {
    let env = real::env().map_err(CompareError::Start)?;
    let (program, parent, shape) = (args.bench.program()?, args.bench.parent(), &args.shape);
    let mut server = Server::start(&env, Product::Meridian, &program, &parent).await?;
    // The first round meets the series and grows the memory, the second is the one that counts.
    let lengths = [shape.points, shape.points];
    let mut feed = match args.mode {
        Mode::Lines => Feed::lines(&env, shape, &lengths)?,
        Mode::Frames => Feed::frames(&env, router(&env, &server), shape, &lengths).await?,
    };
    let way = Way { mode: args.mode, concurrency: 8, rate: None };
    let first = drive(&env, &server, way, shape, &feed.round(shape.points)?).await?;
    let round = feed.round(shape.points)?;
    let driven = drive(&env, &server, way, shape, &round).await?;
    let closing = server.close().await? * 1e9 / (first.tally.points + driven.tally.points) as f64;
    drop(server);
    let mut alone = Vec::new();
    // An engine has the series of one shard, and a frame is for one: that which comes with `frames`, or its part of one body.
    let (checks, parts) = match args.mode {
        Mode::Lines => {
            alone.extend(lines_alone(&round)?);
            (1 + REPLICAS, SHARDS) // by the leader that proposes, and by whoever applies
        }
        Mode::Frames => (2 + REPLICAS, 1), // by the router, too
    };
    let (series, rows_per_batch) = (shape.series.div_ceil(SHARDS), shape.rows_per_batch.div_ceil(parts));
    let shape = Shape { series, rows_per_batch, ..shape.clone() };
    let stages = [("check a frame", Stage::Check, checks), ("write", Stage::Write, REPLICAS)];
    let figures = engine::alone(&parent, &shape)?;
    let stages = stages.into_iter().chain([("flush", Stage::Flush, REPLICAS), ("merge", Stage::Compact, REPLICAS)]);
    alone.extend(stages.map(|(stage, of, times)| Alone { stage, nanos: figures.nanos_a_point(of)[0], times }));
    Ok(Profile { points: driven.tally.points, groups: groups(&driven), closing, alone })
}

/// What the threads of a run did, by what they are for. What is left of the whole is that of the others.
fn groups(driven: &Driven) -> Vec<Group> {
    let [before, after] = &driven.threads;
    let used = |thread: &Thread| {
        let at_first = before.iter().find(|one| one.number == thread.number);
        let [user, kernel] = at_first.map_or([0.0; 2], |one| [one.user, one.kernel]);
        [thread.user - user, thread.kernel - kernel]
    };
    let a_point = 1e9 / driven.tally.points as f64;
    let mut groups = Vec::new();
    for (prefix, name, what) in GROUPS {
        let of_group = after.iter().filter(|thread| thread.name.starts_with(prefix)).map(used);
        let [user, kernel] = of_group.fold([0.0; 2], |sum, one| [sum[0] + one[0], sum[1] + one[1]]);
        groups.push(Group { name, what, user: user * a_point, kernel: kernel * a_point });
    }
    let told: f64 = groups.iter().map(|group| group.user + group.kernel).sum();
    let (name, what) = OTHERS;
    groups.push(Group { name, what, user: (driven.cpu_seconds * a_point - told).max(0.0), kernel: 0.0 });
    groups
}

/// Heads that were met before, as a router remembers them.
#[derive(Default)]
struct Met(Map<String, SeriesNumber>);

impl Heads for Met {
    type Series = SeriesNumber;

    fn known(&mut self, head: &str) -> Option<SeriesNumber> {
        self.0.get(head).copied()
    }

    fn learn(&mut self, head: &str, _measurement: &str, _key: SeriesKey) -> SeriesNumber {
        let number = SeriesNumber(self.0.len() as u32); // a shape has at most ten million
        self.0.insert(head.to_owned(), number);
        number
    }
}

/// A frame in the making, and where the rows of each series go in it.
#[derive(Default)]
struct Making {
    frame: FrameBuilder,
    places: Map<u32, Place>,
}

impl Making {
    /// Adds a line; a frame that is full for it is ended, and the line begins the next.
    fn push(&mut self, line: &Line<'_, SeriesNumber>, time: Timestamp) -> Result<(), PushError> {
        match self.try_push(line, time) {
            Err(PushError::FrameFull { .. }) if !self.frame.is_empty() => {
                std::hint::black_box(std::mem::take(self).frame.finish());
                self.try_push(line, time)
            }
            pushed => pushed,
        }
    }

    fn try_push(&mut self, line: &Line<'_, SeriesNumber>, time: Timestamp) -> Result<(), PushError> {
        let number = line.series;
        let place = match self.places.get(&number.0) {
            Some(place) => *place,
            None => {
                let place = self.frame.by_number(MEASUREMENT, number, 0)?;
                self.places.insert(number.0, place);
                place
            }
        };
        self.frame.push_shaped(place, time, line.fields, line.shape)
    }
}

/// Bodies read, and then read and made into frames.
fn lines_alone(round: &Round) -> Result<[Alone; 2], BarsError> {
    let (mut met, cpu) = (Met::default(), ThreadTime::of_this().map_err(engine::EngineError::Cpu)?);
    let mut read = |make: bool| -> Result<(), BarsError> {
        for batch in &round.batches {
            let mut making = Making::default();
            let told = line_protocol::read(&batch.body, Precision::Nanos, &mut met, |line| {
                let line = line.expect("the server has taken each of them");
                let time = line.time.expect("the generator writes it");
                if make {
                    return making.push(&line, time);
                }
                std::hint::black_box(&line);
                Ok(())
            });
            told.map_err(LoadError::from)?;
            std::hint::black_box(making.frame.finish());
        }
        Ok(())
    };
    read(false)?; // all heads are met, all names known
    let mut nanos = [0.0; 2];
    for (make, nanos) in [false, true].into_iter().zip(&mut nanos) {
        let before = cpu.nanos().map_err(engine::EngineError::Cpu)?;
        read(make)?;
        let used = cpu.nanos().map_err(engine::EngineError::Cpu)? - before;
        *nanos = used as f64 / round.points as f64;
    }
    let [read, both] = nanos;
    let alone = |stage, nanos| Alone { stage, nanos, times: 1 };
    Ok([alone("read lines", read), alone("make frames", (both - read).max(0.0))])
}

impl Profile {
    fn in_all(&self) -> f64 {
        self.groups.iter().map(|group| group.user + group.kernel).sum::<f64>() + self.closing
    }

    fn alone_in_all(&self) -> f64 {
        self.alone.iter().map(|alone| alone.nanos * f64::from(alone.times)).sum()
    }

    fn tables(&self, args: &Args) -> String {
        const TAKES_ALL: &str = "a String takes everything";
        let Shape { series, fields, rows_per_batch, .. } = args.shape;
        let mode = match args.mode {
            Mode::Lines => "lines",
            Mode::Frames => "frames",
        };
        let mut out = format!("{mode}, {series} series, {fields} fields, {rows_per_batch} rows a batch; ");
        writeln!(out, "{} points, {REPLICAS} replicas, fsync before every ack, all counted", self.points)
            .expect(TAKES_ALL);
        writeln!(out, "\n{:<60}{:>8}{:>8}{:>8}", "CPU nanoseconds a point, by thread", "program", "kernel", "")
            .expect(TAKES_ALL);
        for Group { name, what, user, kernel } in &self.groups {
            let share = 100.0 * (user + kernel) / self.in_all();
            writeln!(out, "{name:<10}{what:<50}{user:>8.1}{kernel:>8.1}{share:>6.0} %").expect(TAKES_ALL);
        }
        let (what, share) = ("all that was left in memory into blocks", 100.0 * self.closing / self.in_all());
        writeln!(out, "{:<10}{what:<50}{:>8.1}{:>8}{share:>6.0} %", "end", self.closing, "").expect(TAKES_ALL);
        writeln!(out, "{:<60}{:>8.1}", "in all", self.in_all()).expect(TAKES_ALL);
        writeln!(out, "\n{:<60}{:>8}{:>8}{:>8}", "the same work on one thread alone", "", "times", "")
            .expect(TAKES_ALL);
        for Alone { stage, nanos, times } in &self.alone {
            writeln!(out, "{stage:<60}{nanos:>8.1}{times:>8}{:>8.1}", nanos * f64::from(*times)).expect(TAKES_ALL);
        }
        writeln!(out, "{:<76}{:>8.1}", "in all", self.alone_in_all()).expect(TAKES_ALL);
        out
    }

    fn json(&self, args: &Args) -> String {
        let group =
            |group: &Group| json!({ "threads": group.name, "user_nanos": group.user, "kernel_nanos": group.kernel });
        let alone = |alone: &Alone| json!({ "stage": alone.stage, "nanos": alone.nanos, "times": alone.times });
        let shape = &args.shape;
        let object = json!({
            "series": shape.series, "fields": shape.fields, "rows_per_batch": shape.rows_per_batch, "points": self.points,
            "by_thread": self.groups.iter().map(group).collect::<Value>(), "closing_nanos": self.closing,
            "nanos_in_all": self.in_all(), "alone": self.alone.iter().map(alone).collect::<Value>(),
            "alone_nanos_in_all": self.alone_in_all(),
        });
        format!("{object}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pace::Batch;

    fn profile() -> Profile {
        let group = |name, user| Group { name, what: "does it", user, kernel: 1.0 };
        let alone = vec![Alone { stage: "write", nanos: 2.0, times: 3 }];
        Profile { points: 10, groups: vec![group("scan", 3.0), group("others", 0.0)], closing: 5.0, alone }
    }

    #[test]
    fn what_is_told_adds_up() {
        assert!((profile().in_all() - 10.0).abs() < 1e-9 && (profile().alone_in_all() - 6.0).abs() < 1e-9);
    }

    /// A body that the server takes may have more than a frame has room for.
    #[test]
    fn what_one_frame_has_no_room_for_goes_into_several() {
        let fields = (0..100).map(|n| format!("f{n}={n}i")).collect::<Vec<_>>().join(",");
        let rows = meridian_types::limits::FRAME_BYTES_MAX as u64 / 800 + 1_000;
        let body: String = (0..rows).map(|n| format!("m,host=h{} {fields} {}\n", n % 7, 10 + n)).collect();
        let points = 100 * rows;
        let batch = Batch { body: body.into(), rows, points, points_before: 0, shard: None };
        let round = Round { batches: vec![batch], range: meridian_types::TimeRange::ALL, points };
        let stages = lines_alone(&round).expect("what does not fit into one begins the next").map(|alone| alone.stage);
        assert_eq!(stages, ["read lines", "make frames"]);
    }

    #[test]
    fn each_class_of_work_has_its_row() {
        for class in meridian_env::Class::ALL {
            // As Linux cuts it.
            let name: String = format!("meridian-{}-0", class.name()).chars().take(15).collect();
            assert!(GROUPS.iter().any(|(prefix, ..)| name.starts_with(prefix)), "{name}");
        }
    }
}
