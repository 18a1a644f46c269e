//! Benchmarks of Meridian. `load` puts a known load on a running cluster and says what it cost, `soak` whether it can go on,
//! `queries` how long it takes to answer, `compare` what peers make of the same bytes and `compare-queries` of the same queries;
//! `engine` puts it on the storage of one shard alone. `bars` says whether what was aimed at is reached, and `profile` where the time
//! of a point goes.
//!
//! Never reports a figure of a run in which a point was refused for good or is not there afterwards, or an answer was wrong:
//! such a run ends with exit 1.

mod load; // one run, from the arguments to the report

mod soak; // a long run, and whether what the cluster holds levels off

mod engine; // the storage of one shard, without a cluster

mod queries; // the query types of TSBS, whether every answer is right, and how long peers take

mod compare; // peers, fed the same bytes in turns

mod bars; // what was aimed at, and whether it holds

mod profile; // where the time of a point goes

mod drive; // one run on one server that was started here

mod servers; // starting and ending them

mod feed; // the rows of several runs

mod generate; // which rows there are

mod source; // what they are of

mod lines; // how they travel as line protocol

mod frames; // how they travel as frames

mod numbers; // what the shards call their series

mod pace; // when they leave, and what became of them

mod check; // whether they are there

mod cpu; // what they cost

mod report; // what is printed

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;

/// That of the program that is measured: an engine alone would otherwise be held up by another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    /// Write to the storage engine of one shard, on one thread and without a cluster, and report what each stage costs.
    Engine(engine::Args),
    /// Ask a running cluster the query types of TSBS, check every answer, and report how long they take.
    Queries(queries::Args),
    /// Start a cluster and its peers, feed them the same bytes in turns, and report rates, CPU, disk and memory, and the ratios.
    Compare(compare::Args),
    /// Start a cluster and its peers, ask all the query types of TSBS in turns, and report the times, and the ratios.
    CompareQueries(queries::peers::Args),
    /// Start a cluster, write to it, and report where the CPU time of a point goes: by threads, and by stage alone.
    Profile(profile::Args),
    /// Measure each bar that was set, and say which hold. Exit code 0 only if all do.
    Bars(bars::Args),
}

fn main() -> ExitCode {
    meridian_env::real::use_small_pages();
    let report = match Cli::parse().what {
        What::Load(args) => load::start(&args).map(done).map_err(|error| error.to_string()),
        What::Soak(args) => soak::start(&args).map(done).map_err(|error| error.to_string()),
        What::Engine(args) => engine::start(&args).map(done).map_err(|error| error.to_string()),
        What::Queries(args) => queries::start(&args).map(done).map_err(|error| error.to_string()),
        What::Compare(args) => compare::start(&args).map(done).map_err(|error| error.to_string()),
        What::CompareQueries(args) => queries::peers::start(&args).map(done).map_err(|error| error.to_string()),
        What::Profile(args) => profile::start(&args).map_err(|error| error.to_string()),
        What::Bars(args) => bars::start(&args).map_err(|error| error.to_string()),
    };
    let (text, code) = match report {
        Ok(report) => report,
        Err(error) => {
            // Nothing is left to tell it to when stderr is closed.
            let _ = writeln!(std::io::stderr().lock(), "error: {error}");
            return ExitCode::FAILURE;
        }
    };
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

/// A report of something that has no way to be good or bad.
fn done(text: String) -> (String, ExitCode) {
    (text, ExitCode::SUCCESS)
}
