//! `meridian dev`: a whole cluster on loopback, in this process or in one for each part, with everything that a real one has:
//! replication, fsync, and data that is there again at the next start.

mod children; // each part a process
mod here; // all parts in this process
mod record; // what the directory was made with

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;

use meridian_client::connect;
use meridian_env::{Env, Listener, deadline};
use meridian_node::{Addresses, LogSettings, StorageSettings, Timing};
use meridian_proto::v1::admin_client::AdminClient;
use meridian_proto::{failure_of, v1};
use meridian_types::{Code, Failure, NodeId};

use crate::dev::children::Children;
use crate::dev::here::Here;
use crate::dev::record::{NodeRecord, Record};
use crate::failure::CliError;
use crate::log::LogArgs;
use crate::output;
use crate::serve::{self, Signals};

/// How long a start may take before it is said what is missing.
const READY_MAX: Duration = Duration::from_secs(60);
/// Longest wait for one answer of a node.
const ANSWER_MAX: Duration = Duration::from_secs(30);
const ASK_EVERY: Duration = Duration::from_millis(20);

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
    /// One storage node for each region named [default: a,b,c]
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    regions: Option<Vec<String>>,
    /// Shards that the cluster is formed with [default: 8]
    #[arg(long, value_name = "N")]
    shards: Option<u32>,
    /// Run each node and the router as a process of its own, as `meridian node` and `meridian router` do
    #[arg(long)]
    processes: bool,
    /// Allow addresses that other machines can reach, although there is no TLS and no login yet
    #[arg(long)]
    insecure_listen: bool,
}

/// The parts of a cluster, wherever they run. They are stopped in the order of `stop`, and ended if that takes too long.
trait Parts {
    /// Starts a node. `name` is that of its directory.
    fn start_node(&mut self, name: &str, config: meridian_node::Config) -> Result<(), Failure>;

    /// Starts the router.
    fn start_router(&mut self, config: meridian_router::Config) -> Result<(), Failure>;

    /// Resolves when a part ends that was not asked to.
    async fn ended(&mut self) -> Failure;

    /// Asks one part after the other to end, and waits for it: the router first, since its last requests still find the
    /// nodes.
    async fn stop(&mut self);
}

pub(crate) async fn run(env: Env, args: Args, log: &LogArgs) -> Result<(), CliError> {
    serve::check_listen(&[&args.http, &args.grpc], args.insecure_listen)?;
    for address in [&args.http, &args.grpc] {
        serve::check_free(&env, address).await?;
    }
    let (_lock, record) = record::open(&env, &args.data, args.regions.clone(), args.shards).await?;
    if args.processes {
        live(&env, &args, record, Children::new(&env, log)?).await
    } else {
        live(&env, &args, record, Here::new(&env)).await
    }
}

/// Runs all parts until one ends or a person ends them.
async fn live(env: &Env, args: &Args, mut record: Record, mut parts: impl Parts) -> Result<(), CliError> {
    let signals = Signals::new();
    let end = tokio::select! {
        biased;
        () = signals.first() => Ok(()),
        Err(failed) = up(env, args, &mut record, &mut parts) => Err(failed),
    };
    output::say("stopping …");
    serve::stop_within(env, &signals, parts.stop()).await;
    end
}

/// Starts everything, says so, and returns only if a part ends.
async fn up(env: &Env, args: &Args, record: &mut Record, parts: &mut impl Parts) -> Result<Infallible, CliError> {
    choose_addresses(env, record).await?;
    record::save(env, &args.data, record).await?;
    if record.formed {
        for (name, node) in record.named() {
            record::check_kept(env, &args.data, &name).await?;
            parts.start_node(&name, node_config(&args.data, record, &name, node))?;
        }
    } else {
        form(env, args, record, parts).await?;
    }
    let nodes: Vec<_> = record.nodes.iter().map(|node| node.data.clone()).collect();
    parts.start_router(meridian_router::Config {
        http: args.http.clone(),
        grpc: args.grpc.clone(),
        nodes,
        auto_create_databases: true,
        request_timeout: Duration::from_secs(10),
    })?;
    watched(parts, serve::wait_ready(env, &args.http, READY_MAX)).await?;
    record.formed = true;
    record::save(env, &args.data, record).await?;
    welcome(args, record)?;
    Err(parts.ended().await.into())
}

