//! The judge: a whole cluster, as it ships, in one deterministic simulation. Everything follows from the seed.
//!
//! `meridian-chaos run --seed 7 --trace -` runs a cluster of three nodes and a router through a crash of the leader that
//! loses its unsynced bytes, and demands every acknowledged point back. Run twice, the traces are equal byte for byte; that is
//! the first thing that CI proves. One simulation a process: task ids are process-wide.

#[cfg(not(tokio_unstable))]
compile_error!(
    "the simulation does not replay without --cfg tokio_unstable: an environment RUSTFLAGS overrides .cargo/config.toml"
);

mod history;
mod scenario;
mod time;
mod trace;
mod workload;
mod world;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
        /// Simulated seconds of writes, 16 or more
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(16..))]
        seconds: u64,
        /// Where to write every event, or - for standard output
        #[arg(long)]
        trace: Option<String>,
    },
}

fn main() -> ExitCode {
    let Cli { command: Command::Run { seed, seconds, trace } } = Cli::parse();
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
            trace::tell(&format!(
                "seed {seed} fails: {broken}\nagain: meridian-chaos run --seed {seed} --seconds {seconds}"
            ));
            ExitCode::from(broken.exit_code())
        }
    }
}
