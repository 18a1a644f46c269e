//! The same clients and the same judge before real processes: what the simulation claims, the machine's kernel is asked to break.
//!
//! What needs privileges runs in a mount and a network namespace of its own, which end with it: nothing of the machine's own
//! network or file systems is touched, and nothing is left behind.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use meridian_env::Rng;
use meridian_trial::real::{self, Held, Kind, Trial};
use meridian_trial::{Broken, Judged, judge_file};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use crate::{exit_code, ledger, trace};

/// What was asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Minutes in which faults come
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_440))]
    minutes: u64,
    /// Kinds of faults: kill and pause; as root also partition, delay, powercut, enospc and fsync-error
    #[arg(long, value_name = "KIND,…", value_delimiter = ',', default_value = "kill,pause", value_parser = kind)]
    faults: Vec<Kind>,
    /// From what rows and faults are drawn; a fresh one if none is named
    #[arg(long)]
    seed: Option<u64>,
    /// Where to write down what was asked, told and read, for `judge`; a new file
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// The binary whose processes are started; by default the one beside this one
    #[arg(long, value_name = "FILE")]
    meridian: Option<PathBuf>,
    /// The code that runs: with it, the run becomes a line of the book
    #[arg(long, requires = "book")]
    commit: Option<String>,
    /// The book of real runs, chaos/real.jsonl, to which the run is added
    #[arg(long, value_name = "FILE", requires = "commit")]
    book: Option<PathBuf>,
    /// It is in namespaces of its own already
    #[arg(long, hide = true)]
    apart: bool,
}

/// A line of the book: one run.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Run {
    /// The code that ran.
    pub(crate) commit: String,
    pub(crate) seed: u64,
    pub(crate) minutes: u64,
    /// `held`, or why not.
    pub(crate) outcome: String,
    pub(crate) held: Held,
}

fn kind(name: &str) -> Result<Kind, String> {
    let names = || Kind::ALL.map(Kind::name).join(", ");
    Kind::named(name).ok_or_else(|| format!("there is no such kind of fault; there are {}", names()))
}

/// Holds one trial.
pub(crate) fn run(options: Options) -> io::Result<u8> {
    let program = std::env::current_exe()?;
    let meridian = options.meridian.clone().unwrap_or_else(|| program.with_file_name("meridian"));
    if !meridian.is_file() {
        let why = format!("there is no binary {}: build it, or name one by --meridian", meridian.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, why));
    }
    if options.faults.iter().any(|kind| kind.needs_privileges()) && !options.apart {
        return Err(apart(&program));
    }
    let seed = options.seed.unwrap_or_else(|| Rng::from_system().below(1 << 32));
    let kinds = options.faults.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(",");
    trace::tell(&format!("{} minutes of {kinds}, seed {seed}", options.minutes));
    let length = Duration::from_secs(60 * options.minutes);
    let trial = Trial { meridian, kinds: options.faults, length, rng: Rng::from_seed(seed), history: options.history };
    let held = hold(&trial)?;
    let said = match &held {
        Ok(held) => told(held),
        Err(broken) => format!("seed {seed} fails: {broken}"),
    };
    trace::tell(&said);
    if let (Some(commit), Some(book)) = (options.commit, options.book) {
        let outcome = held.as_ref().map_or_else(ToString::to_string, |_| "held".to_owned());
        let held = held.clone().unwrap_or_default();
        ledger::add(&book, &Run { commit, seed, minutes: options.minutes, outcome, held })?;
    }
    Ok(held.map_or_else(|broken| exit_code(&broken), |_| 0))
}

/// Judges what an earlier run has written down.
pub(crate) fn judge(history: &Path) -> io::Result<u8> {
    let at = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", history.display()));
    let file = std::fs::OpenOptions::new().read(true).open(history).map_err(at)?;
    match judge_file(io::BufReader::new(file)) {
        Ok(Judged { ops, reads, values }) => {
            trace::tell(&format!("every promise held: {ops} operations, {reads} answers with {values} values"));
            Ok(0)
        }
        Err(broken) => {
            trace::tell(&format!("{}: {broken}", history.display()));
            Ok(exit_code(&broken))
        }
    }
}

fn told(held: &Held) -> String {
    let faults: Vec<_> = held.faults.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    format!(
        "every promise held: {} rows acked in {} requests, {} values read back through each router; {}",
        held.acked_rows,
        held.acked_requests,
        held.values,
        faults.join(", ")
    )
}

/// On this thread, with which all processes of the cluster die; control-C and SIGTERM end them and take their directory away.
fn hold(trial: &Trial) -> io::Result<Result<Held, Broken>> {
    let env = meridian_env::real::env()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let held = runtime.block_on(async {
        let mut ends = signal(SignalKind::terminate())?;
        tokio::select! {
            held = real::run(&env, trial) => Ok(held),
            stopped = tokio::signal::ctrl_c() => stopped.and(Err(io::Error::from(io::ErrorKind::Interrupted))),
            _ = ends.recv() => Err(io::Error::from(io::ErrorKind::Interrupted)),
        }
    });
    runtime.shutdown_background();
    held
}

/// Starts this command once more, in namespaces of its own; returns only if it can't.
fn apart(program: &Path) -> io::Error {
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--propagation", "private", "--"]);
        command
    };
    let why = match unshare().arg("true").output() {
        Ok(output) if output.status.success() => {
            unshare().arg(program).args(std::env::args_os().skip(1)).arg("--apart").exec().to_string()
        }
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    io::Error::other(format!("these faults take the command unshare of util-linux, and root: {why}"))
}
