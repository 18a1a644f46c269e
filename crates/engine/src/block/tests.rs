//! What a block promises: what was written comes back, and anything else than what was written is an error.

mod damage;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use meridian_env::sim::{Faults, SimDisk};
use meridian_env::{Disk, File, MemoryFile, Rng};
use meridian_types::{DatabaseId, FieldType, SeriesNumber, TimeRange, Timestamp, Value};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;
use crate::chunk::Chunk;
use crate::tail::Tail;

/// Values by column.
type Row = (i64, BTreeMap<u16, Value>);
/// Chunks of rows, by series.
type Series = BTreeMap<u32, Vec<Vec<Row>>>;

const NUMBER: u64 = 7;
const DATABASE: DatabaseId = DatabaseId(3);
const HOME: SeriesNumber = SeriesNumber(0);

fn type_of(column: u16) -> FieldType {
    FieldType::ALL[usize::from(column % 5)]
}

/// Those of all columns, by number.
fn types() -> Vec<FieldType> {
    (0..70).map(type_of).collect()
}

/// A value of a column's type, of a kind that is found in the wild or hard to keep.
fn value(column: u16, seed: u64) -> Value {
    match type_of(column) {
        FieldType::F64 if seed.is_multiple_of(3) => Value::F64(f64::from_bits(seed)),
        FieldType::F64 => Value::F64((seed >> 45) as f64 / 100.0),
        FieldType::I64 => Value::I64(seed.cast_signed() >> (seed % 61)),
        FieldType::U64 => Value::U64(seed >> (seed % 61)),
        FieldType::Bool => Value::Bool(seed.is_multiple_of(2)),
        FieldType::Str if seed.is_multiple_of(4) => Value::Str(format!("{seed}")),
        FieldType::Str => Value::Str(["", "on", "é"][(seed % 3) as usize].to_owned()),
    }
}

fn chunk(rows: &[Row]) -> Chunk {
    let mut tail = Tail::new(2);
    for (time, values) in rows {
        tail.push(*time, values.iter().map(|(column, value)| (*column, value.as_ref())));
    }
    Chunk::seal(&tail)
}

fn rows(chunk: &Chunk) -> Vec<Row> {
    let value = |kind, cell: u64| match kind {
        FieldType::F64 => Value::F64(f64::from_bits(cell)),
        FieldType::I64 => Value::I64(cell.cast_signed()),
        FieldType::U64 => Value::U64(cell),
        FieldType::Bool => Value::Bool(cell != 0),
        FieldType::Str => Value::Str(chunk.string(cell).to_owned()),
    };
    let values = |row| {
        let cells = chunk.columns().iter().filter_map(|column| Some((column.number(), column.get(row)?)));
        cells.map(|(number, cell)| (number, value(type_of(number), cell))).collect()
    };
    chunk.times().iter().enumerate().map(|(row, time)| (*time, values(row))).collect()
}

fn all_rows(chunks: &[Chunk]) -> Vec<Vec<Row>> {
    chunks.iter().map(rows).collect()
}

fn write(disk: &dyn Disk, path: &Path, number: u64, series: &Series) -> io::Result<BlockMeta> {
    let mut writer = BlockWriter::create(disk, path, number, DATABASE)?;
    for (number, chunks) in series {
        let chunks: Vec<Chunk> = chunks.iter().map(|rows| chunk(rows)).collect();
        writer.series((HOME, SeriesNumber(*number)), &chunks, &types())?;
    }
    writer.finish()
}

fn disk() -> SimDisk {
    SimDisk::new(Rng::from_seed(1))
}

/// The bytes of a block with these series, and what the manifest keeps of it.
fn written(number: u64, series: &Series) -> (Vec<u8>, BlockMeta) {
    let (disk, path) = (disk().mount(), Path::new("/block"));
    let meta = write(&*disk, path, number, series).expect("written");
    (disk.read(path, u64::MAX).expect("read"), meta)
}

fn open(bytes: &[u8], meta: &BlockMeta) -> Result<Arc<Block>, BlockError> {
    Block::from_file(Arc::new(MemoryFile(Bytes::copy_from_slice(bytes))), Path::new("block"), meta).map(Arc::new)
}

/// The chunks of one series, read by themselves.
fn chunks_of(block: &Arc<Block>, number: u32, range: TimeRange) -> Result<Vec<Chunk>, BlockError> {
    read_chunks(&mut block.cursor(), SeriesNumber(number), range, Wanted::All)
}

