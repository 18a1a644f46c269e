//! `meridian node`: one storage node of a cluster whose members are named on the command line.

use std::collections::BTreeMap;
use std::path::PathBuf;

use meridian_env::Env;
use meridian_node::{Config, Listen, LogSettings, Member, Timing};
use meridian_types::{NodeId, limits};

use crate::failure::CliError;
use crate::output;
use crate::serve;

/// Start one storage node
///
/// Every node of a cluster is told the same --cluster, --shards and --member list.
///
/// Example, on the first of three machines:
///   meridian node --data /var/lib/meridian --cluster 5f…(32 hex digits) --node 1 --new \
///     --member 1=eu,10.0.0.1 --member 2=us,10.0.0.2 --member 3=asia,10.0.0.3 --insecure-listen
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Where this node's data goes
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The cluster's id: 32 hexadecimal digits, the same on every node, never used before
    #[arg(long, value_name = "HEX")]
    cluster: String,
    /// Which member this node is
    #[arg(long, value_name = "N")]
    node: u32,
    /// A node of the cluster, repeated for each: its number, region, and host with the ports of gRPC, Raft and HTTP
    #[arg(long = "member", value_name = "N=REGION,HOST[:GRPC:RAFT:HTTP]", required = true)]
    members: Vec<String>,
    /// Shards that the cluster is formed with
    #[arg(long, default_value_t = 8, value_name = "N")]
    shards: u32,
    /// This is the node's first start: an empty --data is right
    #[arg(long)]
    new: bool,
    /// Allow addresses that other machines can reach, although there is no TLS and no login yet
    #[arg(long)]
    insecure_listen: bool,
}

pub(crate) async fn run(env: Env, args: Args) -> Result<(), CliError> {
    let config = config(&args)?;
    let listen = &config.listen;
    serve::check_listen(&[&listen.data, &listen.raft, &listen.http], args.insecure_listen)?;
    let node = config.node;
    let told = move |at: meridian_node::Started| {
        output::say(&format!("{node} listens: grpc {}, raft {}, http {}", at.data, at.raft, at.http));
    };
    let ended = meridian_node::run(env, config, told, serve::interrupted()).await;
    ended.map_err(|error| serve::node_ended(Ok(Err(error))).into())
}

fn config(args: &Args) -> Result<Config, CliError> {
    let bad = |message: String| CliError::usage(message, "meridian node --help");
    let cluster = u128::from_str_radix(&args.cluster, 16).ok().filter(|_| args.cluster.len() == 32);
    let cluster = cluster.ok_or_else(|| bad(format!("--cluster {:?} is not 32 hexadecimal digits", args.cluster)))?;
    let mut members = BTreeMap::new();
    for text in &args.members {
        let (node, member) = member(text)
            .ok_or_else(|| bad(format!("--member {text:?} is not N=REGION,HOST or N=REGION,HOST:GRPC:RAFT:HTTP")))?;
        if members.insert(node, member).is_some() {
            return Err(bad(format!("--member names {node} twice")));
        }
    }
    let node = NodeId(args.node);
    let own = members.get(&node).ok_or_else(|| bad(format!("--node {} is not among the members", args.node)))?;
    if !(1..=limits::SHARDS_MAX).contains(&args.shards) {
        return Err(bad(format!("--shards {} is outside 1 to {}", args.shards, limits::SHARDS_MAX)));
    }
    let listen = Listen { data: own.data.clone(), raft: own.raft.clone(), http: own.http.clone() };
    let replication = u8::try_from(members.len().min(3)).expect("three at most");
    Ok(Config {
        data: args.data.clone(),
        cluster,
        node,
        listen,
        shards: args.shards,
        replication,
        members,
        first_start: args.new,
        timing: Timing::default(),
        log: LogSettings::default(),
    })
}

fn member(text: &str) -> Option<(NodeId, Member)> {
    let (node, rest) = text.split_once('=')?;
    let (region, address) = rest.split_once(',')?;
    let parts: Vec<_> = address.split(':').collect();
    let (host, data, raft, http) = match parts[..] {
        [host] => (host, "7172", "7173", "7174"),
        [host, data, raft, http] => (host, data, raft, http),
        _ => return None,
    };
    let ports_are_numbers = [data, raft, http].iter().all(|port| port.parse::<u16>().is_ok());
    if region.is_empty() || host.is_empty() || !ports_are_numbers {
        return None;
    }
    let at = |port: &str| format!("{host}:{port}");
    let member = Member { region: region.to_owned(), data: at(data), raft: at(raft), http: at(http) };
    Some((NodeId(node.parse().ok().filter(|n| *n > 0)?), member))
}
