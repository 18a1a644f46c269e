//! `meridian query`: arguments into a `Select`, the answer's stream onto stdout. Never lets a broken answer pass for a whole
//! one.

mod conditions;
mod rows;
#[cfg(test)]
mod tests;

use meridian_proto::{ResultRow, v1};
use meridian_types::{Code, Duration, Failure, TimeRange, Timestamp, parse_duration, parse_time};
use tonic::Streaming;

use crate::failure::CliError;
use crate::output::{self, counted};
use crate::query::conditions::{Condition, condition};
use crate::query::rows::{Format, Layout, Printer};
use crate::server::{Server, about_database};

pub(crate) use conditions::matcher;

/// Raw points, or aggregates of them, of one measurement.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// What to ask for; names are case-sensitive
    measurement: String,
    /// The database
    #[arg(long)]
    db: String,
    /// Fields to show; all where none is named
    #[arg(long, value_name = "FIELD,…", value_delimiter = ',')]
    fields: Vec<String>,
    /// A condition on a tag, or on the value of a field; all that are given must hold
    #[arg(long = "where", value_name = "CONDITION", value_parser = condition)]
    conditions: Vec<Condition>,
    #[command(flatten)]
    span: Span,
    #[command(flatten)]
    windows: Windows,
    /// Latest first
    #[arg(long)]
    desc: bool,
    /// Rows of each group, or of all where there are no groups
    #[arg(long, value_name = "ROWS")]
    group_limit: Option<u64>,
    /// Rows of the whole answer
    #[arg(long, value_name = "ROWS")]
    limit: Option<u64>,
    /// How rows are printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// From when to when.
#[derive(Debug, clap::Args)]
struct Span {
    /// First instant: 2026-01-31T12:00:00Z, 1700000000s, or -1h for an hour ago
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    start: Option<String>,
    /// First instant that is no longer wanted
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    end: Option<String>,
}

/// What to make of the points.
#[derive(Debug, clap::Args)]
struct Windows {
    /// What to make of each field
    #[arg(long = "agg", value_name = "AGG,…", value_delimiter = ',', value_enum)]
    aggregates: Vec<Aggregate>,
    /// Length of a window; one window over all where it is not given
    #[arg(long, value_name = "SPAN", requires = "aggregates", value_parser = crate::positive_duration)]
    every: Option<Duration>,
    /// How far windows are moved from 1970-01-01
    #[arg(long, value_name = "SPAN", requires = "every", default_value = "0", value_parser = parse_duration)]
    offset: Duration,
    /// Tags that tell groups apart; each group is aggregated by itself
    #[arg(long, value_name = "TAG,…", value_delimiter = ',')]
    group_by: Vec<String>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Aggregate {
    Count,
    Sum,
    Min,
    Max,
    Mean,
    First,
    Last,
}

const AFTER_HELP: &str = "\
Conditions on tags: host=a, host!=a, host=~a.*, host!~a.* (a regex matches the whole value; a tag
that is missing is empty). Conditions on values of fields: usage>90, usage>=90, usage<90, usage<=90,
up==true, state<>idle (text that looks like a number stands in double quotes; a row that has no
value of the field is left out). Quote them, so that the shell leaves < and > alone.

Ranges hold their start and not their end. Windows are labelled by their start; empty ones are left
out.

Columns are time, tags, values. There is no time where one window has no start. A value that is
missing is empty, and null in json. Floats that are no numbers are NaN, +Inf and -Inf, in json as
strings. A tag that is called like a value or `time` is shown as tag:NAME, a field that is called
`time` as field:time.
  table  for people, in pages of 1,000 rows
  json   one object a line, exact numbers
  csv    with a header; tags are those of the first 10,000 rows, one that comes later is an error

Examples:
  meridian query cpu --db metrics --start -1h --where host=a
  meridian query cpu --db metrics --start -1h --where 'usage>90' --where host!=a
  meridian query cpu --db metrics --start -1d --every 1h --agg mean,max --group-by host
  meridian query cpu --db metrics --group-by host --desc --group-limit 1
  meridian query cpu --db metrics --agg count --format json";

