//! The kernels on the way of a point, each alone: codecs, frames, lines, the series that a query is about, and its run over one
//! shard. `cargo bench -p meridian-benches` tells nanoseconds and points a second of each; what they come to together, `engine`, `load` and `queries` tell.
//!
//! Never measures the making of its own data, and checks what a kernel gives before it is timed.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use meridian_dialect::line_protocol::{self, Heads, Precision};
use meridian_engine::{Engine, Point};
use meridian_env::{Rng, real};
use meridian_frame::{Frame, FrameBuilder, codec};
use meridian_query::{
    Aggregate, Batch, Column, CompareOp, Condition, MatchOp, Matcher, Merge, Needed, Plan, SeriesRows, Values, Window,
    execute,
};
use meridian_types::{
    DatabaseId, Duration, FieldType, Map, SeriesKey, SeriesNumber, TimeRange, Timestamp, Value, ValueRef,
};

/// Values of a column, as many as are encoded together.
const VALUES: usize = codec::VALUES_MAX;
const FIELDS: [&str; 10] =
    ["user", "system", "idle", "nice", "iowait", "irq", "softirq", "steal", "guest", "guest_nice"];
/// Rows of a frame or a body.
const ROWS: usize = 1_000;
const SERIES: u32 = 100;
/// Series of a shard in which some are looked for.
const HOSTS: usize = 100_000;
const STEP_NANOS: i64 = 10_000_000_000;
const DAY_NANOS: i64 = 86_400_000_000_000;
const DATABASE: DatabaseId = DatabaseId(1);

criterion_group!(kernels, codecs, frames, lines, tags, queries, blocks);
criterion_main!(kernels);

/// A walk between 0 and 100 in steps of -2 to 2, as TSBS makes them.
fn walk(rng: &Rng, count: usize) -> Vec<i64> {
    let mut value = 50;
    let step = |_| {
        value = (value + i64::from((rng.u64() & 15).count_ones()) - 2).clamp(0, 100);
        value
    };
    (0..count).map(step).collect()
}

fn codecs(criterion: &mut Criterion) {
    let rng = Rng::from_seed(1);
    let integers = walk(&rng, VALUES);
    let times: Vec<i64> = (0..VALUES as i64).map(|row| row * STEP_NANOS).collect();
    let wide: Vec<i64> = (0..VALUES).map(|_| (rng.u64() >> 24).cast_signed()).collect();
    for (name, values) in [("walk", &integers), ("times", &times), ("40 bits", &wide)] {
        column(criterion, name, values, codec::encode_i64, codec::decode_i64);
    }
    let decimals: Vec<f64> = integers.iter().map(|value| 20.0 + *value as f64 / 100.0).collect();
    let doubles: Vec<f64> = (0..VALUES).map(|_| rng.u64() as f64 / u64::MAX as f64).collect();
    for (name, values) in [("two decimals", &decimals), ("doubles", &doubles)] {
        column(criterion, name, values, codec::encode_f64, codec::decode_f64);
    }
}

type Decode<T> = fn(u8, &[u8], usize, &mut Vec<T>) -> Result<(), codec::CodecError>;

/// One column, packed and read back.
fn column<T: Copy + PartialEq + std::fmt::Debug>(
    criterion: &mut Criterion,
    name: &str,
    values: &[T],
    encode: fn(&[T], &mut Vec<u8>) -> codec::Encoding,
    decode: Decode<T>,
) {
    let (mut bytes, mut back) = (Vec::new(), Vec::new());
    let encoding = encode(values, &mut bytes) as u8;
    decode(encoding, &bytes, values.len(), &mut back).expect("what was encoded");
    assert_eq!(back, values, "{name}");
    let mut group = criterion.benchmark_group(format!("codec/{name}, {} bytes", bytes.len()));
    group.throughput(Throughput::Elements(values.len() as u64));
    let mut out = Vec::new();
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            out.clear();
            encode(black_box(values), &mut out)
        });
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            back.clear();
            decode(encoding, black_box(&bytes), values.len(), &mut back)
        });
    });
    group.finish();
}

fn time(row: usize) -> Timestamp {
    Timestamp::default().saturating_add(row as i64 * STEP_NANOS)
}

fn frame(values: &[i64]) -> Bytes {
    let mut builder = FrameBuilder::new();
    let places: Vec<_> = (0..SERIES)
        .map(|number| builder.by_number("cpu", SeriesNumber(number), number).expect("a good name"))
        .collect();
    for (row, values) in values.chunks_exact(FIELDS.len()).enumerate() {
        let fields: [_; FIELDS.len()] = std::array::from_fn(|field| (FIELDS[field], ValueRef::I64(values[field])));
        let place = places[row % places.len()];
        builder.push_at(place, time(row / places.len()), &fields).expect("it fits");
    }
    builder.finish()
}

