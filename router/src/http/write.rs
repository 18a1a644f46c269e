//! `POST /api/v2/write` and `POST /write`: line protocol in, `204` or an error of the dialect out.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, Query, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use meridian_dialect::line_protocol::Precision;
use meridian_env::Identity;
use meridian_types::{Code, Failure};
use serde::Deserialize;

use super::answer::{self, Dialect};
use super::{body, key};
use crate::front::{Front, clip};
use crate::write::{Failed, Ids, Source, Stored, counted};

/// What the query string of either path may say; `org`, `rp` and what else is there is ignored.
#[derive(Default, Debug, Deserialize)]
pub(super) struct Params {
    bucket: Option<String>,
    db: Option<String>,
    precision: Option<String>,
}

type Parsed = Result<Query<Params>, QueryRejection>;

/// InfluxDB 2's write.
pub(super) async fn v2(
    State(front): State<Arc<Front>>,
    ConnectInfo(peer): ConnectInfo<Identity>,
    params: Parsed,
    request: Request,
) -> Response {
    answer_to(Dialect::V2, front, peer, params, request).await
}

/// InfluxDB 1's write.
pub(super) async fn v1(
    State(front): State<Arc<Front>>,
    ConnectInfo(peer): ConnectInfo<Identity>,
    params: Parsed,
    request: Request,
) -> Response {
    answer_to(Dialect::V1, front, peer, params, request).await
}

async fn answer_to(dialect: Dialect, front: Arc<Front>, peer: Identity, params: Parsed, request: Request) -> Response {
    let endpoint = match dialect {
        Dialect::V1 => "write_v1",
        Dialect::V2 => "write_v2",
    };
    let (database, trace) = (tracing::field::Empty, tracing::field::Empty);
    let span = tracing::info_span!("write", endpoint, peer = %peer.address, database, trace);
    let result = counted(&front, endpoint, span, write(dialect, &front, peer, params, request)).await;
    answer::of_write(dialect, &result)
}

async fn write(
    dialect: Dialect,
    front: &Front,
    peer: Identity,
    params: Parsed,
    request: Request,
) -> Result<Stored, Failed> {
    let Query(params) = params.map_err(|error| bad_request(error.body_text()))?;
    let (database, precision) = target(dialect, params)?;
    tracing::Span::current().record("database", &database);
    let (parts, body) = request.into_parts();
    let ids = ids(&parts.headers)?;
    let traceparent = parts.headers.get("traceparent").and_then(|value| value.to_str().ok());
    let context = front.context(peer.address, front.config.request_timeout, traceparent);
    tracing::Span::current().record("trace", context.trace.as_ref().map(tracing::field::display));
    // Held until the answer is known: the frames that are made of the body live as long.
    let (body, _held) = body::read(front, &context, &parts.headers, body).await.map_err(Failure::from)?;
    front.write(&context, &database, Source::Lines { body, precision }, ids).await
}

/// The database and the unit of time that a request names.
fn target(dialect: Dialect, params: Params) -> Result<(String, Precision), Failure> {
    let (what, database, units) = match dialect {
        Dialect::V1 => ("db", params.db, "n u ms s m h"),
        Dialect::V2 => ("bucket", params.bucket, "ns us ms s"),
    };
    let known = |text: &str| match dialect {
        Dialect::V1 => Precision::from_v1(text),
        Dialect::V2 => Precision::from_v2(text),
    };
    let database = database.filter(|name| !name.is_empty());
    let database = database.ok_or_else(|| bad_request(format!("the query names no database: add {what}=NAME")))?;
    let precision = match params.precision.as_deref() {
        None | Some("") => Precision::Nanos,
        Some(text) => known(text)
            .ok_or_else(|| bad_request(format!("precision {:?} is not known: use one of {units}", clip(text, 32))))?,
    };
    Ok((database, precision))
}

/// How the request is named.
pub(super) fn ids(headers: &HeaderMap) -> Result<Ids, Failure> {
    let mut keys = headers.get_all("idempotency-key").iter();
    let Some(key) = keys.next() else { return Ok(Ids::Own) };
    if keys.next().is_some() {
        return Err(bad_request("Idempotency-Key is given twice: give one".into()));
    }
    Ok(Ids::Key(key::session(key.as_bytes().trim_ascii())?))
}

pub(super) fn bad_request(text: String) -> Failure {
    Failure::new(Code::BadRequest, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(bucket: &str, db: &str, precision: &str) -> Params {
        let some = |text: &str| Some(text.to_owned());
        Params { bucket: some(bucket), db: some(db), precision: some(precision) }
    }

    #[test]
    fn each_dialect_names_database_and_precision_its_own_way() {
        let v1 = |precision| target(Dialect::V1, params("b", "d", precision)).map_err(|f| f.message);
        let v2 = |precision| target(Dialect::V2, params("b", "d", precision)).map_err(|f| f.message);
        assert_eq!(v1(""), Ok(("d".into(), Precision::Nanos)));
        assert_eq!(v2("ms"), Ok(("b".into(), Precision::Millis)));
        assert_eq!(v1("m"), Ok(("d".into(), Precision::Minutes)));
        assert_eq!(v2("m"), Err("precision \"m\" is not known: use one of ns us ms s".into()));
        let none = target(Dialect::V2, Params::default()).map_err(|f| f.message);
        assert_eq!(none, Err("the query names no database: add bucket=NAME".into()));
    }

    #[test]
    fn one_key_or_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(ids(&headers), Ok(Ids::Own));
        let key = "01890a5d-ac96-774b-bcce-b302099a8057".parse::<axum::http::HeaderValue>().expect("plain text");
        headers.append("Idempotency-Key", key.clone());
        assert!(matches!(ids(&headers), Ok(Ids::Key(_))));
        headers.append("Idempotency-Key", key);
        assert_eq!(ids(&headers).map_err(|f| f.code), Err(Code::BadRequest));
    }
}