/// Runs the command.
pub(crate) async fn run(args: Args, server: &Server) -> Result<(), CliError> {
    let format = args.format;
    let db = args.db.clone();
    let select = args.select(server.env.clock.wall())?;
    let layout = Layout::of(&select);
    let mut data = server.data().await?;
    let stream = server.ask(data.query(select)).await.map_err(|failure| about_database(failure, &db))?;
    let mut answer = Answer { stream: stream.into_inner(), server, rows: 0 };
    let mut part = answer.part(&db).await?;
    let header = part.header.take().ok_or_else(|| malformed("does not begin with its header"))?;
    let mut printer = Printer::new(format, layout.with(header));
    loop {
        let (rows, is_end) = answer.rows(part)?;
        output::print(printer.rows(rows)?)?;
        if is_end {
            break;
        }
        part = answer.part(&db).await?;
    }
    output::print(printer.end())?;
    output::say(&counted(answer.rows, "row"));
    Ok(())
}

/// The answer as it comes in.
struct Answer<'a> {
    stream: Streaming<v1::QueryReply>,
    server: &'a Server,
    /// Seen so far.
    rows: u64,
}

impl Answer<'_> {
    async fn part(&mut self, db: &str) -> Result<v1::QueryReply, CliError> {
        let next = self.server.ask(self.stream.message()).await.map_err(|failure| self.broken(failure, db))?;
        let cut = || Failure::new(Code::Unreachable, "the answer broke off before its end");
        next.ok_or_else(|| self.broken(cut(), db))
    }

    /// The rows of a part, and whether it is the last one.
    fn rows(&mut self, part: v1::QueryReply) -> Result<(Vec<ResultRow>, bool), CliError> {
        if part.header.is_some() {
            return Err(malformed("has two headers"));
        }
        let rows = part.rows.unwrap_or_default().into_rows();
        let rows = rows.map_err(|error| malformed(&format!("cannot be read: {error}")))?;
        self.rows += rows.len() as u64;
        match part.end {
            Some(end) if end.rows != self.rows => {
                Err(malformed(&format!("has {} rows and its end says {}", self.rows, end.rows)))
            }
            end => Ok((rows, end.is_some())),
        }
    }

    /// A failure that does not forget the rows that are already printed.
    fn broken(&self, mut failure: Failure, db: &str) -> CliError {
        if self.rows > 0 {
            failure.message += &format!("; the {} before it are not the whole answer", counted(self.rows, "row"));
        }
        about_database(failure, db)
    }
}

/// The server's answer is not what the protocol says.
fn malformed(what: &str) -> CliError {
    Failure::new(Code::Internal, format!("the answer {what}")).into()
}

impl Args {
    fn select(self, now: Timestamp) -> Result<v1::Select, CliError> {
        let aggregate = |a: Aggregate| match a {
            Aggregate::Count => v1::Aggregate::Count,
            Aggregate::Sum => v1::Aggregate::Sum,
            Aggregate::Min => v1::Aggregate::Min,
            Aggregate::Max => v1::Aggregate::Max,
            Aggregate::Mean => v1::Aggregate::Mean,
            Aggregate::First => v1::Aggregate::First,
            Aggregate::Last => v1::Aggregate::Last,
        };
        let (mut matchers, mut conditions) = (Vec::new(), Vec::new());
        for condition in self.conditions {
            match condition {
                Condition::Tag(matcher) => matchers.push(matcher),
                Condition::Field(condition) => conditions.push(condition),
            }
        }
        Ok(v1::Select {
            database: self.db,
            measurement: self.measurement,
            fields: self.fields,
            range: self.span.range(now)?.map(Into::into),
            matchers,
            every: self.windows.every.map_or(0, Duration::nanos),
            offset: self.windows.offset.nanos(),
            aggregates: self.windows.aggregates.into_iter().map(|a| aggregate(a).into()).collect(),
            group_by: self.windows.group_by,
            descending: self.desc,
            group_limit: self.group_limit,
            limit: self.limit,
            conditions,
        })
    }
}

impl Span {
    /// The range in data time; none where neither end is given.
    fn range(&self, now: Timestamp) -> Result<Option<TimeRange>, CliError> {
        if self.start.is_none() && self.end.is_none() {
            return Ok(None);
        }
        range(self.start.as_deref(), self.end.as_deref(), now).map(Some)
    }
}

/// Reads `--start` and `--end`; the range is open where one is not given.
pub(crate) fn range(start: Option<&str>, end: Option<&str>, now: Timestamp) -> Result<TimeRange, CliError> {
    let parsed = |text: Option<&str>, open| text.map_or(Ok(open), |text| parse_time(text, now));
    let help = "--start and --end take 2026-01-31T12:00:00Z, 1700000000s, -1h or now";
    let usage = |error: meridian_types::TimeError| CliError::usage(error.to_string(), help);
    let start = parsed(start, Timestamp::MIN).map_err(usage)?;
    let end = parsed(end, Timestamp::END).map_err(usage)?;
    TimeRange::new(start, end).map_err(usage)
}
