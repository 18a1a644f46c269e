//! The router that commands talk to: reaching it, waiting for it no longer than asked, and saying how a call failed. Never
//! sends anything twice.

use std::io;
use std::time::Duration;

use meridian_client::connect;
use meridian_env::{Env, Instant, deadline};
use meridian_proto::failure_of;
use meridian_proto::v1::admin_client::AdminClient;
use meridian_proto::v1::data_client::DataClient;
use meridian_types::{Code, Failure, limits};
use tonic::Status;
use tonic::transport::Channel;

use crate::failure::CliError;

/// Longest wait for a first connection: somebody watches.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// A router's address and how long to wait for it.
#[derive(Debug)]
pub(crate) struct Server {
    /// The world.
    pub(crate) env: Env,
    address: String,
    timeout: Duration,
}

impl Server {
    /// The router at `address`, which need not be there yet.
    pub(crate) fn new(env: Env, address: String, timeout: meridian_types::Duration) -> Self {
        Self { env, address, timeout: Duration::from_nanos(timeout.nanos().unsigned_abs()) }
    }

    /// Its `Data` service, after seeing that it can be reached.
    pub(crate) async fn data(&self) -> Result<DataClient<Channel>, CliError> {
        Ok(DataClient::new(self.channel().await?)
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX))
    }

    /// Its `Admin` service, after seeing that it can be reached.
    pub(crate) async fn admin(&self) -> Result<AdminClient<Channel>, CliError> {
        Ok(AdminClient::new(self.channel().await?).max_decoding_message_size(limits::MESSAGE_BYTES_MAX))
    }

    /// A channel reports that it cannot connect like any break of it, of which nobody knows what was done before. So one
    /// connection is opened and closed first: an address where nobody listens is a certain answer, and the commonest mistake.
    async fn channel(&self) -> Result<Channel, CliError> {
        let connecting = self.env.net.connect(&self.address);
        let at = self.env.clock.now() + CONNECT_MAX.min(self.timeout);
        match deadline(&*self.env.clock, at, connecting).await {
            Ok(Ok(_)) => Ok(connect(&self.env, &self.address)),
            Ok(Err(error)) => Err(unreachable(&self.address, &error)),
            Err(_) => Err(unreachable(&self.address, &io::Error::new(io::ErrorKind::TimedOut, "no answer"))),
        }
    }

    /// When an answer that is asked for now is late.
    pub(crate) fn deadline(&self) -> Instant {
        self.env.clock.now() + self.timeout
    }

    /// The outcome of a call that changes nothing: without an answer it may be made again.
    pub(crate) async fn ask<T>(&self, call: impl Future<Output = Result<T, Status>>) -> Result<T, Failure> {
        self.call(call, self.deadline(), false).await
    }

    /// The outcome of a call that changes something: without an answer until `by`, nobody knows whether it did.
    pub(crate) async fn change<T>(
        &self,
        call: impl Future<Output = Result<T, Status>>,
        by: Instant,
    ) -> Result<T, Failure> {
        self.call(call, by, true).await
    }

    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, Status>>,
        by: Instant,
        changes: bool,
    ) -> Result<T, Failure> {
        match deadline(&*self.env.clock, by, call).await {
            Ok(outcome) => outcome.map_err(|status| failure_of(&status, changes)),
            Err(_) => {
                let code = if changes { Code::Unknown } else { Code::Unreachable };
                Err(Failure::new(code, format!("{} did not answer within {:?}", self.address, self.timeout)))
            }
        }
    }
}

/// Nobody listens at `address`.
pub(crate) fn unreachable(address: &str, error: &io::Error) -> CliError {
    let failure = Failure::new(Code::Unreachable, format!("no router could be reached at {address}: {error}"));
    CliError::with_help(failure, "start one with `meridian dev`, or name another with --server HOST:PORT")
}

/// A failure of a command that named a shard or a node, with what shows which there are.
pub(crate) fn about_shard(failure: Failure) -> CliError {
    match failure.code {
        Code::NoGroup => CliError::with_help(failure, "see `meridian shard list`"),
        Code::NotReady | Code::NoLeader | Code::Unreachable | Code::Unknown => {
            CliError::with_help(failure, "see `meridian shard list`, and run it again: it changes nothing twice")
        }
        _ => failure.into(),
    }
}

/// A failure of a command that named `database`, with the line to type where that helps.
pub(crate) fn about_database(failure: Failure, database: &str) -> CliError {
    match failure.code {
        Code::NoDatabase => CliError::with_help(failure, format!("meridian db create {database}")),
        _ => failure.into(),
    }
}
