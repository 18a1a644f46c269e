//! `meridian write`: line protocol from a file or stdin into the cluster, exactly once. Batches go one after the other,
//! because of two values for one instant the later line wins.

mod batch;
mod send;

use std::path::PathBuf;
use std::sync::Arc;

use meridian_client::Session;
use meridian_dialect::line_protocol::Precision;
use meridian_env::{Class, run as run_job};
use meridian_proto::v1;
use meridian_types::{Code, Failure, Kind};

use crate::failure::CliError;
use crate::input::Source;
use crate::output;
use crate::server::{Server, about_database};
use crate::write::batch::{Batch, Front, Totals};

/// Bytes that are read before lines are looked for.
const CHUNK_BYTES: usize = 8 << 20;
/// Bytes in which a line must end.
const BODY_BYTES_MAX: usize = 64 << 20;

/// Line protocol: `measurement[,tag=value…] field=value[,field=value…] [timestamp]`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Good lines are stored, bad ones are named on stderr with their number and reason; the exit code is
9 if part was refused and 3 if all was. Lines without a timestamp get the time at which they are
sent, one instant a request. What may not have arrived is sent again, and stored once.

Examples:
  echo 'cpu,host=a usage=0.5' | meridian write --db metrics
  meridian write --db metrics --precision s points.txt")]
pub(crate) struct Args {
    /// The database
    #[arg(long)]
    db: String,
    /// Unit of timestamps: ns, us, ms or s
    #[arg(long, default_value = "ns", value_parser = precision)]
    precision: Precision,
    /// The file, or - for stdin
    #[arg(default_value = "-")]
    file: PathBuf,
}

fn precision(text: &str) -> Result<Precision, &'static str> {
    Precision::from_v2(text).ok_or("use ns, us, ms or s")
}

/// Runs the command.
pub(crate) async fn run(args: Args, server: &Server) -> Result<(), CliError> {
    let mut reader = Reader::open(&args, server).await?;
    let mut writer = Writer {
        data: server.data().await?,
        session: Session::begin(&server.env),
        server,
        database: args.db,
        totals: Totals::default(),
    };
    while let Some(front) = reader.next(server).await? {
        for batch in batch::batches(front.verdicts) {
            writer.batch(batch).await?;
        }
    }
    output::say(&writer.totals.summary());
    writer.totals.refusal().map_or(Ok(()), |failure| Err(failure.into()))
}

/// Cuts what comes in into lines. Holds a few chunks at most.
struct Reader {
    source: Option<Source>,
    name: String,
    body: Vec<u8>,
    precision: Precision,
    lines_before: usize,
}

impl Reader {
    async fn open(args: &Args, server: &Server) -> Result<Self, CliError> {
        let (disk, path) = (Arc::clone(&server.env.disk), args.file.clone());
        let opened = run_job(&*server.env.work, Class::Scan, move || Source::open(&*disk, &path)).await;
        let name = args.file.display().to_string();
        let source = opened.map_err(|error| unreadable(&name, &error))?;
        if matches!(source, Source::Stdin) && std::io::IsTerminal::is_terminal(&std::io::stdin()) {
            output::say("Type lines of line protocol and end with ctrl-D.");
        }
        Ok(Self { source: Some(source), name, body: Vec::new(), precision: args.precision, lines_before: 0 })
    }

    /// The next lines, or none at the end.
    async fn next(&mut self, server: &Server) -> Result<Option<Front>, CliError> {
        let Some(mut source) = self.source.take() else { return Ok(None) };
        let mut body = std::mem::take(&mut self.body);
        let filled = run_job(&*server.env.work, Class::Scan, move || {
            let is_end = source.fill(&mut body, CHUNK_BYTES);
            (source, body, is_end)
        });
        let (source, mut body, is_end) = filled.await;
        let is_end = is_end.map_err(|error| unreadable(&self.name, &error))?;
        let margin = (!is_end).then_some(batch::MARGIN_BYTES);
        let front = batch::front(&body, self.precision, self.lines_before, margin);
        body.drain(..front.bytes);
        if body.len() > BODY_BYTES_MAX {
            let message = format!("no line ends in {BODY_BYTES_MAX} bytes behind line {}", front.lines_before);
            return Err(CliError::with_help(Failure::new(Code::OverLimit, message), "is this line protocol?"));
        }
        self.lines_before = front.lines_before;
        self.body = body;
        self.source = (!is_end).then_some(source);
        Ok(Some(front))
    }
}

fn unreadable(name: &str, error: &std::io::Error) -> CliError {
    CliError::usage(format!("cannot read {name}: {error}"), "name a file that can be read, or - for stdin")
}

/// Sends batches and tells what became of them.
struct Writer<'a> {
    data: v1::data_client::DataClient<tonic::transport::Channel>,
    session: Session,
    server: &'a Server,
    database: String,
    totals: Totals,
}

impl Writer<'_> {
    /// Stores a batch, in halves if a shard finds it too large for one request: nothing of it is stored then.
    async fn batch(&mut self, batch: Batch) -> Result<(), CliError> {
        let mut todo = vec![batch];
        while let Some(mut batch) = todo.pop() {
            match self.send(&mut batch).await {
                Ok(reply) => output::say(&self.totals.count(batch, reply)),
                Err(failure) if failure.code == Code::OverLimit && batch.rows.len() > 1 => {
                    let (first, second) = batch.halves();
                    todo.extend([second, first]);
                }
                Err(failure) => return Err(self.stopped(&batch, failure)),
            }
        }
        Ok(())
    }

    async fn send(&self, batch: &mut Batch) -> Result<v1::FrameReply, Failure> {
        if batch.rows.is_empty() {
            return Ok(v1::FrameReply::default());
        }
        // Before the first try: a repetition must be the same request.
        batch.give_times(self.server.env.clock.wall());
        let pending = self.session.request();
        let request = v1::WriteRequest {
            database: self.database.clone(),
            request: Some(pending.id.into()),
            pending_from: pending.pending_from(),
            rows: std::mem::take(&mut batch.rows),
        };
        let by = self.server.deadline();
        let outcome = send::until_settled(&self.server.env, by, async || {
            let mut data = self.data.clone();
            self.server.change(data.write(request.clone()), by).await.map(tonic::Response::into_inner)
        })
        .await;
        batch.rows = request.rows;
        outcome
    }

    /// Says what is known of each line when `batch` could not be stored.
    fn stopped(&self, batch: &Batch, failure: Failure) -> CliError {
        let maybe_stored =
            matches!(failure.kind(), Kind::Unknown | Kind::Broken) || failure.code == Code::PartlyRefused;
        let fate = if maybe_stored { "may or may not be stored" } else { "are not stored" };
        let (first, last) = batch.span();
        output::say(&self.totals.summary());
        output::say(&format!("stopped at lines {first} to {last}: they {fate}; those behind were not sent"));
        if failure.kind() == Kind::Unknown {
            let help = "run it again: a point that has a timestamp is stored once, however often it is sent";
            return CliError::with_help(failure, help);
        }
        about_database(failure, &self.database)
    }
}
