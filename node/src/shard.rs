//! One shard as a replicated machine: frames into the engine, each request once, deletes and cutoffs in their place among them.
//! Deterministic: knows no clock. Its files are the engine's; what else it keeps rides in their manifest.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use meridian_engine::{
    Accepted, Content, Engine, Outcome as Outcomes, Point, SnapshotContent, StoreError, Task, Written,
};
use meridian_env::{Disk, Halt};
use meridian_frame::Frame;
use meridian_meta::Catalogue;
use meridian_query::Selection;
use meridian_raft::{
    Answer, Applied, Entry, Header, Job, JobError, KIND_MACHINE_MIN, Machine, Received, View, ViewFile,
};
use meridian_types::{
    Code, DatabaseId, Failure, Incarnation, LogIndex, Mutant, ReplicaId, RequestId, SeriesNumber, ShardId, Stamp,
    Timestamp, Witness, limits,
};
use tokio::sync::watch;

use crate::requests::{Bounds, Known, Outcome, Requests, Weight};
use crate::state;

/// The payload is a frame. Kinds are stored: never renumber.
pub(crate) const KIND_WRITE: u8 = KIND_MACHINE_MIN;
/// The header's database is dropped; no payload.
pub(crate) const KIND_DROP: u8 = KIND_MACHINE_MIN + 1;
/// The payload is a selection, whose rows in the header's database go.
pub(crate) const KIND_DELETE: u8 = KIND_MACHINE_MIN + 2;
/// The payload is a time as `i64`, little-endian nanoseconds: rows of the header's database before it go.
pub(crate) const KIND_CUTOFF: u8 = KIND_MACHINE_MIN + 3;
/// Every replica hashes its content as of this entry; no payload.
pub(crate) const KIND_CHECKSUM: u8 = KIND_MACHINE_MIN + 4;

/// The shortest time partition: shorter ones make files that are not worth it.
const PARTITION_NANOS_MIN: i64 = 1_000_000_000;

/// How much a shard remembers of requests. Replicated state depends on it: a change is one of the log's format.
pub(crate) const REQUESTS: Bounds = Bounds { sessions: limits::SESSIONS_MAX, bytes: limits::SHARD_OUTCOMES_BYTES_MAX };
/// What any outcome takes in a manifest, at most, beside its text.
const OUTCOME_WEIGHT: usize = 64;

/// What a shard answers to an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Reply {
    /// Field values stored, and where; and the numbers of the series that the frame names by key, in its order, which the
    /// table of requests does not keep.
    Written { witness: Witness, points: u64, series: Vec<SeriesNumber> },
    /// Nothing was stored, and nothing will be for this entry.
    Refused(Failure),
    /// The database is gone.
    Dropped,
    /// The rows are gone.
    Deleted { witness: Witness },
    /// The rows before the cutoff are gone.
    Cut,
    /// The content is hashed as of this entry.
    Marked { index: LogIndex },
}

impl Reply {
    /// What a repetition of the request is told.
    fn without_series(&self) -> Self {
        match self {
            Self::Written { witness, points, .. } => {
                Self::Written { witness: *witness, points: *points, series: Vec::new() }
            }
            other => other.clone(),
        }
    }
}

impl Weight for Reply {
    fn weight(&self) -> usize {
        OUTCOME_WEIGHT
            + match self {
                Self::Refused(failure) => failure.message.len(),
                Self::Written { .. } | Self::Dropped | Self::Deleted { .. } | Self::Cut | Self::Marked { .. } => 0,
            }
    }
}

/// Points of writes that are answered and not stored yet: those of a frame may take some bytes in the log, and eight each once it is read.
const TAKEN_POINTS_MAX: u64 = 1 << 20;

/// Where a shard's files are and how they are cut.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: std::path::PathBuf,
    /// The longest time partition, in nanoseconds.
    pub(crate) partition_max: i64,
    /// Tells the databases' retention.
    pub(crate) catalogue: watch::Receiver<Arc<Catalogue>>,
    /// The highest stamp that any shard of this node has applied.
    pub(crate) stamps: Arc<AtomicI64>,
}

