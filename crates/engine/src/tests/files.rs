//! The engine with files against the same engine without: whatever is flushed, compacted, reopened, lost by a crash or
//! adopted from another replica, the answers are those of the log.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meridian_env::sim::{Faults, SimHost};
use meridian_env::{Disk, File, Lock, Open, Rng};
use meridian_query::Selection;

use super::*;
use crate::{Point, SnapshotContent, SnapshotFile, StoreError, Task};

const DIR: &str = "/shard";

/// One entry of the log.
#[derive(Clone, Debug)]
enum Entry {
    Write(DatabaseId, Vec<Row>),
    Delete(DatabaseId, Option<u8>, Option<u8>, i64, i64),
    Cutoff(DatabaseId, i64),
    Drop(DatabaseId),
}

/// What happens to the files.
#[derive(Clone, Debug)]
enum Step {
    Apply(Entry),
    Flush,
    /// The flush's files are written while the entries are applied.
    FlushDuring(Vec<Entry>),
    Upkeep,
    Reopen,
    /// The power goes while the job of a flush or of a merge runs, or just after it.
    Crash {
        flush: bool,
    },
    /// Another replica takes over what this one has on disk.
    Adopt,
}

fn entry() -> impl Strategy<Value = Entry> {
    let write = frames(12).prop_map(|mut frames| {
        let (database, rows) = frames.swap_remove(0);
        Entry::Write(database, rows)
    });
    let option = |max| prop_oneof![Just(None), (0..max).prop_map(Some)];
    let database = || (1_u32..3).prop_map(DatabaseId);
    let delete = (database(), option(2_u8), option(3_u8), -12_i64..16, 1_i64..12)
        .prop_map(|(database, m, host, start, len)| Entry::Delete(database, m, host, start, start + len));
    prop_oneof![
        12 => write,
        4 => delete,
        1 => (database(), -9_i64..12).prop_map(|(database, at)| Entry::Cutoff(database, at)),
        1 => Just(Entry::Drop(D2)),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => entry().prop_map(Step::Apply),
        6 => Just(Step::Flush),
        2 => prop::collection::vec(entry(), 1..4).prop_map(Step::FlushDuring),
        3 => Just(Step::Upkeep),
        1 => Just(Step::Reopen),
        1 => any::<bool>().prop_map(|flush| Step::Crash { flush }),
        1 => Just(Step::Adopt),
    ];
    prop::collection::vec(step, 1..60)
}

fn selection(measurement: Option<u8>, host: Option<u8>, start: i64, end: i64) -> Selection {
    let matchers = host.map(|host| Matcher::new("host", MatchOp::Eq, format!("h{host}")).expect("valid"));
    let range = TimeRange::new(at(start), at(end)).expect("not empty");
    let selection = Selection::builder(range).measurement(measurement.map(|m| format!("m{m}"))).matchers(matchers);
    selection.build().expect("valid")
}

fn apply(engine: &mut Engine, index: u64, entry: &Entry) {
    match entry {
        Entry::Write(database, rows) => drop(engine.write(*database, &encode(rows))),
        Entry::Delete(database, m, host, start, end) => {
            engine.delete(index, *database, selection(*m, *host, *start, *end));
        }
        Entry::Cutoff(database, cutoff) => engine.cut_off(*database, at(*cutoff)),
        Entry::Drop(database) => engine.drop_database(*database),
    }
}

/// One replica on a simulated disk, and the log that it applies.
struct Replica {
    host: SimHost,
    disk: Arc<dyn Disk>,
    engine: Engine,
    log: Vec<Entry>,
    /// The same log applied in memory alone.
    plain: Engine,
}

fn open(disk: &Arc<dyn Disk>) -> Engine {
    let mut engine = Engine::open(Arc::clone(disk), Path::new(DIR), "s1/1/r1", 3).expect("whole files");
    engine.chunk_rows_max = 4;
    engine
}

impl Replica {
    fn new(seed: u64) -> Self {
        let host = SimHost::new("n1", &Rng::from_seed(seed));
        let disk = host.env_inline().disk;
        Self { engine: open(&disk), host, disk, log: Vec::new(), plain: Engine::with_chunk_rows(5, 3) }
    }

