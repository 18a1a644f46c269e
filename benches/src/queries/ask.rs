//! One query to the router over gRPC, from the request to the last row, with what the client has to do itself because a
//! `Select` cannot say it. Never takes an answer for whole that did not end as the protocol says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use meridian_env::{Env, deadline};
use meridian_proto::v1::data_client::DataClient;
use meridian_proto::v1::query_reply::Part;
use meridian_proto::{failure_of, v1};
use meridian_types::Failure;
use prost::Message as _;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::pace::ANSWER_WAIT_MAX;
use crate::queries::draw::{Drawn, HOST_TAG};
use crate::queries::kinds::Want;
use crate::queries::reference::Answer;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// It was refused, or broke off.
    #[error("Query: {}: {}", .0.code, .0.message)]
    Failed(Failure),
    /// Silence.
    #[error("Query: nothing came for {} s", ANSWER_WAIT_MAX.as_secs())]
    Silent,
    /// An answer that is none.
    #[error("Query: the answer {0}")]
    Malformed(&'static str),
}

/// What came over the wire.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fetched {
    pub(crate) queries: u64,
    pub(crate) rows: u64,
    /// Of the encoded messages. Zero where they were not counted: encoding again takes time.
    pub(crate) bytes: u64,
}

/// One execution.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) answer: Answer,
    /// From the first request to the whole answer, with what the client did itself.
    pub(crate) took: Duration,
    pub(crate) fetched: Fetched,
}

/// A router and the database that is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub(crate) env: Env,
    pub(crate) channel: Channel,
    pub(crate) database: String,
    /// Whether to count bytes: not where time is measured.
    pub(crate) counts_bytes: bool,
}

impl Asker {
    /// Asks what was drawn.
    pub(crate) async fn ask(&self, drawn: &Drawn) -> Result<Asked, AskError> {
        let mut fetched = Fetched::default();
        let start = self.env.clock.now();
        let select = drawn.select(&self.database);
        let answer = match drawn.kind.want {
            Want::Windows { .. } | Want::NewestWindows { .. } | Want::RowsAbove(_) => {
                self.fetch(select, &mut fetched).await?
            }
            Want::NewestRows => self.newest_rows(drawn, select, &mut fetched).await?,
        };
        let took = self.env.clock.now().saturating_duration_since(start);
        Ok(Asked { answer, took, fetched })
    }

    /// The newest row of each host, by name. `last` of a field has no time, and a limit is of the whole answer and not of each
    /// host: so a query for which hosts there are, one for as many of the newest rows, and one for each host that is not
    /// among them.
    async fn newest_rows(&self, drawn: &Drawn, hosts: v1::Select, fetched: &mut Fetched) -> Result<Answer, AskError> {
        let hosts = self.fetch(hosts, fetched).await?.rows;
        let hosts: BTreeSet<_> = hosts.iter().map(|row| host_of(row).to_owned()).collect();
        let newest = |limit: u64| drawn.newest(&self.database, Some(limit));
        let Answer { columns, rows } = self.fetch(newest(hosts.len() as u64), fetched).await?;
        let mut found = BTreeMap::new();
        for row in rows {
            found.entry(host_of(&row).to_owned()).or_insert(row);
        }
        for host in hosts {
            if !found.contains_key(&host) {
                let matcher = v1::Matcher { tag: HOST_TAG.into(), op: v1::MatchOp::Eq.into(), value: host.clone() };
                let select = v1::Select { matchers: vec![matcher], ..newest(1) };
                let rows = self.fetch(select, fetched).await?.rows;
                found.extend(rows.into_iter().map(|row| (host.clone(), row)));
            }
        }
        Ok(Answer { columns, rows: found.into_values().collect() })
    }

    /// The answer to `select`.
    pub(crate) async fn fetch(&self, select: v1::Select, fetched: &mut Fetched) -> Result<Answer, AskError> {
        fetched.queries += 1;
        let mut client = DataClient::new(self.channel.clone());
        let mut parts = self.wait(client.query(select)).await?.into_inner();
        let Part::Header(header) = self.part(&mut parts, fetched).await? else {
            return Err(AskError::Malformed("does not begin with its header"));
        };
        let (mut all, mut rows_seen) = (Vec::new(), 0);
        loop {
            match self.part(&mut parts, fetched).await? {
                Part::Header(_) => return Err(AskError::Malformed("has two headers")),
                Part::Rows(rows) => {
                    rows_seen += rows.rows.len() as u64;
                    all.extend(rows.rows);
                }
                Part::End(end) if end.rows != rows_seen => {
                    return Err(AskError::Malformed("has not the rows that its end counts"));
                }
                Part::End(_) => break,
            }
        }
        fetched.rows += rows_seen;
        match self.wait(parts.message()).await? {
            None => Ok(Answer { columns: header.columns, rows: all }),
            Some(_) => Err(AskError::Malformed("goes on behind its end")),
        }
    }

    async fn part(&self, parts: &mut Streaming<v1::QueryReply>, fetched: &mut Fetched) -> Result<Part, AskError> {
        let reply = self.wait(parts.message()).await?.ok_or(AskError::Malformed("ended before its end"))?;
        if self.counts_bytes {
            fetched.bytes += reply.encoded_len() as u64;
        }
        reply.part.ok_or(AskError::Malformed("has a part that this version does not know"))
    }

    async fn wait<T>(&self, call: impl Future<Output = Result<T, tonic::Status>>) -> Result<T, AskError> {
        let clock = &*self.env.clock;
        let done = deadline(clock, clock.now() + ANSWER_WAIT_MAX, call).await.map_err(|_| AskError::Silent)?;
        done.map_err(|status| AskError::Failed(failure_of(&status, false)))
    }
}

fn host_of(row: &v1::ResultRow) -> &str {
    row.tags.iter().find(|tag| tag.key == HOST_TAG).map_or("", |tag| &tag.value)
}

#[cfg(test)]
mod tests;
