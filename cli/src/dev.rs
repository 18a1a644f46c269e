//! `meridian dev`: a whole cluster in one process, on loopback, with everything that a real one has: replication, fsync, and
//! data that is there again at the next start.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use meridian_env::{Class, Env, Listener, Lock};
use meridian_node::{Listen, Member};
use meridian_types::{Code, Failure, NodeId, limits};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::failure::CliError;
use crate::output;
use crate::serve;

/// How long a start may take before it is said what is missing.
const READY_MAX: Duration = Duration::from_secs(60);
const FILE: &str = "dev.toml";
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Start a whole cluster on this machine: storage nodes and a router, replicated and fsynced
///
/// The data is in --data and is there again at the next start. Ctrl-C stops it.
///
/// Example: meridian dev --data ./meridian-data
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where all data goes
    #[arg(long, default_value = "./meridian-data", value_name = "DIR")]
    data: PathBuf,
    /// Where the router listens for HTTP
    #[arg(long, default_value = "127.0.0.1:8086", value_name = "HOST:PORT")]
    http: String,
    /// Where the router listens for gRPC
    #[arg(long, default_value = "127.0.0.1:7171", value_name = "HOST:PORT")]
    grpc: String,
    /// One storage node for each region named: 1, 3, 5 or 7 [default: a,b,c]
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    regions: Option<Vec<String>>,
    /// Shards that the cluster is formed with [default: 8]
    #[arg(long, value_name = "N")]
    shards: Option<u32>,
    /// Allow addresses that other machines can reach, although there is no TLS and no login yet
    #[arg(long)]
    insecure_listen: bool,
}

/// What the data directory was made with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    cluster: String,
    /// Whether every node has made its identity: from then on an empty node directory is a lost disk.
    formed: bool,
    shards: u32,
    nodes: Vec<NodeRecord>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeRecord {
    region: String,
    /// `host:port` of its three listeners at its last start.
    data: String,
    raft: String,
    http: String,
}

pub(crate) async fn run(env: Env, args: Args) -> Result<(), CliError> {
    serve::check_listen(&[&args.http, &args.grpc], args.insecure_listen)?;
    for address in [&args.http, &args.grpc] {
        serve::check_free(&env, address).await?;
    }
    let (_lock, mut record) = open(&env, &args).await?;
    choose_addresses(&env, &mut record).await?;
    save(&env, &args.data, &record).await?;

    let (stop_nodes, stopped) = watch::channel(false);
    let mut nodes = JoinSet::new();
    let members = members(&record);
    for node in members.keys() {
        let config = node_config(&args.data, &record, &members, *node)?;
        let mut stopped = stopped.clone();
        let stop = async move { drop(stopped.wait_for(|stop| *stop).await) };
        nodes.spawn(meridian_node::run(env.clone(), config, |_| {}, stop));
    }
    let (stop_router, stopped) = watch::channel(false);
    let config = meridian_router::Config {
        http: args.http.clone(),
        grpc: args.grpc.clone(),
        nodes: members.values().map(|m| m.data.clone()).collect(),
        auto_create_databases: true,
        request_timeout: Duration::from_secs(10),
    };
    let (started, starting) = tokio::sync::oneshot::channel();
    let stop = {
        let mut stopped = stopped;
        async move { drop(stopped.wait_for(|stop| *stop).await) }
    };
    let router_env = env.clone();
    let mut router = tokio::spawn(meridian_router::run(router_env, config, move |s| drop(started.send(s)), stop));

    let up = async {
        let at = starting.await.map_err(|_| Failure::new(Code::Internal, "the router did not start"))?;
        serve::wait_ready(&env, &at.http, READY_MAX).await?;
        record.formed = true;
        save(&env, &args.data, &record).await?;
        welcome(&args.data, &at, &record)?;
        std::future::pending::<Result<(), CliError>>().await
    };
    let end = tokio::select! {
        biased;
        Some(ended) = nodes.join_next() => Err(serve::node_ended(ended).into()),
        ended = &mut router => Err(serve::router_ended(ended).into()),
        failed = up => failed,
        () = serve::interrupted() => Ok(()),
    };
    output::say("stopping …");
    // Routers first: their last requests still find the nodes.
    stop_router.send_replace(true);
    let stopping = async {
        if !router.is_finished() {
            drop(router.await);
        }
        stop_nodes.send_replace(true);
        while nodes.join_next().await.is_some() {}
    };
    serve::stop_within(&env, stopping).await;
    end
}

