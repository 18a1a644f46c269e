//! The node's listeners: gRPC for routers, operators and nodes that join, from the first moment on; gRPC for peers, once
//! there are replicas to call.

use futures::StreamExt;
use meridian_env::{Listener, incoming};
use meridian_proto::DESCRIPTORS;
use meridian_raft::Groups;
use tokio::sync::watch;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::service::{Door, Phase};

/// Serves peers until the node is gone: then it tells every peer to call elsewhere. A connection that stayed open would answer
/// for replicas that run no more.
pub(crate) async fn peers(listener: Box<dyn Listener>, groups: Groups, mut gone: watch::Receiver<bool>) {
    let server = server().add_routes(groups.service());
    let server = server.serve_with_incoming_shutdown(incoming(listener).boxed(), async move {
        drop(gone.wait_for(|gone| *gone).await);
    });
    if let Err(error) = server.await {
        tracing::error!(%error, "the service for peers ended");
    }
}

/// Lets callers find that somebody listens, and no more: there is no replica to call yet.
pub(crate) async fn turn_away(listener: &mut dyn Listener) -> std::convert::Infallible {
    loop {
        if let Err(error) = listener.accept().await {
            tracing::debug!(%error, "a connection could not be turned away");
        }
    }
}

/// Serves routers, operators and nodes that join; ends when it is told to close and all calls are answered.
pub(crate) async fn data(listener: Box<dyn Listener>, door: Door, mut closing: watch::Receiver<bool>) {
    let (health, health_service) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1();
    let reflection = reflection.expect("the descriptors were made by the build of this binary");
    let server = server()
        .add_service(door.shards_server())
        .add_service(door.admin_server())
        .add_service(health_service)
        .add_service(reflection)
        .serve_with_incoming_shutdown(incoming(listener).boxed(), async move {
            // Whoever could have told it to close is gone: so is the node.
            drop(closing.wait_for(|closing| *closing).await);
        });
    let ended = tokio::select! {
        biased;
        ended = server => ended,
        never = tell_health(health, door) => match never {},
    };
    if let Err(error) = ended {
        tracing::error!(%error, "the service for routers ended");
    }
}

/// A load balancer sends its calls to nodes that belong to a cluster and are not about to end.
async fn tell_health(health: HealthReporter, door: Door) -> std::convert::Infallible {
    let mut phases = door.phases();
    loop {
        let is_member = matches!(&*phases.borrow_and_update(), Phase::Member(..));
        let status = if is_member { ServingStatus::Serving } else { ServingStatus::NotServing };
        health.set_service_status("", status).await;
        if phases.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

fn server() -> Server {
    let settings = meridian_env::ChannelSettings::default();
    Server::builder()
        .initial_stream_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window)
        .http2_keepalive_interval(Some(settings.keep_alive_interval))
        .http2_keepalive_timeout(Some(settings.keep_alive_timeout))
        .max_concurrent_streams(1_024)
        .http2_max_pending_accept_reset_streams(Some(20))
}