    fn apply(&mut self, entry: Entry) {
        self.log.push(entry);
        let (index, entry) = (self.log.len() as u64, &self.log[self.log.len() - 1]);
        apply(&mut self.engine, index, entry);
        apply(&mut self.plain, index, entry);
    }

    fn freeze(&mut self) -> Option<Task> {
        let index = self.log.len() as u64;
        let point = Point { index, mark: index.to_le_bytes().to_vec(), state: vec![index as u8] };
        self.engine.freeze(point, |database| [7, 3][database.0 as usize % 2])
    }

    fn run(&mut self, task: Option<Task>) {
        if let Some(task) = task {
            let outcome = task.run().expect("the disk is fine");
            self.engine.install(outcome);
        }
    }

    /// Starts on the files, and applies what the log has beyond them.
    fn reopen(&mut self) {
        self.engine = open(&self.disk);
        self.replay();
    }

    fn replay(&mut self) {
        let durable = self.engine.durable();
        let index = durable.as_ref().map_or(0, |point| point.index);
        if let Some(point) = durable {
            assert_eq!((point.mark, point.state), (index.to_le_bytes().to_vec(), vec![index as u8]));
        }
        for (entry, at) in self.log.iter().zip(1..).skip(index as usize) {
            apply(&mut self.engine, at, entry);
        }
    }

    fn crash(&mut self, flush: bool) {
        let task = if flush { self.freeze() } else { self.engine.upkeep() };
        if let Some(task) = task {
            drop(task.run());
        }
        self.host.crash();
        self.disk = self.host.env_inline().disk;
        self.reopen();
    }

    /// A snapshot of this replica on the disk of an empty one, and the rest of the log.
    fn adopt(&mut self) {
        let host = SimHost::new("n2", &Rng::from_seed(self.log.len() as u64));
        let disk = host.env_inline().disk;
        let Some(received) = self.send(&disk) else { return };
        self.take_over(open(&disk), received);
        (self.host, self.disk) = (host, disk);
    }

    /// The files of a snapshot, as they arrive on a disk.
    fn send(&self, disk: &Arc<dyn Disk>) -> Option<Vec<(String, PathBuf)>> {
        disk.create_dir(Path::new("/incoming")).expect("a directory");
        let arrive = |file: SnapshotFile| {
            let path = Path::new("/incoming").join(&file.name);
            let bytes = match file.content {
                SnapshotContent::Memory(bytes) => bytes,
                SnapshotContent::File(from) => {
                    let mut bytes = vec![0; file.bytes as usize];
                    from.read_exact_at(&mut bytes, 0).expect("a file that is pinned");
                    bytes
                }
            };
            assert_eq!(xxhash_rust::xxh3::xxh3_128(&bytes), file.hash);
            disk.open(&path, Open::Create)
                .and_then(|to| to.write_at(&bytes, 0).and_then(|()| to.sync_data()))
                .expect("room");
            (file.name, path)
        };
        Some(self.engine.snapshot()?.into_iter().map(arrive).collect())
    }

    fn take_over(&mut self, mut engine: Engine, received: Vec<(String, PathBuf)>) {
        let outcome = engine.adopt(received, 3).run().expect("a whole snapshot");
        assert!(engine.install(outcome), "the content was replaced");
        engine.chunk_rows_max = 4;
        self.engine = engine;
        self.replay();
    }

    fn check(&self) {
        for database in [D1, D2] {
            for plan in [everything(0), everything(1)] {
                assert_eq!(
                    points(&plan, self.engine.view(database, &plan)),
                    points(&plan, self.plain.view(database, &plan)),
                );
            }
            needed::check(&self.engine, database);
            tags::check(&self.engine, database);
        }
        assert_eq!(hash_of(&self.engine), hash_of(&self.plain));
    }

