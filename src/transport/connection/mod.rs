//! Accepts a bounded number of connections, and closes those that are not used.
//!
//! A connection takes one of the slots before any credential is seen, so only calls that the gate
//! admitted keep it open.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tonic::transport::server::Connected;
use tracing::{debug, warn};

use crate::model::ip_address::IpAddress;
use crate::model::network::Network;

/// How many connections may be open at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 1024;
/// The pause after a failed accept. The usual cause is that no file descriptors are left, so trying
/// again at once would fail too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);
const LIMITS: Limits = Limits {
    first_call: Duration::from_secs(10),
    idle: Duration::from_mins(10),
    pending: 128,
};

#[derive(Clone, Copy, Debug)]
struct Limits {
    /// How long a connection may take until the first call of a known caller begins.
    first_call: Duration,
    /// How often a connection is checked for such calls. One without a call for this long is closed
    /// before twice this time has passed; gRPC clients reconnect by themselves.
    idle: Duration,
    /// How many connections from one address may have had no such call yet; further ones are closed
    /// at once. Callers that share an address (a sidecar, loopback) make a call as soon as they
    /// have connected. But if somebody at the same address keeps this many unused connections open,
    /// new connections from it are refused, and only those in use go on.
    pending: usize,
}

/// The connections of a listener. The stream never ends, because a failed accept is tried again.
pub fn connections(listener: TcpListener) -> impl Stream<Item = io::Result<Connection>> {
    limited(listener, LIMITS)
}

fn limited(listener: TcpListener, limits: Limits) -> impl Stream<Item = io::Result<Connection>> {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let counts = PendingConnections::default();
    stream::unfold(
        (listener, slots, counts),
        move |(listener, slots, counts)| async move {
            let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
            let (stream, pending) = accept(&listener, &counts, limits.pending).await;
            Some((
                Ok(Connection::new(stream, pending, slot, limits)),
                (listener, slots, counts),
            ))
        },
    )
}

async fn accept(
    listener: &TcpListener,
    counts: &PendingConnections,
    max_pending: usize,
) -> (TcpStream, Pending) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if let Some(pending) = counts.enter(peer.ip(), max_pending) {
                    return (stream, pending);
                }
                debug!(peer = %peer.ip(), "a connection was closed: too many from its address have had no call yet");
            }
            Err(error) if is_peer_error(&error) => {
                debug!(%error, "a connection was lost before it was accepted");
            }
            Err(error) => {
                warn!(%error, "accept failed");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_peer_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

/// How many connections from each address have not been used yet.
#[derive(Clone, Debug, Default)]
struct PendingConnections(Arc<Mutex<HashMap<Network, usize>>>);

/// One connection that has not been used yet; it counts until this is dropped.
#[derive(Debug)]
struct Pending {
    all: PendingConnections,
    network: Network,
}

impl PendingConnections {
    fn enter(&self, ip: IpAddr, max: usize) -> Option<Pending> {
        let network = IpAddress::from(ip).network();
        let mut counts = lock(&self.0);
        let count = counts.entry(network).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Pending {
            all: self.clone(),
            network,
        })
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut counts = lock(&self.all.0);
        let left = counts.get(&self.network).map_or(0, |count| count - 1);
        if left == 0 {
            counts.remove(&self.network);
        } else {
            counts.insert(self.network, left);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts the calls of a connection; an extension of each of its requests.
#[derive(Clone, Debug)]
pub struct Usage(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    /// Admitted calls in flight.
    open: AtomicU64,
    /// Calls that were admitted so far.
    admitted: AtomicU64,
    /// Until the first call is admitted.
    pending: Mutex<Option<Pending>>,
}

/// An admitted call; its connection is in use until this is dropped.
#[derive(Debug)]
pub(super) struct OpenCall(Usage);

impl Usage {
    fn new(pending: Pending) -> Self {
        Self(Arc::new(Counts {
            open: AtomicU64::new(0),
            admitted: AtomicU64::new(0),
            pending: Mutex::new(Some(pending)),
        }))
    }

    /// Notes that a call was admitted.
    pub(super) fn begin(&self) -> OpenCall {
        self.0.open.fetch_add(1, Ordering::SeqCst);
        if self.0.admitted.fetch_add(1, Ordering::SeqCst) == 0 {
            lock(&self.0.pending).take();
        }
        OpenCall(self.clone())
    }

    /// Whether an admitted call is in flight.
    pub(super) fn is_open(&self) -> bool {
        self.0.open.load(Ordering::SeqCst) > 0
    }

    fn admitted(&self) -> u64 {
        self.0.admitted.load(Ordering::SeqCst)
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// An accepted connection, which holds one of the slots.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    usage: Usage,
    /// How many calls had been admitted at the last check.
    seen: u64,
    next_check: Pin<Box<Sleep>>,
    idle: Duration,
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    fn new(
        stream: TcpStream,
        pending: Pending,
        slot: OwnedSemaphorePermit,
        limits: Limits,
    ) -> Self {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "TCP_NODELAY could not be set");
        }
        let next_check = Box::pin(sleep(limits.first_call));
        Self {
            stream,
            usage: Usage::new(pending),
            seen: 0,
            next_check,
            idle: limits.idle,
            _slot: slot,
        }
    }

    /// Fails if it is time for a check, no call is in flight and none was admitted since the last
    /// check. Writes check too, because a peer that reads nothing stops our reading.
    fn check_use(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.next_check.as_mut().poll(cx).is_ready() {
            let (open, admitted) = (self.usage.is_open(), self.usage.admitted());
            if !open && admitted == self.seen {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.seen = admitted;
            self.next_check = Box::pin(sleep(self.idle));
        }
        Ok(())
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
        Pin::new(&mut self.stream).poll_read(cx, buf)
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

#[cfg(test)]
mod tests;
