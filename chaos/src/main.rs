//! The judge: a whole cluster, as it ships, in one deterministic simulation. Everything follows from the seed.
//!
//! `meridian-chaos run --seed 7 --trace -` draws a world from the seed, lets processes, links, disks and clocks fail in it, and
//! demands every acknowledged point back. Run twice, the traces are equal byte for byte: `verify` proves that first. One
//! simulation a process, since task ids are process-wide: `sweep` and `verify` start one for each seed.

#[cfg(not(tokio_unstable))]
compile_error!(
    "the simulation does not replay without --cfg tokio_unstable: an environment RUSTFLAGS overrides .cargo/config.toml"
);

mod bars; // what is demanded of it
mod invariants; // what holds of replicas at any time
mod ledger; // what became of each seed
mod mutants; // whether the judge finds planted faults
mod real; // real processes
mod record; // what a run was
mod report; // a run as a page
mod scenario; // what every run does
mod script; // stories as texts
mod shape; // what a world consists of
mod story; // stories as they are played
mod sweep; // many seeds
mod time;
mod trace;
mod trouble; // what goes wrong besides processes
mod verify; // whether a seed repeats
mod workload; // the clients
mod world; // the hosts

use std::io::{self, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use meridian_trial::Broken;
use meridian_types::Mutant;

/// Exit code of whatever went wrong with the judge itself.
const HARNESS: u8 = 4;

/// Run Meridian's cluster simulation
#[derive(Debug, Parser)]
#[command(
    name = "meridian-chaos",
    version,
    after_help = "Exit codes: 0 held, 1 safety, 2 liveness, 3 a process failed, 4 the judge itself or its arguments"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one seed; exits with 0 if everything held
    Run {
        /// The seed from which everything follows
        #[arg(long)]
        seed: u64,
        #[command(flatten)]
        length: Length,
        /// Where to write every event, or - for standard output
        #[arg(long, value_name = "FILE")]
        trace: Option<String>,
        /// Where to write the run as a page for people
        #[arg(long, value_name = "FILE.html")]
        report: Option<PathBuf>,
        /// File to which one line is added that says what became of the seed
        #[arg(long, value_name = "FILE")]
        ledger: Option<PathBuf>,
        /// A fault to plant in the product
        #[arg(long, value_name = "NAME", value_parser = mutants::named)]
        mutant: Option<Mutant>,
    },
    /// Plant each known fault in the product, and run seeds until one finds it
    Mutants {
        /// Only these; all if none is named
        #[arg(value_name = "NAME", value_parser = mutants::named)]
        names: Vec<Mutant>,
        /// Seeds that may pass before a fault counts as not found
        #[arg(long, default_value_t = 30)]
        seeds: u64,
        #[command(flatten)]
        length: Length,
    },
    /// Run many seeds, each in a fresh process, and say which fail
    Sweep {
        /// The seeds from A up to, but not including, B
        #[arg(long, value_name = "A..B", value_parser = sweep::seeds)]
        seeds: Range<u64>,
        #[command(flatten)]
        length: Length,
        /// Seeds that run at a time
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
        jobs: u16,
        /// File to which one line is added for each seed
        #[arg(long, value_name = "FILE")]
        ledger: Option<PathBuf>,
    },
    /// Run each seed twice in fresh processes, and show the first event in which they differ
    Verify {
        /// The seeds from A up to, but not including, B
        #[arg(long, value_name = "A..B", value_parser = sweep::seeds)]
        seeds: Range<u64>,
        #[command(flatten)]
        length: Length,
    },
    /// Play stories: texts that say what is done to a cluster and what may be expected then
    Script {
        /// The stories; chaos/scripts has some, and how they are written
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Another seed than the story names
        #[arg(long)]
        seed: Option<u64>,
        /// Where to write every event of a single story, or - for standard output
        #[arg(long, value_name = "FILE")]
        trace: Option<String>,
        /// Stories that run at a time
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
        jobs: u16,
    },
    /// Start a cluster of real processes, let the machine break it, and demand the same of it
    Real(real::Options),
    /// Judge once more what a run of real processes has written down
    Judge {
        /// What `real --history` wrote
        #[arg(value_name = "FILE")]
        history: PathBuf,
    },
    /// Add up what ledgers say
    Ledger {
        /// The ledgers
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The code that ran: with it, the sum becomes a line of the book
        #[arg(long, requires = "book")]
        commit: Option<String>,
        /// The book, chaos/ledger.jsonl, to which the sum is added
        #[arg(long, value_name = "FILE", requires = "commit")]
        book: Option<PathBuf>,
    },
    /// Compare what is demanded of the judge with what it does
    Bars {
        /// Also what takes an hour: thirty seeds twice, every planted fault
        #[arg(long)]
        full: bool,
        /// The book; its long rows are read, not run
        #[arg(long, value_name = "FILE", default_value = "chaos/ledger.jsonl")]
        book: PathBuf,
        /// The book of real processes
        #[arg(long, value_name = "FILE", default_value = "chaos/real.jsonl")]
        real: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, clap::Args)]