/// One node after the other, so that each gets the number that its directory is called by.
async fn form(env: &Env, args: &Args, record: &Record, parts: &mut impl Parts) -> Result<(), Failure> {
    for (number, (name, node)) in (1..).zip(record.named()) {
        parts.start_node(&name, node_config(&args.data, record, &name, node))?;
        if number == 1 {
            watched(parts, begin(env, &node.data, record)).await?;
        }
        watched(parts, joined(env, &node.data, NodeId(number))).await?;
    }
    Ok(())
}

/// What `task` comes to, unless a part ends first.
async fn watched<T>(parts: &mut impl Parts, task: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::select! {
        biased;
        failure = parts.ended() => Err(failure),
        done = task => done,
    }
}

/// Begins the cluster at its first node, unless an earlier start has done so.
async fn begin(env: &Env, address: &str, record: &Record) -> Result<(), Failure> {
    let nodes = u32::try_from(record.nodes.len()).expect("as many nodes as were named");
    let request = v1::InitClusterRequest { nodes, shards: record.shards, replication: 0 };
    let failure = loop {
        let mut client = AdminClient::new(connect(env, address));
        let end = env.clock.now() + ANSWER_MAX;
        match deadline(&*env.clock, end, client.init_cluster(request)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(status)) => match failure_of(&status, false) {
                failure if failure.code == Code::ClusterExists => return Ok(()),
                // A child takes its time until it listens.
                failure if failure.code == Code::Unreachable => env.clock.sleep(ASK_EVERY).await,
                failure => break failure,
            },
            Err(_) => break Failure::new(Code::NotReady, format!("the first node at {address} does not answer")),
        }
    };
    Err(failure)
}

/// Waits until the node at `address` belongs to the cluster.
async fn joined(env: &Env, address: &str, node: NodeId) -> Result<(), Failure> {
    let end = env.clock.now() + READY_MAX;
    let mut last = String::from("it does not answer");
    while env.clock.now() < end {
        let mut client = AdminClient::new(connect(env, address));
        match deadline(&*env.clock, end, client.node_status(v1::NodeStatusRequest {})).await {
            Ok(Ok(reply)) => {
                let status = reply.into_inner();
                if status.node != 0 {
                    return Ok(());
                }
                last = status.waits_for;
            }
            Ok(Err(status)) => last = failure_of(&status, false).to_string(),
            Err(_) => {}
        }
        env.clock.sleep(ASK_EVERY).await;
    }
    Err(Failure::new(Code::NotReady, format!("{node} has not joined after {} s: {last}", READY_MAX.as_secs())))
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

fn node_config(data: &Path, record: &Record, name: &str, node: &NodeRecord) -> meridian_node::Config {
    let at = Addresses { data: node.data.clone(), raft: node.raft.clone(), http: node.http.clone() };
    meridian_node::Config {
        data: data.join(name),
        listen: at.clone(),
        advertise: at,
        region: node.region.clone(),
        join: record.nodes.iter().map(|node| node.data.clone()).collect(),
        storage: StorageSettings::default(),
        timing: Timing::default(),
        log: LogSettings::default(),
    }
}

fn welcome(args: &Args, record: &Record) -> Result<(), CliError> {
    let regions: Vec<_> = record.nodes.iter().map(|n| n.region.as_str()).collect();
    let (http, grpc) = (&args.http, &args.grpc);
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
        data = args.data.display(),
        nodes = record.nodes.len(),
        regions = regions.join(","),
        shards = record.shards,
        copies = record.nodes.len().min(3),
    );
    output::print(text)
}