    /// The files that are there are those that the manifest names.
    fn check_files(&self) {
        let there = self.disk.list(&Path::new(DIR).join("blocks")).expect("a directory");
        let store = self.engine.store.as_ref().expect("it has files");
        assert_eq!(there, store.manifest.files().into_iter().collect::<Vec<_>>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn files_change_no_answer(seed in any::<u64>(), steps in steps()) {
        let mut replica = Replica::new(seed);
        for step in steps {
            match step {
                Step::Apply(entry) => replica.apply(entry),
                Step::Flush => {
                    let task = replica.freeze();
                    replica.run(task);
                    replica.check_files();
                }
                Step::FlushDuring(entries) => {
                    let task = replica.freeze();
                    let outcome = task.map(|task| task.run().expect("the disk is fine"));
                    entries.into_iter().for_each(|entry| replica.apply(entry));
                    replica.check();
                    if let Some(outcome) = outcome {
                        replica.engine.install(outcome);
                    }
                }
                Step::Upkeep => {
                    let task = replica.engine.upkeep();
                    replica.run(task);
                }
                Step::Reopen => replica.reopen(),
                Step::Crash { flush } => replica.crash(flush),
                Step::Adopt => replica.adopt(),
            }
            replica.check();
        }
    }
}

fn row(measurement: u8, host: u8, time: i64, choice: u8) -> Entry {
    Entry::Write(D1, vec![Row { measurement, host, time, fields: [(1, choice)].into() }])
}

/// Until nothing is left to do.
fn compact(replica: &mut Replica) -> usize {
    let mut done = 0;
    while let Some(task) = replica.engine.upkeep() {
        replica.run(Some(task));
        done += 1;
        assert!(done < 100, "upkeep ends");
    }
    done
}

#[test]
fn many_small_flushes_become_few_blocks() {
    let mut replica = Replica::new(1);
    for n in 0..64 {
        replica.apply(row(0, n % 3, i64::from(n) % 7, n));
        let task = replica.freeze();
        replica.run(task);
        compact(&mut replica);
    }
    let stats = replica.engine.stats();
    assert!(stats.blocks < 10, "{stats:?}");
    assert_eq!(stats.row_bytes, 0, "all rows are in files");
    let names = replica.engine.store.as_ref().expect("files").manifest.names.len();
    assert!(names <= 3, "{names} files of the series table");
    replica.check();
    replica.check_files();
}

#[test]
fn deletes_leave_the_disk_and_take_their_tombstones_along() {
    let mut replica = Replica::new(2);
    for n in 0..7 {
        replica.apply(row(0, n % 3, i64::from(n), n));
    }
    let task = replica.freeze();
    replica.run(task);
    replica.apply(Entry::Delete(D1, Some(0), Some(1), -5, 50));
    assert_eq!(replica.engine.tombstones.len(), 1);
    assert!(replica.engine.upkeep().is_none(), "a delete that no manifest holds is not carried out in files");
    let task = replica.freeze();
    replica.run(task);
    replica.check();
    assert_eq!(compact(&mut replica), 3, "one for each partition");
    assert!(replica.engine.tombstones.is_empty(), "nothing is left for it to hide");
    replica.check();
    replica.reopen();
    replica.check();
}

#[test]
fn what_expires_goes_as_whole_files() {
    let mut replica = Replica::new(3);
    for time in 0..21 {
        replica.apply(row(0, 0, time, 1));
    }
    let task = replica.freeze();
    replica.run(task);
    let before = replica.engine.stats().blocks;
    replica.apply(Entry::Cutoff(D1, 14));
    replica.check();
    let task = replica.freeze();
    replica.run(task);
    let after = replica.engine.stats().blocks;
    assert!(after < before, "{before} blocks, then {after}");
    replica.check();
    replica.check_files();
}

#[test]
fn a_snapshot_heals_the_files_that_it_has_in_common_with_a_replica() {
    let mut replica = Replica::new(5);
    for time in 0..50 {
        replica.apply(row(0, 0, time, 1));
    }
    let task = replica.freeze();
    replica.run(task);
    let (behind, received) = (open(&replica.disk), replica.send(&replica.disk).expect("files"));
    for (path, bytes) in replica.host.disk().files().iter().filter(|(path, _)| path.starts_with("/shard/blocks")) {
        replica.host.disk().flip_bit(path, bytes * 4).expect("a bit");
    }
    replica.take_over(behind, received);
    replica.check();
    replica.check_files();
}

#[test]
fn a_full_disk_loses_nothing_and_the_flush_is_done_later() {
    let mut replica = Replica::new(4);
    for time in 0..50 {
        replica.apply(row(0, 0, time, 1));
    }
    replica.host.disk().set_faults(Faults { capacity_bytes: Some(300), ..Faults::default() });
    let task = replica.freeze().expect("something to flush");
    assert!(matches!(task.run(), Err(StoreError::Full(_))));
    replica.apply(row(0, 0, 50, 2));
    replica.check();
    replica.host.disk().set_faults(Faults::default());
    let task = replica.freeze();
    replica.run(task);
    replica.check();
    replica.check_files();
    assert_eq!(replica.engine.durable().map(|point| point.index), Some(50), "what was cut, not what came later");
    let task = replica.freeze();
    replica.run(task);
    assert_eq!(replica.engine.durable().map(|point| point.index), Some(51));
}

/// A disk that is full when the shard's directory is synced, which is when a manifest takes the place of another.
#[derive(Debug)]
struct FullAtSwitch(Arc<dyn Disk>);

impl Disk for FullAtSwitch {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        self.0.open(path, how)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.create_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if dir == Path::new(DIR) { Err(io::ErrorKind::StorageFull.into()) } else { self.0.sync_dir(dir) }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.0.lock(path)
    }
}

#[test]
fn a_manifest_that_may_be_on_disk_keeps_its_files() {
    let mut replica = Replica::new(7);
    replica.apply(row(0, 0, 0, 1));
    let task = replica.freeze();
    replica.run(task);
    let whole = Arc::clone(&replica.disk);
    replica.disk = Arc::new(FullAtSwitch(Arc::clone(&whole)));
    replica.reopen();
    replica.apply(row(0, 1, 1, 2));
    let task = replica.freeze().expect("something to flush");
    assert!(matches!(task.run(), Err(StoreError::Io(_))), "not an error to go on after, as a full disk is");
    replica.disk = whole;
    replica.reopen();
    assert_eq!(replica.engine.durable().map(|point| point.index), Some(2), "the new manifest was there");
    replica.check();
    replica.check_files();
}

#[test]
fn files_of_another_owner_are_refused_until_they_are_wiped() {
    let mut replica = Replica::new(5);
    replica.apply(row(0, 0, 0, 1));
    let task = replica.freeze();
    replica.run(task);
    let other = || Engine::open(Arc::clone(&replica.disk), Path::new(DIR), "s1/1/r2", 3);
    assert!(matches!(other(), Err(StoreError::Foreign { .. })));
    Engine::wipe(Arc::clone(&replica.disk), Path::new(DIR)).expect("wiped");
    assert_eq!(other().expect("empty").stats(), Stats::default());
}

/// Each byte of each file damaged: an answer is right or an error, and nothing panics.
#[test]
fn damage_is_noticed_and_never_answered() {
    let mut replica = Replica::new(6);
    for n in 0..9 {
        replica.apply(row(n % 2, n % 3, i64::from(n) % 6, n));
    }
    let task = replica.freeze();
    replica.run(task);
    let files = replica.engine.store.as_ref().expect("files").manifest.files();
    let mut paths: Vec<PathBuf> = files.iter().map(|name| Path::new(DIR).join("blocks").join(name)).collect();
    paths.push(Path::new(DIR).join("MANIFEST"));
    let hash = hash_of(&replica.plain);
    for path in paths {
        let len = replica.disk.open(&path, Open::Read).and_then(|file| file.len()).expect("it is there");
        for byte in 0..len {
            let bit = 8 * byte + byte % 8;
            replica.host.disk().flip_bit(&path, bit).expect("it has that bit");
            match Engine::open(Arc::clone(&replica.disk), Path::new(DIR), "s1/1/r1", 3) {
                Ok(engine) => match engine.content().hash() {
                    Ok(found) => assert_eq!(found, hash, "bit {bit} of {} went unnoticed", path.display()),
                    Err(StoreError::Damaged(_)) => {}
                    Err(other) => panic!("bit {bit} of {}: {other}", path.display()),
                },
                Err(StoreError::Damaged(_)) => {}
                Err(other) => panic!("bit {bit} of {}: {other}", path.display()),
            }
            replica.host.disk().flip_bit(&path, bit).expect("it has that bit");
        }
    }
    replica.check();
}
