//! Line protocol from a file or stdin into the cluster, exactly once, with two faces. `meridian write` sends batches one after
//! the other, because of two values for one instant the later line wins, and names every refused line. `meridian import`
//! sends several at a time, shows how far it is, and ends with an exact summary.

mod batch;
mod flow;
mod ledger;
mod progress;
mod reader;
mod send;
mod summary;

use std::io::IsTerminal as _;
use std::path::PathBuf;

use meridian_client::Session;
use meridian_dialect::line_protocol::Precision;
use meridian_env::Instant;
use meridian_proto::v1;
use meridian_types::{Code, Failure, Kind};
use tokio::sync::mpsc;

use crate::failure::CliError;
use crate::output;
use crate::server::{Server, about_database};
use crate::write::flow::{Face, Flow, Stop};
use crate::write::ledger::{Ledger, Settled};
use crate::write::progress::Progress;
use crate::write::reader::Input;
use crate::write::summary::Summary;

pub(crate) use send::until_settled;

/// Lines of one request where nothing else is said.
const BATCH_LINES_DEFAULT: u32 = 5_000;

/// Line protocol: `measurement[,tag=value…] field=value[,field=value…] [timestamp]`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Good lines are stored, bad ones are named on stderr with their number and reason; the exit code is
9 if part was refused and 3 if all was. Lines without a timestamp get the time at which they are
sent, one instant a request. What may not have arrived is sent again, and stored once. Of two values
for one field and instant the later line wins. Gzip is unpacked.

Examples:
  echo 'cpu,host=a usage=0.5' | meridian write --db metrics
  meridian write --db metrics --precision s points.txt")]
pub(crate) struct WriteArgs {
    #[command(flatten)]
    target: Target,
    /// The file, or - for stdin
    #[arg(default_value = "-")]
    file: PathBuf,
}

/// Many points: several requests at a time, and an exact summary.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The file is line protocol, plain or gzip (of one or more members), and is read piece by piece. Good
lines are stored; bad ones are counted, and the first ten named. Requests may overtake each other:
of two values for one field and instant either may stay, unless --parallel is 1. To import a file
again is safe where lines have timestamps.

At ctrl-C nothing new is sent, and the summary says which lines are certainly stored.

Exit codes besides the usual: 9 part of the lines refused, 3 all of them, 8 some lines may or may
not be stored, 130 interrupted.

Examples:
  meridian import points.lp.gz --db metrics
  zcat day-*.gz | meridian import - --db metrics --precision s --json")]
pub(crate) struct ImportArgs {
    /// The file, or - for stdin
    file: PathBuf,
    #[command(flatten)]
    target: Target,
    /// Lines of one request; one of many bytes holds fewer
    #[arg(long, value_name = "N", default_value_t = BATCH_LINES_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch_lines: u32,
    /// Requests under way at a time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    parallel: u32,
    /// The summary as one JSON object
    #[arg(long)]
    json: bool,
}

/// What the lines are, and where they go.
#[derive(Debug, clap::Args)]
struct Target {
    /// The database
    #[arg(long)]
    db: String,
    /// Unit of timestamps: ns, us, ms or s
    #[arg(long, default_value = "ns", value_parser = precision)]
    precision: Precision,
}

fn precision(text: &str) -> Result<Precision, &'static str> {
    Precision::from_v2(text).ok_or("use ns, us, ms or s")
}

/// Runs `write`.
pub(crate) async fn write(args: WriteArgs, server: &Server) -> Result<(), CliError> {
    let lines = BATCH_LINES_DEFAULT as usize;
    let input = Input::open(&server.env, &args.file, args.target.precision, lines).await?;
    let began = server.env.clock.now();
    let (ledger, stop) = run(server, input, &args.target.db, 1, &mut Named).await?;
    output::say(&summary(server, began, &ledger, stop.as_ref()).short());
    outcome(&ledger, stop, &args.target.db)
}

/// Runs `import`.
pub(crate) async fn import(args: ImportArgs, server: &Server) -> Result<(), CliError> {
    let lines = args.batch_lines as usize;
    let input = Input::open(&server.env, &args.file, args.target.precision, lines).await?;
    let began = server.env.clock.now();
    let mut face = Progress::new(input.meter.clone(), std::io::stderr().is_terminal(), began);
    let ran = run(server, input, &args.target.db, args.parallel as usize, &mut face).await;
    face.clear();
    let (ledger, stop) = ran?;
    let summary = summary(server, began, &ledger, stop.as_ref());
    output::print(if args.json { summary.json() } else { summary.text() })?;
    outcome(&ledger, stop, &args.target.db)
}

fn summary(server: &Server, began: Instant, ledger: &Ledger, stop: Option<&Stop>) -> Summary {
    Summary::new(ledger, stop, (server.env.clock.now() - began).as_secs_f64())
}

async fn run(
    server: &Server,
    input: Input,
    database: &str,
    parallel: usize,
    face: &mut impl Face,
) -> Result<(Ledger, Option<Stop>), CliError> {
    let interrupts = interrupts();
    let data = server.data().await?;
    let send = async |request: &v1::WriteRequest| {
        let by = server.deadline();
        let call = async || {
            let mut data = data.clone();
            let reply = server.change(data.write(request.clone()), by).await?;
            send::refused_whole(reply.into_inner())
        };
        until_settled(&server.env, by, call).await
    };
    let session = Session::begin(&server.env);
    let flow = Flow { env: &server.env, session, database: database.to_owned(), parallel, send };
    Ok(flow.run(input.batches, interrupts, face).await)
}

/// One message for each ctrl-C from now on.
fn interrupts() -> mpsc::Receiver<()> {
    let (sender, interrupts) = mpsc::channel(2);
    tokio::spawn(async move { while tokio::signal::ctrl_c().await.is_ok() && sender.send(()).await.is_ok() {} });
    interrupts
}

/// The face of `write`: every refused line by its number, and no more.
#[derive(Debug)]
struct Named;

impl Face for Named {
    fn settled(&mut self, settled: &Settled) {
        output::say(&named(settled));
    }

    fn look(&mut self, _now: Instant, _ledger: &Ledger) -> Option<Instant> {
        None
    }

    fn stopping(&mut self, under_way: usize) {
        output::say(&progress::stopping(under_way));
    }
}

fn named(settled: &Settled) -> String {
    let refused = settled.refused.iter();
    let mut text: String = refused.map(|(number, reason)| format!("line {number}: {reason}\n")).collect();
    if settled.unnamed > 0 {
        let more = output::counted(settled.unnamed, "line");
        text += &format!("and {more} more of the same request refused\n");
    }
    text
}

/// What a run as a whole came to. Lines of which nobody knows weigh more than why it stopped, and that more than refusals.
fn outcome(ledger: &Ledger, stop: Option<Stop>, database: &str) -> Result<(), CliError> {
    const AGAIN: &str = "run it again: a point that has a timestamp is stored once, however often it is sent";
    if let (Some(doubt), false) = (&ledger.doubt, matches!(stop, Some(Stop::Interrupted))) {
        let failure = match doubt.kind() {
            Kind::Unknown => doubt.clone(),
            _ => Failure::new(Code::Unknown, format!("{}: {doubt}", doubt.code)),
        };
        return Err(CliError::with_help(failure, AGAIN));
    }
    match stop {
        Some(Stop::Interrupted) => Err(CliError::Interrupted),
        Some(Stop::Failed(failure)) => Err(about_database(failure, database)),
        Some(Stop::Unreadable(error)) => Err(error),
        None => ledger.refusal().map_or(Ok(()), |failure| Err(failure.into())),
    }
}

#[cfg(test)]
mod tests;
