//! `meridian.v1.Data`: rows, frames and queries.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use meridian_proto::{request_id, status_of, v1};
use meridian_types::Failure;
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use super::context;
use crate::front::{Front, QUERY_TIMEOUT};
use crate::write::{Ids, Refusal, Source, Stored, counted};

/// Frames of one stream under way at a time; the rest waits with the client.
const FRAMES_MAX: usize = 64;

/// The service.
#[derive(Clone, Debug)]
pub(super) struct Data(pub(super) Arc<Front>);

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl v1::data_server::Data for Data {
    type WriteFramesStream = Replies<v1::FrameReply>;
    type QueryStream = Replies<v1::QueryReply>;

    async fn write(&self, request: Request<v1::WriteRequest>) -> Result<Response<v1::FrameReply>, Status> {
        let front = &*self.0;
        let context = context(front, &request, front.config.request_timeout);
        let request = request.into_inner();
        let id = request.request;
        let span = tracing::info_span!("write", endpoint = "rows", database = request.database);
        let written = write_rows(front, &context, request);
        let result = counted(front, "write_rows", span, written).await;
        Ok(Response::new(reply(id, result.map_err(|failure| status_of(&failure))?)))
    }

    async fn write_frames(
        &self,
        request: Request<Streaming<v1::FrameRequest>>,
    ) -> Result<Response<Self::WriteFramesStream>, Status> {
        let front = Arc::clone(&self.0);
        let timeout = front.config.request_timeout;
        // The stream has no end in time; each frame has.
        let first = context(&front, &request, timeout);
        let frames = request.into_inner().take_until(front.stopped());
        let replies = frames.map(move |frame| {
            let front = Arc::clone(&front);
            let mut context = first.clone();
            async move {
                let frame = frame?;
                context.deadline = front.env.clock.now() + timeout;
                let id = frame.request;
                let span = tracing::info_span!("write", endpoint = "frame", database = frame.database);
                let written = front.write_frame(&context, frame);
                let result = counted(&front, "write_frames", span, written).await;
                let failed = |failure: Failure| v1::FrameReply {
                    request: id,
                    error: Some(failure.into()),
                    ..v1::FrameReply::default()
                };
                Ok(result.map_or_else(failed, |stored| reply(id, stored)))
            }
        });
        Ok(Response::new(Box::pin(replies.buffer_unordered(FRAMES_MAX))))
    }

    async fn query(&self, request: Request<v1::Select>) -> Result<Response<Self::QueryStream>, Status> {
        let context = context(&self.0, &request, QUERY_TIMEOUT);
        let answer = Arc::clone(&self.0).query(context, request.into_inner()).await;
        Ok(Response::new(Box::pin(answer.map_err(|failure| status_of(&failure))?)))
    }
}

async fn write_rows(
    front: &Front,
    context: &meridian_env::Context,
    request: v1::WriteRequest,
) -> Result<Stored, Failure> {
    let ids = match &request.request {
        None => Ids::Own,
        id => Ids::Exactly { request: request_id(id.as_ref())?, pending_from: request.pending_from },
    };
    let bytes = request.encoded_len();
    let mut held = front.budget.hold();
    held.grow_to(bytes)?;
    front.metrics.body_bytes.inc_by(bytes as u64);
    let rows = request.rows.into();
    front.write(context, &request.database, Source::Rows { rows, bytes }, ids).await
}

fn reply(request: Option<v1::RequestId>, stored: Stored) -> v1::FrameReply {
    let rejection = |refusal: &Refusal| v1::Rejection {
        row: refusal.number,
        field: refusal.field.clone(),
        code: refusal.code as u32,
        text: refusal.reason.clone(),
    };
    v1::FrameReply {
        request,
        witnesses: stored.witnesses.iter().map(|witness| (*witness).into()).collect(),
        points: stored.points,
        rejected: stored.refused.first().iter().map(rejection).collect(),
        rejected_total: stored.refused.total(),
        error: None,
    }
}