/// Locks the directory and reads what it was made with, or decides it.
async fn open(env: &Env, args: &Args) -> Result<(Box<dyn Lock>, Record), CliError> {
    let (job_env, dir) = (env.clone(), args.data.clone());
    let (regions, shards) = (args.regions.clone(), args.shards);
    meridian_env::run(&*env.work, Class::Flush, move || {
        let shown = dir.display();
        let io = |error: io::Error| Failure::new(Code::Internal, format!("{shown} cannot be used: {error}"));
        job_env.disk.create_dir(&dir).map_err(io)?;
        let lock = job_env.disk.lock(&dir.join("LOCK")).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                let text = format!("{shown} is in use by another `meridian dev`: stop it, or choose another --data");
                Failure::new(Code::InUse, text)
            }
            _ => io(error),
        })?;
        let record = match job_env.disk.read(&dir.join(FILE), FILE_BYTES_MAX) {
            Ok(bytes) => read_record(&bytes, &dir, regions, shards)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let cluster = (u128::from(job_env.rng.u64()) << 64) | u128::from(job_env.rng.u64());
                new_record(cluster, regions, shards)?
            }
            Err(error) => return Err(io(error).into()),
        };
        Ok((lock, record))
    })
    .await
}

fn new_record(cluster: u128, regions: Option<Vec<String>>, shards: Option<u32>) -> Result<Record, CliError> {
    let regions = regions.unwrap_or_else(|| ["a", "b", "c"].map(str::to_owned).to_vec());
    if !matches!(regions.len(), 1 | 3 | 5 | 7) || regions.iter().any(|r| r.trim().is_empty()) {
        let message = format!("--regions names {} nodes, and a cluster is formed of 1, 3, 5 or 7", regions.len());
        return Err(CliError::usage(message, "name a region for each node, as in --regions a,b,c"));
    }
    let shards = shards.unwrap_or(8);
    if !(1..=limits::SHARDS_MAX).contains(&shards) {
        let message = format!("--shards {shards} is outside 1 to {}", limits::SHARDS_MAX);
        return Err(CliError::usage(message, "eight, the default, serve most machines"));
    }
    let any = || "127.0.0.1:0".to_owned();
    let node = |region| NodeRecord { region, data: any(), raft: any(), http: any() };
    let cluster = format!("{cluster:032x}");
    Ok(Record { version: 1, cluster, formed: false, shards, nodes: regions.into_iter().map(node).collect() })
}

fn read_record(
    bytes: &[u8],
    dir: &Path,
    regions: Option<Vec<String>>,
    shards: Option<u32>,
) -> Result<Record, CliError> {
    let shown = dir.join(FILE);
    let damaged = |reason: String| Failure::new(Code::Internal, format!("{} is damaged: {reason}", shown.display()));
    let text = std::str::from_utf8(bytes).map_err(|e| damaged(e.to_string()))?;
    let record: Record = toml::from_str(text).map_err(|e| damaged(e.to_string()))?;
    let made: Vec<_> = record.nodes.iter().map(|n| n.region.clone()).collect();
    if regions.is_some_and(|regions| regions != made) || shards.is_some_and(|shards| shards != record.shards) {
        let made = format!("--regions {} --shards {}", made.join(","), record.shards);
        let message = format!("{} was made with {made}", dir.display());
        return Err(CliError::usage(message, "leave these out, or choose another --data"));
    }
    Ok(record)
}