fn read_chunks(
    cursor: &mut Cursor,
    series: SeriesNumber,
    range: TimeRange,
    wanted: Wanted<'_>,
) -> Result<Vec<Chunk>, BlockError> {
    let found = cursor.find(series, range, wanted)?.into_iter().map(|found| match found {
        Found::Lies(place) => cursor.open(&place, wanted, |opened| opened.decode(wanted)),
        Found::Read(chunk) => Ok(chunk),
    });
    found.collect()
}

fn range(start: i64, end: i64) -> TimeRange {
    let time = |nanos| Timestamp::new(nanos).expect("can be stored");
    TimeRange::new(time(start), time(end)).expect("not empty")
}

fn any_series() -> impl Strategy<Value = Series> {
    let step = prop_oneof![Just(10_000_000_000_i64), 1..1_000_000_000_000_i64];
    let row = (step, btree_map(0..70_u16, any::<u64>(), 1..4));
    // Few columns over many rows, or many columns over few rows.
    let narrow = (prop_oneof![Just(10_000_000_000_i64), 1..9_i64], btree_map(0..5_u16, any::<u64>(), 1..6));
    let rows = prop_oneof![vec(row, 1..12), vec(narrow, 1..150)];
    let chunks = (-1_000_000_000_000_000_i64..1_000_000_000_000_000, vec(rows, 1..4));
    let chunks = chunks.prop_map(|(mut time, chunks)| {
        let row = |(step, seeds): (i64, BTreeMap<u16, u64>)| {
            time += step;
            (time, seeds.into_iter().map(|(column, seed)| (column, value(column, seed))).collect())
        };
        let mut row = row;
        chunks.into_iter().map(|rows| rows.into_iter().map(&mut row).collect()).collect()
    });
    let few = chunks.clone().prop_map(|chunks: Vec<Vec<Row>>| chunks.into_iter().take(1).collect());
    let some = btree_map(prop_oneof![0..20_u32, any::<u32>()], chunks, 0..5);
    prop_oneof![some, btree_map(0..40_u32, few, 0..30)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_was_written_comes_back(series in any_series(), start in -2_000_000_000_000_000_i64..1_000_000_000_000_000) {
        let (bytes, meta) = written(NUMBER, &series);
        let all = || series.values().flatten().flatten();
        prop_assert_eq!((meta.number, meta.database, meta.bytes), (NUMBER, DATABASE, bytes.len() as u64));
        prop_assert_eq!((meta.series as usize, meta.rows as usize), (series.len(), all().count()));
        prop_assert_eq!(meta.points as usize, all().map(|(_, values)| values.len()).sum::<usize>());
        prop_assert_eq!(meta.time_min, all().map(|row| row.0).min().unwrap_or(i64::MAX));
        prop_assert_eq!(meta.time_max, all().map(|row| row.0).max().unwrap_or(i64::MIN));
        let file = MemoryFile(Bytes::copy_from_slice(&bytes));
        prop_assert_eq!(&BlockMeta::of_file(&file, Path::new("block")).expect("a block"), &meta);
        prop_assert_eq!(read_any(&bytes), Ok(meta.points));

        let block = open(&bytes, &meta).expect("opened");
        block.verify().expect("as written");
        let part = range(start, start + 1_000_000_000_000_000);
        let mut cursor: Cursor = block.cursor();
        let mut walk = Walk::begin(&block).expect("read");
        for (number, chunks) in &series {
            let number = SeriesNumber(*number);
            prop_assert_eq!(walk.number(), Some(number));
            let sealed = walk.sealed(TimeRange::ALL).expect("read");
            let walked: Vec<Vec<Row>> = sealed.iter().map(|one| rows(&one.chunk(Wanted::All).expect("good"))).collect();
            prop_assert_eq!(&walked, chunks);
            walk.pass().expect("read");
            let times = || chunks.iter().flatten().map(|row| row.0);
            prop_assert_eq!(cursor.span(number).expect("read"), times().min().zip(times().max()));
            let read = read_chunks(&mut cursor, number, TimeRange::ALL, Wanted::All).expect("read");
            prop_assert_eq!(&all_rows(&read), chunks);
            let wanted = [1, 3, 4, 66];
            let some = read_chunks(&mut cursor, number, TimeRange::ALL, Wanted::Only(&wanted)).expect("read");
            let only = |(time, values): &Row| {
                (*time, values.iter().filter(|(column, _)| wanted.contains(column)).map(|(c, v)| (*c, v.clone())).collect())
            };
            // A chunk that others share may have been read for what was wanted before.
            let some: Vec<Vec<Row>> = all_rows(&some).iter().map(|rows| rows.iter().map(only).collect()).collect();
            let only: Vec<Vec<Row>> = chunks.iter().map(|rows| rows.iter().map(only).collect()).collect();
            prop_assert_eq!(some, only);
            let inside = |rows: &&Vec<Row>| crate::tail::overlaps(rows[0].0, rows[rows.len() - 1].0, part);
            let inside: Vec<Vec<Row>> = chunks.iter().filter(inside).cloned().collect();
            prop_assert_eq!(all_rows(&chunks_of(&block, number.0, part).expect("read")), inside);
        }
        prop_assert_eq!(walk.number(), None);
        let absent = (0..).find(|number| !series.contains_key(number)).map(SeriesNumber).expect("few are taken");
        prop_assert!(chunks_of(&block, absent.0, TimeRange::ALL).expect("read").is_empty());
        prop_assert!(read_chunks(&mut cursor, absent, TimeRange::ALL, Wanted::All).expect("read").is_empty());
    }

    #[test]
    fn any_bytes_are_a_block_or_an_error(bytes in vec(any::<u8>(), 0..300), rows in 0..100_u16, columns in 0..3_u16) {
        prop_assert!(read_any(&bytes).is_err());
        let body = [&rows.to_le_bytes()[..], &columns.to_le_bytes(), &[1, 8, 0, 0, 0], &bytes].concat();
        let _ = body::decode_any(&body);
    }
}

/// So many series of so many rows.
fn many(count: u32, rows: i64) -> Series {
    let row = |number: u32, row| (i64::from(number) + row, BTreeMap::from([(1, Value::I64(number.into()))]));
    (0..count).map(|number| (3 * number, vec![(0..rows).map(|at| row(number, at)).collect()])).collect()
}

/// Too many rows for a chunk that others share.
const OWN: i64 = 33;

/// Counts what is read of a file.
#[derive(Debug)]
struct Counting {
    bytes: MemoryFile,
    reads: AtomicU64,
}

impl File for Counting {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.bytes.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.bytes.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.bytes.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.bytes.len()
    }

    fn reserve_zeroed(&self, to: u64) -> io::Result<()> {
        self.bytes.reserve_zeroed(to)
    }
}

