//! `meridian node`: one storage node.

use std::time::Duration;

use meridian_env::Env;
use meridian_node::{Addresses, Config, LogSettings, StorageSettings, Timing};

use crate::failure::CliError;
use crate::output;
use crate::serve::{self, Signals};
use crate::settings::{self, Program, Setting, Shape, Values};

/// A storage node as something that has settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node;

impl Program for Node {
    const NAME: &'static str = "node";
    const ABOUT: &'static str = "Start one storage node";
    const EXAMPLES: &'static str = "\
A node that has no data yet belongs to no cluster: it asks those that it is to join, until one of
them lets it in, or until `meridian cluster init` tells it to begin one. From then on its directory
says who it is, and it needs no --join any more.

Example, on each of three machines, then once on any of them:
  meridian node --data /var/lib/meridian --region eu --join db-1:7172,db-2:7172,db-3:7172 \\
    --listen-data 0.0.0.0:7172 --listen-raft 0.0.0.0:7173 --listen-http 0.0.0.0:7174 \\
    --advertise db-1 --insecure-listen
  meridian cluster init --server db-1:7172 --nodes 3 --shards 8";
    const SETTINGS: &'static [Setting] = &[
        Setting { key: "data", shape: Shape::One("DIR"), default: None, help: "Where this node's data goes" },
        Setting {
            key: "region",
            shape: Shape::One("NAME"),
            default: Some("default"),
            help: "Where it stands: copies of a shard go to different regions first; never changes",
        },
        Setting {
            key: "join",
            shape: Shape::Many("HOST:PORT"),
            default: Some(""),
            help: "gRPC addresses of nodes to ask for a cluster; its own may be among them",
        },
        Setting {
            key: "listen_data",
            shape: Shape::One("HOST:PORT"),
            default: Some("127.0.0.1:7172"),
            help: "Where to listen for routers, operators and nodes that join",
        },
        Setting {
            key: "listen_raft",
            shape: Shape::One("HOST:PORT"),
            default: Some("127.0.0.1:7173"),
            help: "Where to listen for the replicas on other nodes",
        },
        Setting {
            key: "listen_http",
            shape: Shape::One("HOST:PORT"),
            default: Some("127.0.0.1:7174"),
            help: "Where to listen for /metrics, /health and /ready",
        },
        Setting {
            key: "advertise",
            shape: Shape::One("HOST"),
            default: Some(""),
            help: "Host under which others reach this node; without it, the host of each address where it listens",
        },
        Setting {
            key: "insecure_listen",
            shape: Shape::Switch,
            default: Some("false"),
            help: "Allow addresses that other machines can reach, although there is no TLS and no login yet",
        },
        Setting {
            key: "memory_bytes",
            shape: Shape::One("SIZE"),
            default: Some("1GiB"),
            help: "Memory of points that are in no file yet; beyond it writes have to wait",
        },
        Setting {
            key: "log_bytes",
            shape: Shape::One("SIZE"),
            default: Some("1GiB"),
            help: "Size of the log on disk that is aimed at, all groups together",
        },
        Setting {
            key: "flush_after",
            shape: Shape::One("SPAN"),
            default: Some("10m"),
            help: "Longest time that points stay in memory and log alone",
        },
        Setting {
            key: "snapshot_bytes_per_second",
            shape: Shape::One("SIZE"),
            default: Some("64MiB"),
            help: "Speed at which replicas are sent to other nodes",
        },
    ];
}

pub(crate) async fn run(env: Env, args: settings::Args<Node>) -> Result<(), CliError> {
    let mut values = serve::read_settings(&env, &args).await?;
    let config = config(&mut values);
    values.finish()?;
    let told = |at: Addresses| {
        output::say(&format!("node listens: grpc {}, raft {}, http {}", at.data, at.raft, at.http));
    };
    let signals = Signals::new();
    let ended = tokio::select! {
        biased;
        ended = meridian_node::run(env, config, told, signals.first()) => ended,
        () = signals.second() => return Err(CliError::Interrupted),
    };
    ended.map_err(|error| serve::node_ended(Ok(Err(error))).into())
}

/// The settings as a node takes them; what is wrong is noted in `values`.
fn config(values: &mut Values) -> Config {
    let anywhere = values.take("insecure_listen", settings::switch);
    let mut listen = |key: &str| values.take_listen(key, anywhere);
    let listen = Addresses { data: listen("listen_data"), raft: listen("listen_raft"), http: listen("listen_http") };
    let host = values.take("advertise", |text| Ok(text.to_owned()));
    let advertise = |address: &str| match (address.rsplit_once(':'), host.as_str()) {
        (Some((_, port)), host) if host.contains(':') && !host.starts_with('[') => format!("[{host}]:{port}"),
        (Some((_, port)), host) if !host.is_empty() => format!("{host}:{port}"),
        _ => address.to_owned(),
    };
    let advertise =
        Addresses { data: advertise(&listen.data), raft: advertise(&listen.raft), http: advertise(&listen.http) };
    let storage = storage(values);
    let log = LogSettings { bytes_max: storage.log_bytes, ..LogSettings::default() };
    Config {
        data: values.take("data", settings::path),
        listen,
        advertise,
        region: values.take("region", settings::text),
        join: values.take("join", settings::addresses),
        storage,
        timing: Timing::default(),
        log,
    }
}

fn storage(values: &mut Values) -> StorageSettings {
    let flush_after: Duration = values.take("flush_after", settings::span);
    StorageSettings {
        memory_bytes: values.take("memory_bytes", settings::bytes),
        log_bytes: values.take("log_bytes", settings::bytes),
        flush_after,
        snapshot_bytes_per_second: values.take("snapshot_bytes_per_second", settings::bytes),
        ..StorageSettings::default()
    }
}
