//! One peer that holds the rows: how it is asked, how long it takes, and whether the answer is the right one.
//!
//! Never gives a time of a wrong answer.

use std::time::Duration;

use hyper::{Method, StatusCode};
use meridian_env::Env;
use meridian_types::TimeError;

use super::digest::Digest;
use super::python::{Python, PythonError};
use super::sql::Engine;
use super::{influxql, promql};
use crate::queries::draw::Drawn;
use crate::queries::kinds::Want;
use crate::queries::reference::Reference;
use crate::servers::{DATABASE, Product, Server, ServerError, Talk, path};

/// Why a peer is left out of a query type.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    /// TSBS does not have it in this language.
    #[error("TSBS has no such query for it")]
    NoForm,
    /// The server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The engine.
    #[error(transparent)]
    Python(#[from] PythonError),
    /// A range without a place in time.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// Not what it answers when all is well.
    #[error("its answer cannot be read: {0}")]
    Unread(String),
    /// Another answer than the rows make.
    #[error("its answer is wrong: {found}, not {expected}")]
    Wrong {
        /// What the rows make.
        expected: Digest,
        /// What it made.
        found: Digest,
    },
}

/// A peer.
#[derive(Debug)]
pub(crate) struct Peer {
    side: Side,
    pub(crate) version: String,
    /// What the rows take on disk, with their index; of an engine that can be told how, in the least room that it has for them.
    pub(crate) bytes: Option<u64>,
}

#[derive(Debug)]
enum Side {
    Http { server: Box<Server>, talk: Talk },
    Sql { engine: Engine, python: Python },
}

impl Peer {
    /// A server that holds the rows.
    pub(crate) async fn server(env: &Env, server: Server, version: String, bytes: u64) -> Result<Self, ServerError> {
        let talk = Talk::open(env, &server.place.http).await?;
        Ok(Self { side: Side::Http { server: Box::new(server), talk }, version, bytes: Some(bytes) })
    }

    /// An engine that holds the rows.
    pub(crate) fn sql(engine: Engine, python: Python, bytes: Option<u64>) -> Self {
        let version = python.version.clone();
        Self { side: Side::Sql { engine, python }, version, bytes }
    }

    pub(crate) fn name(&self) -> &'static str {
        match &self.side {
            Side::Http { server, .. } => server.product.name(),
            Side::Sql { engine, .. } => engine.name(),
        }
    }

    /// What a reader of its times must know.
    pub(crate) fn terms(&self) -> &'static str {
        match &self.side {
            Side::Http { server, .. } if server.product == Product::VictoriaMetrics => {
                "one copy; until the body is read. Windows end at whole steps and are not cut, as it aligns them, and it may \
                 answer from its cache of results, which is on, as it is by default"
            }
            Side::Http { .. } => "one copy; until the body is read",
            Side::Sql { engine: Engine::DuckDb, .. } => {
                "in the process that asks; until the result is tuples of Python, of high-cpu an Arrow table"
            }
            Side::Sql { engine: Engine::ClickHouse, .. } => {
                "in the process that asks, a MergeTree; until the result is an Arrow table of Python"
            }
        }
    }

    /// How long the answer to what was drawn took, which must be `expected`. `earlier` has the same rows, each one interval
    /// earlier: for windows that hold their end and not their start.
    pub(crate) async fn ask(
        &mut self,
        env: &Env,
        drawn: &Drawn,
        expected: Digest,
        earlier: &Reference,
    ) -> Result<Duration, PeerError> {
        let (took, found, expected) = match &mut self.side {
            Side::Sql { engine, python } => {
                let large = matches!(drawn.kind.want, Want::RowsAbove(_));
                let (took, found) = python.ask(env, &engine.query(drawn), large).await?;
                (took, found, expected)
            }
            Side::Http { server, talk } if server.product == Product::VictoriaMetrics => {
                let query = promql::query(drawn).ok_or(PeerError::NoForm)?;
                let expected = Digest::of(&earlier.answer(&query.of_earlier_rows(drawn)?));
                let parameters = query.parameters();
                let parameters = parameters.each_ref().map(|(name, value)| (*name, value.as_str()));
                let (took, found) = get(env, talk, &path("/api/v1/query_range", &parameters), promql::digest).await?;
                (took, found, expected)
            }
            Side::Http { talk, .. } => {
                let query = path("/query", &[("db", DATABASE), ("q", &influxql::query(drawn))]);
                let (took, found) = get(env, talk, &query, influxql::digest).await?;
                (took, found, expected)
            }
        };
        if found.is_of(expected) { Ok(took) } else { Err(PeerError::Wrong { expected, found }) }
    }
}

/// Asks over a connection that is open before the clock starts, and reads the answer once it has stopped.
async fn get(
    env: &Env,
    talk: &mut Talk,
    path: &str,
    digest: fn(&[u8]) -> Option<Digest>,
) -> Result<(Duration, Digest), PeerError> {
    talk.ready(env).await.map_err(ServerError::from)?;
    let start = env.clock.now();
    let (status, body) = talk.ask(env, Method::GET, path).await.map_err(ServerError::from)?;
    let took = env.clock.now().saturating_duration_since(start);
    let read = (status == StatusCode::OK).then(|| digest(&body)).flatten();
    let head = || String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
    Ok((took, read.ok_or_else(|| PeerError::Unread(format!("{status}: {}", head())))?))
}
