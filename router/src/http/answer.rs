//! What a write came to, in the words of the dialect that asked: v2 as InfluxDB 2 names errors, v1 as InfluxDB 1 does. Pure.

use std::fmt::Write as _;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use meridian_proto::http_status;
use meridian_types::{Code, Failure, Kind};
use serde::Serialize;

use crate::write::{Failed, Refusal, Stored};

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Dialect {
    V1,
    V2,
}

#[derive(Debug, Serialize)]
struct BodyV2<'a> {
    code: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lines: Vec<LineV2<'a>>,
}

#[derive(Debug, Serialize)]
struct LineV2<'a> {
    line: u64,
    reason: &'a str,
}

#[derive(Debug, Serialize)]
struct BodyV1<'a> {
    error: &'a str,
}

/// The answer to a write.
pub(super) fn of_write(dialect: Dialect, result: &Result<Stored, Failed>) -> Response {
    match result {
        Ok(stored) => match partial(stored) {
            None => StatusCode::NO_CONTENT.into_response(),
            Some(refused) => answer(dialect, &refused, stored.refused.first()),
        },
        Err(Failed { failure: failed, refused, rows }) => {
            let Some(counted) = refused.counted("line", *rows) else { return failure(dialect, failed) };
            let message = format!("{}; besides, {counted}", failed.message);
            answer(dialect, &Failure { message, ..failed.clone() }, refused.first())
        }
    }
}

/// The answer to a request that failed as a whole.
pub(super) fn failure(dialect: Dialect, failure: &Failure) -> Response {
    answer(dialect, failure, &[])
}

/// The failure that tells of refused lines, if there are any.
fn partial(stored: &Stored) -> Option<Failure> {
    let (refused, rows) = (stored.refused.total(), stored.rows);
    let first = stored.refused.first().first()?;
    let were = if refused == 1 { "was" } else { "were" };
    let rest = if refused == rows { "nothing is stored".into() } else { format!("{} are stored", rows - refused) };
    let Refusal { number, reason, .. } = first;
    let text = format!("{refused} of {rows} lines {were} refused and {rest}; the first is line {number}: {reason}");
    Some(Failure::new(Code::PartlyRefused, text))
}

