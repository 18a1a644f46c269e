//! What a crash may and may not do, against a model that keeps every state since the last sync.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::{Just, ProptestConfig, Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;

const NAMES: [&str; 3] = ["/d/a", "/d/b", "/d/c"];

fn disk(seed: u64) -> SimDisk {
    let disk = SimDisk::new(Rng::from_seed(seed));
    disk.mount().create_dir(Path::new("/d")).expect("made");
    disk
}

fn put(disk: &dyn Disk, path: &str, bytes: &[u8]) -> Box<dyn File> {
    let file = disk.open(Path::new(path), Open::Create).expect("created");
    file.write_at(bytes, 0).expect("written");
    file
}

/// How often each outcome comes up over many seeds.
fn outcomes(world: impl Fn(&dyn Disk), look: impl Fn(&dyn Disk) -> String) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for seed in 0..300 {
        let disk = disk(seed);
        world(&*disk.mount());
        disk.crash();
        *seen.entry(look(&*disk.mount())).or_default() += 1;
    }
    seen
}

#[test]
fn what_is_synced_survives_and_nothing_less_is_sure() {
    let dir = Path::new("/d");
    let look = |disk: &dyn Disk| match disk.read(Path::new(NAMES[0]), 9) {
        Ok(bytes) => format!("{bytes:?}"),
        Err(error) => error.kind().to_string(),
    };
    let both = outcomes(
        |d| [put(d, NAMES[0], b"x").sync_data(), d.sync_dir(dir)].into_iter().for_each(|r| r.expect("synced")),
        look,
    );
    assert_eq!(both.keys().collect::<Vec<_>>(), ["[120]"]);
    let no_name = outcomes(|d| put(d, NAMES[0], b"x").sync_data().expect("synced"), look);
    assert_eq!(no_name.keys().collect::<Vec<_>>(), ["[120]", "entity not found"]);
    let no_bytes =
        outcomes(|d| [drop(put(d, NAMES[0], b"x")), d.sync_dir(dir).expect("synced")].into_iter().collect(), look);
    assert_eq!(no_bytes.keys().collect::<Vec<_>>(), ["[120]", "[]"]);
}

#[test]
fn a_write_is_torn_at_its_sectors() {
    let world = |d: &dyn Disk| {
        put(d, NAMES[0], &[1; 1_500]).sync_data().expect("synced");
        d.sync_dir(Path::new("/d")).expect("synced");
        d.open(Path::new(NAMES[0]), Open::Write).and_then(|f| f.write_at(&[2; 1_000], 300)).expect("written");
    };
    let seen = outcomes(world, |d| {
        let bytes = d.read(Path::new(NAMES[0]), 1_500).expect("read");
        assert!(bytes[..300].iter().chain(&bytes[1_300..]).all(|b| *b == 1));
        let sectors = [&bytes[300..512], &bytes[512..1_024], &bytes[1_024..1_300]];
        assert!(sectors.iter().all(|s| s.iter().all(|b| *b == s[0])), "a sector is whole");
        sectors.iter().map(|s| s[0].to_string()).collect()
    });
    assert_eq!(seen.len(), 8, "every subset comes up: {seen:?}");
}

