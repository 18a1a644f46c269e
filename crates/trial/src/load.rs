//! The clients of a trial: they write, delete and read until they are told to stop, and record what they were told.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use meridian_client::{Pending, Session, connect};
use meridian_env::{Env, Instant};
use meridian_proto::v1;
use meridian_types::{Code, Failure, Timestamp};
use parking_lot::Mutex;

use crate::call;
use crate::file;
use crate::history::{Deed, History, OpId, Told};
use crate::lines;
use crate::registers::{Broken, Read, Registers, Scope, Violation};
use crate::rows::{DATABASE, Generator, Row};
use crate::witness::{self, Witness};

/// How often a client sends a request with the same id at most; some give up earlier, so that some outcomes stay unknown.
const TRIES_MAX: u64 = 3;
/// Requests of one client that wait to arrive a second time.
const LATE_MAX: usize = 4;
/// Most rows are to live until the end.
const PAUSES_PER_DELETE: u32 = 10;

/// Between two tries of what must succeed.
const AGAIN: Duration = Duration::from_millis(100);

/// Makes the trial's database through the router at `grpc`, again and again until the cluster is there.
pub async fn create_database(env: &Env, grpc: &str, until: Instant) -> Result<(), Failure> {
    loop {
        let Err(failure) = call::create_database(env, connect(env, grpc)).await else { return Ok(()) };
        if env.clock.now() > until {
            return Err(failure);
        }
        env.clock.sleep(AGAIN).await;
    }
}

/// What a client was told, and when by its clock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// When.
    pub at: Timestamp,
    /// What.
    pub told: Told,
    /// The shards that have what was asked, as far as they are named.
    pub shards: Vec<u32>,
}

/// What the clients of one trial share. Clones are the same trial.
#[derive(Clone, Debug)]
pub struct Load {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    history: Mutex<History>,
    answers: Mutex<Vec<Answer>>,
    generator: Mutex<Generator>,
    /// Answers that came while others wrote: judged at the end, when all outcomes are known.
    reads: Mutex<Vec<Result<Read, Violation>>>,
    stopped: AtomicBool,
    rows_max: u64,
    pause_ms_max: u64,
}

