//! The binary `meridian`: reads the command line, builds the real `Env`, and hands both to one module a subcommand.
//!
//! Data goes to stdout, talk to stderr, and the exit code tells the kind of a failure. Nothing is decided here that a
//! library could decide.

mod cluster;
mod completion;
mod db;
mod delete;
mod dev;
mod failure;
mod input;
mod inspect;
mod log;
mod node;
mod output;
mod query;
mod router;
mod serve;
mod server;
mod settings;
mod shard;
mod table;
mod write;

#[cfg(test)]
mod manual; // docs/cli.md is current

use std::process::ExitCode;

use clap::Parser;
use meridian_env::{Env, real};
use meridian_types::{Duration, parse_duration};

use crate::failure::CliError;
use crate::log::LogArgs;
use crate::server::Server;

/// Batches are large buffers that come and go: an allocator that gave each back would have the kernel clear it anew.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Meridian, a time-series database cluster.
#[derive(Debug, Parser)]
#[command(name = "meridian", version, after_help = AFTER_HELP)]
struct Cli {
    /// Router to talk to, its gRPC address [default: 127.0.0.1:7171]
    #[arg(
        long,
        global = true,
        help_heading = GLOBAL,
        env = "MERIDIAN_SERVER",
        hide_env_values = true,
        value_name = "HOST:PORT"
    )]
    server: Option<String>,
    /// Longest wait for one answer, retries included
    #[arg(
        long,
        global = true,
        help_heading = GLOBAL,
        value_name = "SPAN",
        default_value = "30s",
        value_parser = positive_duration
    )]
    timeout: Duration,
    #[command(flatten)]
    log: LogArgs,
    #[command(subcommand)]
    command: Command,
}

/// Above the options that every command has.
const GLOBAL: &str = "Global options";

const AFTER_HELP: &str = "\
Examples:
  meridian db create metrics
  echo 'cpu,host=a usage=0.5' | meridian write --db metrics
  meridian query cpu --db metrics --start -1h --every 1m --agg mean --group-by host

Exit codes: 0 done, 1 broken, 2 usage, 3 refused, 4 not found or exists, 5 not allowed, 6 retry,
7 overloaded, 8 outcome not known, 9 part of the input refused, 130 interrupted.";

#[derive(Debug, clap::Subcommand)]
enum Command {
    Dev(dev::Args),
    Node(settings::Args<node::Node>),
    Router(settings::Args<router::Router>),
    /// Store line protocol from a file or stdin
    Write(write::WriteArgs),
    /// Store much line protocol, plain or gzip, fast and with an exact summary
    Import(write::ImportArgs),
    /// Ask for raw points or aggregates of one measurement
    Query(query::Args),
    /// Delete rows of one measurement in a range of time
    Delete(delete::Args),
    /// Begin a cluster; see nodes, shards and leaders
    Cluster(cluster::Args),
    /// List shards, and choose who leads them
    Shard(shard::Args),
    /// Create, list and drop databases
    Db(db::Args),
    Inspect(inspect::Args),
    Completion(completion::Args),
}

impl Command {
    /// Whom to ask where neither `--server` nor `MERIDIAN_SERVER` says.
    fn server_default(&self) -> &'static str {
        match self {
            Self::Cluster(args) if args.asks_a_node() => "127.0.0.1:7172",
            _ => "127.0.0.1:7171",
        }
    }

    /// What is logged where neither `--log` nor `RUST_LOG` says.
    fn log_default(&self) -> &'static str {
        match self {
            Self::Node(_) | Self::Router(_) => "info,openraft=warn",
            // One terminal for a whole cluster: elections and the end of peers are no news, and what halts a node we say ourselves.
            Self::Dev(_) => "warn,openraft=off",
            _ => "warn",
        }
    }
}

fn main() -> ExitCode {
    real::use_small_pages();
    match start(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::say(&error.render());
            ExitCode::from(error.exit_code())
        }
    }
}