#[test]
fn a_scan_reads_each_page_once() {
    let (bytes, meta) = written(NUMBER, &many(1_000, OWN));
    let file = Arc::new(Counting { bytes: MemoryFile(Bytes::copy_from_slice(&bytes)), reads: AtomicU64::new(0) });
    let shared: Arc<dyn File> = Arc::<Counting>::clone(&file);
    let block = Arc::new(Block::from_file(shared, Path::new("block"), &meta).expect("opened"));
    assert_eq!(file.reads.swap(0, Ordering::Relaxed), 3, "header, footer, page table");
    let (mut cursor, mut seen) = (block.cursor(), 0);
    for number in (0..1_000).map(|number| SeriesNumber(3 * number)) {
        seen += read_chunks(&mut cursor, number, TimeRange::ALL, Wanted::All).expect("read").len();
    }
    assert_eq!((seen, file.reads.swap(0, Ordering::Relaxed)), (1_000, 1_000 + 4));
    let mut walk = Walk::begin(&block).expect("read");
    while walk.number().is_some() {
        seen -= walk.sealed(TimeRange::ALL).expect("read").len();
        walk.pass().expect("read");
    }
    assert_eq!((seen, file.reads.swap(0, Ordering::Relaxed)), (0, 4 + 1), "pages, and all of the chunks at once");
    assert!(chunks_of(&block, 3 * 700, range(0, 700)).expect("read").is_empty());
    assert_eq!(file.reads.swap(0, Ordering::Relaxed), 1, "the page says that no row is in the range");
    for number in [1, 3 * 255 + 1, 3 * 256 - 1, 3 * 999 + 1, u32::MAX] {
        assert!(
            read_chunks(&mut cursor, SeriesNumber(number), TimeRange::ALL, Wanted::All).expect("read").is_empty(),
            "{number}"
        );
    }
    block.verify().expect("as written");
}