struct Length {
    /// Simulated seconds of writes; each kind of process fault comes within 30
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(10..=86_400))]
    seconds: u64,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { HARNESS } else { 0 });
        }
    };
    let done = match cli.command {
        Command::Run { seed, length, trace, report, ledger, mutant } => {
            let planted = mutant.map_or_else(String::new, |mutant| format!(" --mutant {}", mutant.name()));
            mutant.into_iter().for_each(Mutant::plant);
            let again = sweep::again(seed, length.seconds) + &planted;
            run((seed, length.seconds, again), trace.as_deref(), report, ledger)
        }
        Command::Mutants { names, seeds, length } => {
            let chosen = if names.is_empty() { Mutant::ALL } else { &names };
            mutants::run(chosen, seeds, length.seconds)
        }
        Command::Sweep { seeds, length, jobs, ledger } => sweep::run(seeds, length.seconds, jobs, ledger),
        Command::Verify { seeds, length } => verify::run(seeds, length.seconds),
        Command::Script { files, seed, trace, jobs } => script(files, seed, trace.as_deref(), jobs),
        Command::Real(options) => real::run(options),
        Command::Judge { history } => real::judge(&history),
        Command::Ledger { files, commit, book } => sum(&files, commit.as_deref(), book.as_deref()),
        Command::Bars { full, book, real } => bars::run(full, &book, &real),
    };
    ExitCode::from(done.unwrap_or_else(|error| {
        trace::tell(&format!("the judge failed: {error}"));
        HARNESS
    }))
}

fn run(
    (seed, seconds, again): (u64, u64, String),
    trace: Option<&str>,
    report: Option<PathBuf>,
    ledger: Option<PathBuf>,
) -> io::Result<u8> {
    let mut events = trace::start(trace)?;
    let ran = scenario::run(seed, seconds, &again);
    tracing::info!(held = ran.outcome.is_ok(), "the run is over");
    events.flush()?;
    if let Some(path) = report {
        ledger::write(&path, ran.record.page().as_bytes())?;
    }
    if let Some(path) = ledger {
        ledger::add(&path, &ran.record.entry())?;
    }
    Ok(match ran.outcome {
        Ok(summary) => {
            trace::tell(&format!("seed {seed} holds: {summary}"));
            0
        }
        Err(broken) => {
            trace::tell(&format!("seed {seed} fails: {broken}\nagain: {again}"));
            exit_code(&broken)
        }
    })
}

fn script(files: Vec<PathBuf>, seed: Option<u64>, trace: Option<&str>, jobs: u16) -> io::Result<u8> {
    match &files[..] {
        [file] => {
            let mut events = trace::start(trace)?;
            let code = story::run(file, seed)?;
            events.flush()?;
            Ok(code)
        }
        _ if trace.is_some() => Err(io::Error::other("a trace is of one story: name one file")),
        _ => story::run_each(files, seed, jobs),
    }
}

fn sum(files: &[PathBuf], commit: Option<&str>, book: Option<&Path>) -> io::Result<u8> {
    let sum = ledger::Sum::of(commit.unwrap_or_default(), files)?;
    trace::tell(&sum.to_string());
    book.map_or(Ok(()), |book| ledger::add(book, &sum))?;
    Ok(0)
}

fn exit_code(broken: &Broken) -> u8 {
    match broken {
        Broken::Safety(_) => 1,
        Broken::Liveness(_) => 2,
        Broken::Crash(_) => 3,
        Broken::Harness(_) => HARNESS,
    }
}
