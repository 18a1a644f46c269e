//! `meridian inspect`: what lies in the directory of a node that is stopped. Needs no cluster and changes nothing.

use std::path::PathBuf;

use meridian_env::{Class, Env, run as run_job};
use meridian_node::{CatalogueReport, FileReport, InspectError, Part, Report, SegmentReport, Usage};
use meridian_types::{Code, Failure};

use crate::failure::CliError;
use crate::output::{self, counted};
use crate::table::{self, number, text};

/// Tell what lies in the directory of a node that is stopped
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Reads only. A part that cannot be read is told as such, and the others are still shown. The node must
be stopped; with --force its lock is ignored, and what is shown of a node that runs may not fit
together.

Examples:
  meridian inspect /var/lib/meridian
  meridian inspect ./meridian-data/n1 --json")]
pub(crate) struct Args {
    /// The node's directory, which has its identity.toml
    dir: PathBuf,
    /// Look although a process holds the directory's lock
    #[arg(long)]
    force: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(env: Env, args: Args) -> Result<(), CliError> {
    let scratch = std::env::temp_dir().join(format!("meridian-inspect-{:016x}", env.rng.u64()));
    let (inside, dir, force) = (env.clone(), args.dir.clone(), args.force);
    let inspected =
        run_job(&*env.work, Class::Scan, move || meridian_node::inspect(&inside, &dir, &scratch, force)).await;
    let report = inspected.map_err(refused)?;
    output::print(if args.json { json(&report) } else { plain(&report) })
}

fn refused(error: InspectError) -> CliError {
    let message = error.to_string();
    match error {
        InspectError::NoNode { dir, nodes } => {
            let dir = nodes.first().map_or_else(|| PathBuf::from("DIR"), |node| dir.join(node));
            CliError::usage(message, format!("meridian inspect {}", dir.display()))
        }
        InspectError::InUse { .. } => {
            CliError::with_help(Failure::new(Code::InUse, message), "stop the node, or look all the same with --force")
        }
        InspectError::Io { .. } => CliError::usage(message, "name a directory that can be read, or add --force"),
    }
}

fn json(report: &Report) -> String {
    serde_json::to_string(report).expect("strings and numbers are always JSON") + "\n"
}

/// Part by part, for people.
fn plain(report: &Report) -> String {
    let identity = part("identity", &report.identity, |identity| {
        table::rows(identity.iter().map(|(name, value)| vec![name.clone(), value.clone()]))
    });
    let files = part("files", &report.usage, |usage| files(usage));
    let catalogue = part("catalogue", &report.catalogue, catalogue);
    let log = part("log", &report.log, |segments| log(segments));
    let shards = part("shards", &report.shards, |files| shards(files));
    [identity, files, catalogue, log, shards].join("\n")
}

fn part<T>(name: &str, part: &Part<T>, render: impl Fn(&T) -> String) -> String {
    match part {
        Part::Read(read) => format!("{name}\n{}", render(read)),
        Part::Unreadable(why) => format!("{name} cannot be read: {why}\n"),
    }
}

fn files(usage: &[Usage]) -> String {
    let headings = [text("path"), number("files"), number("bytes")];
    let row = |usage: &Usage| vec![usage.path.clone(), usage.files.to_string(), usage.bytes.to_string()];
    table::render(&headings, usage.iter().map(row))
}

fn catalogue(catalogue: &CatalogueReport) -> String {
    let cluster = catalogue.cluster.as_deref().unwrap_or("none yet");
    let count = |n: usize, one| counted(n as u64, one);
    let mut found = format!(
        "version {}, cluster {cluster}: {}, {}, {} with a type, {}\n",
        catalogue.version,
        count(catalogue.nodes.len(), "node"),
        count(catalogue.shards.len(), "shard"),
        count(catalogue.fields, "field"),
        count(catalogue.epochs, "epoch"),
    );
    let nodes = catalogue.nodes.iter().map(|n| vec![n.id.clone(), n.region.clone(), n.address.clone()]);
    found += &section(&["node", "region", "address"], nodes.collect());
    let databases = catalogue.databases.iter().map(|database| {
        let retention = database.retention.clone().unwrap_or_else(|| "for ever".into());
        vec![database.id.clone(), database.name.clone(), retention]
    });
    found += &section(&["database", "name", "retention"], databases.collect());
    let shards = catalogue.shards.iter().map(|shard| {
        let replicas: Vec<_> =
            shard.replicas.iter().map(|replica| format!("{} {}", replica.node, replica.id)).collect();
        vec![shard.id.clone(), shard.incarnation.clone(), shard.preferred.clone(), replicas.join(", ")]
    });
    found += &section(&["shard", "incarnation", "preferred", "replicas"], shards.collect());
    if !catalogue.dropped.is_empty() {
        found += &format!("dropped, and not yet forgotten by every shard: {}\n", catalogue.dropped.join(", "));
    }
    found
}

fn log(segments: &[SegmentReport]) -> String {
    let headings =
        [number("segment"), number("bytes"), number("commits"), text("groups and their entries"), text("damage")];
    let row = |segment: &SegmentReport| {
        let groups = if segment.used { segment.groups.join(", ") } else { "made ahead".to_owned() };
        let damage = segment.damage.clone().unwrap_or_default();
        vec![segment.segment.to_string(), segment.bytes.to_string(), segment.commits.to_string(), groups, damage]
    };
    table::render(&headings, segments.iter().map(row))
}

fn shards(files: &[FileReport]) -> String {
    if files.is_empty() {
        return "no shard has files yet: all points are in the log\n".to_owned();
    }
    let headings = [
        text("shard"),
        text("file"),
        text("database"),
        text("entries"),
        text("times"),
        number("points"),
        number("bytes"),
        text("damage"),
    ];
    let counted = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let row = |file: &FileReport| {
        let told = |text: &Option<String>| text.clone().unwrap_or_default();
        vec![
            file.shard.clone(),
            file.file.clone(),
            told(&file.database),
            told(&file.entries),
            told(&file.times),
            counted(file.points),
            counted(file.bytes),
            told(&file.damage),
        ]
    };
    table::render(&headings, files.iter().map(row))
}

/// A table with a line of air above it; nothing where there are no rows.
fn section(headings: &[&str], rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let headings: Vec<_> = headings.iter().map(|name| text(name)).collect();
    "\n".to_owned() + &table::render(&headings, rows)
}

#[cfg(test)]
mod tests;
