//! `meridian cluster init`: begins a cluster at one node, and tells how the others come in.

use std::collections::BTreeSet;
use std::time::Duration;

use meridian_proto::v1;
use meridian_types::{Code, Failure, NodeId};

use crate::failure::CliError;
use crate::output::{self, counted};
use crate::server::Server;

const ASK_EVERY: Duration = Duration::from_millis(200);

/// Begin a cluster: once, at one node that belongs to none
#[derive(Debug, clap::Args)]
#[command(after_help = "\
--server is a node here, its gRPC address [default: 127.0.0.1:7172]. The other nodes join by
themselves, if they were started with --join and the address of this one. As soon as --nodes of
them are there, the shards get their places, and the cluster takes writes.

Example:
  meridian cluster init --server db-1:7172 --nodes 3 --shards 8")]
pub(super) struct InitArgs {
    /// Nodes that the shards wait for
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    nodes: u32,
    /// Shards, which cannot be changed later
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    shards: u32,
    /// Copies of each shard [default: 3, or --nodes if that is less]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    replication: Option<u32>,
    /// Longest wait for the other nodes; they may come later, too
    #[arg(long, default_value = "60s", value_name = "SPAN", value_parser = crate::positive_duration)]
    wait: meridian_types::Duration,
}

/// Runs the command.
pub(super) async fn run(args: InitArgs, server: &Server) -> Result<(), CliError> {
    let mut admin = server.admin().await?;
    let replication = args.replication.unwrap_or(0);
    let request = v1::InitClusterRequest { nodes: args.nodes, shards: args.shards, replication };
    let begun = server.change(admin.init_cluster(request), server.deadline()).await?.into_inner();
    output::print(format!("{}\n", begun.cluster))?;
    output::say(&format!("cluster {} begins at {}", begun.cluster, NodeId(begun.node)));

    let clock = &*server.env.clock;
    let end = clock.now() + Duration::from_nanos(args.wait.nanos().unsigned_abs());
    let mut told = BTreeSet::new();
    loop {
        let status = server.ask(admin.node_status(v1::NodeStatusRequest {})).await?.into_inner();
        let formation = status.formation.unwrap_or_default();
        for node in &formation.joined {
            if told.insert(node.id) {
                output::say(&arrival(node, told.len(), formation.nodes));
            }
        }
        if formation.formed && status.waits_for.is_empty() {
            output::say(&next_steps(&formation));
            return Ok(());
        }
        if clock.now() >= end {
            return Err(missing(&formation, &args.wait.to_string()));
        }
        clock.sleep(ASK_EVERY).await;
    }
}

fn arrival(node: &v1::Node, count: usize, wanted: u32) -> String {
    let id = NodeId(node.id);
    format!("{id} is there: region {}, {} ({count} of {wanted})", node.region, node.data_address)
}

fn next_steps(formation: &v1::Formation) -> String {
    let nodes: Vec<_> = formation.joined.iter().map(|node| node.data_address.as_str()).collect();
    format!(
        "formed: {}, {}, {} of each\n\nNext, on any machine that reaches the nodes:\n\n\
         \x20 meridian router --nodes {}\n\
         \x20 meridian db create metrics\n",
        counted(nodes.len() as u64, "node"),
        counted(formation.shards.into(), "shard"),
        if formation.replication == 1 { "1 copy".into() } else { format!("{} copies", formation.replication) },
        nodes.join(","),
    )
}

/// What has not come in time. The cluster waits on, whoever asks.
fn missing(formation: &v1::Formation, wait: &str) -> CliError {
    let joined: Vec<_> = formation.joined.iter().map(|n| format!("{} at {}", NodeId(n.id), n.data_address)).collect();
    let (here, wanted) = (joined.len(), formation.nodes as usize);
    let seed = formation.joined.first().map_or("HOST:7172", |node| &node.data_address);
    let (message, help) = if here < wanted {
        let message = format!("after {wait} {here} of {wanted} nodes are there: {}", joined.join(", "));
        let help = format!(
            "start the others with `meridian node --join {seed} …`: the cluster forms by itself when they come"
        );
        (message, help)
    } else {
        let message = format!("all {wanted} nodes are there, but the shards have no leaders after {wait}");
        (message, "meridian cluster status".to_owned())
    };
    CliError::with_help(Failure::new(Code::NotReady, message), help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_happened_and_what_to_do_next() {
        let node = |id: u32| v1::Node {
            id,
            region: format!("r{id}"),
            data_address: format!("db-{id}:7172"),
            ..v1::Node::default()
        };
        let formation = |joined: u32| v1::Formation {
            nodes: 3,
            shards: 8,
            replication: 3,
            joined: (1..=joined).map(node).collect(),
            formed: joined == 3,
        };
        let lines = [
            arrival(&node(2), 2, 3) + "\n",
            next_steps(&formation(3)),
            missing(&formation(2), "1m").render(),
            missing(&formation(3), "1m").render(),
        ];
        assert_eq!(lines.join("\n"), include_str!("../../testdata/init.txt"));
    }
}
