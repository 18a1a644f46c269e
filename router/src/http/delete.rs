//! `POST /api/v2/delete`: InfluxDB 2's delete, `204` or an error of v2 out.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use meridian_dialect::delete_predicate;
use meridian_env::Identity;
use meridian_query::{MATCHERS_MAX, MatchOp, Matcher, Selection, SelectionError};
use meridian_types::{Code, Failure, TimeError, TimeRange, Timestamp, parse_time};
use serde::Deserialize;

use super::answer::{self, Dialect};
use super::write::ids;
use super::{body, write};
use crate::front::{Front, clip};

/// One delete in JSON: many times the largest selection, whose escapes may take some bytes each.
const BODY_BYTES_MAX: usize = 2 << 20;
/// Bytes of a refusal's text: names may be long.
const TEXT_BYTES_MAX: usize = 1_024;

/// What the query string may say; `org` and what else is there is ignored.
#[derive(Default, Debug, Deserialize)]
pub(super) struct Params {
    bucket: Option<String>,
}

/// What the body says.
#[derive(Default, Debug, Deserialize)]
struct Named {
    start: Option<String>,
    stop: Option<String>,
    predicate: Option<String>,
}

/// Why a body names nothing that can be deleted.
#[derive(Debug, thiserror::Error)]
enum NamedError {
    #[error("the body has {0} bytes, over the limit of {BODY_BYTES_MAX} a delete: use fewer or shorter conditions")]
    TooLarge(usize),
    #[error("the body is no JSON like {{\"start\": TIME, \"stop\": TIME, \"predicate\": TEXT}}: {0}")]
    NotJson(#[from] serde_json::Error),
    #[error("{0:?} is missing: give \"start\" and \"stop\" in RFC 3339, such as 2026-01-31T12:00:00Z")]
    NoTime(&'static str),
    #[error("{what:?} is {text:?}: give it in RFC 3339, such as 2026-01-31T12:00:00Z")]
    BadTime { what: &'static str, text: String },
    #[error("\"stop\" is before \"start\": {0}")]
    Range(#[from] TimeError),
    #[error("{0}")]
    Predicate(#[from] delete_predicate::PredicateError),
    #[error("{0}")]
    Matcher(#[from] meridian_query::PlanError),
    #[error("{0}")]
    Selection(#[from] SelectionError),
}

impl From<NamedError> for Failure {
    fn from(error: NamedError) -> Self {
        let code = match &error {
            NamedError::TooLarge(_) => Code::OverLimit,
            NamedError::Selection(error) => error.code(),
            _ => Code::BadRequest,
        };
        Self::new(code, clip(&error.to_string(), TEXT_BYTES_MAX))
    }
}

/// InfluxDB 2's delete.
pub(super) async fn v2(
    State(front): State<Arc<Front>>,
    ConnectInfo(peer): ConnectInfo<Identity>,
    params: Result<Query<Params>, QueryRejection>,
    request: Request,
) -> Response {
    match delete(&front, peer, params, request).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(failure) => answer::failure(Dialect::V2, &failure),
    }
}

async fn delete(
    front: &Front,
    peer: Identity,
    params: Result<Query<Params>, QueryRejection>,
    request: Request,
) -> Result<(), Failure> {
    let Query(params) = params.map_err(|error| write::bad_request(error.body_text()))?;
    let database = params.bucket.filter(|name| !name.is_empty());
    let database = database.ok_or_else(|| write::bad_request("the query names no database: add bucket=NAME".into()))?;
    let (parts, body) = request.into_parts();
    let ids = ids(&parts.headers)?;
    let traceparent = parts.headers.get("traceparent").and_then(|value| value.to_str().ok());
    let context = front.context(peer.address, front.config.request_timeout, traceparent);
    let (body, _held) = body::read(front, &context, &parts.headers, body).await.map_err(Failure::from)?;
    let selection = selection(&body)?;
    match front.delete("delete_v2", &context, &database, selection, ids).await {
        // As InfluxDB answers where there is nothing to delete.
        Err(failure) if failure.code == Code::NoMeasurement => Ok(()),
        other => other.map(drop),
    }
}

/// What a body names.
fn selection(body: &[u8]) -> Result<Selection, NamedError> {
    if body.len() > BODY_BYTES_MAX {
        return Err(NamedError::TooLarge(body.len()));
    }
    let named: Named = serde_json::from_slice(body)?;
    let start = time("start", named.start)?;
    // InfluxDB's range holds its end: a client that gives one instant twice means the points of that instant.
    let end = time("stop", named.stop)?.saturating_add(1);
    let predicate = delete_predicate::parse(named.predicate.as_deref().unwrap_or_default())?;
    if predicate.tags.len() > MATCHERS_MAX {
        return Err(SelectionError::TooMany { count: predicate.tags.len() }.into());
    }
    let matchers = predicate.tags.into_iter().map(|(tag, value)| Matcher::new(tag, MatchOp::Eq, value));
    let selection = Selection::builder(TimeRange::new(start, end)?).measurement(predicate.measurement);
    Ok(selection.matchers(matchers.collect::<Result<Vec<_>, _>>()?).build()?)
}

/// An instant; one that nothing can be stored at is cut to where it can.
fn time(what: &'static str, text: Option<String>) -> Result<Timestamp, NamedError> {
    let text = text.ok_or(NamedError::NoTime(what))?;
    let bad = |text: &str| NamedError::BadTime { what, text: clip(text, 64).to_owned() };
    // Of the forms that people may write elsewhere, only RFC 3339 has this letter: the others depend on a clock, and a
    // repetition would name other rows.
    if !text.contains(['T', 't']) {
        return Err(bad(&text));
    }
    match parse_time(&text, Timestamp::default()) {
        Ok(time) => Ok(time),
        Err(TimeError::OutOfRange(nanos)) => Ok(Timestamp::default().saturating_add(nanos)),
        Err(_) => Err(bad(&text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `start end measurement tags` of what a body names, or the code and the message.
    fn named(body: &str) -> String {
        let failed = |error| Failure::from(error);
        match selection(body.as_bytes()).map_err(failed) {
            Err(failure) => format!("{}: {failure}", failure.code),
            Ok(found) => {
                let tags: String =
                    found.matchers.iter().map(|m| format!(" {}{}{}", m.tag(), m.op(), m.value())).collect();
                let name = found.measurement.unwrap_or_else(|| "*".into());
                format!("{} {} {name}{tags}", found.range.start(), found.range.end())
            }
        }
    }

    fn between(start: &str, stop: &str) -> String {
        named(&format!(r#"{{"start": {start:?}, "stop": {stop:?}, "ignored": 1}}"#))
    }

    #[test]
    fn bodies_as_clients_send_them() {
        let body = r#"{"start":"2026-01-01T00:00:00Z","stop":"2026-01-02T00:00:00.000000001+01:00","predicate":"_measurement=\"cpu\" AND host=\"a\""}"#;
        assert_eq!(named(body), "2026-01-01T00:00:00Z 2026-01-01T23:00:00.000000002Z cpu host=a");
        let instant = between("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z");
        assert_eq!(instant, "2026-01-01T00:00:00Z 2026-01-01T00:00:00.000000001Z *", "the end is inside");
        let all = between("1677-09-21T00:12:44Z", "2262-04-11T23:47:16Z");
        assert_eq!(all, "1678-01-01T00:00:00Z 2262-01-01T00:00:00Z *", "InfluxDB's own bounds are more than all");
    }

    #[test]
    fn what_names_nothing_is_refused_with_its_part() {
        let day = |text: &str| between(text, "2026-01-02T00:00:00Z");
        assert!(named("").starts_with("E0001: the body is no JSON like {\"start\": TIME"), "{}", named(""));
        assert!(named("[1]").starts_with("E0001: the body is no JSON"));
        assert_eq!(
            named(r#"{"start":"2026-01-01T00:00:00Z"}"#),
            "E0001: \"stop\" is missing: give \"start\" and \"stop\" in RFC 3339, such as 2026-01-31T12:00:00Z"
        );
        for text in
            ["-1h", "now", "1700000000s", "1700000000", "today", "T", "-T", "2026-01-01", "9999-12-31T00:00:00Z"]
        {
            let remedy = "give it in RFC 3339, such as 2026-01-31T12:00:00Z";
            assert_eq!(day(text), format!("E0001: \"start\" is {text:?}: {remedy}"));
        }
        let turned = day("2026-01-03T00:00:00Z");
        assert!(turned.starts_with("E0001: \"stop\" is before \"start\""), "{turned}");
        let predicate = |text: &str| {
            named(&format!(r#"{{"start":"2026-01-01T00:00:00Z","stop":"2026-01-02T00:00:00Z","predicate":{text:?}}}"#))
        };
        assert!(predicate("a=\"b\" OR c=\"d\"").contains("OR at byte 7"), "{}", predicate("a=\"b\" OR c=\"d\""));
        assert!(predicate("_measurement=\"\"").starts_with("E0001: \"\" is no name for measurements"));
        assert!(predicate("\"\"=\"\"").starts_with("E0001: \"\" is no name for tags"), "{}", predicate("\"\"=\"\""));
        let many = vec!["a=b"; 65].join(" AND ");
        assert!(predicate(&many).starts_with("E0003: 65 matchers are over the limit of 64"));
        assert!(named(&" ".repeat(BODY_BYTES_MAX + 1)).starts_with("E0003: the body has"));
    }
}
