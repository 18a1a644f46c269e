//! What the commands that serve have in common: which addresses they may take, when they are ready, and how they end.

use std::net::IpAddr;
use std::time::Duration;

use meridian_env::{Env, deadline};
use meridian_node::RunError;
use meridian_types::{Code, Failure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinError;

use crate::failure::CliError;

/// How long a clean stop may take before the process just ends: what was acknowledged is on disk already.
const STOP_MAX: Duration = Duration::from_secs(10);

/// Refuses addresses that other machines can reach, unless that was asked for.
pub(crate) fn check_listen(addresses: &[&str], allowed: bool) -> Result<(), CliError> {
    for address in addresses {
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none() {
            let message = format!("{address:?} is no address with a port from 0 to 65535");
            return Err(CliError::usage(message, "use HOST:PORT, as in 127.0.0.1:8086"));
        }
        let host = address.rsplit_once(':').map_or("", |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if !local && !allowed {
            let message = format!("{address} can be reached from other machines, and there is no TLS and no login yet");
            return Err(CliError::usage(message, "listen on 127.0.0.1, or say --insecure-listen"));
        }
    }
    Ok(())
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

/// Resolves at ctrl-C or at a request to terminate.
pub(crate) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => {
            tracing::error!(%error, "signals cannot be received: stop this process with SIGKILL, which loses nothing");
            return std::future::pending().await;
        }
    };
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// Waits for a stop, but not for ever, and not past a second ctrl-C.
pub(crate) async fn stop_within(env: &Env, stopping: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        ended = deadline(&*env.clock, env.clock.now() + STOP_MAX, stopping) => if ended.is_err() {
            tracing::warn!("not everything stopped in time: the process ends now, what was acknowledged is on disk");
        },
        () = interrupted() => {}
    }
}