#[test]
fn a_rename_survives_whole_or_not_at_all_across_directories() {
    let world = |d: &dyn Disk| {
        d.create_dir(Path::new("/e")).expect("made");
        put(d, "/d/a", b"x").sync_data().expect("synced");
        d.rename(Path::new("/d/a"), Path::new("/e/a")).expect("renamed");
    };
    let look =
        |d: &dyn Disk| format!("{:?}{:?}", d.list(Path::new("/d")).expect("d"), d.list(Path::new("/e")).expect("e"));
    let seen = outcomes(world, look);
    assert_eq!(seen.keys().collect::<Vec<_>>(), [r#"["a"][]"#, r#"[]["a"]"#, "[][]"]);
    let synced = outcomes(|d| (world(d), d.sync_dir(Path::new("/e")).expect("synced")).1, look);
    assert_eq!(synced.keys().collect::<Vec<_>>(), [r#"[]["a"]"#], "the earlier creation comes along");
}

#[test]
fn a_crashed_process_can_do_nothing_more() {
    let hardware = disk(1);
    let old = hardware.mount();
    let file = put(&*old, NAMES[0], b"x");
    old.sync_dir(Path::new("/d")).expect("synced");
    let lock = old.lock(Path::new("/d/LOCK")).expect("locked");
    hardware.crash();
    assert!(file.write_at(b"y", 0).is_err() && file.sync_data().is_err() && file.read_at(&mut [0], 0).is_err());
    assert!(old.remove(Path::new(NAMES[0])).is_err() && old.list(Path::new("/d")).is_err());
    let new = hardware.mount();
    let _held = new.lock(Path::new("/d/LOCK")).expect("a crash lets go of locks");
    drop(lock);
    let error = new.lock(Path::new("/d/LOCK")).expect_err("the old lock's end does not end the new one");
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn faults_come_when_set() {
    let hardware = disk(1);
    let disk = hardware.mount();
    hardware.set_faults(Faults { capacity_bytes: Some(10), ..Faults::default() });
    let file = put(&*disk, NAMES[0], b"12345678");
    assert_eq!(file.write_at(b"abcd", 8).expect_err("full").kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.read(Path::new(NAMES[0]), 99).expect("read"), b"12345678ab", "what fits is written");
    file.write_at(b"zz", 0).expect("overwriting needs no room");
    hardware.set_faults(Faults::default());
    disk.sync_dir(Path::new("/d")).expect("synced");
    file.sync_data().expect("synced");

    file.write_at(b"lost", 0).expect("written");
    hardware.set_faults(Faults { fail_next_sync: true, ..Faults::default() });
    assert_eq!(file.sync_data().expect_err("EIO").raw_os_error(), Some(libc::EIO));
    file.sync_data().expect("the kernel forgets: the next sync says nothing");
    assert_eq!(disk.read(Path::new(NAMES[0]), 99).expect("read"), b"lost5678ab");

    hardware.flip_bit(Path::new(NAMES[0]), 8 * 4 + 1).expect("flipped");
    assert_eq!(disk.read(Path::new(NAMES[0]), 99).expect("read"), b"lost7678ab");
    assert!(hardware.flip_bit(Path::new(NAMES[0]), 8 * 10).is_err());
}

#[test]
fn a_failed_sync_is_not_made_good_by_the_next() {
    let lose = |d: &SimDisk| {
        let disk = d.mount();
        disk.sync_dir(Path::new("/d")).expect("synced");
        let file = put(&*disk, NAMES[0], b"x");
        disk.sync_dir(Path::new("/d")).expect("synced");
        d.set_faults(Faults { fail_next_sync: true, ..Faults::default() });
        file.sync_data().expect_err("EIO");
        file.sync_data().expect("nothing to do");
        d.crash();
        d.mount().read(Path::new(NAMES[0]), 9).expect("the name is durable").is_empty()
    };
    assert!((0..50).any(|seed| lose(&disk(seed))));
}

/// A disk that does `left` calls and then fails, as a process that dies there.
#[derive(Clone, Debug)]
struct Dying {
    disk: Arc<dyn Disk>,
    left: Arc<AtomicUsize>,
}

impl Dying {
    fn step(&self) -> io::Result<()> {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map(drop).map_err(|_| io::Error::other("died"))
    }
}

#[derive(Debug)]
struct DyingFile(Dying, Box<dyn File>);

#[rustfmt::skip]
impl File for DyingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> { self.1.read_at(buffer, offset) }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> { self.0.step()?; self.1.write_at(bytes, offset) }
    fn sync_data(&self) -> io::Result<()> { self.0.step()?; self.1.sync_data() }
    fn len(&self) -> io::Result<u64> { self.1.len() }
    fn reserve_zeroed(&self, to: u64) -> io::Result<()> { self.0.step()?; self.1.reserve_zeroed(to) }
}

#[rustfmt::skip]
impl Disk for Dying {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        self.step()?;
        Ok(Box::new(DyingFile(self.clone(), self.disk.open(path, how)?)))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> { self.step()?; self.disk.rename(from, to) }
    fn remove(&self, path: &Path) -> io::Result<()> { self.step()?; self.disk.remove(path) }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> { self.disk.list(dir) }
    fn create_dir(&self, dir: &Path) -> io::Result<()> { self.step()?; self.disk.create_dir(dir) }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> { self.step()?; self.disk.sync_dir(dir) }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> { self.disk.lock(path) }
}

#[derive(Clone, Debug)]
enum Op {
    Create(usize),
    Write { name: usize, offset: u64, len: usize, byte: u8 },
    Sync(usize),
    SyncDir,
    Rename(usize, usize),
    Remove(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let name = 0..NAMES.len();
    prop_oneof![
        3 => name.clone().prop_map(Op::Create),
        6 => (name.clone(), 0..2_000_u64, 0..1_500_usize, 1..=255_u8)
            .prop_map(|(name, offset, len, byte)| Op::Write { name, offset, len, byte }),
        3 => name.clone().prop_map(Op::Sync),
        2 => Just(Op::SyncDir),
        2 => (name.clone(), name.clone()).prop_map(|(from, to)| Op::Rename(from, to)),
        1 => name.prop_map(Op::Remove),
    ]
}

/// What one file may hold after a crash.
#[derive(Clone, Debug, Default)]
struct Expected {
    synced: Vec<u8>,
    current: Vec<u8>,
    /// Per byte: all values written since the last sync.
    written: BTreeMap<usize, Vec<u8>>,
}

impl Expected {
    fn allows(&self, found: &[u8]) -> bool {
        let synced = |at| self.synced.get(at).copied().unwrap_or(0);
        (self.synced.len()..=self.current.len()).contains(&found.len())
            && (0..found.len())
                .all(|at| found[at] == synced(at) || self.written.get(&at).is_some_and(|w| w.contains(&found[at])))
    }
}

/// A whole directory: file number by name.
type Names = BTreeMap<usize, usize>;

/// Does `op` to both and returns whether they agree on its success.
fn apply(op: &Op, disk: &dyn Disk, files: &mut Vec<Expected>, states: &mut Vec<Names>) -> bool {
    let mut names = states.last().expect("never empty").clone();
    let path = |name: usize| Path::new(NAMES[name]);
    let (done, expected) = match *op {
        Op::Create(name) => {
            let free = !names.contains_key(&name);
            if free {
                names.insert(name, files.len());
                files.push(Expected::default());
            }
            (disk.open(path(name), Open::Create).is_ok(), free)
        }
        Op::Write { name, offset, len, byte } => {
            let file = names.get(&name).map(|file| &mut files[*file]);
            let exists = file.is_some();
            if let Some(file) = file {
                let (start, end) = (offset as usize, offset as usize + len);
                let grown = if len > 0 { file.current.len().max(end) } else { file.current.len() };
                file.current.resize(grown, 0);
                file.current[start.min(grown)..end.min(grown)].fill(byte);
                (start..end).for_each(|at| file.written.entry(at).or_default().push(byte));
            }
            (disk.open(path(name), Open::Write).and_then(|f| f.write_at(&vec![byte; len], offset)).is_ok(), exists)
        }
        Op::Sync(name) => {
            if let Some(file) = names.get(&name) {
                files[*file].synced = files[*file].current.clone();
                files[*file].written.clear();
            }
            (disk.open(path(name), Open::Read).and_then(|f| f.sync_data()).is_ok(), names.contains_key(&name))
        }
        Op::SyncDir => {
            states.drain(..states.len() - 1);
            (disk.sync_dir(Path::new("/d")).is_ok(), true)
        }
        Op::Rename(from, to) => {
            let file = names.remove(&from);
            names.extend(file.map(|file| (to, file)));
            (disk.rename(path(from), path(to)).is_ok(), file.is_some())
        }
        Op::Remove(name) => (disk.remove(path(name)).is_ok(), names.remove(&name).is_some()),
    };
    states.push(names);
    done == expected
}

fn read_all(disk: &dyn Disk) -> BTreeMap<usize, Vec<u8>> {
    let read = |name: &str| disk.read(Path::new(name), 1 << 20).ok();
    NAMES.iter().enumerate().filter_map(|(number, name)| Some((number, read(name)?))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_crash_keeps_what_was_synced_and_invents_nothing(seed: u64, ops in proptest::collection::vec(op(), 1..40)) {
        let hardware = disk(seed);
        let (mut files, mut states) = (Vec::new(), vec![Names::new()]);
        for op in &ops {
            prop_assert!(apply(op, &*hardware.mount(), &mut files, &mut states), "{op:?} in {ops:?}");
        }
        let current = states.last().expect("never empty").iter().map(|(name, file)| (*name, files[*file].current.clone()));
        prop_assert_eq!(read_all(&*hardware.mount()), current.collect(), "before the crash all is seen");
        hardware.crash();
        let found = read_all(&*hardware.mount());
        let possible = states.iter().any(|names| {
            names.keys().eq(found.keys()) && names.iter().all(|(name, file)| files[*file].allows(&found[name]))
        });
        prop_assert!(possible, "{found:?} is none of {states:?}");
        hardware.crash();
        prop_assert_eq!(read_all(&*hardware.mount()), found, "what survived one crash survives the next");
    }

    #[test]
    fn a_replaced_file_is_old_or_new(seed: u64, steps in 0..9_usize, old in 0..3_000_usize, new in 0..3_000_usize, litter: bool) {
        let hardware = disk(seed);
        let path = Path::new("/d/a.json");
        let (old, new) = (vec![1; old], vec![2; new]);
        hardware.mount().replace(path, &old).expect("replaced");
        if litter {
            put(&*hardware.mount(), "/d/a.tmp", b"of an earlier crash");
        }
        let dying = Dying { disk: hardware.mount(), left: Arc::new(AtomicUsize::new(steps)) };
        let done = dying.replace(path, &new);
        hardware.crash();
        let found = hardware.mount().read(path, 1 << 20).expect("always there");
        prop_assert!(found == new || (done.is_err() && found == old), "{done:?} {}", found.len());
        hardware.mount().replace(path, &old).expect("what a crash left does not matter");
    }
}

#[test]
fn the_power_goes_in_the_middle_of_a_sync() {
    let mut torn = 0;
    for seed in 0..40 {
        let hardware = SimDisk::new(Rng::from_seed(seed));
        let disk = hardware.mount();
        let file = disk.open(Path::new("/log"), Open::Create).expect("a file");
        disk.sync_dir(Path::new("/")).expect("synced");
        hardware.change_faults(|faults| faults.crash_next_sync = true);
        file.write_at(&[7; 4096], 0).expect("written");
        assert!(!hardware.has_died() && file.sync_data().is_err() && hardware.has_died());
        assert!(file.len().is_err(), "nothing of that life works any more");
        hardware.crash();
        assert!(!hardware.has_died());
        let left = hardware.mount().read(Path::new("/log"), 4096).expect("its name was synced");
        let whole = left.iter().filter(|byte| **byte == 7).count();
        torn += usize::from(whole > 0 && whole < 4096);
    }
    assert!(torn > 10, "{torn} of 40");
}

#[test]
fn a_misdirected_write_leaves_its_place_as_it_was() {
    let hardware = SimDisk::new(Rng::from_seed(3));
    let disk = hardware.mount();
    disk.create_dir(Path::new("blocks")).expect("made");
    let write = |path: &str| {
        let file = disk.open(Path::new(path), Open::Create).expect("made");
        file.write_at(b"abc", 0).expect("nobody is told");
        let mut start = [9; 3];
        file.read_exact_at(&mut start, 0).expect("something is there");
        (file.len().expect("known"), start)
    };
    hardware.set_faults(Faults { misdirect_next_in: Some("blocks"), ..Faults::default() });
    assert_eq!(write("other"), (3, *b"abc"), "in another directory");
    assert_eq!(write("blocks/1"), (SECTOR + 3, [0; 3]));
    assert_eq!(write("blocks/2"), (3, *b"abc"), "only once");
}
