//! The services for programs: Data and Admin, with health and reflection. Turns failures into statuses and nothing else.

mod admin; // what operators ask
mod data; // writes and queries
mod transfer; // a shard's leader hands over

use std::sync::Arc;
use std::time::Duration;

use meridian_env::{Context, Identity, Listener, incoming};
use meridian_proto::DESCRIPTORS;
use meridian_proto::v1::admin_server::AdminServer;
use meridian_proto::v1::data_server::DataServer;
use meridian_types::limits;
use tonic::Request;
use tonic::transport::Server;

use crate::RunError;
use crate::front::Front;

/// Silence after which a client is asked whether it lives, and the longest time for its answer.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Calls of one connection at a time. Each may hold a whole message before the budget of writes counts it.
const STREAMS_MAX: u32 = 128;
/// One message of a client, as it arrives: the largest frame, and what stands around it. Holds for rows, too: decoded, they
/// take many times their bytes on the wire, so that larger batches belong into frames or several requests.
const DATA_BYTES_MAX: usize = limits::FRAME_BYTES_MAX + (64 << 10);
/// HTTP/2 windows of what clients send.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Serves gRPC until the router stops and all calls are answered.
pub(crate) async fn serve(front: Arc<Front>, listener: Box<dyn Listener>) -> Result<(), RunError> {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<DataServer<data::Data>>().await;
    reporter.set_serving::<AdminServer<admin::Admin>>().await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let (v1, v1alpha) = (reflection().build_v1(), reflection().build_v1alpha());
    let data = DataServer::new(data::Data(Arc::clone(&front)))
        .max_decoding_message_size(DATA_BYTES_MAX)
        .max_encoding_message_size(limits::MESSAGE_BYTES_MAX);
    let stopped = front.stopped();
    Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .add_service(health)
        .add_service(v1.expect("the descriptors were generated with this program"))
        .add_service(v1alpha.expect("the descriptors were generated with this program"))
        .add_service(data)
        .add_service(AdminServer::new(admin::Admin(front)))
        .serve_with_incoming_shutdown(incoming(listener), stopped)
        .await?;
    Ok(())
}

/// The context of a call: the client's own timeout if it is shorter than ours.
fn context<T>(front: &Front, request: &Request<T>, timeout: Duration) -> Context {
    let text = |key: &str| request.metadata().get(key).and_then(|value| value.to_str().ok());
    let asked = text("grpc-timeout").and_then(timeout_of).unwrap_or(timeout);
    let unknown = || Arc::from("unknown");
    let principal = request.extensions().get::<Identity>().map_or_else(unknown, |peer| Arc::clone(&peer.address));
    front.context(principal, timeout.min(asked), text("traceparent"))
}

/// `grpc-timeout`: up to eight digits and a unit.
fn timeout_of(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3_600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_as_grpc_writes_them() {
        assert_eq!(timeout_of("250m"), Some(Duration::from_millis(250)));
        assert_eq!(timeout_of("99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        for bad in ["", "S", "1", "-1S", "1é", "999999999S", "1 S"] {
            assert_eq!(timeout_of(bad), None, "{bad:?}");
        }
    }
}
