//! One query to the router over gRPC, from the request to the last row. Never takes an answer for whole that did not end as the
//! protocol says.

use std::time::Duration;

use meridian_env::{Env, deadline};
use meridian_proto::v1::data_client::DataClient;
use meridian_proto::{failure_of, v1};
use meridian_types::Failure;
use prost::Message as _;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::pace::ANSWER_WAIT_MAX;
use crate::queries::draw::Drawn;
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

/// One execution.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) answer: Answer,
    /// From the request to the last column, decoded; not what it takes to make rows of them, which nobody has to.
    pub(crate) took: Duration,
    /// Of the encoded messages. Zero where they were not counted: encoding again takes time.
    pub(crate) bytes: u64,
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
        self.fetch(drawn.select(&self.database)).await
    }

    /// The answer to `select`.
    pub(crate) async fn fetch(&self, select: v1::Select) -> Result<Asked, AskError> {
        let start = self.env.clock.now();
        let mut bytes = 0;
        let mut client = DataClient::new(self.channel.clone());
        let mut parts = self.wait(client.query(select)).await?.into_inner();
        let (mut header, mut messages, mut end) = (None, Vec::new(), None);
        while end.is_none() {
            let part = self.part(&mut parts, &mut bytes).await?;
            match (header.is_some(), part.header) {
                (false, Some(found)) => header = Some(found),
                (true, None) => {}
                _ => return Err(AskError::Malformed("does not have its header in its first part")),
            }
            messages.extend(part.rows);
            end = part.end;
        }
        if self.wait(parts.message()).await?.is_some() {
            return Err(AskError::Malformed("goes on behind its end"));
        }
        let took = self.env.clock.now().saturating_duration_since(start);
        let mut rows = Vec::new();
        for message in messages {
            rows.extend(message.into_rows().map_err(|_| AskError::Malformed("has columns that do not fit together"))?);
        }
        if end.is_none_or(|end| end.rows != rows.len() as u64) {
            return Err(AskError::Malformed("has not the rows that its end counts"));
        }
        Ok(Asked { answer: Answer { columns: header.unwrap_or_default().columns, rows }, took, bytes })
    }

    async fn part(&self, parts: &mut Streaming<v1::QueryReply>, bytes: &mut u64) -> Result<v1::QueryReply, AskError> {
        let reply = self.wait(parts.message()).await?.ok_or(AskError::Malformed("ended before its end"))?;
        if self.counts_bytes {
            *bytes += reply.encoded_len() as u64;
        }
        Ok(reply)
    }

    async fn wait<T>(&self, call: impl Future<Output = Result<T, tonic::Status>>) -> Result<T, AskError> {
        let clock = &*self.env.clock;
        let done = deadline(clock, clock.now() + ANSWER_WAIT_MAX, call).await.map_err(|_| AskError::Silent)?;
        done.map_err(|status| AskError::Failed(failure_of(&status, false)))
    }
}

#[cfg(test)]
mod tests;