#[test]
fn series_of_few_rows_share_chunks() {
    let series = many(1_000, 2);
    let (bytes, meta) = written(NUMBER, &series);
    assert!(bytes.len() < 2 * 8 * 1_000, "{} bytes", bytes.len());
    let file = Arc::new(Counting { bytes: MemoryFile(Bytes::copy_from_slice(&bytes)), reads: AtomicU64::new(0) });
    let shared: Arc<dyn File> = Arc::<Counting>::clone(&file);
    let block = Arc::new(Block::from_file(shared, Path::new("block"), &meta).expect("opened"));
    file.reads.store(0, Ordering::Relaxed);
    let mut cursor = block.cursor();
    for (number, chunks) in &series {
        assert!(
            read_chunks(&mut cursor, SeriesNumber(number + 1), TimeRange::ALL, Wanted::All).expect("read").is_empty()
        );
        let number = SeriesNumber(*number);
        assert_eq!(all_rows(&read_chunks(&mut cursor, number, TimeRange::ALL, Wanted::All).expect("read")), *chunks);
    }
    assert_eq!(file.reads.load(Ordering::Relaxed), 1 + 2, "a page and two chunks");
    let whole = |before: Option<u32>, range| {
        let mut walk = Walk::begin(&block).expect("read");
        let whole = walk.take_shared(before.map(SeriesNumber), range).expect("read");
        (whole.map(|whole| whole.ends()), walk.number())
    };
    let ends = (SeriesNumber(0), SeriesNumber(3 * 511));
    assert_eq!(whole(None, TimeRange::ALL), (Some(ends), Some(SeriesNumber(3 * 512))));
    for (before, range) in [(Some(3 * 511), TimeRange::ALL), (None, range(1, 5_000))] {
        assert_eq!(whole(before, range), (None, Some(SeriesNumber(0))), "{before:?} {range:?}");
    }
    let mut walk = Walk::begin(&block).expect("read");
    walk.pass().expect("read");
    assert!(walk.take_shared(None, TimeRange::ALL).expect("read").is_none(), "its first series was passed");
}

#[test]
fn measurements_share_no_chunk() {
    let (disk, path) = (disk().mount(), Path::new("/block"));
    let mut writer = BlockWriter::create(&*disk, path, NUMBER, DATABASE).expect("created");
    let row = |column: u16, value: Value| chunk(&[(5, BTreeMap::from([(column, value)]))]);
    for (home, number) in [(0, 0), (1, 1), (1, 2)].map(|(home, number)| (SeriesNumber(home), SeriesNumber(number))) {
        // The same column has another type in the other measurement.
        let types = [if home.0 == 0 { FieldType::I64 } else { FieldType::F64 }];
        writer.series((home, number), [&row(0, Value::F64(f64::from(number.0)))], &types).expect("written");
    }
    let meta = writer.finish().expect("written");
    assert_eq!((meta.series, meta.rows), (3, 3));
    let block = Arc::new(Block::open(&*disk, path, &meta).expect("opened"));
    block.verify().expect("as written");
    let mut walk = Walk::begin(&block).expect("read");
    let mut few = || {
        let few = walk.few(TimeRange::ALL).expect("read");
        let from = walk.rows().map(|rows| rows.from);
        walk.pass().expect("read");
        few.zip(from)
    };
    assert_eq!([few(), few(), few()], [None, Some((SeriesNumber(2), 0)), Some((SeriesNumber(2), 1))]);
    assert_eq!(rows(&chunks_of(&block, 2, TimeRange::ALL).expect("read")[0]), rows(&row(0, Value::F64(2.0))));
}

/// A series that is read in parts: three full chunks of texts.
fn large() -> Series {
    let row = |time: i64| (time, BTreeMap::from([(4, Value::Str(format!("{time:060}"))), (1, Value::I64(time))]));
    let chunks = (0..3).map(|chunk| (chunk * 1_024..(chunk + 1) * 1_024).map(row).collect()).collect();
    BTreeMap::from([(5, chunks)])
}

