//! The query types of TSBS devops "cpu-only" through a router, against a running cluster: how long each takes, and whether
//! every answer is right.
//!
//! One query at a time. Never reports a figure of a run in which an answer was not, value by value, what the generator's rows
//! make: such a run ends with exit 1.

mod kinds; // which query types there are

mod draw; // what one execution asks

mod dataset; // the rows that are asked for

mod ask; // how they are asked for

mod reference; // what the answer must be

mod compare; // whether it is

mod table; // what is printed

pub(crate) mod peers; // the same of others, in turns

use meridian_env::{Env, Rng, real};
use meridian_types::{KeyError, database_name_is_valid};

use crate::check::{CheckError, Router};
use crate::generate::{INTERVAL_NANOS, POINTS_MAX, Shape};
use crate::queries::ask::{AskError, Asked, Asker};
use crate::queries::compare::{Difference, difference};
use crate::queries::dataset::{Dataset, DatasetError};
use crate::queries::draw::{Drawn, Extent};
use crate::queries::kinds::{FIELDS, HOSTS_MAX, HOUR_NANOS, HOURS_MAX, Kind};
use crate::queries::reference::Reference;
use crate::queries::table::{Line, Table};
use crate::source::Source;

/// What `--quick` asks for: enough for every query type, and seconds of work.
const QUICK_HOSTS: u32 = 10;
const QUICK_HOURS: u32 = 14;
const _: () = assert!(QUICK_HOSTS >= HOSTS_MAX && QUICK_HOURS as i64 > HOURS_MAX, "every query type fits into it");

/// What to ask, and whom.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// gRPC address of a router.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7171")]
    grpc: String,
    /// Database, loaded first unless its rows are there; named after hosts, hours and seed where it is not given.
    #[arg(long, value_parser = database)]
    db: Option<String>,
    #[command(flatten)]
    questions: Questions,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// What to ask, how often, and of which data.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Questions {
    /// Hosts.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(i64::from(HOSTS_MAX)..=1_000_000))]
    pub(crate) hosts: u32,
    /// Days of data, a row of ten fields every 10 s.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) days: u32,
    /// Ten hosts and 14 hours instead, for a look of seconds.
    #[arg(long, conflicts_with_all = ["hosts", "days"])]
    pub(crate) quick: bool,
    /// Names the values, and the hosts and ranges of the queries.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Executions of each query type, behind one that is not timed.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) executions: u32,
    /// Query types to run; all where none is named.
    #[arg(long, value_name = "TYPE,…", value_delimiter = ',', value_parser = kinds::named)]
    pub(crate) only: Vec<&'static Kind>,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QueriesError {
    /// No runtime or no threads.
    #[error("this process cannot start: {0}")]
    Start(std::io::Error),
    /// More data than a run may have.
    #[error("{points} points are over the limit of {POINTS_MAX}: ask for fewer --hosts or --days")]
    TooMany {
        /// How many were asked for.
        points: u64,
    },
    /// The generator made a series that is none.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The cluster could not be asked.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// The rows are not there.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// A query failed.
    #[error("{name}, execution {execution}: {why}\nquery:    {query}")]
    Ask {
        /// Its type.
        name: &'static str,
        /// Which one; 0 is the one that is not timed.
        execution: u32,
        /// What was asked.
        query: String,
        /// What went wrong.
        why: AskError,
    },
    /// An answer is not what the rows make.
    #[error(
        "{name}, execution {execution}: the answer is wrong\nquery:    {query}\nexpected: {}\nseen:     {}\n\
         The database must hold the rows of this --seed, or every answer is.", difference.expected, difference.seen
    )]
    Wrong {
        /// Its type.
        name: &'static str,
        /// Which one; 0 is the one that is not timed.
        execution: u32,
        /// What was asked.
        query: String,
        /// Where the answer first differs.
        difference: Box<Difference>,
    },
}

fn database(name: &str) -> Result<String, String> {
    if database_name_is_valid(name) { Ok(name.to_owned()) } else { Err("use [A-Za-z_][A-Za-z0-9_.-]{0,63}".into()) }
}

impl Args {
    fn database(&self) -> String {
        let (hosts, hours) = self.questions.size();
        self.db.clone().unwrap_or_else(|| format!("queries_{hosts}x{hours}h_{}", self.questions.seed))
    }
}

impl Questions {
    /// Hosts, and hours of data.
    fn size(&self) -> (u32, u32) {
        if self.quick { (QUICK_HOSTS, QUICK_HOURS) } else { (self.hosts, self.days * 24) }
    }

    /// The rows of the database.
    fn shape(&self) -> Result<Shape, QueriesError> {
        let (hosts, hours) = self.size();
        let rows_a_host = i64::from(hours) * HOUR_NANOS / INTERVAL_NANOS;
        let points = rows_a_host.unsigned_abs() * u64::from(hosts) * u64::from(FIELDS);
        if points > POINTS_MAX {
            return Err(QueriesError::TooMany { points });
        }
        Ok(Shape { source: Source::Cpu, series: hosts, fields: FIELDS, rows_per_batch: 1_000, points, seed: self.seed })
    }