fn frames(criterion: &mut Criterion) {
    let values = walk(&Rng::from_seed(2), ROWS * FIELDS.len());
    let bytes = frame(&values);
    assert_eq!(Frame::check(bytes.clone()).expect("a frame").points(), values.len());
    let mut group = criterion.benchmark_group(format!("frame of {} bytes", bytes.len()));
    group.throughput(Throughput::Elements(values.len() as u64));
    group.bench_function("build", |bencher| bencher.iter(|| frame(black_box(&values))));
    group.bench_function("check", |bencher| bencher.iter(|| Frame::check(black_box(&bytes).clone())));
    group.finish();
}

/// Heads of lines that were met before, as a router remembers them.
#[derive(Default)]
struct Met(Map<String, u32>);

impl Heads for Met {
    type Series = u32;

    fn known(&mut self, head: &str) -> Option<u32> {
        self.0.get(head).copied()
    }

    fn learn(&mut self, head: &str, _measurement: &str, _key: SeriesKey) -> u32 {
        let number = self.0.len() as u32;
        self.0.insert(head.to_owned(), number);
        number
    }
}

fn lines(criterion: &mut Criterion) {
    let values = walk(&Rng::from_seed(3), ROWS * FIELDS.len());
    let mut body = String::new();
    for (row, values) in values.chunks_exact(FIELDS.len()).enumerate() {
        let fields: Vec<_> = FIELDS.iter().zip(values).map(|(name, value)| format!("{name}={value}i")).collect();
        let (host, time) = (row % SERIES as usize, time(row).nanos());
        body += &format!("cpu,host=host_{host},region=eu-west-1 {} {time}\n", fields.join(","));
    }
    let mut met = Met::default();
    let mut read = |body: &str| {
        let mut points = 0;
        let done = line_protocol::read(body.as_bytes(), Precision::Nanos, &mut met, |line| {
            points += line.map_or(0, |line| line.fields.len());
            Ok::<_, std::convert::Infallible>(())
        });
        done.map(|()| points)
    };
    assert_eq!(read(&body), Ok(values.len()));
    let mut group = criterion.benchmark_group(format!("lines of {} bytes", body.len()));
    group.throughput(Throughput::Elements(values.len() as u64));
    group.bench_function("read", |bencher| bencher.iter(|| read(black_box(&body))));
    group.finish();
}

/// A shard of many hosts with a row each.
fn shard() -> Engine {
    let mut engine = Engine::new(5);
    let hosts: Vec<usize> = (0..HOSTS).collect();
    for some in hosts.chunks(ROWS) {
        let mut builder = FrameBuilder::new();
        for host in some {
            let (name, rack) = (format!("host_{host}"), (host % 97).to_string());
            let key = SeriesKey::from_tags(&mut [("host", &*name), ("rack", &rack), ("region", "eu-west-1")]);
            let fields = [("user", ValueRef::I64(1))];
            builder.push("cpu", &key.expect("good tags"), time(0), &fields).expect("it fits");
        }
        let frame = Frame::check(builder.finish()).expect("a frame");
        engine.write(DatabaseId(1), &frame).expect("an empty engine takes it");
    }
    engine
}

fn tags(criterion: &mut Criterion) {
    let engine = shard();
    let mut group = criterion.benchmark_group(format!("tags of {HOSTS} series"));
    for (tag, op, value, found) in [
        ("host", MatchOp::Eq, "host_777", 1),
        ("host", MatchOp::Re, "host_77.", 10),
        ("rack", MatchOp::Re, "7.?", 11_341),
    ] {
        let matcher = Matcher::new(tag, op, value).expect("a good pattern");
        let plan = Plan::builder("cpu", TimeRange::ALL).fields([("user".to_owned(), FieldType::I64)]);
        let plan = plan.matchers([matcher]).build().expect("a plan");
        assert_eq!(engine.view(DatabaseId(1), &plan).series(&Needed::of(&plan)).count(), found);
        group.bench_function(format!("view of {tag}{op}{value}"), |bencher| {
            bencher.iter(|| engine.view(DatabaseId(1), black_box(&plan)));
        });
    }
    group.finish();
}

/// The rows of some series, as the engine hands them over.
fn series(rows: usize) -> Vec<SeriesRows> {
    let rng = Rng::from_seed(4);
    let one = |host| SeriesRows {
        key: SeriesKey::from_tags(&mut [("host", &*format!("host_{host}"))]).expect("good tags"),
        times: (0..rows).map(|row| time(row).nanos()).collect(),
        columns: FIELDS.iter().map(|_| Some(Column::I64(Values::dense(walk(&rng, rows))))).collect(),
        known: Vec::new(),
    };
    (0..10).map(one).collect()
}

