//! Many series of few rows: they share chunks, which are moved or gathered whole, and nothing must show it.

use std::path::Path;

use meridian_env::Rng;
use meridian_env::sim::SimHost;

use super::*;

/// One frame: a row of each of some series, all at one time.
#[derive(Clone, Debug)]
struct Sweep {
    first: u16,
    series: u16,
    /// Only one in so many has a row.
    step: u8,
    time: i64,
    measurement: u8,
    /// How many of two fields a row has; with a third, which is text.
    fields: u8,
    flush: bool,
}

fn sweep() -> impl Strategy<Value = Sweep> {
    let first = prop_oneof![3 => Just(0_u16), 1 => 0..900_u16];
    let fields = prop_oneof![6 => Just(1_u8), 2 => Just(2), 1 => Just(3)];
    let measurement = prop_oneof![5 => Just(0_u8), 1 => Just(1)];
    let step = prop_oneof![4 => Just(1_u8), 1 => 2..5_u8];
    let parts = (first, 1..1_300_u16, step, -3_i64..30, measurement, fields, prop::bool::weighted(0.7));
    parts.prop_map(|(first, series, step, time, measurement, fields, flush)| Sweep {
        first,
        series,
        step,
        time,
        measurement,
        fields,
        flush,
    })
}

fn frame_of(sweep: &Sweep, value: i64) -> Frame {
    let mut builder = FrameBuilder::new();
    let measurement = format!("m{}", sweep.measurement);
    for host in (sweep.first..sweep.first + sweep.series).step_by(sweep.step.into()) {
        let text = format!("{host}");
        let fields = [
            ("a", ValueRef::I64(value + i64::from(host % 7))),
            ("b", ValueRef::F64(f64::from(host) / 4.0)),
            ("c", ValueRef::Str(&text)),
        ];
        let fields = &fields[..sweep.fields.into()];
        builder.push(&measurement, &key(&text), at(sweep.time), fields).expect("valid");
    }
    Frame::check(builder.finish()).expect("valid")
}

fn point(index: u64) -> crate::Point {
    crate::Point { index, mark: Vec::new(), state: Vec::new() }
}

/// Runs what there is to do with the files, until there is nothing.
fn upkeep(engine: &mut Engine) {
    while let Some(task) = engine.upkeep() {
        let outcome = task.run().expect("the disk is fine");
        engine.install(outcome);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_series_share_is_what_each_has(sweeps in prop::collection::vec(sweep(), 1..14)) {
        let host = SimHost::new("n1", &Rng::from_seed(1));
        let open = || Engine::open(host.env_inline().disk, Path::new("/shard"), "s1/1/r1", 3).expect("whole files");
        let (mut engine, mut plain) = (open(), Engine::new(5));
        for (sweep, index) in sweeps.iter().zip(1..) {
            let frame = frame_of(sweep, index);
            for engine in [&mut engine, &mut plain] {
                engine.write(D1, &frame).expect("valid");
            }
            if !sweep.flush {
                continue;
            }
            let task = engine.freeze(point(index.cast_unsigned()), |_| 8).expect("there are rows");
            prop_assert_eq!(hash_of(&engine), hash_of(&plain), "while they are flushed");
            let outcome = task.run().expect("the disk is fine");
            engine.install(outcome);
            prop_assert_eq!(hash_of(&engine), hash_of(&plain), "from files");
            upkeep(&mut engine);
            prop_assert_eq!(hash_of(&engine), hash_of(&plain), "from merged files");
        }
        let index = sweeps.len() as u64 + 1;
        if let Some(task) = engine.freeze(point(index), |_| 8) {
            let outcome = task.run().expect("the disk is fine");
            engine.install(outcome);
        }
        drop(engine);
        prop_assert_eq!(hash_of(&open()), hash_of(&plain), "after a start");
    }
}

/// Each series has a row in each of eight flushes: no more than a few bytes of it on disk, however it is merged.
#[test]
fn a_series_of_a_row_a_flush_takes_little() {
    let host = SimHost::new("n1", &Rng::from_seed(1));
    let mut engine = Engine::open(host.env_inline().disk, Path::new("/shard"), "s1/1/r1", 3).expect("an empty disk");
    let (series, flushes) = (3_000, 8);
    let bytes =
        |engine: &Engine| engine.store.iter().flat_map(|store| &store.blocks).map(|b| b.record.meta.bytes).sum();
    for index in 1..=flushes {
        let sweep = Sweep { first: 0, series, step: 1, time: index * 10, measurement: 0, fields: 1, flush: true };
        engine.write(D1, &frame_of(&sweep, index)).expect("valid");
        let outcome =
            engine.freeze(point(index.cast_unsigned()), |_| 1_000).expect("rows").run().expect("the disk is fine");
        engine.install(outcome);
        let (rows, before): (i64, u64) = (index * i64::from(series), bytes(&engine));
        assert!(before < 4 * rows.cast_unsigned(), "{before} bytes for {rows} rows");
        upkeep(&mut engine);
    }
    assert!(engine.stats().blocks < 4, "they were merged");
    let plan = ask("m0", TimeRange::ALL, &[("a", FieldType::I64)], Vec::new());
    let found: usize =
        engine.view(D1, &plan).series(&Needed::of(&plan)).map(|one| one.expect("whole").times.len()).sum();
    assert_eq!(found, usize::from(series) * 8);
}
