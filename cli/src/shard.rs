//! `meridian shard`: shards and who leads them. Changes only what it is told to, and reports it when it has happened.

mod list;

use meridian_proto::v1;
use meridian_types::{NodeId, ShardId};
use serde::Serialize;

use crate::cluster::status::Status;
use crate::failure::CliError;
use crate::output;
use crate::server::{Server, about_shard};

/// Shards: which there are, and who leads them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  meridian shard list
  meridian shard transfer-leader s3 --to n2")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(ListArgs),
    TransferLeader(TransferArgs),
}

/// List the shards: leader, replicas, and what is in them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each row is one shard. A replica that lags says by how many entries of its leader's log; one that
does not answer is unreachable, and that is no error of this command.

Examples:
  meridian shard list
  meridian shard list --json")]
struct ListArgs {
    /// One JSON object a line, with every replica's numbers
    #[arg(long)]
    json: bool,
}

/// Make a node the leader of a shard
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The node must have a replica of the shard that is nearly up to date. Writes to the shard wait for the
moment of the change. The command ends when the node leads; if it leads already nothing changes.

Examples:
  meridian shard transfer-leader s3 --to n2
  meridian shard transfer-leader 3 --to 2 --json")]
struct TransferArgs {
    /// The shard, as `meridian shard list` names it
    #[arg(value_parser = shard)]
    shard: ShardId,
    /// The node that is to lead
    #[arg(long, value_name = "NODE", value_parser = node)]
    to: NodeId,
    /// What came of it as one JSON object
    #[arg(long)]
    json: bool,
}

/// Reads `s3` or `3`.
fn shard(text: &str) -> Result<ShardId, &'static str> {
    id(text, 's').map(ShardId).ok_or("write s3 or 3; see `meridian shard list`")
}

/// Reads `n2` or `2`.
fn node(text: &str) -> Result<NodeId, &'static str> {
    id(text, 'n').map(NodeId).ok_or("write n2 or 2; see `meridian cluster status`")
}

fn id(text: &str, prefix: char) -> Option<u32> {
    let digits = text.strip_prefix(prefix).unwrap_or(text);
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|id| is_plain && *id > 0)
}

/// Runs the command.
pub(crate) async fn run(args: Args, server: &Server) -> Result<(), CliError> {
    match args.command {
        Command::List(args) => list(&args, server).await,
        Command::TransferLeader(args) => transfer_leader(&args, server).await,
    }
}

async fn list(args: &ListArgs, server: &Server) -> Result<(), CliError> {
    let mut admin = server.admin().await?;
    let reply = server.ask(admin.cluster_status(v1::ClusterStatusRequest {})).await?;
    let status = Status::from(reply.into_inner());
    output::print(if args.json { list::json(&status) } else { list::table(&status) })?;
    output::say(&list::summary(&status));
    Ok(())
}

async fn transfer_leader(args: &TransferArgs, server: &Server) -> Result<(), CliError> {
    let mut admin = server.admin().await?;
    let request = v1::TransferShardLeaderRequest { shard: args.shard.0, to_node: args.to.0 };
    let reply = server.change(admin.transfer_leader(request), server.deadline()).await.map_err(about_shard)?;
    let done = Transferred::new(args.shard, args.to, &reply.into_inner());
    if args.json {
        output::print(serde_json::to_string(&done).expect("strings and numbers are always JSON") + "\n")?;
    }
    output::say(&done.text());
    Ok(())
}

/// What `transfer-leader --json` prints.
#[derive(Debug, Serialize)]
struct Transferred {
    shard: String,
    leader: String,
    /// False if that node led already.
    changed: bool,
    term: u64,
}

impl Transferred {
    fn new(shard: ShardId, to: NodeId, reply: &v1::TransferShardLeaderReply) -> Self {
        Self { shard: shard.to_string(), leader: to.to_string(), changed: reply.changed, term: reply.term }
    }

    fn text(&self) -> String {
        let Self { shard, leader, changed, term } = self;
        let how = if *changed { "now" } else { "already" };
        format!("{shard} is led by {leader} {how}, in term {term}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_print() {
        assert_eq!((shard("s3"), shard("3"), node("n12")), (Ok(ShardId(3)), Ok(ShardId(3)), Ok(NodeId(12))));
        for bad in ["", "s", "s0", "0", "n3", "s-1", "s+1", "s4294967296", "ss1"] {
            assert!(shard(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_came_of_it_is_said() {
        let done = |changed| {
            let reply = v1::TransferShardLeaderReply { changed, term: 8 };
            Transferred::new(ShardId(3), NodeId(2), &reply)
        };
        assert_eq!(done(true).text(), "s3 is led by n2 now, in term 8");
        assert_eq!(done(false).text(), "s3 is led by n2 already, in term 8");
        let json = serde_json::to_string(&done(true)).expect("JSON");
        assert_eq!(json, r#"{"shard":"s3","leader":"n2","changed":true,"term":8}"#);
    }
}
