//! A connection as the server gets it: plain, or with TLS over it.
//!
//! The handshake runs when the server first reads or writes, in the connection's own task. All its
//! bytes pass through the [`Connection`] below, whose limits hold for them too: if a peer does not
//! finish the handshake, its connection is closed like any other on which no call begins.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};
use tonic::transport::server::Connected;
use tracing::debug;

use super::limited::Connection;
use super::usage::Usage;
use crate::metrics::Closed;
use crate::transport::tls::{H2, Peer, Tls};

/// How much of what was written may wait, encrypted, until the socket takes it. One record: what
/// waits here counts as taken by the peer.
const MAX_WAITING: usize = 16 * 1024;

/// A connection, secured as the service is configured.
pub enum Secured {
    Plain(Connection),
    Tls(Box<TlsConnection>),
}

/// A connection with TLS.
pub struct TlsConnection {
    state: State,
    usage: Usage,
    tls: Tls,
    /// The number of the authorities that the peer's certificate is checked with.
    authorities: u64,
}

enum State {
    Handshake(Accept<Connection>),
    Open(TlsStream<Connection>),
    Failed,
}

impl Secured {
    pub(super) fn new(connection: Connection, tls: Option<&Tls>) -> Self {
        match tls {
            Some(tls) => Self::Tls(Box::new(TlsConnection::new(connection, tls))),
            None => Self::Plain(connection),
        }
    }
}

impl TlsConnection {
    fn new(connection: Connection, tls: &Tls) -> Self {
        let (config, authorities) = tls.config();
        let usage = connection.connect_info();
        let accept = TlsAcceptor::from(config).accept_with(connection, |session| {
            session.set_buffer_limit(Some(MAX_WAITING));
        });
        Self {
            state: State::Handshake(accept),
            usage,
            tls: tls.clone(),
            authorities,
        }
    }

    /// The encrypted stream. It is ready once the handshake is done.
    fn poll_open(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Pin<&mut TlsStream<Connection>>>> {
        if let State::Handshake(accept) = &mut self.state {
            let shaken = ready!(Pin::new(accept).poll(cx));
            self.state = match shaken.and_then(|stream| self.check(stream)) {
                Ok(stream) => State::Open(stream),
                Err(error) => {
                    let peer = self.usage.network();
                    debug!(%peer, %error, "a TLS handshake failed");
                    // Any other error is that of the connection below, or the peer has left.
                    if error.kind() == io::ErrorKind::InvalidData {
                        self.usage.close(Closed::Handshake);
                    }
                    self.state = State::Failed;
                    return Poll::Ready(Err(error));
                }
            };
        }
        Poll::Ready(match &mut self.state {
            State::Open(stream) => Ok(Pin::new(stream)),
            State::Handshake(_) | State::Failed => Err(io::ErrorKind::NotConnected.into()),
        })
    }

    /// Checks that the peer chose HTTP/2, and notes which certificate it presented.
    fn check(&self, stream: TlsStream<Connection>) -> io::Result<TlsStream<Connection>> {
        let (_, session) = stream.get_ref();
        if session.alpn_protocol() != Some(H2) {
            let error = "the peer did not choose h2 by ALPN";
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        let chain = session.peer_certificates().unwrap_or_default();
        if let Some(peer) = Peer::new(self.tls.clone(), chain, self.authorities) {
            self.usage.identify(peer);
        }
        Ok(stream)
    }
}

impl Connected for Secured {
    type ConnectInfo = Usage;

    fn connect_info(&self) -> Usage {
        match self {
            Self::Plain(connection) => connection.connect_info(),
            Self::Tls(connection) => connection.usage.clone(),
        }
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(connection) => Pin::new(connection).poll_read(cx, buf),
            Self::Tls(connection) => ready!(connection.poll_open(cx))?.poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(connection) => Pin::new(connection).poll_write(cx, buf),
            Self::Tls(connection) => ready!(connection.poll_open(cx))?.poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(connection) => Pin::new(connection).poll_write_vectored(cx, bufs),
            Self::Tls(connection) => {
                ready!(connection.poll_open(cx))?.poll_write_vectored(cx, bufs)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(connection) => connection.is_write_vectored(),
            Self::Tls(_) => true,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(connection) => Pin::new(connection).poll_flush(cx),
            Self::Tls(connection) => ready!(connection.poll_open(cx))?.poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(connection) => Pin::new(connection).poll_shutdown(cx),
            Self::Tls(connection) => match &mut connection.state {
                State::Open(stream) => Pin::new(stream).poll_shutdown(cx),
                // The socket is closed when this is dropped.
                State::Handshake(_) | State::Failed => Poll::Ready(Ok(())),
            },
        }
    }
}
