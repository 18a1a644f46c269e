//! TCP without delay of small packets.
#![expect(clippy::disallowed_methods, reason = "the place that the bans name")]

use std::io;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::net::{TcpListener, TcpStream};

use crate::{Conn, Identity, Listener, Net};

/// How long `accept` waits after an error that may concern more than one connection, such as no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct TcpNet;

impl Net for TcpNet {
    fn listen(&self, at: &str) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let at = at.to_owned();
        Box::pin(async move {
            let failed = |error: io::Error| io::Error::new(error.kind(), format!("listen at {at}: {error}"));
            let listener = TcpListener::bind(&at).await.map_err(failed)?;
            let address = listener.local_addr().map_err(failed)?.to_string();
            Ok(Box::new(Accepting { listener, address, pause: false }) as Box<dyn Listener>)
        })
    }

    fn connect(&self, to: &str) -> BoxFuture<'static, io::Result<Conn>> {
        let to = to.to_owned();
        Box::pin(async move {
            let failed = |error: io::Error| io::Error::new(error.kind(), format!("connect to {to}: {error}"));
            let stream = TcpStream::connect(&to).await.map_err(failed)?;
            let peer = stream.peer_addr().map_err(failed)?;
            conn(stream, peer).map_err(failed)
        })
    }

    fn resolve(&self, to: &str) -> BoxFuture<'static, io::Result<()>> {
        let to = to.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host(&to).await?.next();
            found.map(drop).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
        })
    }
}

#[derive(Debug)]
struct Accepting {
    listener: TcpListener,
    address: String,
    pause: bool,
}

impl Listener for Accepting {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Conn>> {
        Box::pin(async move {
            if self.pause {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                self.pause = false;
            }
            match self.listener.accept().await {
                Ok((stream, peer)) => conn(stream, peer),
                Err(error) => {
                    // Such errors last: without a pause, accepting again and again would take a whole core.
                    self.pause = !matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
                    );
                    Err(error)
                }
            }
        })
    }

    fn local_addr(&self) -> String {
        self.address.clone()
    }
}

fn conn(stream: TcpStream, peer: std::net::SocketAddr) -> io::Result<Conn> {
    stream.set_nodelay(true)?;
    Ok(Conn { io: Box::new(stream), peer: Identity { address: peer.to_string().into() } })
}
