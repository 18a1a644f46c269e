//! Servers that a benchmark starts for itself: on loopback, on ports that nobody uses, in a directory that vanishes with them.
//!
//! Never leaves one behind and never ends one that it did not start: each is ended by its own number, when it is dropped or
//! when this process ends. Knows no figures.

mod ask; // HTTP questions
mod product; // the words for each product
mod settle; // when the work behind the writes is done

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use hyper::Method;
use meridian_env::Env;
use meridian_env::real::Process;
use meridian_types::TimeRange;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) use ask::{Talk, path};
pub(crate) use product::{PEERS, Place, Product};
pub(crate) use settle::Settled;

use crate::check::{CheckError, Router};
use crate::cpu::{self, CpuError};
use crate::generate::Shape;
use crate::lines::{Connections, LinesError};
use ask::{AskError, ask, demand};

/// The database of every run.
pub(crate) const DATABASE: &str = "bench";
const READY_MAX: Duration = Duration::from_secs(60);
const END_MAX: Duration = Duration::from_secs(120);
/// What a start leaves to do is no idling.
const CALM: Duration = Duration::from_secs(2);
const COUNT_TRIES: u32 = 8;
const LOOK_EVERY: Duration = Duration::from_millis(20);
const LOG_TAIL: usize = 2_000;

/// Why a server is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    /// Files, ports or the process itself.
    #[error("{0}: {1}")]
    Start(String, std::io::Error),
    /// It went, or does not become ready.
    #[error("{name} {what}. The end of what it printed:\n{log}")]
    Failed {
        /// Which.
        name: &'static str,
        /// What it did.
        what: String,
        /// Its last words.
        log: String,
    },
    /// It does not answer as it should.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The same of Meridian's.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// It takes no writes.
    #[error(transparent)]
    Lines(#[from] LinesError),
    /// What it uses is not known.
    #[error(transparent)]
    Cpu(#[from] CpuError),
}

/// What `work` comes to; none if a person or the system ends this process first. Whatever `work` has started ends with it.
pub(crate) async fn unless_interrupted<T>(work: impl Future<Output = T>) -> std::io::Result<Option<T>> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    tokio::select! {
        biased;
        _ = interrupted.recv() => Ok(None),
        _ = terminated.recv() => Ok(None),
        done = work => Ok(Some(done)),
    }
}

/// Bytes on disk.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Stored {
    /// Blocks and indexes, all copies.
    pub(crate) data: u64,
    /// Logs, with what is allocated ahead in them.
    pub(crate) log: u64,
}

/// A server that runs. The order of the fields is the order in which they go: the process before its files.
#[derive(Debug)]
pub(crate) struct Server {
    process: Process,
    pub(crate) product: Product,
    pub(crate) program: PathBuf,
    pub(crate) place: Place,
    /// What it uses when nobody asks it for anything.
    idle_cores: f64,
    dir: TempDir,
    env: Env,
}

