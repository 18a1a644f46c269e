//! Connections of `Env.net` as axum takes them.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use meridian_env::{Clock, Conn, Listener};

/// Pause after an error of `accept`: some last, and trying at once again would take a whole core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A listener of `Env.net`.
#[derive(Debug)]
pub(super) struct Accepting {
    listener: Box<dyn Listener>,
    clock: Arc<dyn Clock>,
}

/// The other end of a connection, as `host:port`.
#[derive(Clone, Debug)]
pub(super) struct Peer(pub(super) Arc<str>);

impl Accepting {
    pub(super) fn new(listener: Box<dyn Listener>, clock: Arc<dyn Clock>) -> Self {
        Self { listener, clock }
    }
}

impl axum::serve::Listener for Accepting {
    type Io = Conn;
    type Addr = Peer;

    async fn accept(&mut self) -> (Conn, Peer) {
        loop {
            match self.listener.accept().await {
                Ok(conn) => {
                    let peer = Peer(Arc::clone(&conn.peer.address));
                    return (conn, peer);
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    self.clock.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Peer> {
        Ok(Peer(self.listener.local_addr().into()))
    }
}

impl Connected<IncomingStream<'_, Accepting>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Accepting>) -> Self {
        stream.remote_addr().clone()
    }
}
