//! Benchmarks of Meridian. `load` puts a known load on a running cluster and says what it cost, `soak` whether it can go on.
//!
//! Never reports a figure of a run in which a point was refused for good or is not there afterwards: such a run ends with exit 1.

mod load; // one run, from the arguments to the report

mod soak; // a long run, and whether what the cluster holds levels off

mod generate; // which rows there are

mod lines; // how they travel as line protocol

mod frames; // how they travel as frames

mod pace; // when they leave, and what became of them

mod check; // whether they are there

mod cpu; // what they cost

mod report; // what is printed

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;

#[derive(Parser, Debug)]
#[command(version, about = "Benchmarks of Meridian")]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// Write to a running cluster as fast as it takes, or at a rate, and report throughput, latency and CPU.
    Load(load::Args),
    /// Write to a running cluster for long, with a short retention, and report whether what it holds levels off.
    Soak(soak::Args),
}

fn main() -> ExitCode {
    let report = match Cli::parse().what {
        What::Load(args) => load::start(&args),
        What::Soak(args) => soak::start(&args),
    };
    let text = match report {
        Ok(text) => text,
        Err(error) => {
            // Nothing is left to tell it to when stderr is closed.
            let _ = writeln!(std::io::stderr().lock(), "error: {error}");
            return ExitCode::FAILURE;
        }
    };
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