/// The state of one shard.
#[derive(Debug)]
pub(crate) struct Shard {
    id: ShardId,
    incarnation: Incarnation,
    engine: Engine,
    requests: Requests<Reply>,
    index: LogIndex,
    stamp: Stamp,
    mark: Applied,
    files: Option<Files>,
    seed: u64,
    /// The content as of the newest checksum entry, until somebody hashes it.
    to_hash: Option<(LogIndex, Content)>,
    checksum: Option<(LogIndex, u64)>,
}

impl Shard {
    /// An empty shard in memory alone, whose log is applied from its start. `seed` keys its hash tables.
    #[cfg(test)]
    pub(crate) fn new(id: ShardId, incarnation: Incarnation, seed: u64) -> Self {
        Self::with(id, incarnation, Engine::new(seed), None, seed)
    }

    fn with(id: ShardId, incarnation: Incarnation, engine: Engine, files: Option<Files>, seed: u64) -> Self {
        Self {
            id,
            incarnation,
            engine,
            requests: Requests::new(REQUESTS),
            index: LogIndex(0),
            stamp: Stamp::default(),
            mark: Applied(Bytes::new()),
            files,
            seed,
            to_hash: None,
            checksum: None,
        }
    }

    /// The shard as its files have it; `None` if they are those of a replica that gave way to this one, whose log and files must
    /// go first.
    pub(crate) fn open(
        id: ShardId,
        incarnation: Incarnation,
        replica: ReplicaId,
        files: Files,
        seed: u64,
    ) -> Result<Option<Self>, JobError> {
        let owner = format!("{id}/{}/{replica}", incarnation.0);
        let engine = match Engine::open(Arc::clone(&files.disk), &files.dir, &owner, seed) {
            Err(StoreError::Foreign { found, .. }) if gave_way(&found, &owner) => return Ok(None),
            Err(StoreError::Foreign { found, .. }) => {
                return Err(JobError::Full(format!(
                    "the files are of {found}, and the catalogue still tells of {owner}"
                )));
            }
            opened => opened.map_err(failed)?,
        };
        let mut shard = Self::with(id, incarnation, engine, Some(files), seed);
        shard.restore()?;
        Ok(Some(shard))
    }

    /// Removes the files of a replica that gave way.
    pub(crate) fn wipe(disk: Arc<dyn Disk>, dir: &Path) -> Result<(), JobError> {
        Engine::wipe(disk, dir).map_err(failed)
    }

    /// Takes over what the files' manifest has of the shard's own.
    fn restore(&mut self) -> Result<(), JobError> {
        self.requests = Requests::new(REQUESTS);
        let Some(Point { index, mark, state }) = self.engine.durable() else { return Ok(()) };
        let (stamp, requests) = state::decode(&state).map_err(|error| match error {
            state::StateError::Version(_) => JobError::Halt(Halt::new(format!("{}: {error}", self.id))),
            state::StateError::Malformed => JobError::Damaged(format!("{}: {error}", self.id)),
        })?;
        (self.index, self.mark) = (LogIndex(index), Applied(mark.into()));
        (self.stamp, self.requests) = (stamp, requests);
        self.tell_stamp();
        Ok(())
    }

