//! `meridian router`: a stateless front; any number of them serve one cluster.

use meridian_env::Env;
use meridian_router::Config;
use meridian_types::Duration;

use crate::failure::CliError;
use crate::output;
use crate::serve;

/// Start a router in front of storage nodes
///
/// Example: meridian router --nodes 127.0.0.1:7172
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// gRPC addresses of some nodes; the others are learnt from them
    #[arg(long, value_delimiter = ',', value_name = "HOST:PORT,…", required = true)]
    nodes: Vec<String>,
    /// Where to listen for HTTP
    #[arg(long, default_value = "127.0.0.1:8086", value_name = "HOST:PORT")]
    http: String,
    /// Where to listen for gRPC
    #[arg(long, default_value = "127.0.0.1:7171", value_name = "HOST:PORT")]
    grpc: String,
    /// Create a database at its first write
    #[arg(long)]
    auto_create_databases: bool,
    /// How long a write may take
    #[arg(long, default_value = "10s", value_name = "SPAN", value_parser = crate::positive_duration)]
    request_timeout: Duration,
    /// Allow addresses that other machines can reach, although there is no TLS and no login yet
    #[arg(long)]
    insecure_listen: bool,
}

pub(crate) async fn run(env: Env, args: Args) -> Result<(), CliError> {
    serve::check_listen(&[&args.http, &args.grpc], args.insecure_listen)?;
    let config = Config {
        http: args.http,
        grpc: args.grpc,
        nodes: args.nodes,
        auto_create_databases: args.auto_create_databases,
        request_timeout: std::time::Duration::from_nanos(args.request_timeout.nanos().unsigned_abs()),
    };
    let told =
        |at: meridian_router::Started| output::say(&format!("router listens: http {}, grpc {}", at.http, at.grpc));
    let ended = meridian_router::run(env, config, told, serve::interrupted()).await;
    ended.map_err(|error| serve::router_ended(Ok(Err(error))).into())
}