fn answer(dialect: Dialect, failure: &Failure, refused: &[Refusal]) -> Response {
    let status = StatusCode::from_u16(http_status(failure.code)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut message = format!("{}: {}", failure.code, failure.message);
    let mut response = match dialect {
        Dialect::V2 => {
            let lines = refused.iter().map(|r| LineV2 { line: r.number, reason: &r.reason }).collect();
            (status, Json(BodyV2 { code: name(failure.code), message: &message, lines })).into_response()
        }
        Dialect::V1 => {
            // v1 has one text for everything.
            for Refusal { number, reason, .. } in refused.iter().skip(1) {
                write!(message, "; line {number}: {reason}").expect("a String takes everything");
            }
            (status, Json(BodyV1 { error: &message })).into_response()
        }
    };
    if matches!(failure.kind(), Kind::Retry | Kind::Overloaded) {
        let seconds = failure.retry_after_ms.unwrap_or_default().div_ceil(1_000).max(1);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// What InfluxDB 2 calls such a failure.
fn name(code: Code) -> &'static str {
    match (code, code.kind()) {
        (Code::OverLimit, _) => "request too large",
        (_, Kind::Fix) => "invalid",
        (_, Kind::NotFound) => "not found",
        (_, Kind::Exists) => "conflict",
        (_, Kind::NotAllowed) => "forbidden",
        (_, Kind::Retry | Kind::Unknown) => "unavailable",
        (_, Kind::Overloaded) => "too many requests",
        (_, Kind::Broken) => "internal error",
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use http_body_util::BodyExt;
    use meridian_dialect::line_protocol::LineError;

    use super::*;
    use crate::write::Refused;

    fn text(response: Response) -> String {
        let retry = response.headers().get(header::RETRY_AFTER).map(|v| format!(" {}", v.to_str().expect("digits")));
        let head = format!("{}{}", response.status().as_u16(), retry.unwrap_or_default());
        let body = response.into_body().collect().now_or_never().expect("a body in memory is there at once");
        let body = body.expect("a body in memory").to_bytes();
        format!("{head} {}", String::from_utf8_lossy(&body))
    }

    fn list(numbers: &[u64]) -> Refused {
        let mut list = Refused::default();
        for number in numbers {
            list.add(*number, &LineError::NoMeasurement.into());
        }
        list
    }

    fn stored(refused: &[u64], rows: u64) -> Result<Stored, Failed> {
        Ok(Stored { points: 0, witnesses: Vec::new(), refused: list(refused), rows, series: Vec::new() })
    }

    #[test]
    fn refused_lines_in_both_dialects() {
        let reason = "the line has no measurement before its tags or fields: begin it with a name";
        assert_eq!(text(of_write(Dialect::V2, &stored(&[], 5))), "204 ");
        assert_eq!(
            text(of_write(Dialect::V2, &stored(&[3, 4], 5))),
            format!(
                r#"400 {{"code":"invalid","message":"E0002: 2 of 5 lines were refused and 3 are stored; the first is line 3: {reason}","lines":[{{"line":3,"reason":"{reason}"}},{{"line":4,"reason":"{reason}"}}]}}"#
            )
        );
        assert_eq!(
            text(of_write(Dialect::V1, &stored(&[3, 4], 5))),
            format!(
                r#"400 {{"error":"E0002: 2 of 5 lines were refused and 3 are stored; the first is line 3: {reason}; line 4: {reason}"}}"#
            )
        );
        assert_eq!(
            text(of_write(Dialect::V1, &stored(&[1], 1))),
            format!(
                r#"400 {{"error":"E0002: 1 of 1 lines was refused and nothing is stored; the first is line 1: {reason}"}}"#
            )
        );
    }

    #[test]
    fn a_hundred_lines_are_named_and_all_are_counted() {
        let numbers: Vec<_> = (1..=250).collect();
        let body = text(of_write(Dialect::V2, &stored(&numbers, 300)));
        assert_eq!(body.matches(r#"{"line":"#).count(), 100);
        assert!(body.contains("250 of 300 lines were refused and 50 are stored"), "{body}");
    }

    #[test]
    fn a_failure_of_the_rest_leaves_no_refused_line_unnamed() {
        let reason = "the line has no measurement before its tags or fields: begin it with a name";
        let failed = |dialect, refused: &[u64]| {
            let failure = Failure::new(Code::NoLeader, "why");
            text(of_write(dialect, &Err(Failed { failure, refused: list(refused), rows: 5 })))
        };
        assert_eq!(
            failed(Dialect::V2, &[3, 4]),
            format!(
                r#"503 1 {{"code":"unavailable","message":"E0014: why; besides, 2 of 5 lines were refused; the first is line 3: {reason}","lines":[{{"line":3,"reason":"{reason}"}},{{"line":4,"reason":"{reason}"}}]}}"#
            )
        );
        assert_eq!(
            failed(Dialect::V1, &[3, 4]),
            format!(
                r#"503 1 {{"error":"E0014: why; besides, 2 of 5 lines were refused; the first is line 3: {reason}; line 4: {reason}"}}"#
            )
        );
        assert_eq!(failed(Dialect::V2, &[]), r#"503 1 {"code":"unavailable","message":"E0014: why"}"#);
    }

    #[test]
    fn failures_in_both_dialects() {
        let failed = |dialect, code, retry| {
            let mut failure = Failure::new(code, "why \"x\"");
            failure.retry_after_ms = retry;
            text(of_write(dialect, &Err(failure.into())))
        };
        for (code, retry, want) in [
            (Code::BadRequest, None, r#"400 {"code":"invalid","message":"E0001: why \"x\""}"#),
            (Code::OverLimit, None, r#"413 {"code":"request too large","message":"E0003: why \"x\""}"#),
            (Code::NoDatabase, None, r#"404 {"code":"not found","message":"E0008: why \"x\""}"#),
            (Code::NoLeader, None, r#"503 1 {"code":"unavailable","message":"E0014: why \"x\""}"#),
            (Code::Overloaded, Some(2_100), r#"429 3 {"code":"too many requests","message":"E0019: why \"x\""}"#),
            (Code::Unknown, Some(50), r#"504 {"code":"unavailable","message":"E0020: why \"x\""}"#),
            (Code::Internal, None, r#"500 {"code":"internal error","message":"E0021: why \"x\""}"#),
        ] {
            assert_eq!(failed(Dialect::V2, code, retry), want);
        }
        assert_eq!(failed(Dialect::V1, Code::NoDatabase, None), r#"404 {"error":"E0008: why \"x\""}"#);
    }
}