    /// Lets the node know how far time is here.
    fn tell_stamp(&self) {
        if let Some(files) = &self.files {
            files.stamps.fetch_max(self.stamp.0, Ordering::Relaxed);
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Up to where a read of the state now sees.
    pub(crate) fn witness(&self) -> Witness {
        Witness { shard: self.id, incarnation: self.incarnation, index: self.index, stamp: self.stamp }
    }

    /// Whether anything was applied that the files do not have.
    pub(crate) fn is_dirty(&self) -> bool {
        self.index.0 > self.engine.durable_index()
    }

    /// Whether a checksum entry waits for its hash.
    pub(crate) fn is_hash_due(&self) -> bool {
        self.to_hash.is_some()
    }

    /// The content that is to be hashed, once.
    pub(crate) fn take_to_hash(&mut self) -> Option<(LogIndex, Content)> {
        self.to_hash.take()
    }

    /// Keeps the hash of the content as of an entry.
    pub(crate) fn hashed(&mut self, index: LogIndex, hash: u64) {
        self.checksum = self.checksum.max(Some((index, hash)));
    }

    /// The newest checksum entry whose hash is known, and the hash.
    pub(crate) fn checksum(&self) -> Option<(LogIndex, u64)> {
        self.checksum
    }

    /// Applies what a request asks for, once.
    fn once(
        &mut self,
        header: &Header,
        payload: &Bytes,
        apply: impl FnOnce(&mut Self) -> Result<Reply, Halt>,
    ) -> Result<Reply, Halt> {
        // Equal ids with unequal bytes or databases are two requests: the second must not be told the outcome of the first.
        let check = crc32c::crc32c_append(crc32c::crc32c(&header.database.0.to_le_bytes()), payload);
        if header.request.session.birth.nanos() > self.stamp.0.saturating_add(limits::SESSION_AHEAD_NANOS_MAX) {
            // Its eviction would raise the floor into the future and lock out every session until then.
            return Ok(refused(Code::TimeOutOfRange, id_text(header.request, "has a session from the future")));
        }
        match self.requests.find(header.request, check) {
            Known::Done(_) if Mutant::ApplyTwice.is_planted() => {}
            Known::Done(reply) => return Ok(reply),
            Known::Reused => {
                return Ok(refused(Code::RequestIdReused, id_text(header.request, "names another request")));
            }
            Known::Expired => {
                let text = id_text(header.request, "is too old to know what became of it");
                return Ok(refused(Code::SessionExpired, text));
            }
            Known::New => {}
        }
        let reply = apply(self)?;
        if !matches!(&reply, Reply::Refused(failure) if failure.code == Code::SendKeys) {
            let outcome = Outcome { check, reply: reply.without_series() };
            self.requests.record(header.request, header.pending_from, self.stamp, outcome);
        }
        Ok(reply)
    }

    /// What becomes of a frame, and the frame if it is to be stored.
    fn accept(&mut self, database: DatabaseId, payload: &Bytes) -> Result<(Reply, Option<Accepted>), Halt> {
        // The leader has checked the frame; what passed there and fails here fails on every replica alike.
        let frame = match Frame::check(payload.clone()) {
            Ok(frame) => frame,
            // Acknowledged by a program of another version: to pass over it would lose it.
            Err(error) if error.code() == Code::WrongVersion => {
                let index = self.index;
                let text = format!("{}: entry {index}: {error}: run the version that wrote it", self.id);
                return Err(Halt::new(text));
            }
            Err(error) => return Ok((refused(error.code(), error.to_string()), None)),
        };
        Ok(match self.engine.accept(database, frame) {
            Ok(accepted) => {
                let Written { points, series } = accepted.written();
                let runs = accepted.frame().tables().iter().flat_map(|table| table.runs());
                let keyed = runs.zip(series).filter(|(run, _)| run.series.number().is_none());
                let series = keyed.map(|(_, number)| *number).collect();
                (Reply::Written { witness: self.witness(), points: *points, series }, Some(accepted))
            }
            Err(error) => (refused(error.code(), error.to_string()), None),
        })
    }

    fn delete(&mut self, database: DatabaseId, payload: &[u8]) -> Reply {
        if self.engine.is_dropped(database) {
            return refused(Code::NoDatabase, format!("database {database} is dropped, and all of its rows with it"));
        }
        match Selection::decode(payload) {
            Ok(selection) => self.engine.delete(self.index.0, database, selection),
            Err(error) => return refused(Code::BadRequest, error.to_string()),
        }
        Reply::Deleted { witness: self.witness() }
    }

    fn cut_off(&mut self, database: DatabaseId, payload: &[u8]) -> Reply {
        let nanos = payload.try_into().map(i64::from_le_bytes);
        match nanos.ok().and_then(|nanos| Timestamp::new(nanos).ok()) {
            Some(cutoff) => self.engine.cut_off(database, cutoff),
            None => return refused(Code::BadRequest, "the cutoff is no time in range".into()),
        }
        Reply::Cut
    }

    /// A write is answered once it is certain what is stored, and its rows go to `taken`, to be stored before anything but a write
    /// is applied: whoever reads them waits for the lock.
    fn apply_one(&mut self, entry: &Entry, taken: &mut Vec<Accepted>, answer: impl FnOnce(Reply)) -> Result<(), Halt> {
        self.index = entry.index;
        self.stamp = self.stamp.next(entry.header.stamp);
        self.tell_stamp();
        let (header, payload) = (&entry.header, &entry.payload);
        tracing::debug!(index = %entry.index, request = %header.request, kind = header.kind, "applies");
        if header.kind != KIND_WRITE {
            self.store(taken);
        }
        let reply = match header.kind {
            KIND_WRITE => self.once(header, payload, |shard| {
                let (reply, accepted) = shard.accept(header.database, payload)?;
                taken.extend(accepted);
                Ok(reply)
            })?,
            KIND_DELETE => self.once(header, payload, |shard| Ok(shard.delete(header.database, payload)))?,
            KIND_DROP => {
                self.engine.drop_database(header.database);
                Reply::Dropped
            }
            KIND_CUTOFF => self.cut_off(header.database, payload),
            KIND_CHECKSUM => {
                self.to_hash = Some((entry.index, self.engine.content()));
                Reply::Marked { index: entry.index }
            }
            kind => return Err(Halt::new(format!("{}: entry {} has the unknown kind {kind}", self.id, entry.index))),
        };
        answer(reply);
        if taken.iter().map(|accepted| accepted.written().points).sum::<u64>() > TAKEN_POINTS_MAX {
            self.store(taken);
        }
        Ok(())
    }

    /// Stores the rows of writes that were answered.
    fn store(&mut self, taken: &mut Vec<Accepted>) {
        taken.drain(..).for_each(|accepted| self.engine.store(&accepted));
    }
}

fn refused(code: Code, mut message: String) -> Reply {
    if message.len() > limits::OUTCOME_BYTES_MAX {
        message.truncate(message.floor_char_boundary(limits::OUTCOME_BYTES_MAX));
    }
    Reply::Refused(Failure::new(code, message))
}

fn id_text(request: RequestId, what: &str) -> String {
    format!("request {request} {what}")
}

/// Whether the files of `found` belong to an earlier replica than `owner`: a catalogue that is being rebuilt from its log may
/// tell of an earlier one than the files are of, and those must stay.
fn gave_way(found: &str, owner: &str) -> bool {
    let parts = |text: &str| -> Option<(String, u64)> {
        let (life, replica) = text.rsplit_once("/r")?;
        Some((life.to_owned(), replica.parse().ok()?))
    };
    match (parts(found), parts(owner)) {
        (Some((life, found)), Some((wanted, replica))) if life == wanted => found < replica,
        _ => true,
    }
}

/// What an error of the files means for whoever runs jobs on them.
pub(crate) fn failed(error: StoreError) -> JobError {
    match error {
        StoreError::Full(what) => JobError::Full(what),
        StoreError::Damaged(what) => JobError::Damaged(what),
        StoreError::Foreign { .. } | StoreError::Io(_) => JobError::Halt(Halt::new(error.to_string())),
    }
}

fn job(task: Task) -> Job<Outcomes> {
    Box::new(move || task.run().map_err(failed))
}

/// The length of a database's time partitions: an eighth of its retention, so that what expires goes as whole files.
fn partition(files: &Files, catalogue: &Catalogue, database: DatabaseId) -> i64 {
    let retention = catalogue.database_by_id(database).map_or(0, |database| database.retention.nanos());
    match retention {
        0 => files.partition_max,
        some => (some / 8).clamp(PARTITION_NANOS_MIN, files.partition_max.max(PARTITION_NANOS_MIN)),
    }
}

impl Machine for Shard {
    type Reply = Reply;
    type Done = Outcomes;

    fn applied(&self) -> Option<Applied> {
        self.engine.durable().map(|point| Applied(point.mark.into()))
    }

    fn apply(&mut self, run: &[Entry], applied: &Applied, answer: &mut Answer<'_, Reply>) -> Result<(), Halt> {
        let mut places: Vec<usize> = (0..run.len()).collect();
        if Mutant::ApplyOutOfOrder.is_planted() {
            places.reverse();
        }
        let mut taken = Vec::new();
        let mut one = |place: usize| self.apply_one(&run[place], &mut taken, |reply| answer(place, reply));
        let applied_all = places.into_iter().try_for_each(&mut one);
        // Also before a halt: what was accepted counts as applied, and a flush that is due may still be made.
        self.store(&mut taken);
        applied_all?;
        self.mark = applied.clone();
        Ok(())
    }

    fn freeze(&mut self) -> Option<Job<Outcomes>> {
        let files = self.files.as_ref()?;
        let catalogue = Arc::clone(&files.catalogue.borrow());
        let state = state::encode(self.stamp, &self.requests);
        let point = Point { index: self.index.0, mark: self.mark.0.to_vec(), state };
        self.engine.freeze(point, |database| partition(files, &catalogue, database)).map(job)
    }

    fn upkeep(&mut self) -> Option<Job<Outcomes>> {
        self.engine.upkeep().map(job)
    }

    fn install(&mut self, done: Outcomes) {
        if self.engine.install(done) {
            self.to_hash = None;
            self.restore().expect("the job that adopts has read the state");
        }
    }

    fn view(&self) -> Option<View> {
        let applied = self.applied()?;
        let files = self.engine.snapshot()?.into_iter().map(|file| ViewFile {
            name: file.name,
            bytes: file.bytes,
            hash: file.hash,
            content: match file.content {
                SnapshotContent::Memory(bytes) => meridian_raft::Content::Memory(bytes.into()),
                SnapshotContent::File(file) => meridian_raft::Content::File(file),
            },
        });
        Some(View { applied, files: files.collect() })
    }

    fn adopt(&mut self, received: Received) -> Job<Outcomes> {
        let task = self.engine.adopt(received.files, self.seed);
        Box::new(move || {
            let outcome = task.run().map_err(failed)?;
            if let Some(point) = outcome.adopted().and_then(Engine::durable) {
                state::decode(&point.state).map_err(|error| JobError::Damaged(error.to_string()))?;
            }
            Ok(outcome)
        })
    }
}

#[cfg(test)]
mod tests {
    use meridian_frame::FrameBuilder;
    use meridian_types::{SeriesKey, SessionId, Timestamp, ValueRef};

    use super::*;

    fn shard() -> Shard {
        Shard::new(ShardId(1), Incarnation(1), 0)
    }

    fn frame(value: i64) -> Bytes {
        let mut frame = FrameBuilder::new();
        let key = SeriesKey::from_tags(&mut [("host", "a")]).expect("a key");
        let time = Timestamp::new(0).expect("in range");
        frame.push("m", &key, time, &[("v", ValueRef::I64(value))]).expect("a row");
        frame.finish()
    }

    fn entry(index: u64, seq: u64, database: u32, payload: Bytes) -> Entry {
        let session = SessionId { birth: Timestamp::new(5).expect("in range"), nonce: 1 };
        let header = Header {
            kind: KIND_WRITE,
            map_version: 0,
            stamp: Stamp(10),
            request: RequestId { session, seq },
            pending_from: 0,
            database: DatabaseId(database),
        };
        Entry { index: LogIndex(index), header, payload }
    }

    fn apply(shard: &mut Shard, entry: Entry) -> Reply {
        let mut replies = Vec::new();
        shard.apply(&[entry], &Applied(Bytes::new()), &mut |_, reply| replies.push(reply)).expect("no halt");
        replies.pop().expect("one reply an entry")
    }

    fn code(reply: &Reply) -> Option<Code> {
        match reply {
            Reply::Refused(failure) => Some(failure.code),
            _ => None,
        }
    }

    #[test]
    fn a_repeated_request_is_answered_alike_and_applied_once() {
        let mut shard = shard();
        let first = apply(&mut shard, entry(1, 7, 1, frame(1)));
        assert!(matches!(first, Reply::Written { points: 1, .. }));
        assert!(matches!(apply(&mut shard, entry(2, 8, 1, frame(2))), Reply::Written { .. }));
        let hash = shard.engine().content().hash().expect("no files");
        let again = apply(&mut shard, entry(3, 7, 1, frame(1)));
        assert_eq!(again, first.without_series(), "the outcome of the first, at its index");
        assert_eq!(shard.engine().content().hash().expect("no files"), hash, "a late repetition overwrites nothing");
    }

    /// The same id and bytes for another database are another request: telling it the first one's outcome would acknowledge
    /// what is not stored.
    #[test]
    fn an_id_names_one_request_to_one_database() {
        let mut shard = shard();
        apply(&mut shard, entry(1, 7, 1, frame(1)));
        assert_eq!(code(&apply(&mut shard, entry(2, 7, 2, frame(1)))), Some(Code::RequestIdReused));
        assert_eq!(code(&apply(&mut shard, entry(3, 7, 1, frame(9)))), Some(Code::RequestIdReused));
    }

    #[test]
    fn a_series_may_go_by_the_number_that_its_first_reply_tells() {
        let mut shard = shard();
        let Reply::Written { series, .. } = apply(&mut shard, entry(1, 7, 1, frame(1))) else { panic!("written") };
        let numbered = |check| {
            let mut builder = FrameBuilder::new();
            let place = builder.by_number("m", series[0], check).expect("a name");
            builder.push_at(place, Timestamp::default(), &[("v", ValueRef::I64(5))]).expect("a row");
            builder.finish()
        };
        let key = SeriesKey::from_tags(&mut [("host", "a")]).expect("a key");
        let check = meridian_frame::series_check(&key);
        let wrong = apply(&mut shard, entry(2, 8, 1, numbered(check ^ 1)));
        assert_eq!(code(&wrong), Some(Code::SendKeys));
        // The same id again: what was refused so is not remembered.
        let written = apply(&mut shard, entry(3, 8, 1, numbered(check)));
        assert!(matches!(&written, Reply::Written { series, points: 1, .. } if series.is_empty()), "{written:?}");
    }

    #[test]
    fn files_of_a_later_replica_are_not_given_up() {
        assert!(gave_way("s1/1/r3", "s1/1/r7"));
        assert!(!gave_way("s1/1/r7", "s1/1/r3"), "the catalogue is behind");
        assert!(gave_way("s1/1/r7", "s1/2/r3"), "another life of the shard");
    }

    #[test]
    fn a_session_from_the_future_is_refused() {
        let mut shard = shard();
        let mut early = entry(1, 7, 1, frame(1));
        early.header.request.session.birth = Timestamp::new(limits::SESSION_AHEAD_NANOS_MAX + 100).expect("in range");
        assert_eq!(code(&apply(&mut shard, early)), Some(Code::TimeOutOfRange));
    }

    /// What was answered counts as applied, so it is stored, too, whatever comes behind it.
    #[test]
    fn what_is_accepted_before_a_halt_is_stored() {
        let mut older = frame(2).to_vec();
        older[3] = 1;
        let mut unknown = entry(2, 2, 1, Bytes::new());
        unknown.header.kind = 200;
        for last in [entry(2, 2, 1, older.into()), unknown] {
            let (mut shard, run) = (shard(), [entry(1, 1, 1, frame(1)), last]);
            let halted = shard.apply(&run, &Applied(Bytes::new()), &mut |_, _| {});
            assert!(halted.is_err() && shard.engine().stats().row_bytes > 0);
        }
    }

    #[test]
    fn what_is_no_frame_is_refused_and_an_unknown_kind_halts() {
        let mut shard = shard();
        assert!(code(&apply(&mut shard, entry(1, 1, 1, Bytes::from_static(b"poison")))).is_some());
        let mut older = frame(1).to_vec();
        older[3] = 1;
        let mut halted = |entry: Entry| {
            let none = &mut |_, reply| panic!("an entry that halts is not answered: {reply:?}");
            shard.apply(&[entry], &Applied(Bytes::new()), none).expect_err("it halts")
        };
        let halt = halted(entry(2, 2, 1, older.into()));
        assert!(halt.reason.contains("s1: entry 2: the frame has version 1"), "{halt:?}");
        let mut unknown = entry(2, 2, 1, Bytes::new());
        unknown.header.kind = 200;
        let halt = halted(unknown);
        assert!(halt.reason.contains("unknown kind 200"), "a newer version's entry is never guessed: {halt:?}");
    }
}
