//! One connection: how much is read from it, and when it is closed.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};
use tonic::transport::server::Connected;
use tracing::debug;

use super::pending::Pending;
use super::usage::Usage;
use crate::metrics::Closed;

/// How much is read from a connection before a call of a known caller begins on it. The first request
/// of a backend may be larger: the rest is read once its headers have been seen.
pub(super) const MAX_UNKNOWN: usize = 64 * 1024;

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How long a connection may take until the first call of a known caller begins, and how long its
    /// peer may take to take an answer. That is closed before twice this time has passed.
    pub period: Duration,
    /// After how many periods a connection is checked for calls of known callers again. One without a
    /// call for so long is closed before twice this time has passed; gRPC clients reconnect by
    /// themselves.
    pub idle: u32,
    /// How many connections from one address may have had no such call yet; further ones are closed
    /// at once. Callers that share an address (a sidecar, loopback) make a call as soon as they
    /// have connected. But if somebody at the same address keeps this many unused connections open,
    /// new connections from it are refused, and only those in use go on.
    pub pending: usize,
    /// How many such connections there may be from all addresses; a further one takes the place of
    /// another.
    pub pending_in_all: usize,
}

/// An accepted connection, which holds one of the slots.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    usage: Usage,
    /// How many bytes were read; counted until the first call is admitted.
    read: usize,
    /// How many calls had been admitted at the last check.
    seen: u64,
    limits: Limits,
    periods: u32,
    period: Pin<Box<Sleep>>,
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    pub(super) fn new(
        stream: TcpStream,
        pending: Pending,
        slot: OwnedSemaphorePermit,
        limits: Limits,
    ) -> Self {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "TCP_NODELAY could not be set");
        }
        Self {
            stream,
            usage: Usage::new(pending),
            read: 0,
            seen: 0,
            limits,
            periods: 0,
            period: Box::pin(sleep(limits.period)),
            _slot: slot,
        }
    }

    /// Fails if the peer did not take an answer in time, or if it is time for a check, no call is in
    /// flight and none was admitted since the last check. Writes check too, because a peer that reads
    /// nothing stops our reading. A connection whose peer's certificate ends before the next check
    /// but one is closed between two calls, because a backend presents its new certificate only when
    /// it connects.
    fn check_use(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.period.as_mut().poll(cx).is_ready() {
            if !self.usage.next_period() {
                self.usage.close(Closed::AnswerNotTaken);
                return Err(io::ErrorKind::TimedOut.into());
            }
            if self.usage.is_outdated(2 * self.limits.period) && !self.usage.is_open() {
                self.usage.close(Closed::CertificateEnds);
                return Err(io::ErrorKind::TimedOut.into());
            }
            if self.periods.is_multiple_of(self.limits.idle) {
                let (open, admitted) = (self.usage.is_open(), self.usage.admitted());
                if !open && admitted == self.seen {
                    self.usage.close(Closed::Unused);
                    return Err(io::ErrorKind::TimedOut.into());
                }
                self.seen = admitted;
            }
            self.periods = self.periods.wrapping_add(1);
            self.period = Box::pin(sleep(self.limits.period));
        }
        Ok(())
    }

    /// Ready if more may be read: until the first call of a known caller begins, little is.
    fn poll_allowed(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let nudge = self.usage.nudge();
        nudge.register(cx.waker());
        if nudge.is_evicted() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if self.read < MAX_UNKNOWN || self.usage.admitted() > 0 {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Usage;

    fn connect_info(&self) -> Usage {
        self.usage.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_use(cx)?;
        if self.usage.admitted() > 0 {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        ready!(self.poll_allowed(cx))?;
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.read += buf.filled().len() - before;
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check_use(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_use(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