fn queries(criterion: &mut Criterion) {
    let minute = Duration::from_nanos(60_000_000_000).expect("positive");
    let fields = || FIELDS.iter().map(|name| ((*name).to_owned(), FieldType::I64));
    let windows = Plan::builder("cpu", TimeRange::ALL)
        .fields(fields())
        .aggregates([Aggregate::Max])
        .window(Some(Window { every: minute, offset: Duration::default() }))
        .group_by(["host".to_owned()])
        .build()
        .expect("a plan");
    let raw = Plan::builder("cpu", TimeRange::ALL).fields(fields()).build().expect("a plan");
    let series = series(ROWS);
    let points = (series.len() * ROWS * FIELDS.len()) as u64;
    for (name, plan) in [("windows of six rows", &windows), ("raw rows", &raw)] {
        let run = || execute(plan, black_box(&series).iter().cloned(), &Needed::of(plan)).expect("it is small");
        let sent: Vec<Vec<u8>> = run().map(|batch| batch.encode()).collect();
        let merged = |sent: &[Vec<u8>]| {
            let mut merge = Merge::new(plan.clone(), 1);
            sent.iter().for_each(|bytes| merge.push(0, Batch::decode(plan, bytes).expect("what was encoded")));
            merge.finish_input(0);
            merge.take().expect("nothing overflows").len()
        };
        assert!(merged(&sent) > 0);
        let mut group = criterion.benchmark_group(format!("query/{name}"));
        group.throughput(Throughput::Elements(points));
        group.bench_function("run and encode", |bencher| {
            bencher.iter(|| run().map(|batch| batch.encode().len()).sum::<usize>());
        });
        group.bench_function("decode and merge", |bencher| bencher.iter(|| merged(black_box(&sent))));
        group.finish();
    }
}

/// A shard that has three days of some series in blocks.
fn stored(dir: &std::path::Path, hosts: usize) -> Engine {
    let env = real::env().expect("a machine");
    let mut engine = Engine::open(env.disk, dir, "bench", 1).expect("an empty directory");
    let (rng, rows) = (Rng::from_seed(5), (3 * DAY_NANOS / STEP_NANOS) as usize);
    for host in 0..hosts {
        let key = SeriesKey::from_tags(&mut [("host", &*format!("host_{host}"))]).expect("good tags");
        let walks = FIELDS.map(|_| walk(&rng, rows));
        for some in (0..rows).collect::<Vec<_>>().chunks(ROWS) {
            let mut builder = FrameBuilder::new();
            for row in some {
                let fields: [_; FIELDS.len()] =
                    std::array::from_fn(|field| (FIELDS[field], ValueRef::I64(walks[field][*row])));
                builder.push("cpu", &key, time(*row), &fields).expect("it fits");
            }
            let frame = Frame::check(builder.finish()).expect("a frame");
            engine.write(DATABASE, &frame).expect("nothing refuses it");
        }
    }
    let point = Point { index: 1, mark: Vec::new(), state: Vec::new() };
    let flush = engine.freeze(point, |_| DAY_NANOS).expect("there are rows");
    let outcome = flush.run().expect("the disk is fine");
    engine.install(outcome);
    engine
}

/// Queries from files to batches, by what they can leave undecoded.
fn blocks(criterion: &mut Criterion) {
    let (dir, hosts) = (tempfile::tempdir().expect("a directory"), 10);
    let engine = stored(dir.path(), hosts);
    let all = || FIELDS.iter().map(|name| ((*name).to_owned(), FieldType::I64));
    let plan = |fields| Plan::builder("cpu", TimeRange::ALL).fields(all().take(fields)).group_by(["host".to_owned()]);
    let high = || {
        let condition = Condition { field: FIELDS[0].to_owned(), op: CompareOp::Gt, value: Value::I64(90) };
        [(condition, FieldType::I64)]
    };
    let every =
        |nanos| Some(Window { every: Duration::from_nanos(nanos).expect("positive"), offset: Duration::default() });
    let days = |fields| plan(fields).aggregates([Aggregate::Count, Aggregate::Max]).window(every(DAY_NANOS));
    let mut group = criterion.benchmark_group("blocks");
    group.throughput(Throughput::Elements((hosts as i64 * 3 * DAY_NANOS / STEP_NANOS) as u64));
    for (name, plan) in [
        ("ten columns where one is high", plan(10).conditions(high())),
        ("the column that is high", plan(1).conditions(high())),
        ("count and max of ten columns a day", days(10)),
        ("count and max of a column a day", days(1)),
        ("max of a column an hour", plan(1).aggregates([Aggregate::Max]).window(every(DAY_NANOS / 24))),
        ("ten columns raw", plan(10).group_limit(Some(20_000))),
        ("a column raw", plan(1)),
    ] {
        let plan = plan.build().expect("a plan");
        let run = || {
            let needed = Needed::of(&plan);
            let rows = engine.view(DATABASE, &plan).series(&needed).map(|rows| rows.expect("whole files"));
            execute(&plan, rows, &needed).expect("it is small").map(|batch| batch.len()).sum::<usize>()
        };
        assert!(run() > 0);
        group.bench_function(name, |bencher| bencher.iter(run));
    }
    group.finish();
}
