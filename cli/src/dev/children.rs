//! Each part of a cluster as a process: the same binary, told what to be.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use meridian_env::Env;
use meridian_env::real::Process;
use meridian_types::{Code, Failure};

use super::Parts;
use crate::log::LogArgs;
use crate::output;

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A part that runs.
#[derive(Debug)]
struct Child {
    name: String,
    process: Process,
}

/// All parts. Dropped, none of them is left.
#[derive(Debug)]
pub(super) struct Children {
    env: Env,
    binary: PathBuf,
    /// Arguments of every part.
    log: Vec<String>,
    router: Option<Child>,
    nodes: Vec<Child>,
}

impl Children {
    /// No part yet; all are going to log as this process does.
    pub(super) fn new(env: &Env, log: &LogArgs) -> Result<Self, Failure> {
        let binary = std::env::current_exe();
        let binary = binary.map_err(|error| Failure::new(Code::Internal, format!("where is this binary? {error}")))?;
        Ok(Self { env: env.clone(), binary, log: log.arguments().collect(), router: None, nodes: Vec::new() })
    }

    fn start(&self, name: &str, arguments: &[String], at: &str) -> Result<Child, Failure> {
        let mut command = Command::new(&self.binary);
        command.args(arguments).args(&self.log).stdin(Stdio::null()).stdout(Stdio::null());
        // What is set for other clusters must not reach this one.
        for (variable, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MERIDIAN_")) {
            command.env_remove(variable);
        }
        let process = Process::start(command)
            .map_err(|error| Failure::new(Code::Internal, format!("{name} cannot be started: {error}")))?;
        output::say(&format!("{name} is process {}: {at}", process.id()));
        Ok(Child { name: name.to_owned(), process })
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Child> {
        self.router.iter_mut().chain(&mut self.nodes)
    }
}

impl Child {
    /// That it ended, if it has.
    fn ended(&mut self) -> Option<Failure> {
        let status = self.process.ended();
        let how = match status {
            Ok(None) => return None,
            Ok(Some(status)) => status.to_string(),
            Err(error) => error.to_string(),
        };
        Some(Failure::new(Code::Internal, format!("{} ended by itself, see above: {how}", self.name)))
    }

    async fn stop(&mut self, env: &Env) {
        if let Err(error) = self.process.terminate() {
            tracing::warn!(name = self.name, %error, "it cannot be asked to end");
        }
        while self.ended().is_none() {
            env.clock.sleep(LOOK_EVERY).await;
        }
    }
}

impl Parts for Children {
    fn start_node(&mut self, name: &str, config: meridian_node::Config) -> Result<(), Failure> {
        let listen = &config.listen;
        let host = config.advertise.data.rsplit_once(':').map_or("127.0.0.1", |(host, _)| host);
        let arguments = [
            "node".to_owned(),
            format!("--data={}", config.data.display()),
            format!("--region={}", config.region),
            format!("--join={}", config.join.join(",")),
            format!("--listen-data={}", listen.data),
            format!("--listen-raft={}", listen.raft),
            format!("--listen-http={}", listen.http),
            format!("--advertise={host}"),
        ];
        let at = format!("grpc {}, raft {}, http {}", listen.data, listen.raft, listen.http);
        let child = self.start(name, &arguments, &at)?;
        self.nodes.push(child);
        Ok(())
    }

    fn start_router(&mut self, config: meridian_router::Config) -> Result<(), Failure> {
        let arguments = [
            "router".to_owned(),
            format!("--nodes={}", config.nodes.join(",")),
            format!("--http={}", config.http),
            format!("--grpc={}", config.grpc),
            format!("--auto-create-databases={}", config.auto_create_databases),
            format!("--request-timeout={}ms", config.request_timeout.as_millis()),
            "--insecure-listen".to_owned(),
        ];
        let at = format!("http {}, grpc {}", config.http, config.grpc);
        self.router = Some(self.start("router", &arguments, &at)?);
        Ok(())
    }

    async fn ended(&mut self) -> Failure {
        loop {
            if let Some(failure) = self.all().find_map(Child::ended) {
                return failure;
            }
            self.env.clock.sleep(LOOK_EVERY).await;
        }
    }

    async fn stop(&mut self) {
        let env = self.env.clone();
        for child in self.all() {
            child.stop(&env).await;
        }
    }
}
