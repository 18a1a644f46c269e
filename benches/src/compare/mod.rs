//! `compare`: the same bytes of line protocol for a Meridian cluster and for each peer that is installed, in turns.
//!
//! Only ratios taken in the same minutes mean anything on a machine that is shared, so all servers run side by side, idle but
//! for the one whose turn it is. Never tells a figure of a run that was not counted, and hides no peer that is missing.

pub(crate) mod figures; // medians and ratios
pub(crate) mod install; // which peers are there
pub(crate) mod report; // for people and for programs
mod svg; // as a picture

use std::path::{Path, PathBuf};

use meridian_env::{Env, real};

use crate::drive::{DriveError, Way, drive};
use crate::feed::Feed;
use crate::generate::Shape;
use crate::load::{LoadError, Mode};
use crate::servers::{PEERS, Product, Server, ServerError, unless_interrupted};
use crate::source::Source;
use figures::{Comparison, Measured, Run};
pub(crate) use install::Found;

/// Why there is no comparison.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompareError {
    /// No runtime, no threads, no signals.
    #[error("this process cannot start: {0}")]
    Start(std::io::Error),
    /// A program that must be there.
    #[error("no program {0}: build it with `cargo build --release -p meridian-cli`, or name it with --meridian")]
    NoMeridian(PathBuf),
    /// Debian's packages.
    #[error("apt-get install {0}: {1}")]
    Install(&'static str, String),
    /// A server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A run.
    #[error(transparent)]
    Drive(#[from] DriveError),
    /// The rows.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A report that cannot be kept.
    #[error("{path}: {why}", path = .path.display())]
    Write {
        /// Where it was to be.
        path: PathBuf,
        /// Why not.
        why: std::io::Error,
    },
    /// A person ended it.
    #[error("interrupted: the servers are stopped, there are no figures")]
    Interrupted,
}

/// Whom to start, and where.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Bench {
    /// The program to measure [default: `meridian` beside this program]
    #[arg(long, value_name = "PATH")]
    pub(crate) meridian: Option<PathBuf>,
    /// Where the servers keep their data, each in a directory that vanishes with it [default: the system's for temporary files]
    ///
    /// In memory (tmpfs) an fsync costs nothing: name a directory on a disk.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// What all of them are sent.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Rows {
    /// What the rows are of.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) source: Source,
    /// Hosts, trucks or stations; each is a series of Meridian, and one for each field of a peer that knows no rows.
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) series: u32,
    /// Fields of each row; where a source has fewer, they begin again under other names.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) fields: u32,
    /// Lines of one POST.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rows_per_batch: u32,
    /// Points (field values) of one run, rounded up to one row of every host.
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..=50_000_000))]
    pub(crate) points: u64,
    /// Runs of each product.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) runs: u32,
    /// Connections, one request under way on each.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub(crate) concurrency: u32,
    /// Names the values; the same seed gives the same.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// Whom to compare with, on what, and where the report goes.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    bench: Bench,
    #[command(flatten)]
    rows: Rows,
    /// Compare with this one; may be given more than once [default: all]
    #[arg(long, value_enum)]
    peer: Vec<Product>,
    /// Install the peers that are missing, with apt-get.
    #[arg(long)]
    install: bool,
    /// Write the report as Markdown, too.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Draw the ratios, too.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

impl Bench {
    /// The program to measure.
    pub(crate) fn program(&self) -> Result<PathBuf, CompareError> {
        let beside = || std::env::current_exe().map(|own| own.with_file_name(Product::Meridian.program()));
        let path = self.meridian.clone().map_or_else(beside, Ok).map_err(CompareError::Start)?;
        if path.is_file() { Ok(path) } else { Err(CompareError::NoMeridian(path)) }
    }

    /// The directory below which all servers write.
    pub(crate) fn parent(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(std::env::temp_dir)
    }
}

impl Rows {
    /// The same in the words of the generator.
    pub(crate) fn shape(&self) -> Shape {
        let Self { source, series, fields, rows_per_batch, points, seed, .. } = *self;
        Shape { source, series, fields, rows_per_batch, points, seed }
    }
}

