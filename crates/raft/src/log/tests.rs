//! The log's behaviour: on a simulated disk unless it says otherwise.

mod bounded; // segments go, copies keep what is needed, a full disk passes
mod crash; // whatever was acked survives, and nothing comes back
mod damage;
mod inspected; // what people are told of the files // what was synced is never cut, what is wrong is never read

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use meridian_env::sim::{Faults, SimHost};
use meridian_env::{Disk, File, Lock, Open, Rng, real};
use parking_lot::Mutex;

use super::*;

const G1: (GroupId, Incarnation) = (GroupId(1), Incarnation(1));
const G2: (GroupId, Incarnation) = (GroupId(2), Incarnation(1));

fn host(seed: u64) -> SimHost {
    SimHost::new("n1", &Rng::from_seed(seed))
}

fn dir() -> PathBuf {
    PathBuf::from("/n1/log")
}

/// Segments so small that a few entries fill one.
fn small() -> LogSettings {
    LogSettings { segment_bytes: 4096, cache_bytes: 2048, batch_bytes_max: 4096, ..LogSettings::default() }
}

async fn open(env: &Env) -> Log {
    Log::open(env, &dir(), small()).await.expect("the log opens")
}

fn entry(index: u64, text: &str) -> LogEntry {
    LogEntry { index, head: Bytes::from(format!("h{index}")), payload: Bytes::from(text.to_owned()) }
}

/// Appends and waits for the sync.
async fn append(group: &GroupLog, entries: Vec<LogEntry>) -> Result<(), Halt> {
    let (sender, receiver) = oneshot::channel();
    group.append(entries, Box::new(move |result| drop(sender.send(result))));
    receiver.await.expect("every append is answered")
}

async fn texts(group: &GroupLog, from: u64, to: u64) -> Vec<String> {
    let entries = group.read(from, to, usize::MAX).await.expect("read");
    entries.iter().map(|e| format!("{}={}", e.index, String::from_utf8_lossy(&e.payload))).collect()
}

/// What a group's log holds, but for the committed note.
#[derive(Clone, PartialEq, Debug, Default)]
struct Held {
    vote: Option<Bytes>,
    purged: Option<(u64, Bytes)>,
    next: u64,
    entries: BTreeMap<u64, LogEntry>,
}

/// All groups of which there is something to say.
async fn held(log: &Log) -> BTreeMap<(GroupId, Incarnation), Held> {
    let mut all = BTreeMap::new();
    for key in log.groups() {
        let group = log.group(key.0, key.1);
        let GroupState { vote, purged, last, .. } = group.state();
        let entries = group.read(0, u64::MAX, usize::MAX).await.expect("read");
        let entries = entries.into_iter().map(|entry| (entry.index, entry)).collect();
        let held = Held { vote, purged, next: last.map_or(0, |last| last + 1), entries };
        if held != Held::default() {
            all.insert(key, held);
        }
    }
    all
}

/// What a metered disk has done, and what it still does.
#[derive(Debug)]
struct Meter {
    writes: AtomicU64,
    syncs: AtomicU64,
    /// After this many more calls that change something, all of them fail.
    left: AtomicI64,
}

impl Meter {
    fn new(left: i64) -> Arc<Self> {
        Arc::new(Self { writes: AtomicU64::new(0), syncs: AtomicU64::new(0), left: AtomicI64::new(left) })
    }

    fn on(self: &Arc<Self>, env: Env) -> Env {
        let disk = Arc::new(MeteredDisk { disk: Arc::clone(&env.disk), meter: Arc::clone(self) });
        Env { disk, ..env }
    }

    fn counts(&self) -> (u64, u64) {
        (self.writes.load(Ordering::Relaxed), self.syncs.load(Ordering::Relaxed))
    }

    fn charge(&self) -> io::Result<()> {
        match self.left.fetch_sub(1, Ordering::Relaxed) {
            ..=0 => Err(io::Error::other("the power goes")),
            _ => Ok(()),
        }
    }
}

#[derive(Debug)]
struct MeteredDisk {
    disk: Arc<dyn Disk>,
    meter: Arc<Meter>,
}