impl Load {
    /// Clients that write what `generator` draws: up to `rows_max` rows a request, and a pause of up to `pause_ms_max`
    /// between two requests of a client.
    pub fn new(generator: Generator, rows_max: u64, pause_ms_max: u64) -> Self {
        let shared = Shared {
            history: Mutex::default(),
            answers: Mutex::default(),
            generator: Mutex::new(generator),
            reads: Mutex::default(),
            stopped: AtomicBool::new(false),
            rows_max,
            pause_ms_max,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Ends all clients, each after what it has under way.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether clients still begin new requests.
    pub fn is_running(&self) -> bool {
        !self.shared.stopped.load(Ordering::Relaxed)
    }

    /// Rows acknowledged so far.
    pub fn acked(&self) -> usize {
        self.shared.history.lock().rows(Told::Acked)
    }

    /// Requests acknowledged so far.
    pub fn acked_requests(&self) -> usize {
        self.shared.answers.lock().iter().filter(|answer| answer.told == Told::Acked).count()
    }

    /// What clients were told of writes and deletes, in the order in which they were told.
    pub fn answers(&self) -> Vec<Answer> {
        self.shared.answers.lock().clone()
    }

    /// What was asked and told, in words.
    pub fn summary(&self) -> String {
        let reads = self.shared.reads.lock().len();
        format!("{}; {reads} reads in between", self.shared.history.lock())
    }

    /// The last entry of each shard that an acknowledgement has named.
    pub fn last_entries(&self) -> BTreeMap<u32, u64> {
        witness::last(&self.shared.history.lock().ops)
    }

    /// Writes down what was asked, told and read in between, for [`crate::judge_file`]. Call it when all clients have ended.
    pub fn write(&self, out: &mut dyn io::Write) -> io::Result<()> {
        file::write_history(out, &self.shared.history.lock())?;
        self.shared.reads.lock().iter().try_for_each(|read| match read {
            Ok(read) => file::write_read(out, read),
            Err(violation) => file::write_foreign(out, violation),
        })
    }

    /// The registers of all that was asked and told, and whether the entries that were named and the answers that came in between
    /// agree with it. Call it when all clients have ended.
    pub fn judge(&self) -> Result<Registers, Violation> {
        witness::check(&self.shared.history.lock().ops)?;
        let registers = Registers::of(&self.shared.history.lock());
        for read in &*self.shared.reads.lock() {
            registers.check(read.as_ref().map_err(Clone::clone)?)?;
        }
        Ok(registers)
    }

    /// Writes rows over gRPC, each request with an id under which it is sent again.
    pub async fn write_rows(self, env: Env, grpc: String) {
        let mut session = Session::begin(&env);
        let channel = connect(&env, &grpc);
        // Requests that arrive a second time, long after they were acknowledged, and must change nothing then.
        let mut late = VecDeque::new();
        while self.is_running() {
            if (late.len() >= LATE_MAX || env.rng.chance(0.03))
                && let Some((_pending, request)) = late.pop_front()
            {
                let again = call::write(&env, channel.clone(), request).await;
                tracing::debug!(acked = again.is_ok(), "late");
            }
            let (op, rows) = self.begin_write(&env);
            let pending = session.request();
            let request = write_out(&rows, &pending);
            let (told, entries, expired) = repeated(&env, || call::write(&env, channel.clone(), request.clone())).await;
            tracing::debug!(serial = rows[0].serial, rows = rows.len(), ?told, "write");
            self.told(&env, op, told, entries);
            if expired {
                session = Session::begin(&env);
                late.clear();
            } else if told == Told::Acked && env.rng.chance(0.1) {
                late.push_back((pending, request));
            }
            self.pause(&env).await;
        }
    }

    /// Writes some rows through the router at `grpc`, again and again until they are acknowledged.
    pub async fn write_once(&self, env: &Env, grpc: &str, until: Instant) -> Result<(), Broken> {
        let (session, channel) = (Session::begin(env), connect(env, grpc));
        let (op, rows) = self.begin_write(env);
        let pending = session.request();
        let request = write_out(&rows, &pending);
        loop {
            match call::write(env, channel.clone(), request.clone()).await {
                Ok(entries) => {
                    self.told(env, op, Told::Acked, entries);
                    return Ok(());
                }
                Err(failure) if env.clock.now() > until => {
                    return Err(Broken::Liveness(format!("a write through {grpc} is not acknowledged: {failure}")));
                }
                Err(_) => env.clock.sleep(AGAIN).await,
            }
        }
    }

    /// Deletes rows of late over gRPC, each request with an id under which it is sent again.
    pub async fn delete(self, env: Env, grpc: String) {
        let mut session = Session::begin(&env);
        let channel = connect(&env, &grpc);
        while self.is_running() {
            let drawn = self.shared.generator.lock().delete();
            if let Some(delete) = drawn {
                let op = self.shared.history.lock().begin(Deed::Delete(delete));
                let pending = session.request();
                let request = call::delete_out(&delete, pending.id, pending.pending_from());
                let (told, entries, expired) =
                    repeated(&env, || call::delete(&env, channel.clone(), request.clone())).await;
                tracing::debug!(?delete, ?told, "delete");
                self.told(&env, op, told, entries);
                if expired {
                    session = Session::begin(&env);
                }
            }
            for _ in 0..PAUSES_PER_DELETE {
                self.pause(&env).await;
            }
        }
    }

    /// Writes lines over HTTP, some bad ones among the good: with a key, and then sent again, or without, and then once.
    pub async fn write_lines(self, env: Env, http: String) {
        while self.is_running() {
            let (op, rows) = self.begin_write(&env);
            let body = lines::Body::of(&rows, &env);
            let key = env.rng.chance(0.5).then(|| lines::key(&env));
            let mut told = Told::Refused;
            for _ in 0..if key.is_some() { 1 + env.rng.below(TRIES_MAX) } else { 1 } {
                match lines::post(&env, &http, &body, key.as_deref()).await {
                    Ok(Told::Acked) => {
                        told = Told::Acked;
                        break;
                    }
                    Ok(Told::Unknown) => told = Told::Unknown,
                    Ok(Told::Refused) => {}
                    Err(violation) => self.shared.reads.lock().push(Err(violation)),
                }
            }
            tracing::debug!(serial = rows[0].serial, rows = rows.len(), ?told, "lines");
            self.told(&env, op, told, Vec::new());
            self.pause(&env).await;
        }
    }

    /// Reads rows of late while others write them.
    pub async fn read(self, env: Env, grpc: String) {
        let channel = connect(&env, &grpc);
        while self.is_running() {
            let drawn = self.shared.generator.lock().recent_range();
            if let Some((series, range)) = drawn {
                let series_only = env.rng.below(4) > 0;
                let scope = Scope { measurement: series.measurement(), series: series_only.then_some(series), range };
                let asked = self.shared.history.lock().tick();
                if let Ok(seen) = call::read(&env, channel.clone(), scope).await {
                    let answered = self.shared.history.lock().tick();
                    let read = seen.map(|seen| Read { scope, asked, answered, seen });
                    self.shared.reads.lock().push(read);
                }
            }
            self.pause(&env).await;
        }
    }

    fn begin_write(&self, env: &Env) -> (OpId, Vec<Row>) {
        let count = 1 + env.rng.below(self.shared.rows_max);
        let rows = self.shared.generator.lock().batch(count as usize);
        let op = self.shared.history.lock().begin(Deed::Write(rows.clone()));
        (op, rows)
    }

    fn told(&self, env: &Env, op: OpId, told: Told, entries: Vec<Witness>) {
        let shards = entries.iter().map(|entry| entry.shard).collect();
        match told {
            Told::Acked => self.shared.history.lock().acked(op, entries),
            _ => self.shared.history.lock().told(op, told),
        }
        self.shared.answers.lock().push(Answer { at: env.clock.wall(), told, shards });
    }

    async fn pause(&self, env: &Env) {
        env.clock.sleep(Duration::from_millis(1 + env.rng.below(self.shared.pause_ms_max))).await;
    }
}

fn write_out(rows: &[Row], pending: &Pending) -> v1::WriteRequest {
    v1::WriteRequest {
        database: DATABASE.into(),
        request: Some(pending.id.into()),
        pending_from: pending.pending_from(),
        rows: rows.iter().map(call::row_out).collect(),
    }
}

/// Sends a request until it is acknowledged or its client gives up; what it came to, the entries that have it, and whether shards
/// have forgotten the session: they remember so many, and others have come since.
async fn repeated<F>(env: &Env, mut send: impl FnMut() -> F) -> (Told, Vec<Witness>, bool)
where
    F: Future<Output = Result<Vec<Witness>, Failure>>,
{
    let (mut told, mut expired) = (Told::Refused, false);
    for _ in 0..1 + env.rng.below(TRIES_MAX) {
        let failure = match send().await {
            Ok(entries) => return (Told::Acked, entries, expired),
            Err(failure) => failure,
        };
        tracing::debug!(code = %failure.code, why = failure.message, "not acknowledged");
        expired |= failure.code == Code::SessionExpired;
        // What came before may have arrived, whatever is said of the repetition.
        if call::told(&failure) == Told::Unknown {
            told = Told::Unknown;
        }
    }
    (told, Vec::new(), expired)
}
