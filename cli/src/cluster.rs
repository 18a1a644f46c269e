//! `meridian cluster`: begins a cluster, and shows what it looks like now.

mod init;
pub(crate) mod status;

use meridian_proto::v1;

use crate::cluster::status::Status;
use crate::failure::CliError;
use crate::output;
use crate::server::Server;

/// The cluster: its beginning, its nodes, shards and leaders.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  meridian cluster status")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Init(init::InitArgs),
    Status(StatusArgs),
}

impl Args {
    /// Whether it is a node that is asked, and no router.
    pub(crate) fn asks_a_node(&self) -> bool {
        matches!(self.command, Command::Init(_))
    }
}

/// Show every replica: where it is, whether it leads, how far behind its leader it is
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each row is one replica of one group: g0 holds the catalogue, s1, s2, … hold points. `lag` is how
many entries of its leader's log it has yet to apply. A node that does not answer is shown as
unreachable, and that is no error of this command.

Examples:
  meridian cluster status
  meridian cluster status --json")]
struct StatusArgs {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(args: Args, server: &Server) -> Result<(), CliError> {
    let args = match args.command {
        Command::Init(args) => return init::run(args, server).await,
        Command::Status(args) => args,
    };
    let mut admin = server.admin().await?;
    let reply = server.ask(admin.cluster_status(v1::ClusterStatusRequest {})).await?;
    let status = Status::from(reply.into_inner());
    output::print(if args.json { status.json() } else { status.table() })?;
    output::say(&status.summary());
    Ok(())
}