impl Disk for MeteredDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        if how == Open::Create {
            self.meter.charge()?;
        }
        Ok(Box::new(MeteredFile { file: self.disk.open(path, how)?, meter: Arc::clone(&self.meter) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.meter.charge()?;
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.meter.charge()?;
        self.disk.remove(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.meter.charge()?;
        self.disk.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.disk.lock(path)
    }
}

#[derive(Debug)]
struct MeteredFile {
    file: Box<dyn File>,
    meter: Arc<Meter>,
}

impl File for MeteredFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.meter.charge()?;
        self.meter.writes.fetch_add(1, Ordering::Relaxed);
        self.file.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.meter.charge()?;
        self.meter.syncs.fetch_add(1, Ordering::Relaxed);
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn reserve_zeroed(&self, to: u64) -> io::Result<()> {
        self.meter.charge()?;
        self.file.reserve_zeroed(to)
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_lives_across_starts() {
    let host = host(1);
    let log = open(&host.env()).await;
    assert!(log.groups().is_empty());
    let group = log.group(G1.0, G1.1);
    assert_eq!(group.state(), GroupState::default());
    assert!(log.groups().is_empty(), "nothing was said of it yet");
    group.save_vote(Bytes::from_static(b"v1")).await.expect("saved");
    append(&group, vec![entry(0, "a"), entry(1, "b"), entry(2, "c")]).await.expect("appended");
    group.save_committed(Bytes::from_static(b"c1"));
    group.truncate_after(Some(1)).await.expect("truncated");
    append(&group, vec![entry(2, "C"), entry(3, "d")]).await.expect("appended");
    group.purge(0, Bytes::from_static(b"p0")).await.expect("purged");
    let state = GroupState {
        vote: Some(Bytes::from_static(b"v1")),
        committed: Some(Bytes::from_static(b"c1")),
        purged: Some((0, Bytes::from_static(b"p0"))),
        last: Some(3),
    };
    assert_eq!(group.state(), state);
    assert_eq!(texts(&group, 0, 9).await, ["1=b", "2=C", "3=d"]);
    log.close().await;

    let log = open(&host.env()).await;
    assert_eq!(log.groups(), [G1]);
    let group = log.group(G1.0, G1.1);
    assert_eq!(group.state(), state);
    assert_eq!(texts(&group, 0, 9).await, ["1=b", "2=C", "3=d"]);
    group.purge(10, Bytes::from_static(b"p10")).await.expect("beyond the last entry, as after a snapshot");
    assert_eq!(group.state().last, Some(10));
    append(&group, vec![entry(11, "e")]).await.expect("follows the purge point");
    host.crash();

    let log = open(&host.env()).await;
    assert_eq!(texts(&log.group(G1.0, G1.1), 0, 99).await, ["11=e"]);
    assert_eq!(log.group(G1.0, G1.1).state().purged, Some((10, Bytes::from_static(b"p10"))));
}

#[tokio::test]
async fn a_real_disk_keeps_it() {
    let root = tempfile::tempdir().expect("a directory");
    let env = real::env().expect("the real world");
    let at = root.path().join("log");
    for round in 0..3_u64 {
        let log = Log::open(&env, &at, small()).await.expect("opens");
        let group = log.group(G1.0, G1.1);
        assert_eq!(group.state().last, (round * 20).checked_sub(1));
        for i in round * 20..(round + 1) * 20 {
            append(&group, vec![entry(i, &"x".repeat(i as usize * 40))]).await.expect("appended");
        }
        assert_eq!(
            texts(&group, 0, 3).await,
            ["0=", &format!("1={}", "x".repeat(40)), &format!("2={}", "x".repeat(80))]
        );
        let all = group.read(0, u64::MAX, usize::MAX).await.expect("read");
        assert!(all.iter().enumerate().all(|(i, e)| e.index == i as u64 && e.payload.len() == i * 40));
        log.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_queues_up_during_a_sync_shares_the_next_one() {
    let meter = Meter::new(i64::MAX);
    let settings = LogSettings { batch_bytes_max: 1 << 20, ..LogSettings::default() };
    let log = Log::open(&meter.on(host(2).env()), &dir(), settings).await.expect("opens");
    let groups: Vec<GroupLog> = (1..=50).map(|g| log.group(GroupId(g), Incarnation(1))).collect();
    let (before, _) = meter.counts();
    let first = append(&groups[0], vec![entry(0, "alone")]);
    let later = async {
        tokio::task::yield_now().await;
        futures::future::join_all(groups[1..].iter().map(|group| append(group, vec![entry(0, "together")]))).await
    };
    let (first, later) = futures::future::join(first, later).await;
    assert!(first.is_ok() && later.iter().all(Result::is_ok));
    assert_eq!(meter.counts().0 - before, 2, "50 appends, of which 49 came during the first one's sync");
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_is_cut_but_keeps_its_order() {
    let host = host(3);
    let log = open(&host.env()).await;
    let (one, two) = (log.group(G1.0, G1.1), log.group(G2.0, G2.1));
    let order = Arc::new(Mutex::new(Vec::new()));
    for i in 0..40_u64 {
        let (group, order) = (if i % 2 == 0 { &one } else { &two }, Arc::clone(&order));
        let done = move |result: Result<(), Halt>| order.lock().push((i, result.is_ok()));
        group.append(vec![entry(i / 2, &"y".repeat(300))], Box::new(done));
        assert_eq!(group.state().last, Some(i / 2), "known at once");
        assert_eq!(texts(group, i / 2, u64::MAX).await.len(), 1, "readable at once");
    }
    one.append(
        Vec::new(),
        Box::new({
            let order = Arc::clone(&order);
            move |result| order.lock().push((40, result.is_ok()))
        }),
    );
    one.save_vote(Bytes::from_static(b"last")).await.expect("saved");
    assert_eq!(*order.lock(), (0..=40).map(|i| (i, true)).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_committed_note_costs_nothing_of_its_own() {
    let host = host(4);
    let meter = Meter::new(i64::MAX);
    let log = open(&meter.on(host.env_inline())).await;
    let group = log.group(G1.0, G1.1);
    append(&group, vec![entry(0, "a"), entry(1, "b")]).await.expect("appended");
    let before = meter.counts();
    for note in ["0", "1"] {
        group.save_committed(Bytes::from(note));
        tokio::task::yield_now().await;
    }
    assert_eq!(meter.counts(), before, "nothing written");
    assert_eq!(group.state().committed, Some(Bytes::from("1")));
    log.group(G2.0, G2.1).save_vote(Bytes::from_static(b"v")).await.expect("saved");
    assert_eq!(meter.counts(), (before.0 + 1, before.1 + 1));
    host.crash();

    let log = open(&host.env_inline()).await;
    let group = log.group(G1.0, G1.1);
    assert_eq!(group.state().committed, Some(Bytes::from("1")), "it rode along");
    group.save_committed(Bytes::from("2"));
    log.close().await;
    let log = open(&host.env_inline()).await;
    assert_eq!(log.group(G1.0, G1.1).state().committed, Some(Bytes::from("2")), "close writes it");
}

#[tokio::test(start_paused = true)]
async fn many_tiny_segments_and_a_tiny_cache() {
    let host = host(5);
    let settings = LogSettings { segment_bytes: 1, cache_bytes: 0, batch_bytes_max: 1, ..LogSettings::default() };
    let log = Log::open(&host.env_inline(), &dir(), settings.clone()).await.expect("opens");
    let group = log.group(G1.0, G1.1);
    for i in 0..100 {
        append(&group, vec![entry(i, &"z".repeat(i as usize * 37))]).await.expect("appended");
    }
    let before = held(&log).await;
    assert_eq!(before[&G1].entries.len(), 100);
    log.close().await;
    let log = Log::open(&host.env_inline(), &dir(), settings).await.expect("opens");
    assert_eq!(held(&log).await, before);
    let files = host.env_inline().disk.list(&dir()).expect("listed");
    assert!(files.len() > 100, "{} files", files.len());
}

#[tokio::test(start_paused = true)]
async fn reads_are_bounded_by_bytes_and_range() {
    let host = host(6);
    let log = open(&host.env()).await;
    let group = log.group(G1.0, G1.1);
    let text = "w".repeat(998);
    append(&group, (0..10).map(|i| entry(i, &text)).collect()).await.expect("appended");
    group.purge(1, Bytes::from_static(b"p")).await.expect("purged");
    let indexes = |entries: Vec<LogEntry>| entries.iter().map(|e| e.index).collect::<Vec<_>>();
    for (from, to, bytes_max, expected) in [
        (2, 5, usize::MAX, vec![2, 3, 4]),
        (0, 4, usize::MAX, vec![2, 3]),
        (8, 99, usize::MAX, vec![8, 9]),
        (3, 9, 0, vec![3]),
        (5, 5, usize::MAX, vec![]),
        (6, 2, usize::MAX, vec![]),
        (10, 20, usize::MAX, vec![]),
        (0, 2, usize::MAX, vec![]),
    ] {
        assert_eq!(indexes(group.read(from, to, bytes_max).await.expect("read")), expected, "[{from}, {to})");
    }
    assert_eq!(group.read(8, 10, 2000).await.expect("read").len(), 2, "1000 bytes each, cached or not");
}

#[tokio::test(start_paused = true)]
async fn a_removed_group_is_gone_until_it_is_made_anew() {
    let host = host(7);
    let log = open(&host.env()).await;
    let (old, other) = (log.group(G1.0, G1.1), log.group(G1.0, Incarnation(2)));
    append(&old, vec![entry(0, "old")]).await.expect("appended");
    append(&other, vec![entry(0, "other life")]).await.expect("appended");
    old.save_committed(Bytes::from_static(b"c"));
    log.remove_group(G1.0, G1.1).await.expect("removed");
    assert_eq!(old.state(), GroupState::default());
    let refused = append(&old, vec![entry(1, "zombie")]).await;
    assert_eq!(refused, Err(Halt::new("g1/i1 was removed from the log")));
    assert!(old.read(0, 1, 0).await.is_err());
    host.crash();

    let log = open(&host.env()).await;
    assert_eq!(log.groups(), [(G1.0, Incarnation(2))]);
    let anew = log.group(G1.0, G1.1);
    append(&anew, vec![entry(0, "new")]).await.expect("starts over");
    log.close().await;
    let log = open(&host.env()).await;
    assert_eq!(texts(&log.group(G1.0, G1.1), 0, 9).await, ["0=new"]);
    assert_eq!(texts(&log.group(G1.0, Incarnation(2)), 0, 9).await, ["0=other life"]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_sync_ends_it_all() {
    let host = host(8);
    let log = open(&host.env_inline()).await;
    let group = log.group(G1.0, G1.1);
    append(&group, vec![entry(0, "good")]).await.expect("appended");
    host.disk().set_faults(Faults { fail_next_sync: true, ..Faults::default() });
    let halt = append(&group, vec![entry(1, "bad")]).await.expect_err("the sync failed");
    assert!(halt.reason.starts_with("writing /n1/log/00000000000000000001.seg at byte 1536: "), "{halt}");
    assert_eq!(log.failed().await, halt);
    assert_eq!(append(&group, vec![entry(2, "never")]).await, Err(halt.clone()));
    assert_eq!(group.save_vote(Bytes::new()).await, Err(halt.clone()));
    assert_eq!(group.read(0, 1, 0).await, Err(halt));
    log.close().await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "NotContiguous { got: 2, expected: 1 }")]
async fn a_hole_is_a_bug_of_the_caller() {
    let log = open(&host(10).env_inline()).await;
    log.group(G1.0, G1.1).append(vec![entry(0, "a"), entry(2, "c")], Box::new(|_| ()));
}

#[tokio::test(start_paused = true)]
async fn segments_that_never_were_used_do_not_pile_up() {
    let host = host(11);
    for _ in 0..5 {
        let log = open(&host.env()).await;
        log.group(G1.0, G1.1).save_vote(Bytes::from_static(b"v")).await.expect("saved");
        log.close().await;
    }
    let files = host.env().disk.list(&dir()).expect("listed");
    assert!(files.len() <= 3, "one used, one prepared, and one that the last start had no time to remove: {files:?}");
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_made_anew_in_the_same_breath_starts_empty() {
    let host = host(12);
    let log = Log::open(&host.env(), &dir(), LogSettings { cache_bytes: 0, ..small() }).await.expect("opens");
    let old = log.group(G1.0, G1.1);
    append(&old, vec![entry(0, "synced"), entry(1, "synced")]).await.expect("appended");
    old.append(vec![entry(2, "not yet synced")], Box::new(|_| ()));
    let vote = old.save_vote(Bytes::from_static(b"old"));
    old.save_committed(Bytes::from_static(b"old"));
    let removed = log.remove_group(G1.0, G1.1);
    let anew = log.group(G1.0, G1.1);
    assert_eq!((anew.state(), anew.bytes(), anew.index_keeping(0)), (GroupState::default(), 0, None));
    anew.append(vec![entry(0, "new")], Box::new(|_| ()));
    assert!(vote.await.is_ok() && removed.await.is_ok());
    append(&anew, vec![entry(1, "newer")]).await.expect("appended");
    assert_eq!(texts(&anew, 0, 9).await, ["0=new", "1=newer"], "in the place of what had been queued before");
    let before = held(&log).await;
    host.crash();

    let log = open(&host.env()).await;
    assert_eq!(held(&log).await, before);
    assert_eq!(log.group(G1.0, G1.1).state().vote, None);
}
