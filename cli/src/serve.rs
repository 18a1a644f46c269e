//! What the commands that serve have in common: their settings, which addresses they may take, when they are ready, and how
//! they end.

use std::sync::Arc;
use std::time::Duration;

use meridian_env::{Class, Env, deadline};
use meridian_node::RunError;
use meridian_types::{Code, Failure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinError;

use crate::failure::CliError;
use crate::settings::{self, Args, Program, Values};

/// How long a clean stop of a whole cluster may take before the process just ends: what was acknowledged is on disk already.
const STOP_MAX: Duration = Duration::from_secs(20);
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Refuses addresses that other machines can reach, unless that was asked for.
pub(crate) fn check_listen(addresses: &[&str], allowed: bool) -> Result<(), CliError> {
    for address in addresses {
        let checked = settings::address(address).and_then(|address| settings::listens(&address, allowed));
        checked.map_err(|why| {
            CliError::usage(format!("{address:?}: {why}"), "listen on 127.0.0.1, as in 127.0.0.1:8086")
        })?;
    }
    Ok(())
}

/// What file, environment and command line say.
pub(crate) async fn read_settings<P: Program>(env: &Env, args: &Args<P>) -> Result<Values, CliError> {
    let text = match args.config.clone() {
        None => None,
        Some(path) => {
            let (disk, shown) = (Arc::clone(&env.disk), path.clone());
            let read = meridian_env::run(&*env.work, Class::Scan, move || disk.read(&path, CONFIG_BYTES_MAX)).await;
            let bytes = read.map_err(|error| CliError::usage(error.to_string(), "name a file that can be read"))?;
            let text = String::from_utf8(bytes).map_err(|error| {
                CliError::usage(format!("{}: {error}", shown.display()), "a file of settings is TOML, in UTF-8")
            })?;
            Some((shown, text))
        }
    };
    let file = text.as_ref().map(|(path, text)| (path.as_path(), text.as_str()));
    let variables = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
    Ok(Values::read(args, file, variables))
}

/// Refuses an address that somebody uses, before anything is started or written.
pub(crate) async fn check_free(env: &Env, address: &str) -> Result<(), Failure> {
    let in_use = |error| Failure::new(Code::InUse, format!("{address} cannot be used: {error}"));
    env.net.listen(address).await.map(drop).map_err(in_use)
}

/// Asks the router at `http` until it can write and read.
pub(crate) async fn wait_ready(env: &Env, http: &str, within: Duration) -> Result<(), Failure> {
    let end = env.clock.now() + within;
    let mut last = String::from("it did not answer");
    while env.clock.now() < end {
        match deadline(&*env.clock, end, ready(env, http)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(why)) => last = why,
            Err(_) => break,
        }
        env.clock.sleep(Duration::from_millis(50)).await;
    }
    Err(Failure::new(Code::NotReady, format!("the cluster is not ready after {} s: {last}", within.as_secs())))
}

async fn ready(env: &Env, http: &str) -> Result<(), String> {
    let mut conn = env.net.connect(http).await.map_err(|e| e.to_string())?;
    let ask = format!("GET /ready HTTP/1.1\r\nhost: {http}\r\nconnection: close\r\n\r\n");
    conn.write_all(ask.as_bytes()).await.map_err(|e| e.to_string())?;
    let mut answer = Vec::new();
    conn.read_to_end(&mut answer).await.map_err(|e| e.to_string())?;
    let answer = String::from_utf8_lossy(&answer);
    if answer.starts_with("HTTP/1.1 200") {
        return Ok(());
    }
    Err(answer.split("\r\n\r\n").nth(1).unwrap_or(&answer).trim().to_owned())
}

/// A node ended by itself: a start that failed is told, a halt aborts the process before anything else is promised.
pub(crate) fn node_ended(ended: Result<Result<(), RunError>, JoinError>) -> Failure {
    match ended {
        Ok(Ok(())) => Failure::new(Code::Internal, "a node stopped by itself"),
        Ok(Err(RunError::Start(failure))) => failure,
        Ok(Err(RunError::Halt(halt))) => {
            tracing::error!(%halt, "aborting");
            std::process::abort();
        }
        Err(error) => Failure::new(Code::Internal, format!("a node failed: {error}")),
    }
}

/// The router ended by itself.
pub(crate) fn router_ended(ended: Result<Result<(), meridian_router::RunError>, JoinError>) -> Failure {
    match ended {
        Ok(Ok(())) => Failure::new(Code::Internal, "the router stopped by itself"),
        Ok(Err(error)) => Failure::new(Code::InUse, error.to_string()),
        Err(error) => Failure::new(Code::Internal, format!("the router failed: {error}")),
    }
}

/// Requests to end: ctrl-C, or to terminate. The first asks for an end in order, the second for the end.
#[derive(Clone, Debug)]
pub(crate) struct Signals(watch::Receiver<u32>);

impl Signals {
    /// Counts from now on.
    pub(crate) fn new() -> Self {
        let (count, counted) = watch::channel(0);
        tokio::spawn(async move {
            let streams = signal(SignalKind::interrupt()).and_then(|one| Ok((one, signal(SignalKind::terminate())?)));
            let (mut interrupt, mut terminate) = match streams {
                Ok(streams) => streams,
                Err(error) => {
                    tracing::error!(%error, "no signal can be received: end this process with SIGKILL, which loses nothing");
                    return std::future::pending().await;
                }
            };
            loop {
                tokio::select! {
                    biased;
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                count.send_modify(|count| *count += 1);
            }
        });
        Self(counted)
    }

    /// Resolves once there was a request.
    pub(crate) fn first(&self) -> impl Future<Output = ()> + Send + use<> {
        self.reached(1)
    }

    /// Resolves once there were two.
    pub(crate) fn second(&self) -> impl Future<Output = ()> + Send + use<> {
        self.reached(2)
    }

    fn reached(&self, times: u32) -> impl Future<Output = ()> + Send + use<> {
        let mut count = self.0.clone();
        async move {
            if count.wait_for(|count| *count >= times).await.is_err() {
                std::future::pending().await
            }
        }
    }
}

/// Waits for a stop, but not for ever, and not past a second request.
pub(crate) async fn stop_within(env: &Env, signals: &Signals, stopping: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        ended = deadline(&*env.clock, env.clock.now() + STOP_MAX, stopping) => if ended.is_err() {
            tracing::warn!("not everything stopped in time: the process ends now, what was acknowledged is on disk");
        },
        () = signals.second() => {}
    }
}