fn start(cli: Cli) -> Result<(), CliError> {
    let cli = Cli { log: cli.log.or(cli.command.log_default()), ..cli };
    cli.log.start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CliError::Start)?;
    let env = real::env().map_err(CliError::Start)?;
    let outcome = runtime.block_on(run(cli, env));
    // A thread may still wait for stdin; the end of the process ends it.
    runtime.shutdown_background();
    outcome
}

async fn run(cli: Cli, env: Env) -> Result<(), CliError> {
    let address = cli.server.unwrap_or_else(|| cli.command.server_default().to_owned());
    let server = Server::new(env.clone(), address, cli.timeout);
    match cli.command {
        Command::Dev(args) => dev::run(env, args, &cli.log).await,
        Command::Node(args) => node::run(env, args).await,
        Command::Router(args) => router::run(env, args).await,
        Command::Write(args) => write::write(args, &server).await,
        Command::Import(args) => write::import(args, &server).await,
        Command::Query(args) => until_interrupt(query::run(args, &server)).await,
        Command::Delete(args) => until_interrupt(delete::run(args, &server)).await,
        Command::Cluster(args) => until_interrupt(cluster::run(args, &server)).await,
        Command::Shard(args) => until_interrupt(shard::run(args, &server)).await,
        Command::Db(args) => until_interrupt(db::run(args, &server)).await,
        Command::Inspect(args) => until_interrupt(inspect::run(env, args)).await,
        Command::Completion(args) => completion::run(&args),
    }
}

/// What `command` comes to, or that ctrl-C was pressed first. For commands that have nothing to put in order.
async fn until_interrupt(command: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    tokio::select! {
        outcome = command => outcome,
        Ok(()) = tokio::signal::ctrl_c() => Err(CliError::Interrupted),
    }
}

/// A span of time of more than nothing, as arguments have it.
fn positive_duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(span) if span.nanos() > 0 => Ok(span),
        Ok(_) => Err("must be above zero".into()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// The arguments, each word of `line` one of them, or the first part of clap's refusal.
    fn parsed(line: &str) -> Result<Cli, String> {
        let words = std::iter::once("meridian").chain(line.split_whitespace());
        Cli::try_parse_from(words).map_err(|e| {
            assert_eq!(e.exit_code(), 2, "a refusal is a usage error: {line}");
            e.to_string().split("\n\n").next().unwrap_or_default().trim_end().to_owned()
        })
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn good_lines_are_understood() {
        for line in [
            "db create metrics --retention 30d --shard-by host,region --future 1d --if-absent",
            "db list --json",
            "db drop metrics --yes",
            "cluster status --json --server 10.0.0.1:7171",
            "write --db metrics",
            "write --db metrics --precision ms -",
            "write --db metrics points.txt --timeout 5s",
            "import points.lp.gz --db metrics",
            "import - --db metrics --precision s --batch-lines 1000 --parallel 1 --json",
            "shard list --json",
            "shard transfer-leader s3 --to n2",
            "shard transfer-leader 3 --to 2 --json",
            "inspect ./meridian-data/n1 --force --json",
            "completion elvish",
            "query cpu --db m --fields a,b --where host=a --where region!~eu.* --start -1h --end now --desc --limit 5",
            "query cpu --db m --where usage>90 --where usage<=99.5 --where up==true --where state<>idle --where host=a",
            "delete cpu --db m --where host=a --where region!=eu --start -1h --end now --yes",
            "query cpu --db m --every 1m --offset 10s --agg mean,max --group-by host,region --format csv",
        ] {
            assert!(parsed(line).is_ok(), "{line}: {:?}", parsed(line));
        }
    }

    #[test]
    fn bad_lines_are_refused_with_a_reason() {
        let expected = include_str!("../testdata/usage.txt");
        let lines = expected.lines().filter_map(|line| line.strip_prefix("$ meridian "));
        let found = lines.map(|line| match parsed(line) {
            Ok(_) => format!("$ meridian {line}\nis understood\n"),
            Err(refusal) => format!("$ meridian {line}\n{refusal}\n"),
        });
        assert_eq!(found.collect::<String>(), expected);
    }
}