impl Server {
    /// Starts `program` in a fresh directory below `parent`, and waits until it takes writes.
    pub(crate) async fn start(env: &Env, product: Product, program: &Path, parent: &Path) -> Result<Self, ServerError> {
        let failed = |error| ServerError::Start(format!("a directory in {}", parent.display()), error);
        let prefix = format!("meridian-benches-{}-", product.program());
        let dir = tempfile::Builder::new().prefix(&prefix).tempdir_in(parent).map_err(failed)?;
        let [http, other] = free_addresses(env).await.map_err(|e| ServerError::Start("free ports".into(), e))?;
        let place = Place { data: dir.path().join("data"), http, other };
        let process = spawn(product, program, &place, dir.path())?;
        let mut server =
            Self { process, product, program: program.to_owned(), place, idle_cores: 0.0, dir, env: env.clone() };
        server.ready().await?;
        if product == Product::InfluxDb {
            let path = path("/query", &[("q", &format!("CREATE DATABASE {DATABASE}"))]);
            demand(env, &server.place.http, Method::POST, &path).await?;
        }
        if product == Product::Meridian {
            server.router().create_database(DATABASE, Duration::ZERO).await?;
        }
        env.clock.sleep(CALM).await;
        server.idle_cores = settle::idle_cores(env, server.pid()).await?;
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// A directory on the disk that it uses.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// CPU time so far.
    pub(crate) fn cpu_seconds(&self) -> Result<f64, CpuError> {
        cpu::seconds_of(self.pid())
    }

    /// Open connections for line protocol.
    pub(crate) async fn connections(&self, count: u32) -> Result<Connections, ServerError> {
        let open = Connections::open(&self.env, &self.place.http, DATABASE, count).await?;
        // The one path that all of them know.
        Ok(open.by_path(path("/write", &[("db", DATABASE), ("precision", "ns")])))
    }

    /// Lets it finish what it does behind the writes; what it was told to write lies in files then, where it has a call for that.
    pub(crate) async fn settle(&self) -> Result<Settled, ServerError> {
        if self.product == Product::VictoriaMetrics {
            demand(&self.env, &self.place.http, Method::GET, "/internal/force_flush").await?;
        }
        Ok(settle::settle(&self.env, self.pid(), self.idle_cores).await?)
    }

    /// Field values within `range`, by its own word.
    pub(crate) async fn count(&self, shape: &Shape, range: TimeRange) -> Result<u64, ServerError> {
        let (start, end) = (range.start().nanos(), range.end().nanos());
        match self.product {
            Product::Meridian => {
                let mut points = 0;
                for field in shape.field_names() {
                    points += self.count_of(shape, &field, range).await?;
                }
                Ok(points)
            }
            Product::VictoriaMetrics => {
                // Its windows hold their end and not their start, its time is milliseconds: a range of whole seconds is one
                // window.
                let query = format!("sum(count_over_time({{db=\"{DATABASE}\"}}[{}s]))", (end - start) / 1_000_000_000);
                let last = end / 1_000_000 - 1;
                let time = format!("{}.{:03}", last / 1_000, last % 1_000);
                let path =
                    path("/api/v1/query", &[("query", &query), ("time", &time), ("nocache", "1"), ("timeout", "10m")]);
                Ok(ask::prometheus_count(&demand(&self.env, &self.place.http, Method::GET, &path).await?)?)
            }
            Product::InfluxDb => {
                let query = format!(
                    "SELECT count(*) FROM {} WHERE time >= {start} AND time < {end}",
                    shape.source.measurement()
                );
                let path = path("/query", &[("db", DATABASE), ("q", &query)]);
                Ok(ask::influx_count(&demand(&self.env, &self.place.http, Method::GET, &path).await?)?)
            }
        }
    }

    /// Brings all that it holds into files and merges them as far as it does that, and gives the CPU time of the part of it
    /// that comes sooner or later to every point: a flush, but no merge that nobody would have asked for.
    pub(crate) async fn close(&mut self) -> Result<f64, ServerError> {
        match self.product {
            Product::Meridian => {
                let before = self.cpu_seconds()?;
                let used = self.end().await? - before;
                self.process = spawn(self.product, &self.program, &self.place, self.dir.path())?;
                self.ready().await?;
                self.settle().await?;
                Ok(used)
            }
            Product::VictoriaMetrics => {
                demand(&self.env, &self.place.http, Method::GET, "/internal/force_merge").await?;
                self.settle().await?;
                Ok(0.0)
            }
            Product::InfluxDb => self.settle().await.map(|_| 0.0),
        }
    }

    /// What it takes on disk.
    pub(crate) fn stored(&self) -> Result<Stored, ServerError> {
        let mut stored = Stored::default();
        let data = &self.place.data;
        let failed = |error| ServerError::Start(format!("the size of {}", data.display()), error);
        allocated(data, &mut |path, bytes| {
            let path = path.strip_prefix(data).unwrap_or(path);
            *(if self.product.is_log(path) { &mut stored.log } else { &mut stored.data }) += bytes;
        })
        .map_err(failed)?;
        Ok(stored)
    }

    /// Meridian's count of one field. A cluster that is loaded may not answer within its own time limit, and is asked again:
    /// whoever reads changes nothing.
    async fn count_of(&self, shape: &Shape, field: &str, range: TimeRange) -> Result<u64, ServerError> {
        let (router, rows) = (self.router(), (DATABASE, shape.source.measurement()));
        for _ in 1..COUNT_TRIES {
            match router.count(rows, field, range).await {
                Err(CheckError::Failed { .. }) => self.env.clock.sleep(CALM).await,
                answered => return Ok(answered?),
            }
        }
        Ok(router.count(rows, field, range).await?)
    }

    fn router(&self) -> Router {
        Router::new(&self.env, meridian_client::connect(&self.env, &self.place.other))
    }

    async fn ready(&mut self) -> Result<(), ServerError> {
        let end = self.env.clock.now() + READY_MAX;
        while self.env.clock.now() < end {
            if cpu::has_ended(self.pid()) {
                return Err(self.failed("ended before it was ready"));
            }
            let answer = ask(&self.env, &self.place.http, Method::GET, self.product.ready_path()).await;
            if answer.is_ok_and(|(status, _)| status.is_success()) {
                return Ok(());
            }
            self.env.clock.sleep(LOOK_EVERY).await;
        }
        Err(self.failed(&format!("is not ready after {} s", READY_MAX.as_secs())))
    }

    /// Asks it to end, waits until it has, and gives the CPU time of its whole life.
    async fn end(&mut self) -> Result<f64, ServerError> {
        let failed = |error| ServerError::Start("a signal".into(), error);
        self.process.terminate().map_err(failed)?;
        let end = self.env.clock.now() + END_MAX;
        // Whoever has ended and was not asked how has still its books.
        while !cpu::has_ended(self.pid()) {
            if self.env.clock.now() > end {
                return Err(self.failed(&format!("has not ended after {} s", END_MAX.as_secs())));
            }
            self.env.clock.sleep(LOOK_EVERY).await;
        }
        let cpu_seconds = self.cpu_seconds()?;
        // Its last threads hold its lock for a moment longer.
        while self.process.ended().map_err(failed)?.is_none() {
            self.env.clock.sleep(LOOK_EVERY).await;
        }
        Ok(cpu_seconds)
    }

    fn failed(&self, what: &str) -> ServerError {
        #[expect(clippy::disallowed_methods, reason = "reads what a child has printed")]
        let log = std::fs::read(self.dir.path().join(LOG)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_TAIL)..]).into_owned();
        ServerError::Failed { name: self.product.name(), what: what.to_owned(), log }
    }
}