    fn kinds(&self) -> Vec<&'static Kind> {
        const ALL: &[Kind] = &kinds::ALL;
        if self.only.is_empty() { ALL.iter().collect() } else { self.only.clone() }
    }

    /// The executions of one type, the one that is not timed first.
    fn draw(&self, kind: &'static Kind, extent: Extent) -> Vec<Drawn> {
        let draws = Rng::from_seed(self.seed).child("queries").child(kind.name);
        (0..=self.executions).map(|_| Drawn::new(kind, &draws, extent)).collect()
    }
}

/// Makes the run and gives its report.
pub(crate) fn start(args: &Args) -> Result<String, QueriesError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(QueriesError::Start)?;
    let env = real::env().map_err(QueriesError::Start)?;
    runtime.block_on(run(&env, args))
}

async fn run(env: &Env, args: &Args) -> Result<String, QueriesError> {
    let shape = args.questions.shape()?;
    let channel = meridian_client::connect(env, &args.grpc);
    let asker = Asker { env: env.clone(), channel: channel.clone(), database: args.database(), counts_bytes: false };
    let dataset = Dataset::ensure(env, &asker, &shape).await?;
    let cluster = Router::new(env, channel).cluster().await?;
    let reference = Reference::new(&shape, dataset.range.start())?;
    let extent = Extent { hosts: shape.series, range: dataset.range };
    let mut lines = Vec::new();
    for kind in args.questions.kinds() {
        lines.push(line(&asker, &reference, kind, &args.questions.draw(kind, extent)).await?);
    }
    let (range, loading) = (dataset.range, dataset.loading);
    let (hosts, points, seed) = (shape.series, shape.points, shape.seed);
    let table = Table { cluster, database: asker.database, hosts, points, seed, range, loading, lines };
    Ok(if args.json { table.json() } else { table.text() })
}

/// The executions of one type: the first is not timed, so that bytes can be counted, connections are open and caches warm.
async fn line(
    asker: &Asker,
    reference: &Reference,
    kind: &'static Kind,
    drawn: &[Drawn],
) -> Result<Line, QueriesError> {
    let counting = Asker { counts_bytes: true, ..asker.clone() };
    let mut line = Line { kind, took: Vec::new(), rows: 0, bytes: 0 };
    for (execution, drawn) in (0..).zip(drawn) {
        let asked = execute(if execution == 0 { &counting } else { asker }, reference, drawn, execution).await?;
        if execution == 0 {
            (line.rows, line.bytes) = (asked.answer.rows.len() as u64, asked.bytes);
        } else {
            line.took.push(asked.took);
        }
    }
    Ok(line)
}

/// One execution whose answer is right.
async fn execute(asker: &Asker, reference: &Reference, drawn: &Drawn, execution: u32) -> Result<Asked, QueriesError> {
    let (name, query) = (drawn.kind.name, || drawn.command(&asker.database));
    let asked = asker.ask(drawn).await;
    let asked = asked.map_err(|why| QueriesError::Ask { name, execution, query: query(), why })?;
    match difference(&reference.answer(drawn), &asked.answer) {
        None => Ok(asked),
        Some(difference) => {
            Err(QueriesError::Wrong { name, execution, query: query(), difference: Box::new(difference) })
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct CommandLine {
        #[command(flatten)]
        args: Args,
    }

    fn args(more: &[&str]) -> Args {
        CommandLine::parse_from(["queries"].iter().chain(more)).args
    }

    #[test]
    fn a_data_set_has_its_name_and_size() {
        let full = args(&[]);
        assert_eq!(full.questions.shape().expect("within bounds").points, 25_920_000);
        assert_eq!(full.database(), "queries_100x72h_1");
        let quick = args(&["--quick", "--seed", "7"]);
        assert_eq!(quick.questions.shape().expect("within bounds").points, 504_000);
        assert_eq!(quick.database(), "queries_10x14h_7");
        assert!(matches!(
            args(&["--hosts", "1000000", "--days", "10000"]).questions.shape(),
            Err(QueriesError::TooMany { points: 864_000_000_000_000 })
        ));
        assert_eq!(args(&["--db", "x"]).database(), "x");
    }

    #[test]
    fn all_types_are_run_unless_some_are_named() {
        assert_eq!(args(&[]).questions.kinds().len(), kinds::ALL.len());
        let some = args(&["--only", "lastpoint,high-cpu-1"]).questions.kinds();
        assert_eq!(some.iter().map(|kind| kind.name).collect::<Vec<_>>(), ["lastpoint", "high-cpu-1"]);
        assert!(CommandLine::try_parse_from(["queries", "--only", "nothing"]).is_err());
    }
}
