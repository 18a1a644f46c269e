//! The paths for foreign clients and for operators. Answers in each dialect's own words; decides nothing about data.

mod answer; // what a write came to, in the words of v1 and v2
mod body; // bytes off the wire, undone and bounded
mod delete; // POST /api/v2/delete
mod key; // Idempotency-Key
mod write; // POST /api/v2/write and /write

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use meridian_env::{HttpListener, Identity, Listener};
use meridian_types::{Code, Failure};
use serde_json::json;

use crate::RunError;
use crate::front::Front;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Serves HTTP until the router stops and all requests are answered.
pub(crate) async fn serve(front: Arc<Front>, listener: Box<dyn Listener>) -> Result<(), RunError> {
    let stopped = front.stopped();
    let paths = paths(front).into_make_service_with_connect_info::<Identity>();
    let serving = axum::serve(HttpListener::new(listener), paths).with_graceful_shutdown(stopped);
    serving.await.map_err(RunError::Http)
}

fn paths(front: Arc<Front>) -> Router {
    Router::new()
        .route("/api/v2/write", post(write::v2))
        .route("/write", post(write::v1))
        .route("/api/v2/delete", post(delete::v2))
        .route("/ping", get(ping))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .fallback(nothing_here)
        .method_not_allowed_fallback(nothing_here)
        .with_state(front)
}

async fn ping() -> Response {
    (StatusCode::NO_CONTENT, [("X-Meridian-Version", VERSION)]).into_response()
}

/// Whether the process lives.
async fn health() -> Response {
    Json(json!({"name": "meridian", "status": "pass", "version": VERSION})).into_response()
}

/// Whether writes and queries can be answered now.
async fn ready(State(front): State<Arc<Front>>) -> Response {
    match front.ready().await {
        Ok(()) => Json(json!({"status": "ready"})).into_response(),
        Err(failure) => {
            let body = json!({
                "status": "not ready",
                "code": failure.code.to_string(),
                "message": failure.message,
            });
            (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], Json(body)).into_response()
        }
    }
}

async fn metrics(State(front): State<Arc<Front>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let page = front.metrics.page(front.cluster.map().version, accept);
    ([(header::CONTENT_TYPE, page.content_type)], page.text).into_response()
}

async fn nothing_here() -> Response {
    let message = "nothing is served here or by this method: POST /api/v2/write?bucket=NAME, POST /write?db=NAME, \
                   POST /api/v2/delete?bucket=NAME, GET /ping, /health, /ready, /metrics";
    answer::failure(answer::Dialect::V2, &Failure::new(Code::NoSuchPath, message))
}
