//! `compare-queries`: the query types of TSBS, asked of a Meridian cluster and of each peer that is installed, in turns.
//!
//! All hold the same rows, merged and in files, and are asked for the same hosts and range right behind each other. Never
//! tells a time of an answer that the rows do not make: such a peer is left out of that query type, and the report says so.

mod sql; // DuckDB and ClickHouse: their queries, and their table

mod influxql; // InfluxDB: its queries and answers

mod promql; // VictoriaMetrics: its queries and answers

mod digest; // what of an answer is compared

mod python; // the process in which an engine runs

mod peer; // one peer, asked and judged

mod fill; // how the rows get into all of them

pub(crate) mod table; // what is printed

use std::path::{Path, PathBuf};
use std::time::Duration;

use meridian_env::{Env, real};
use meridian_proto::v1;
use meridian_types::{TimeRange, Timestamp};

use super::{QueriesError, Questions, execute};
use crate::compare::figures::median;
use crate::compare::{Bench, CompareError, install};
use crate::drive::DriveError;
use crate::generate::{INTERVAL_NANOS, Shape};
use crate::load::LoadError;
use crate::queries::ask::Asker;
use crate::queries::dataset::Dataset;
use crate::queries::draw::{Drawn, Extent};
use crate::queries::kinds::field_name;
use crate::queries::reference::Reference;
use crate::servers::{DATABASE, PEERS, Product, Server, ServerError, unless_interrupted};
use digest::Digest;
use peer::Peer;
use python::PythonError;
pub(crate) use sql::Engine;
use table::{Asked, LeftOut, Line, Table};

const OURS: Asked =
    Asked { name: "Meridian", terms: "three copies, linearizable by read index; until the last row is decoded" };

