//! `/metrics` and `/health` for operators.

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use meridian_env::{HttpListener, Listener};

use crate::service::Node;

const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves until its task is aborted.
pub(crate) async fn serve(listener: Box<dyn Listener>, node: Node) {
    let metrics = std::sync::Arc::clone(&node.metrics);
    let routes = Router::new()
        .route("/metrics", get(async move || ([(header::CONTENT_TYPE, METRICS_TYPE)], metrics.text())))
        .route("/health", get(async || (StatusCode::OK, "pass\n").into_response()));
    if let Err(error) = axum::serve(HttpListener::new(listener), routes).await {
        tracing::error!(%error, "HTTP ended");
    }
}
