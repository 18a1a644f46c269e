//! One `Data.WriteFrames` stream to a router. Knows no retries and no window: whoever holds it decides what leaves, and when.

use bytes::Bytes;
use futures::channel::mpsc;
use meridian_env::{Env, Instant, deadline};
use meridian_proto::v1::data_client::DataClient;
use meridian_proto::{failure_of, v1};
use meridian_types::{Code, Failure, ShardId};
use tonic::Streaming;
use tonic::transport::Channel;

use crate::session::Pending;

/// An open stream.
#[derive(Debug)]
pub struct FrameStream {
    database: String,
    requests: mpsc::UnboundedSender<v1::FrameRequest>,
    replies: Streaming<v1::FrameReply>,
}

impl FrameStream {
    /// Opens a stream for writes to `database` at a router, not past `until`.
    pub async fn open(env: Env, router: Channel, database: String, until: Instant) -> Result<Self, Failure> {
        let (requests, receiver) = mpsc::unbounded();
        let mut client = DataClient::new(router);
        let late = |_| Failure::new(Code::Unreachable, "the router did not open the stream in time");
        let opened = deadline(&*env.clock, until, client.write_frames(receiver)).await.map_err(late)?;
        let replies = opened.map_err(|status| failure_of(&status, false))?.into_inner();
        Ok(Self { database, requests, replies })
    }

    /// Puts a frame on its way. A failure means that it certainly has not left.
    pub fn send(&self, pending: &Pending, shard: Option<ShardId>, frame: Bytes) -> Result<(), Failure> {
        let request = v1::FrameRequest {
            database: self.database.clone(),
            request: Some(pending.id.into()),
            pending_from: pending.pending_from(),
            frame,
            shard: shard.map_or(0, |shard| shard.0),
        };
        let ended = |_| Failure::new(Code::Unreachable, "the stream has ended");
        self.requests.unbounded_send(request).map_err(ended)
    }

    /// Whether frames can still leave. A router that stops takes no more, and answers those that it has.
    pub fn takes_more(&self) -> bool {
        !self.requests.is_closed()
    }

    /// The next reply, to any of the frames. A failure ends the stream: what became of the frames that were sent and not
    /// answered is not known.
    pub async fn next(&mut self) -> Result<v1::FrameReply, Failure> {
        let unknown = |why: String| Failure::new(Code::Unknown, why);
        match self.replies.message().await {
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => Err(unknown("the router ended the stream".into())),
            Err(status) => Err(unknown(format!("the stream broke: {status}"))),
        }
    }
}
