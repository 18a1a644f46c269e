//! `/metrics`, `/health` and `/ready` for operators.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use meridian_env::{HttpListener, Listener};

use crate::service::Door;

/// Serves until its task is aborted.
pub(crate) async fn serve(listener: Box<dyn Listener>, door: Door) {
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/health", get(async || (StatusCode::OK, "pass\n")))
        .route("/ready", get(ready))
        .with_state(door);
    if let Err(error) = axum::serve(HttpListener::new(listener), routes).await {
        tracing::error!(%error, "HTTP ended");
    }
}

async fn metrics(State(door): State<Door>, headers: HeaderMap) -> Response {
    let page = door.metrics(headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()));
    ([(header::CONTENT_TYPE, page.content_type)], page.text).into_response()
}

/// Whether this node does its part: 200 only when every replica here hears of a leader and has caught up, so that whoever
/// restarts nodes one by one never takes a second one away too early.
async fn ready(State(door): State<Door>) -> Response {
    match door.ready() {
        Ok(()) => (StatusCode::OK, "ready\n").into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], format!("{why}\n")).into_response(),
    }
}