const LOG: &str = "log.txt";

fn spawn(product: Product, program: &Path, place: &Place, dir: &Path) -> Result<Process, ServerError> {
    let failed = |error| ServerError::Start(format!("{} as {}", program.display(), product.name()), error);
    #[expect(clippy::disallowed_methods, reason = "a child writes to it, which Env's files cannot be handed to")]
    let log = File::create(dir.join(LOG)).map_err(failed)?;
    let mut command = product.serves(program, place);
    command.stdin(Stdio::null()).stdout(log.try_clone().map_err(failed)?).stderr(log);
    Process::start(command).map_err(failed)
}

/// Two addresses of this host that nobody uses. Both are held until both are chosen, so that they differ.
async fn free_addresses(env: &Env) -> std::io::Result<[String; 2]> {
    let held = [env.net.listen("127.0.0.1:0").await?, env.net.listen("127.0.0.1:0").await?];
    Ok(held.map(|listener| listener.local_addr()))
}

/// Tells what each file below `dir` takes on disk. Files may go while it looks.
fn allocated(dir: &Path, each: &mut impl FnMut(&Path, u64)) -> std::io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "what a file takes on disk is nothing that Env's disk tells")]
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        match std::fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => allocated(&path, each)?,
            Ok(meta) => each(&path, meta.blocks() * 512),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
