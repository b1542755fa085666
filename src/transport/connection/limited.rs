//! One connection: how much is read from it, and when it is closed.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::DropGuard;
use tonic::transport::server::Connected;
use tracing::debug;

use super::limits::Limits;
use super::pending::Pending;
use super::usage::Usage;
use crate::metrics::Closed;

/// How much is read from a connection before a call of a known caller begins on it. The first request
/// of a backend may be larger: the rest is read once its headers have been seen.
pub(super) const MAX_UNKNOWN: usize = 64 * 1024;

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
    /// Whether the service stops, and whether this connection is checked for that already.
    stopping: Arc<AtomicBool>,
    is_ending: bool,
    /// Whether the peer was told that it has to connect again.
    is_told: bool,
    /// Whoever serves the connection waits for its end, too.
    _ended: DropGuard,
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    pub(super) fn new(
        stream: TcpStream,
        pending: Pending,
        slot: OwnedSemaphorePermit,
        limits: Limits,
        stopping: Arc<AtomicBool>,
    ) -> Self {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "TCP_NODELAY could not be set");
        }
        let usage = Usage::new(pending);
        Self {
            stream,
            is_told: false,
            _ended: usage.ends_after_calls().drop_guard(),
            usage,
            read: 0,
            seen: 0,
            limits,
            periods: 0,
            period: Box::pin(sleep(limits.period)),
            stopping,
            is_ending: false,
            _slot: slot,
        }
    }

    /// Fails if it is time to close the connection. It is checked once a period, and more often once
    /// the service stops; the server polls each connection then, so that this sees it. Both reading and
    /// writing come here, because a peer that takes no answers stops our reading.
    fn check_use(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.is_ending && self.stopping.load(Ordering::Relaxed) {
            self.is_ending = true;
            self.periods = 0;
            self.seen = self.usage.admitted();
            self.period = Box::pin(sleep(self.limits.ending));
        }
        while self.period.as_mut().poll(cx).is_ready() {
            let next = if self.is_ending {
                self.check_end()?;
                self.limits.ending
            } else {
                self.check_period()?;
                self.limits.period
            };
            self.period = Box::pin(sleep(next));
        }
        Ok(())
    }

    /// Fails if the peer did not take an answer in time, and now and then if nobody calls.
    fn check_period(&mut self) -> io::Result<()> {
        if !self.usage.next_period() {
            return self.close(Closed::AnswerNotTaken);
        }
        self.check_certificate()?;
        if self.periods.is_multiple_of(self.limits.idle) {
            self.check_calls()?;
        }
        self.periods = self.periods.wrapping_add(1);
        Ok(())
    }

    /// Fails if the peer did not take an answer, or if nobody calls. A peer that does not take part in
    /// the end (hyper waits for its answer to a PING) could go on calling otherwise, so further calls
    /// are refused.
    fn check_end(&mut self) -> io::Result<()> {
        self.usage.refuse_calls();
        self.periods = self.periods.wrapping_add(1);
        // Other calls on the connection would be lost if its client had only paused for a moment.
        let is_due = self.periods.is_multiple_of(self.limits.untaken);
        if is_due && !self.usage.next_period() {
            return self.close(Closed::AnswerNotTaken);
        }
        self.check_calls()
    }

    /// Tells a peer whose certificate ends soon to connect again, because it presents its new one only
    /// then. It does so three periods before the end, so that the calls in flight end in time. Fails if
    /// it was told a period ago, and no call is in flight.
    fn check_certificate(&mut self) -> io::Result<()> {
        let Some(reason) = self.usage.outdated(3 * self.limits.period) else {
            return Ok(());
        };
        if self.is_told && !self.usage.is_open() {
            return self.close(reason);
        }
        self.is_told = true;
        self.usage.end_after_calls(reason);
        Ok(())
    }

    /// Fails if no call that counts is in flight and none was admitted since the last such check.
    fn check_calls(&mut self) -> io::Result<()> {
        let public = self.limits.public_counts && self.usage.is_asked();
        let (open, admitted) = (public || self.usage.is_open(), self.usage.admitted());
        if !open && admitted == self.seen {
            return self.close(Closed::Unused);
        }
        self.seen = admitted;
        Ok(())
    }

    fn close(&self, reason: Closed) -> io::Result<()> {
        self.usage.close(reason);
        Err(io::ErrorKind::TimedOut.into())
    }

    /// Ready if more may be read: until the first call of a known caller begins, little is.
    fn poll_allowed(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let nudge = self.usage.nudge();
        nudge.register(cx.waker());
        if nudge.is_evicted() {
            self.usage.close(Closed::MadeRoom);
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
