//! Connections. Every listener and connector of the system goes through [`Net`], where TLS will sit.

use std::fmt::Debug;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use meridian_types::limits;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::{Channel, Endpoint};

/// Listens and connects. Addresses are `host:port`.
pub trait Net: Send + Sync + Debug + 'static {
    /// Listens at `at`; port 0 takes a free one.
    fn listen(&self, at: &str) -> BoxFuture<'static, io::Result<Box<dyn Listener>>>;

    /// Connects to `to`.
    fn connect(&self, to: &str) -> BoxFuture<'static, io::Result<Conn>>;

    /// Finds out whether `to` names a machine; says nothing of whether it listens.
    fn resolve(&self, to: &str) -> BoxFuture<'static, io::Result<()>>;
}

/// A bound listener.
pub trait Listener: Send + Sync + Debug {
    /// The next connection. An error concerns that one connection, or passes (no descriptor left): go on accepting.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Conn>>;

    /// Where it listens, as `host:port`.
    fn local_addr(&self) -> String;
}

/// A byte stream in both directions.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + Debug {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + Debug> Io for T {}

/// Who is at the other end. Until there is TLS, its address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// `host:port` of the other end.
    pub address: Arc<str>,
}

/// An open connection.
#[derive(Debug)]
pub struct Conn {
    /// The bytes.
    pub io: Box<dyn Io>,
    /// The other end.
    pub peer: Identity,
}

impl AsyncRead for Conn {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Conn {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

impl tonic::transport::server::Connected for Conn {
    type ConnectInfo = Identity;

    fn connect_info(&self) -> Identity {
        self.peer.clone()
    }
}

/// The connections of a listener as tonic's server takes them. An error of one accept is passed on and does not end it.
pub fn incoming(listener: Box<dyn Listener>) -> impl Stream<Item = io::Result<Conn>> {
    futures::stream::unfold(listener, |mut listener| async move { Some((listener.accept().await, listener)) })
}

/// Waits and windows of a gRPC channel.
#[derive(Clone, Copy, Debug)]
pub struct ChannelSettings {
    /// Longest time to connect.
    pub connect: Duration,
    /// Time without traffic after which the other end is asked whether it lives.
    pub keep_alive_interval: Duration,
    /// Longest time for its answer.
    pub keep_alive_timeout: Duration,
    /// HTTP/2 window of a stream, in bytes.
    pub stream_window: u32,
    /// HTTP/2 window of the connection, in bytes.
    pub connection_window: u32,
}

impl Default for ChannelSettings {
    fn default() -> Self {
        Self {
            connect: Duration::from_millis(500),
            keep_alive_interval: Duration::from_millis(500),
            keep_alive_timeout: Duration::from_secs(1),
            stream_window: 4 << 20,
            connection_window: 16 << 20,
        }
    }
}

const _: () = assert!(limits::MESSAGE_BYTES_MAX <= 16 << 20, "a message fits the connection's window");

/// A gRPC channel to `to` over `net`: connects at its first use and again after a break.
pub fn channel(net: Arc<dyn Net>, to: &str, settings: ChannelSettings) -> Channel {
    let to: Arc<str> = to.into();
    let uri = format!("http://{to}");
    // An address that is no URI still gives a channel: its connect fails and says why, as any unreachable address does.
    let endpoint = Endpoint::from_shared(uri).unwrap_or_else(|_| Endpoint::from_static("http://invalid.address"));
    endpoint
        .connect_timeout(settings.connect)
        .http2_keep_alive_interval(settings.keep_alive_interval)
        .keep_alive_timeout(settings.keep_alive_timeout)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window)
        .tcp_nodelay(true)
        .connect_with_connector_lazy(tower::service_fn(move |_| {
            let connecting = net.connect(&to);
            async move { connecting.await.map(TokioIo::new) }
        }))
}

/// A listener as axum serves it. Accepts for ever: an error of one accept concerns that one.
#[derive(Debug)]
pub struct HttpListener(Box<dyn Listener>);

impl HttpListener {
    /// Serves the connections of `listener`.
    pub fn new(listener: Box<dyn Listener>) -> Self {
        Self(listener)
    }
}

impl axum::serve::Listener for HttpListener {
    type Io = Conn;
    type Addr = Identity;

    async fn accept(&mut self) -> (Conn, Identity) {
        loop {
            match self.0.accept().await {
                Ok(conn) => {
                    let peer = conn.peer.clone();
                    return (conn, peer);
                }
                Err(error) => tracing::warn!(%error, "a connection could not be accepted"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<Identity> {
        Ok(Identity { address: self.0.local_addr().into() })
    }
}

impl axum::extract::connect_info::Connected<axum::serve::IncomingStream<'_, HttpListener>> for Identity {
    fn connect_info(stream: axum::serve::IncomingStream<'_, HttpListener>) -> Self {
        stream.remote_addr().clone()
    }
}