/// Makes the comparison and gives its report.
pub(crate) fn start(args: &Args) -> Result<String, CompareError> {
    let program = args.bench.program()?;
    let asked: &[Product] = if args.peer.is_empty() { &PEERS } else { &args.peer };
    let found = install::find(asked, args.install)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CompareError::Start)?;
    let env = real::env().map_err(CompareError::Start)?;
    let parent = args.bench.parent();
    let work = compare(&env, &program, &parent, &args.rows, &found);
    let done = runtime.block_on(unless_interrupted(work)).map_err(CompareError::Start)?;
    let comparison = done.ok_or(CompareError::Interrupted)??;
    let keep = |path: &Option<PathBuf>, text: fn(&Comparison) -> String| {
        let Some(path) = path else { return Ok(()) };
        #[expect(clippy::disallowed_methods, reason = "a report for a person, not a file of the database")]
        let written = std::fs::write(path, text(&comparison));
        written.map_err(|why| CompareError::Write { path: path.clone(), why })
    };
    keep(&args.markdown, report::markdown)?;
    keep(&args.svg, svg::svg)?;
    Ok(if args.json { report::json(&comparison) } else { report::table(&comparison) })
}

/// Starts all, feeds them in turns, and closes them.
pub(crate) async fn compare(
    env: &Env,
    program: &Path,
    parent: &Path,
    rows: &Rows,
    found: &Found,
) -> Result<Comparison, CompareError> {
    let mut programs = vec![(Product::Meridian, program.to_owned())];
    programs.extend(found.there.iter().cloned());
    let (mut servers, mut runs) = (Vec::new(), Vec::new());
    for (product, program) in &programs {
        servers.push(Server::start(env, *product, program, parent).await?);
        runs.push(Vec::new());
    }
    let shape = rows.shape();
    let way = Way { mode: Mode::Lines, concurrency: rows.concurrency, rate: None };
    let mut feed = Feed::lines(env, &shape, &vec![rows.points; rows.runs as usize])?;
    for _ in 0..rows.runs {
        let round = feed.round(rows.points)?;
        for (server, runs) in servers.iter().zip(&mut runs) {
            let driven = drive(env, server, way, &shape, &round).await?;
            runs.push(Run {
                points: driven.tally.points,
                seconds: driven.seconds,
                cpu_seconds: driven.cpu_seconds,
                peak_bytes: driven.peak_bytes,
                is_quiet: driven.is_quiet,
            });
        }
    }
    let mut measured = Vec::new();
    for (server, runs) in servers.iter_mut().zip(runs) {
        let closing_cpu_seconds = server.close().await?;
        measured.push(Measured {
            name: server.product.name(),
            version: install::version(server.product, &server.program),
            acknowledges: server.product.acknowledges(),
            copies: server.product.copies(),
            runs,
            closing_cpu_seconds,
            stored: server.stored()?,
        });
    }
    let ours = measured.remove(0);
    let setup = setup(rows, &ours, &measured, parent);
    Ok(Comparison { setup, ours, peers: measured, skipped: found.skipped.clone() })
}

fn setup(rows: &Rows, ours: &Measured, peers: &[Measured], parent: &Path) -> Vec<(&'static str, String)> {
    let Rows { source, series, fields, rows_per_batch, runs, concurrency, seed, .. } = rows;
    let points = ours.runs.first().map_or(0, |run| run.points);
    let versions: Vec<_> = std::iter::once(ours).chain(peers).map(|p| format!("{} ({})", p.name, p.version)).collect();
    vec![
        ("rows", format!("{}, {series} series, {fields} fields, seed {seed}", source.title())),
        (
            "sent",
            format!("line protocol, {rows_per_batch} lines a POST, {concurrency} connections, the same bytes to each"),
        ),
        ("runs", format!("{runs} of {points} points, in turns; every run counted by the product's own query")),
        ("products", versions.join(", ")),
        ("machine", install::machine()),
        ("data in", parent.display().to_string()),
    ]
}