/// Whom to start and what to ask.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    bench: Bench,
    /// The Python that has the modules duckdb, chdb and pyarrow.
    #[arg(long, value_name = "PATH", default_value = "python3")]
    python: PathBuf,
    #[command(flatten)]
    questions: Questions,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeersError {
    /// Nothing can be started, or a person ended it.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// Meridian's own answers.
    #[error(transparent)]
    Queries(#[from] QueriesError),
    /// A server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The rows.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Their way into a server.
    #[error(transparent)]
    Drive(#[from] DriveError),
    /// The files of the engines.
    #[error("{path}: {why}", path = .path.display())]
    Files {
        /// Which, or where.
        path: PathBuf,
        /// What went wrong.
        why: std::io::Error,
    },
    /// An engine that cannot be filled.
    #[error("{0}: {1}")]
    Engine(&'static str, PythonError),
    /// An engine that holds something else.
    #[error("{name} holds {found} rows of {sent}: there is no figure of such a run")]
    Miscounted {
        /// Which.
        name: &'static str,
        /// Rows of the file.
        sent: u64,
        /// Rows that it counts.
        found: f64,
    },
}

/// What must be answered.
#[derive(Debug)]
struct Truth {
    reference: Reference,
    /// Of the same rows, each one interval earlier.
    earlier: Reference,
}

/// Makes the comparison and gives its report.
pub(crate) fn start(args: &Args) -> Result<String, PeersError> {
    let program = args.bench.program()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CompareError::Start)?;
    let env = real::env().map_err(CompareError::Start)?;
    let parent = args.bench.parent();
    let work = compare(&env, &program, &parent, &args.python, &args.questions);
    let done = runtime.block_on(unless_interrupted(work)).map_err(CompareError::Start)?;
    let table = done.ok_or(CompareError::Interrupted)??;
    Ok(if args.json { table.json() } else { table.text() })
}

/// Starts and fills all, and asks them in turns.
pub(crate) async fn compare(
    env: &Env,
    program: &Path,
    parent: &Path,
    python: &Path,
    questions: &Questions,
) -> Result<Table, PeersError> {
    let shape = questions.shape()?;
    let mut cluster = Server::start(env, Product::Meridian, program, parent).await?;
    let dataset = Dataset::ensure(env, &asker(env, &cluster), &shape).await.map_err(QueriesError::from)?;
    cluster.close().await?;
    let bytes = cluster.stored()?.data;
    let (range, found) = (dataset.range, install::find(&PEERS, false)?);
    let mut skipped = found.skipped;
    // Dropped behind the engines, whose files it holds.
    let failed = |why| PeersError::Files { path: parent.to_owned(), why };
    let dir = tempfile::Builder::new().prefix("meridian-benches-sql-").tempdir_in(parent).map_err(failed)?;
    let mut peers = fill::servers(env, &found.there, parent, &shape, range).await?;
    peers.extend(fill::engines(env, python, dir.path(), &shape, range.start(), &mut skipped).await?);

    let before = range.start().saturating_add(-INTERVAL_NANOS);
    let reference = |start| Reference::new(&shape, start).map_err(QueriesError::from);
    let truth = Truth { reference: reference(range.start())?, earlier: reference(before)? };
    let (asker, extent) = (asker(env, &cluster), Extent { hosts: shape.series, range });
    let (mut lines, mut left_out) = (Vec::new(), Vec::new());
    for kind in questions.kinds() {
        lines.push(turns(&asker, &questions.draw(kind, extent), &truth, &mut peers, &mut left_out).await?);
    }
    let setup = setup(questions, &shape, range, &cluster, &peers, parent);
    let a_point = |bytes: u64| bytes as f64 / shape.points as f64;
    let bytes = a_point(bytes / Product::Meridian.copies());
    let theirs = peers.iter().map(|peer| peer.bytes.map(a_point)).collect();
    let peers = peers.iter().map(|peer| Asked { name: peer.name(), terms: peer.terms() }).collect();
    Ok(Table { setup, ours: OURS, peers, lines, bytes: (bytes, theirs), left_out, skipped })
}

fn asker(env: &Env, cluster: &Server) -> Asker {
    let channel = meridian_client::connect(env, &cluster.place.other);
    Asker { env: env.clone(), channel, database: DATABASE.to_owned(), counts_bytes: false }
}

/// The executions of one type, each asked of all in turn; the first is not timed.
async fn turns(
    asker: &Asker,
    drawn: &[Drawn],
    truth: &Truth,
    peers: &mut [Peer],
    left_out: &mut Vec<LeftOut>,
) -> Result<Line, QueriesError> {
    let query = drawn[0].kind.name;
    let mut ours = Vec::new();
    let mut theirs: Vec<Option<Vec<f64>>> = vec![Some(Vec::new()); peers.len()];
    for (execution, drawn) in (0..).zip(drawn) {
        let counted = |times: &mut Vec<f64>, took: Duration| {
            if execution > 0 {
                times.push(took.as_secs_f64() * 1e3);
            }
        };
        counted(&mut ours, execute(asker, &truth.reference, drawn, execution).await?.took);
        let expected = Digest::of(&truth.reference.answer(drawn));
        for (peer, times) in peers.iter_mut().zip(&mut theirs) {
            let Some(measured) = times else { continue };
            match peer.ask(&asker.env, drawn, expected, &truth.earlier).await {
                Ok(took) => counted(measured, took),
                Err(why) => {
                    left_out.push(LeftOut { peer: peer.name(), query, why: why.to_string() });
                    *times = None;
                }
            }
        }
    }
    let theirs = theirs.iter().map(|times| times.as_deref().map(median)).collect();
    Ok(Line { query, ours: median(&ours), theirs })
}

fn setup(
    questions: &Questions,
    shape: &Shape,
    range: TimeRange,
    cluster: &Server,
    peers: &[Peer],
    parent: &Path,
) -> Vec<(&'static str, String)> {
    let Shape { series, points, seed, .. } = shape;
    let ours = (OURS.name, install::version(cluster.product, &cluster.program));
    let versions = std::iter::once(ours).chain(peers.iter().map(|peer| (peer.name(), peer.version.clone())));
    let versions: Vec<_> = versions.map(|(name, version)| format!("{name} ({version})")).collect();
    vec![
        (
            "rows",
            format!(
                "TSBS cpu-only, {points} points of {series} hosts from {} to {}, seed {seed}, merged and in files",
                range.start(),
                range.end()
            ),
        ),
        (
            "asked",
            format!(
                "{} times each type, in turns, all for the same hosts and range; once more before, not timed",
                questions.executions
            ),
        ),
        (
            "answers",
            "compared with the rows: Meridian's value by value, of the peers' the number of values and their sum"
                .into(),
        ),
        ("products", versions.join(", ")),
        ("machine", install::machine()),
        ("data in", parent.display().to_string()),
    ]
}

/// The aggregate in SQL and in PromQL.
fn function(aggregate: v1::Aggregate) -> &'static str {
    match aggregate {
        v1::Aggregate::Max => "max",
        v1::Aggregate::Mean => "avg",
        other => unreachable!("no type asks for {other:?}"),
    }
}

/// The aggregate of each of the first fields, in every SQL.
fn values(function: &str, fields: u32) -> String {
    (0..fields as usize).map(|number| format!("{function}({})", field_name(number))).collect::<Vec<_>>().join(", ")
}

/// The WHERE of a query: these conditions, and those of its range, with times as `time` writes them.
fn conditions(drawn: &Drawn, first: impl Iterator<Item = String>, time: impl Fn(Timestamp) -> String) -> String {
    let (start, end) = (drawn.range.start(), drawn.range.end());
    let start = (start > Timestamp::MIN).then(|| format!("time >= {}", time(start)));
    let end = (end < Timestamp::END).then(|| format!("time < {}", time(end)));
    let all: Vec<_> = first.chain(start).chain(end).collect();
    if all.is_empty() { String::new() } else { format!(" WHERE {}", all.join(" AND ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queries::kinds::{HOUR_NANOS, Want, named};

    /// An execution over an hour that begins and ends at no whole unit.
    pub(super) fn drawn(name: &str, hosts: &[u32]) -> Drawn {
        let kind = named(name).expect("it is there");
        let from = Timestamp::new(1_700_000_137_000_000_001).expect("in range");
        let to = from.saturating_add(HOUR_NANOS);
        let (start, end) = match kind.want {
            Want::Windows { .. } | Want::RowsAbove(_) => (from, to),
            Want::NewestWindows { .. } => (Timestamp::MIN, to),
            Want::NewestRows => (Timestamp::MIN, Timestamp::END),
        };
        let range = TimeRange::new(start, end).expect("not empty");
        Drawn { kind, hosts: hosts.iter().copied().collect(), range }
    }

    /// What a query of each kind becomes in one language.
    pub(super) fn queries(query: impl Fn(&Drawn) -> String) -> [String; 5] {
        let all: [(&str, &[u32]); 5] = [
            ("single-groupby-1-8-1", &[3, 7]),
            ("double-groupby-1", &[]),
            ("high-cpu-1", &[3]),
            ("groupby-orderby-limit", &[]),
            ("lastpoint", &[]),
        ];
        all.map(|(name, hosts)| query(&drawn(name, hosts)))
    }
}
