//! openraft's own suite over our log, on a real and on a simulated disk. What the suite knows nothing of, crashes and damage,
//! is tested with the log.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::Stream;
use meridian_env::sim::SimHost;
use meridian_env::{Env, Halt, Rng, real};
use meridian_types::{GroupId, Incarnation, ReplicaId};
use openraft::StorageError;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::alias::{SnapshotMetaOf, SnapshotOf};
use parking_lot::RwLock;

use super::*;
use crate::adapter::Adapter;
use crate::background::Jobs;
use crate::groups::GroupSpec;
use crate::log::{Log, LogSettings};
use crate::machine::{Answer, Applied, Entry as MachineEntry, Job, JobError, Machine, Received, View};
use crate::types::{Payload, StoredMembership};

/// A machine that keeps nothing but how far it is.
#[derive(Default)]
struct Mark(Option<Applied>);

impl Machine for Mark {
    type Reply = ();
    type Done = ();

    fn applied(&self) -> Option<Applied> {
        self.0.clone()
    }

    fn apply(&mut self, run: &[MachineEntry], applied: &Applied, answer: &mut Answer<'_, ()>) -> Result<(), Halt> {
        self.0 = Some(applied.clone());
        (0..run.len()).for_each(|place| answer(place, ()));
        Ok(())
    }

    fn freeze(&mut self) -> Option<Job<()>> {
        None
    }

    fn upkeep(&mut self) -> Option<Job<()>> {
        None
    }

    fn install(&mut self, (): ()) {}

    fn view(&self) -> Option<View> {
        None
    }

    fn adopt(&mut self, _received: Received) -> Job<()> {
        Box::new(|| Err(JobError::Damaged("it keeps no files".into())))
    }
}

type Snapshot = SnapshotOf<TypeConfig, Option<Applied>>;

/// The adapter with the snapshots that the suite asks for: a snapshot is the machine's applied mark, so that installing one
/// also reads the mark back.
struct Snapshotting {
    env: Env,
    jobs: Arc<Jobs<Mark>>,
    adapter: Adapter<Mark>,
    snapshot: Arc<RwLock<Option<Snapshot>>>,
}

impl Snapshotting {
    fn open(env: Env, mark: Option<Applied>) -> Self {
        let jobs = Jobs::new(Mark(mark), env.clone(), watch::Sender::new(None));
        // The suite applies what it never appended.
        let progress = (watch::channel(Ok(u64::MAX)).1, Arc::default());
        let spec = GroupSpec { group: GroupId(1), incarnation: Incarnation(1), replica: ReplicaId(1) };
        let adapter = Adapter::open(spec, Arc::clone(&jobs), env.clone(), progress).expect("it wrote the mark");
        Self { env, jobs, adapter, snapshot: Arc::default() }
    }
}

fn copy(snapshot: &Snapshot) -> Snapshot {
    Snapshot { meta: snapshot.meta.clone(), snapshot: snapshot.snapshot.clone() }
}

/// Makes the snapshot that was asked for.
struct Builder {
    snapshot: Snapshot,
    place: Arc<RwLock<Option<Snapshot>>>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = Option<Applied>;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        *self.place.write() = Some(copy(&self.snapshot));
        Ok(copy(&self.snapshot))
    }
}

impl RaftStateMachine<TypeConfig> for Snapshotting {
    type SnapshotData = Option<Applied>;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        self.adapter.applied_state().await
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        self.adapter.apply(entries).await
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<Builder> {
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let (last_log_id, last_membership) = self.applied_state().await.expect("it is in memory");
        let meta = SnapshotMetaOf::<TypeConfig> { last_log_id, last_membership };
        let mark = self.jobs.machine().read().applied();
        Builder { snapshot: Snapshot { meta, snapshot: mark }, place: Arc::clone(&self.snapshot) }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<TypeConfig>, data: Option<Applied>) -> io::Result<()> {
        *self = Self::open(self.env.clone(), data.clone());
        *self.snapshot.write() = Some(Snapshot { meta: meta.clone(), snapshot: data });
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        Ok(self.snapshot.read().as_ref().map(copy))
    }
}

/// The suite begins some logs at 1 or 2, which Raft never does and our log never accepts: those get blank entries before.
#[derive(Clone, Debug)]
struct FromZero(Storage);

impl RaftLogReader<TypeConfig> for FromZero {
    async fn try_get_log_entries<R>(&mut self, range: R) -> io::Result<Vec<Entry>>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.0.try_get_log_entries(range).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.0.limited_get_log_entries(start, end).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        self.0.read_vote().await
    }
}

impl RaftLogStorage<TypeConfig> for FromZero {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        self.0.get_log_state().await
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.0.save_vote(vote).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.0.save_committed(committed).await
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        self.0.read_committed().await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let first = entries.first().map_or(0, |entry| entry.log_id_parts().1);
        let missing = if self.0.log.state().last.is_none() { 0..first } else { 0..0 };
        let blanks = missing.map(|index| Entry::new(entry::log_id(0, 0, index), Payload::Blank));
        self.0.append(blanks.chain(entries).collect::<Vec<_>>(), callback).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.0.truncate_after(last).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.0.purge(upto).await
    }
}

/// Gives every test of the suite a group of its own in one log.
struct Groups {
    env: Env,
    log: Log,
    next: AtomicU32,
}

impl StoreBuilder<TypeConfig, FromZero, Snapshotting> for Groups {
    async fn build(&self) -> Result<((), FromZero, Snapshotting), StorageError<TypeConfig>> {
        let group = GroupId(self.next.fetch_add(1, Ordering::Relaxed));
        let storage = Storage::new(self.log.group(group, Incarnation(1)));
        Ok(((), FromZero(storage), Snapshotting::open(self.env.clone(), None)))
    }
}

/// Runs the whole suite, then reads the log back as a restart would.
fn suite(env: Env, dir: PathBuf) {
    // The suite waits a second three times for a purge: virtual time makes that nothing.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        // Segments so small that there are many, and reads go to the disk.
        let settings = LogSettings { segment_bytes: 8 << 10, cache_bytes: 1 << 10, ..LogSettings::default() };
        let log = Log::open(&env, &dir, settings.clone()).await.expect("an empty log");
        let builder = Groups { env: env.clone(), log: log.clone(), next: AtomicU32::new(0) };
        Suite::test_store(&builder).await.expect("the suite passes");
        let before = states(&log);
        assert!(before.len() > 30, "most tests leave something: {before:?}");
        log.close().await;
        let log = Log::open(&env, &dir, settings).await.expect("the log as it was left");
        assert_eq!(states(&log), before);
        log.close().await;
    });
}

fn states(log: &Log) -> Vec<String> {
    let groups = log.groups().into_iter();
    groups.map(|(group, life)| format!("{group} {:?}", log.group(group, life).state())).collect()
}

#[test]
fn openraft_is_content_on_a_real_disk() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    suite(real::env().expect("threads start"), dir.path().join("log"));
}

#[test]
fn openraft_is_content_on_a_simulated_disk() {
    let host = SimHost::new("n1", &Rng::from_seed(1));
    suite(host.env(), PathBuf::from("/log"));
}
