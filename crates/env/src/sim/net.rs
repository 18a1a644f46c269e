//! turmoil's TCP behind the same trait as the system's.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use futures::future::BoxFuture;
use turmoil::net::{TcpListener, TcpStream};

use crate::{Conn, Identity, Listener, Net};

/// What port 0 takes first: below turmoil's own range of ports for outgoing connections.
const FIRST_PORT: u16 = 40_000;

/// The network as one host sees it. Clones are the same host.
#[derive(Clone, Debug)]
pub(super) struct SimNet {
    host: Arc<str>,
    next_port: Arc<AtomicU16>,
}

impl SimNet {
    pub(super) fn new(host: &str) -> Self {
        Self { host: host.into(), next_port: Arc::new(AtomicU16::new(FIRST_PORT)) }
    }
}

fn parse(address: &str) -> io::Result<(String, u16)> {
    let parts = address.rsplit_once(':').and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
    parts.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("{address:?} is no host:port")))
}

impl Net for SimNet {
    fn listen(&self, at: &str) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let (net, at) = (self.clone(), at.to_owned());
        Box::pin(async move {
            let (_, port) = parse(&at)?;
            let port = if port == 0 { net.next_port.fetch_add(1, Ordering::Relaxed) } else { port };
            // turmoil binds all of a host or its loopback, nothing between.
            let listener = TcpListener::bind(("0.0.0.0", port)).await?;
            Ok(Box::new(Accepting { listener, address: format!("{}:{port}", net.host) }) as Box<dyn Listener>)
        })
    }

    fn connect(&self, to: &str) -> BoxFuture<'static, io::Result<Conn>> {
        let to = to.to_owned();
        Box::pin(async move {
            let stream = TcpStream::connect(parse(&to)?).await?;
            let peer = stream.peer_addr()?;
            Ok(conn(stream, peer))
        })
    }

    fn resolve(&self, to: &str) -> BoxFuture<'static, io::Result<()>> {
        // Every name is a host of turmoil.
        let parsed = parse(to).map(drop);
        Box::pin(async move { parsed })
    }
}

struct Accepting {
    listener: TcpListener,
    address: String,
}

impl std::fmt::Debug for Accepting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accepting").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Listener for Accepting {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Conn>> {
        Box::pin(async move {
            let (stream, peer) = self.listener.accept().await?;
            Ok(conn(stream, peer))
        })
    }

    fn local_addr(&self) -> String {
        self.address.clone()
    }
}

fn conn(stream: TcpStream, peer: std::net::SocketAddr) -> Conn {
    Conn { io: Box::new(stream), peer: Identity { address: peer.to_string().into() } }
}
