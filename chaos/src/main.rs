//! The judge: a whole cluster, as it ships, in one deterministic simulation. Everything follows from the seed.
//!
//! `meridian-chaos run --seed 7 --trace -` puts a cluster of three nodes and a router through crashes that lose unsynced bytes,
//! and demands every acknowledged point back. Run twice, the traces are equal byte for byte; that is the first thing that CI
//! proves. One simulation a process, since task ids are process-wide: `sweep` starts one for each seed.

#[cfg(not(tokio_unstable))]
compile_error!(
    "the simulation does not replay without --cfg tokio_unstable: an environment RUSTFLAGS overrides .cargo/config.toml"
);

mod scenario;
mod sweep;
mod time;
mod trace;
mod workload;
mod world;

use std::io::{self, Write as _};
use std::ops::Range;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use meridian_trial::Broken;

/// Run Meridian's cluster simulation
#[derive(Debug, Parser)]
#[command(name = "meridian-chaos", version)]
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
        /// Simulated seconds of writes, 16 or more; each kind of fault comes within 30
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(16..))]
        seconds: u64,
        /// Where to write every event, or - for standard output
        #[arg(long)]
        trace: Option<String>,
    },
    /// Run many seeds, each in a fresh process, until one fails
    Sweep {
        /// The seeds from A up to, but not including, B
        #[arg(long, value_name = "A..B", value_parser = sweep::seeds)]
        seeds: Range<u64>,
        /// Simulated seconds of writes of each, 16 or more
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(16..))]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run { seed, seconds, trace } => run(seed, seconds, trace),
        Command::Sweep { seeds, seconds } => sweep::run(seeds, seconds).unwrap_or_else(|error| {
            trace::tell(&format!("no run can be started: {error}"));
            ExitCode::from(4)
        }),
    }
}

fn run(seed: u64, seconds: u64, trace: Option<String>) -> ExitCode {
    let unwritten = |error: io::Error| {
        trace::tell(&format!("the trace cannot be written: {error}"));
        ExitCode::from(4)
    };
    let mut events = match trace::start(trace.as_deref()) {
        Ok(events) => events,
        Err(error) => return unwritten(error),
    };
    let outcome = scenario::run(seed, seconds);
    tracing::info!(held = outcome.is_ok(), "the run is over");
    if let Err(error) = events.flush() {
        return unwritten(error);
    }
    match outcome {
        Ok(summary) => {
            trace::tell(&format!("seed {seed} holds: {summary}"));
            ExitCode::SUCCESS
        }
        Err(broken) => {
            trace::tell(&format!("seed {seed} fails: {broken}\n{}", sweep::again(seed, seconds)));
            ExitCode::from(exit_code(&broken))
        }
    }
}

fn exit_code(broken: &Broken) -> u8 {
    match broken {
        Broken::Safety(_) => 1,
        Broken::Liveness(_) => 2,
        Broken::Crash(_) => 3,
    }
}
