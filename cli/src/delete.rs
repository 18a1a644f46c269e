//! `meridian delete`: rows of one measurement go, in every shard that has some. Deletes nothing that nobody confirmed, and
//! never a range that nobody named.

use std::io::IsTerminal as _;

use meridian_client::Session;
use meridian_env::Class;
use meridian_proto::v1;
use meridian_types::{Code, Failure, ShardId, TimeRange};

use crate::failure::CliError;
use crate::output::counted;
use crate::query::{matcher, range};
use crate::server::{Server, about_database};
use crate::write::until_settled;
use crate::{input, output};

/// Rows of one measurement, with all of their fields.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Conditions are host=a and host!=a; a tag that is missing is empty. The range holds its start and not
its end. What is deleted is gone for every query that starts afterwards; what is written afterwards
stays. A delete is not one step over all shards: while it runs, a query may see a part of it done.

Examples:
  meridian delete cpu --db metrics --start 2026-01-01T00:00:00Z --end 2026-02-01T00:00:00Z
  meridian delete cpu --db metrics --where host=a --start -1h --end now --yes")]
pub(crate) struct Args {
    /// Whose rows; names are case-sensitive
    measurement: String,
    /// The database
    #[arg(long)]
    db: String,
    /// A condition on a tag; all that are given must hold
    #[arg(long = "where", value_name = "TAG=VALUE", value_parser = condition)]
    matchers: Vec<v1::Matcher>,
    /// First instant: 2026-01-31T12:00:00Z, 1700000000s, or -1h for an hour ago
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    start: String,
    /// First instant that stays
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    end: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Reads a condition as queries have it, but for patterns: what they match may change, what is deleted may not.
fn condition(text: &str) -> Result<v1::Matcher, String> {
    let found = matcher(text)?;
    match found.op() {
        v1::MatchOp::Eq | v1::MatchOp::NotEq => Ok(found),
        _ => Err("a delete takes TAG=VALUE and TAG!=VALUE only: see with a query which values match".into()),
    }
}

/// Runs the command.
pub(crate) async fn run(args: Args, server: &Server) -> Result<(), CliError> {
    let range = range(Some(&args.start), Some(&args.end), server.env.clock.wall())?;
    let what = sentence(&args, range);
    if !args.yes && !std::io::stdin().is_terminal() {
        let message = "a delete needs --yes where nobody can be asked (stdin is no terminal)";
        return Err(CliError::usage(message, "type the same line with --yes"));
    }
    let data = server.data().await?;
    if !args.yes {
        output::say(&format!("This deletes {what}.\nType yes to go on:"));
        let typed = meridian_env::run(&*server.env.work, Class::Scan, input::line).await;
        if typed.map_err(CliError::Start)? != "yes" {
            return Err(CliError::usage("what was typed is not yes: nothing was deleted", "type yes, or add --yes"));
        }
    }
    let session = Session::begin(&server.env);
    let pending = session.request();
    let request = v1::DeleteRequest {
        database: args.db.clone(),
        measurement: Some(args.measurement),
        matchers: args.matchers,
        range: Some(range.into()),
        request: Some(pending.id.into()),
        pending_from: pending.pending_from(),
    };
    let by = server.deadline();
    let outcome = until_settled(&server.env, by, async || {
        let mut data = data.clone();
        server.change(data.delete(request.clone()), by).await.map(tonic::Response::into_inner)
    });
    let reply = outcome.await.map_err(|failure| failed(failure, &args.db))?;
    output::say(&done(&what, &reply));
    Ok(())
}

/// What is to go, as people read it.
fn sentence(args: &Args, range: TimeRange) -> String {
    let sign = |m: &v1::Matcher| if m.op() == v1::MatchOp::NotEq { "!=" } else { "=" };
    let conditions = args.matchers.iter().map(|m| format!("{}{}{:?}", m.tag, sign(m), m.value)).collect::<Vec<_>>();
    let conditions = if conditions.is_empty() { String::new() } else { format!(" where {}", conditions.join(" and ")) };
    let (measurement, db) = (&args.measurement, &args.db);
    format!(
        "all rows of {measurement:?} in database {db:?}{conditions}, from {} to before {}",
        range.start(),
        range.end()
    )
}

fn done(what: &str, reply: &v1::DeleteReply) -> String {
    let shards: Vec<_> = reply.witnesses.iter().map(|witness| ShardId(witness.shard).to_string()).collect();
    format!("deleted {what}; done on {}: {}", counted(shards.len() as u64, "shard"), shards.join(", "))
}

fn failed(failure: Failure, db: &str) -> CliError {
    match failure.code {
        Code::Unknown => {
            let help = "run it again; what has been written to the range meanwhile goes, too";
            CliError::with_help(failure, help)
        }
        Code::NoMeasurement => CliError::with_help(failure, "check the name: names are case-sensitive"),
        _ => about_database(failure, db),
    }
}

#[cfg(test)]
mod tests {
    use meridian_types::Timestamp;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn told(line: &str) -> String {
        let words = std::iter::once("delete").chain(line.split_whitespace());
        let args = <Line as clap::Parser>::try_parse_from(words).expect("understood").args;
        let now = Timestamp::new(1_767_225_600_000_000_000).expect("in range");
        sentence(&args, range(Some(&args.start), Some(&args.end), now).expect("a range"))
    }

    #[test]
    fn people_are_told_what_goes() {
        assert_eq!(
            told("cpu --db m --start -1h --end now"),
            "all rows of \"cpu\" in database \"m\", from 2025-12-31T23:00:00Z to before 2026-01-01T00:00:00Z"
        );
        assert_eq!(
            told("cpu --db m --where host=a --where az!= --start 0s --end 1s"),
            "all rows of \"cpu\" in database \"m\" where host=\"a\" and az!=\"\", from 1970-01-01T00:00:00Z to before \
             1970-01-01T00:00:01Z"
        );
        let witness = |shard| v1::Witness { shard, ..Default::default() };
        let reply = v1::DeleteReply { witnesses: vec![witness(1), witness(4)] };
        assert_eq!(done("it", &reply), "deleted it; done on 2 shards: s1, s4");
    }
}
