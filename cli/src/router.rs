//! `meridian router`: a stateless front; any number of them serve one cluster.

use meridian_env::Env;
use meridian_router::Config;

use crate::failure::CliError;
use crate::output;
use crate::serve::{self, Signals};
use crate::settings::{self, Program, Setting, Shape, Values};

/// A router as something that has settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Router;

impl Program for Router {
    const NAME: &'static str = "router";
    const ABOUT: &'static str = "Start a router in front of storage nodes";
    const EXAMPLES: &'static str = "Example: meridian router --nodes 127.0.0.1:7172";
    const SETTINGS: &'static [Setting] = &[
        Setting {
            key: "nodes",
            shape: Shape::Many("HOST:PORT"),
            default: None,
            help: "gRPC addresses of some nodes; the others are learnt from them",
        },
        Setting {
            key: "http",
            shape: Shape::One("HOST:PORT"),
            default: Some("127.0.0.1:8086"),
            help: "Where to listen for HTTP",
        },
        Setting {
            key: "grpc",
            shape: Shape::One("HOST:PORT"),
            default: Some("127.0.0.1:7171"),
            help: "Where to listen for gRPC",
        },
        Setting {
            key: "auto_create_databases",
            shape: Shape::Switch,
            default: Some("false"),
            help: "Create a database at its first write",
        },
        Setting {
            key: "request_timeout",
            shape: Shape::One("SPAN"),
            default: Some("10s"),
            help: "How long a write may take",
        },
        Setting {
            key: "insecure_listen",
            shape: Shape::Switch,
            default: Some("false"),
            help: "Allow addresses that other machines can reach, although there is no TLS and no login yet",
        },
    ];
}

pub(crate) async fn run(env: Env, args: settings::Args<Router>) -> Result<(), CliError> {
    let mut values = serve::read_settings(&env, &args).await?;
    let config = config(&mut values);
    values.finish()?;
    let told =
        |at: meridian_router::Started| output::say(&format!("router listens: http {}, grpc {}", at.http, at.grpc));
    let signals = Signals::new();
    let ended = tokio::select! {
        biased;
        ended = meridian_router::run(env, config, told, signals.first()) => ended,
        () = signals.second() => return Err(CliError::Interrupted),
    };
    ended.map_err(|error| serve::router_ended(Ok(Err(error))).into())
}

/// The settings as a router takes them; what is wrong is noted in `values`.
fn config(values: &mut Values) -> Config {
    let anywhere = values.take("insecure_listen", settings::switch);
    let mut listen = |key: &str| values.take_listen(key, anywhere);
    let (http, grpc) = (listen("http"), listen("grpc"));
    Config {
        http,
        grpc,
        nodes: values.take("nodes", settings::addresses),
        auto_create_databases: values.take("auto_create_databases", settings::switch),
        request_timeout: values.take("request_timeout", settings::span),
    }
}
