//! `meridian.v1.Data`: rows, frames, deletes and queries. A message is 4 MiB and its headers at most; larger ones are refused
//! by the transport before they are decoded.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use meridian_proto::{request_id, status_of, v1};
use meridian_types::{Code, Failure, Witness, limits};
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use super::context;
use crate::delete::selection;
use crate::front::{Front, QUERY_TIMEOUT};
use crate::write::{Failed, Ids, Refusal, Source, Stored, counted};

/// Frames of one stream under way at a time; the rest waits with the client.
const FRAMES_MAX: usize = 64;

/// Refused rows that the message of a status names: it travels in headers, which have little room.
const REFUSED_TEXT_BYTES_MAX: usize = 2 << 10;

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
        let span = write_span("rows", &context, &request.database);
        let written = write_rows(front, &context, request);
        let result = counted(front, "write_rows", span, written).await;
        Ok(Response::new(reply(id, result.map_err(|failed| status_of(&whole_failure(failed)))?)))
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
                let span = write_span("frame", &context, &frame.database);
                let written = front.write_frame(&context, frame);
                let result = counted(&front, "write_frames", span, written).await;
                let failed = |failed: Failed| v1::FrameReply {
                    request: id,
                    error: Some(failed.failure.into()),
                    ..v1::FrameReply::default()
                };
                Ok(result.map_or_else(failed, |stored| reply(id, stored)))
            }
        });
        Ok(Response::new(Box::pin(replies.buffer_unordered(FRAMES_MAX))))
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Result<Response<v1::DeleteReply>, Status> {
        let context = context(&self.0, &request, self.0.config.request_timeout);
        let witnesses = delete_rows(&self.0, &context, request.into_inner()).await;
        let witnesses = witnesses.map_err(|failure| status_of(&failure))?.into_iter().map(Into::into).collect();
        Ok(Response::new(v1::DeleteReply { witnesses }))
    }

    async fn query(&self, request: Request<v1::Select>) -> Result<Response<Self::QueryStream>, Status> {
        let context = context(&self.0, &request, QUERY_TIMEOUT);
        let answer = Arc::clone(&self.0).query(context, request.into_inner()).await;
        Ok(Response::new(Box::pin(answer.map_err(|failure| status_of(&failure))?)))
    }
}

fn write_span(endpoint: &'static str, context: &meridian_env::Context, database: &str) -> tracing::Span {
    let trace = context.trace.as_ref().map(tracing::field::display);
    tracing::info_span!("write", endpoint, database, trace)
}

async fn write_rows(
    front: &Front,
    context: &meridian_env::Context,
    request: v1::WriteRequest,
) -> Result<Stored, Failed> {
    check_count(request.rows.len())?;
    let ids = ids(request.request.as_ref(), request.pending_from)?;
    let bytes = request.encoded_len();
    let mut held = front.budget.hold();
    held.grow_to(bytes)?;
    front.metrics.body_bytes.inc_by(bytes as u64);
    let rows = Arc::new(request.rows);
    front.write(context, &request.database, Source::Rows { rows, bytes }, ids).await
}

async fn delete_rows(
    front: &Front,
    context: &meridian_env::Context,
    request: v1::DeleteRequest,
) -> Result<Vec<Witness>, Failure> {
    let ids = ids(request.request.as_ref(), request.pending_from)?;
    let selection = selection(&request)?;
    front.delete("delete", context, &request.database, selection, ids).await
}

fn ids(request: Option<&v1::RequestId>, pending_from: u64) -> Result<Ids, Failure> {
    match request {
        None => Ok(Ids::Own),
        id => Ok(Ids::Exactly { request: request_id(id)?, pending_from }),
    }
}

/// Each row has a point at least, or is refused.
fn check_count(rows: usize) -> Result<(), Failure> {
    let max = limits::REQUEST_POINTS_MAX;
    if rows <= max {
        return Ok(());
    }
    let text =
        format!("the request has {rows} rows, over the limit of {max} points (field values): send fewer at a time");
    Err(Failure::new(Code::OverLimit, text))
}

/// The failure with the refused rows named in its sentence: a status has no other place for them.
fn whole_failure(failed: Failed) -> Failure {
    let Failed { mut failure, refused, rows } = failed;
    let Some(counted) = refused.counted("row", rows) else { return failure };
    let mut text = format!("; besides, {counted}");
    for Refusal { number, reason, .. } in refused.first().iter().skip(1) {
        let next = format!("; row {number}: {reason}");
        if text.len() + next.len() > REFUSED_TEXT_BYTES_MAX {
            text.push_str("; and more");
            break;
        }
        text.push_str(&next);
    }
    failure.message.push_str(&text);
    failure
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
        series_shards: stored.series.iter().map(|(shard, _)| shard.0).collect(),
        series_numbers: stored.series.iter().map(|(_, number)| number.0).collect(),
    }
}

#[cfg(test)]
mod tests {
    use meridian_dialect::line_protocol::LineError;

    use super::*;
    use crate::write::Refused;

    #[test]
    fn rows_are_counted_before_they_are_looked_at() {
        assert_eq!(check_count(limits::REQUEST_POINTS_MAX), Ok(()));
        let failure = check_count(limits::REQUEST_POINTS_MAX + 1).expect_err("too many");
        assert_eq!(failure.code, Code::OverLimit);
        assert!(failure.message.contains("1000001 rows, over the limit of 1000000 points"), "{failure}");
    }

    #[test]
    fn a_status_names_refused_rows_as_far_as_it_has_room() {
        let failed = |numbers: std::ops::Range<u64>| {
            let mut refused = Refused::default();
            numbers.for_each(|number| refused.add(number, &LineError::NoMeasurement.into()));
            let failure = Failure::new(Code::Unknown, "why");
            whole_failure(Failed { failure, refused, rows: 900 }).message
        };
        assert_eq!(failed(0..0), "why");
        let reason = "the line has no measurement before its tags or fields: begin it with a name";
        assert_eq!(
            failed(3..5),
            format!("why; besides, 2 of 900 rows were refused; the first is row 3: {reason}; row 4: {reason}")
        );
        let long = failed(0..800);
        assert!(long.ends_with("; and more") && long.contains("800 of 900 rows"), "{long}");
        assert!(long.len() < REFUSED_TEXT_BYTES_MAX + 100, "{}", long.len());
    }
}