#[test]
fn of_a_large_series_only_what_is_wanted_is_read() {
    let series = large();
    let (bytes, meta) = written(NUMBER, &series);
    let file = Arc::new(Counting { bytes: MemoryFile(Bytes::copy_from_slice(&bytes)), reads: AtomicU64::new(0) });
    let shared: Arc<dyn File> = Arc::<Counting>::clone(&file);
    let block = Arc::new(Block::from_file(shared, Path::new("block"), &meta).expect("opened"));
    file.reads.store(0, Ordering::Relaxed);
    let read = chunks_of(&block, 5, range(1_024, 2_048)).expect("read");
    assert_eq!(all_rows(&read), series[&5][1..2]);
    assert_eq!(file.reads.load(Ordering::Relaxed), 3, "page, directory, chunk");
    assert_eq!(all_rows(&chunks_of(&block, 5, TimeRange::ALL).expect("read")), series[&5]);
    block.verify().expect("as written");
}

#[test]
fn a_finished_block_survives_a_crash_and_a_full_disk_is_told() {
    let sim = disk();
    let (disk, path) = (sim.mount(), Path::new("/block"));
    let series = large();
    let meta = write(&*disk, path, NUMBER, &series).expect("written");
    disk.sync_dir(Path::new("/")).expect("synced");
    sim.crash();
    let disk = sim.mount();
    let block = Block::open(&*disk, path, &meta).expect("opened");
    block.verify().expect("as written");
    assert_eq!(block.file().len().expect("read"), meta.bytes);
    sim.set_faults(Faults { capacity_bytes: Some(meta.bytes + 10_000), ..Faults::default() });
    let error = write(&*disk, Path::new("/second"), 8, &series).expect_err("no room");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}

#[test]
fn series_without_rows_leave_nothing() {
    let (disk, path) = (disk().mount(), Path::new("/block"));
    let mut writer = BlockWriter::create(&*disk, path, NUMBER, DATABASE).expect("created");
    writer.series((HOME, SeriesNumber(1)), &[], &types()).expect("nothing");
    writer.series((HOME, SeriesNumber(2)), [&chunk(&[])], &types()).expect("nothing");
    let meta = writer.finish().expect("written");
    assert_eq!((meta.series, meta.rows, meta.points), (0, 0, 0));
    let block = Arc::new(Block::open(&*disk, path, &meta).expect("opened"));
    block.verify().expect("as written");
    assert_eq!(Walk::begin(&block).expect("read").number(), None);
}

/// One series with two chunks, presence and every type, one with enough rows for statistics, and three that share a chunk.
fn example() -> Series {
    let text = |text: &str| Value::Str(text.to_owned());
    let chunks = vec![
        vec![
            (1_000, BTreeMap::from([(0, Value::F64(21.5)), (1, Value::I64(-5)), (4, text("on"))])),
            (2_000, BTreeMap::from([(0, Value::F64(-0.0)), (2, Value::U64(u64::MAX)), (4, text("é"))])),
            (4_000, BTreeMap::from([(0, Value::F64(20.25)), (3, Value::Bool(true)), (4, text("on"))])),
        ],
        vec![(5_000, BTreeMap::from([(0, Value::F64(0.1))]))],
    ];
    let row = |i: i64| (i * 10, BTreeMap::from([(0, Value::F64(i as f64 / 4.0)), (1, Value::I64(i % 7))]));
    let few = |rows: &[Row]| vec![rows.to_vec()];
    BTreeMap::from([
        (3, chunks),
        (9, vec![(0..64).map(row).collect()]),
        (20, few(&[(7, BTreeMap::from([(1, Value::I64(4))]))])),
        (21, few(&[(3, BTreeMap::from([(4, text("é"))])), (9, BTreeMap::from([(1, Value::I64(5)), (4, text("on"))]))])),
        (23, few(&[(7, BTreeMap::from([(1, Value::I64(6))]))])),
    ])
}

/// 16 bytes a line.
fn dump(bytes: &[u8]) -> String {
    let line = |(at, line): (usize, &[u8])| {
        let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{:04x}: {}\n", at * 16, hex.join(" "))
    };
    bytes.chunks(16).enumerate().map(line).collect()
}

#[test]
fn golden_block() {
    let (bytes, meta) = written(NUMBER, &example());
    assert_eq!(dump(&bytes), include_str!("testdata/block_v2.txt"), "the format changed: raise its version");
    assert_eq!(meta.hash, xxhash_rust::xxh3::xxh3_128(&bytes));
}