async fn save(env: &Env, dir: &Path, record: &Record) -> Result<(), Failure> {
    let (job_env, path) = (env.clone(), dir.join(FILE));
    let text = toml::to_string(record).map_err(|e| Failure::new(Code::Internal, e.to_string()))?;
    let job = move || job_env.disk.replace(&path, text.as_bytes());
    let written = meridian_env::run(&*env.work, Class::Flush, job).await;
    written.map_err(|e| Failure::new(Code::Internal, format!("{FILE} cannot be written: {e}")))
}

/// Gives every node addresses that nobody uses, its last ones if they are free.
async fn choose_addresses(env: &Env, record: &mut Record) -> Result<(), Failure> {
    // Held until all are chosen, so that none is chosen twice.
    let mut held = Vec::new();
    for node in &mut record.nodes {
        for address in [&mut node.data, &mut node.raft, &mut node.http] {
            let listener = free_address(env, address).await?;
            *address = listener.local_addr();
            held.push(listener);
        }
    }
    Ok(())
}

/// A listener at the address itself if nobody uses it, else at a free port of this host.
async fn free_address(env: &Env, address: &str) -> Result<Box<dyn Listener>, Failure> {
    if let Ok(listener) = env.net.listen(address).await {
        return Ok(listener);
    }
    let free = env.net.listen("127.0.0.1:0").await;
    free.map_err(|e| Failure::new(Code::Internal, format!("no free port on 127.0.0.1: {e}")))
}

fn members(record: &Record) -> BTreeMap<NodeId, Member> {
    let member = |node: &NodeRecord| Member {
        region: node.region.clone(),
        data: node.data.clone(),
        raft: node.raft.clone(),
        http: node.http.clone(),
    };
    (1..).map(NodeId).zip(record.nodes.iter().map(member)).collect()
}

fn node_config(
    data: &Path,
    record: &Record,
    members: &BTreeMap<NodeId, Member>,
    node: NodeId,
) -> Result<meridian_node::Config, Failure> {
    let cluster = u128::from_str_radix(&record.cluster, 16).map_err(|_| {
        Failure::new(Code::Internal, format!("{FILE} is damaged: the cluster's id is no hexadecimal number"))
    })?;
    let member = &members[&node];
    Ok(meridian_node::Config {
        data: data.join(node.to_string()),
        cluster,
        node,
        listen: Listen { data: member.data.clone(), raft: member.raft.clone(), http: member.http.clone() },
        members: members.clone(),
        shards: record.shards,
        replication: u8::try_from(members.len().min(3)).expect("three at most"),
        first_start: !record.formed,
        timing: meridian_node::Timing::default(),
        log: meridian_node::LogSettings::default(),
    })
}

fn welcome(data: &Path, at: &meridian_router::Started, record: &Record) -> Result<(), CliError> {
    let regions: Vec<_> = record.nodes.iter().map(|n| n.region.as_str()).collect();
    let (http, grpc) = (&at.http, &at.grpc);
    let server = if grpc == "127.0.0.1:7171" { String::new() } else { format!(" --server {grpc}") };
    // What was typed to start this, which is what works in the same place.
    let meridian = std::env::args().next().unwrap_or_else(|| "meridian".into());
    let text = format!(
        "Meridian {version} takes writes.\n\n\
         http    http://{http}    (InfluxDB line protocol: /api/v2/write, /write; /health, /ready, /metrics)\n\
         grpc    {grpc}           (meridian.v1.Data and Admin)\n\
         data    {data}\n\
         nodes   {nodes} in regions {regions}, {shards} shards, {copies} copies of each, fsync on\n\n\
         Write a point and read it back:\n\n\
         \x20 curl -i 'http://{http}/api/v2/write?bucket=demo' --data-binary 'weather,city=oslo temperature=3.5'\n\
         \x20 {meridian} query weather --db demo{server}\n\n\
         Ctrl-C stops it; the data stays.\n",
        version = env!("CARGO_PKG_VERSION"),
        data = data.display(),
        nodes = record.nodes.len(),
        regions = regions.join(","),
        shards = record.shards,
        copies = record.nodes.len().min(3),
    );
    output::print(text)
}
