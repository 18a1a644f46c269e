//! `meridian db`: creates, lists and drops databases. Drops nothing that nobody confirmed.

use std::io::IsTerminal as _;

use meridian_env::Class;
use meridian_proto::v1;
use meridian_types::{Code, DatabaseId, Duration, parse_duration};
use serde::Serialize;

use crate::failure::CliError;
use crate::server::Server;
use crate::{input, output, table};

/// Databases: each has its own measurements, retention and placement.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  meridian db list")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Create(Create),
    List(List),
    Drop(Drop),
}

/// Create a database
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  meridian db create metrics --retention 30d")]
struct Create {
    /// Its name: a letter or _, then letters, digits, _ . - (64 at most)
    name: String,
    /// How long points are kept; 0 is for ever
    #[arg(long, value_name = "SPAN", default_value = "0", value_parser = parse_duration)]
    retention: Duration,
    /// Tags that decide where a series is stored; all tags where none is named
    #[arg(long, value_name = "TAG,…", value_delimiter = ',')]
    shard_by: Vec<String>,
    /// How far ahead of the clock a point may be
    #[arg(long, value_name = "SPAN", default_value = "1d", value_parser = crate::positive_duration)]
    future: Duration,
    /// Be content with a database of this name that exists
    #[arg(long)]
    if_absent: bool,
}

/// List the databases
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  meridian db list --json")]
struct List {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Drop a database and all that is in it
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  meridian db drop metrics --yes")]
struct Drop {
    /// Its name
    name: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Runs the command.
pub(crate) async fn run(args: Args, server: &Server) -> Result<(), CliError> {
    match args.command {
        Command::Create(args) => create(args, server).await,
        Command::List(args) => list(&args, server).await,
        Command::Drop(args) => drop_database(args, server).await,
    }
}

async fn create(args: Create, server: &Server) -> Result<(), CliError> {
    let request = v1::CreateDatabaseRequest {
        name: args.name.clone(),
        shard_by: args.shard_by,
        retention: args.retention.nanos(),
        future: args.future.nanos(),
        if_absent: args.if_absent,
    };
    let mut admin = server.admin().await?;
    let reply =
        server.change(admin.create_database(request), server.deadline()).await.map_err(|failure| {
            match failure.code {
                Code::DatabaseExists => CliError::with_help(failure, "use it, choose another name, or add --if-absent"),
                Code::Unknown => CliError::with_help(failure, "see `meridian db list`"),
                _ => failure.into(),
            }
        })?;
    let id = reply.into_inner().database.map_or(String::new(), |made| format!(" ({})", DatabaseId(made.id)));
    output::say(&format!("database {:?} is ready{id}", args.name));
    Ok(())
}

async fn list(args: &List, server: &Server) -> Result<(), CliError> {
    let mut admin = server.admin().await?;
    let reply = server.ask(admin.list_databases(v1::ListDatabasesRequest {})).await?;
    let databases = reply.into_inner().databases;
    output::print(if args.json { json(databases) } else { plain(databases) })
}

async fn drop_database(args: Drop, server: &Server) -> Result<(), CliError> {
    let name = args.name;
    if !args.yes && !std::io::stdin().is_terminal() {
        let message = "dropping a database needs --yes where nobody can be asked (stdin is no terminal)";
        return Err(CliError::usage(message, format!("meridian db drop {name} --yes")));
    }
    let mut admin = server.admin().await?;
    if !args.yes {
        output::say("This deletes the database and all its points. Type its name to go on:");
        let typed = meridian_env::run(&*server.env.work, Class::Scan, input::line).await;
        if typed.map_err(CliError::Start)? != name {
            let message = format!("what was typed is not {name:?}: nothing was dropped");
            return Err(CliError::usage(message, format!("meridian db drop {name} --yes")));
        }
    }
    let request = v1::DropDatabaseRequest { name: name.clone() };
    server.change(admin.drop_database(request), server.deadline()).await.map_err(|failure| match failure.code {
        Code::NoDatabase | Code::Unknown => CliError::with_help(failure, "see `meridian db list`"),
        _ => failure.into(),
    })?;
    output::say(&format!("database {name:?} is dropped"));
    Ok(())
}

/// A database as `--json` prints it. Spans are as people write them; a retention of null is for ever.
#[derive(Debug, Serialize)]
struct View {
    name: String,
    id: String,
    retention: Option<String>,
    future: String,
    /// Null: all tags decide.
    shard_by: Option<Vec<String>>,
}

impl From<v1::Database> for View {
    fn from(database: v1::Database) -> Self {
        let span = |nanos: i64| Duration::from_nanos(nanos).unwrap_or_default();
        Self {
            name: database.name,
            id: DatabaseId(database.id).to_string(),
            retention: (database.retention > 0).then(|| span(database.retention).to_string()),
            future: span(database.future).to_string(),
            shard_by: database.shard_by_some.then_some(database.shard_by),
        }
    }
}

fn json(databases: Vec<v1::Database>) -> String {
    let line = |database| serde_json::to_string(&View::from(database)).expect("strings are always JSON") + "\n";
    databases.into_iter().map(line).collect()
}

fn plain(databases: Vec<v1::Database>) -> String {
    let headings = ["name", "id", "retention", "future", "shard by"].map(table::text);
    let row = |database| {
        let view = View::from(database);
        let retention = view.retention.unwrap_or_else(|| "for ever".into());
        let shard_by = view.shard_by.map_or_else(|| "all tags".into(), |tags| tags.join(","));
        vec![view.name, view.id, retention, view.future, shard_by]
    };
    table::render(&headings, databases.into_iter().map(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_listed() {
        let day = 86_400_000_000_000;
        let databases = || {
            let metrics = v1::Database { id: 1, name: "metrics".into(), future: day, ..Default::default() };
            let logs = v1::Database {
                id: 12,
                name: "logs".into(),
                shard_by_some: true,
                shard_by: vec!["host".into(), "region".into()],
                retention: 30 * day,
                future: 3_600_000_000_000,
            };
            vec![metrics, logs]
        };
        let found = plain(databases()) + &json(databases());
        assert_eq!(found, include_str!("../testdata/databases.txt"));
    }
}
