//! Connections as they are accepted: a bounded number of them, and none that nobody uses.
//!
//! Whoever can connect takes a place before any credential is seen, so a place is kept only by calls that were let in.

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
/// The pause after a failed accept, which is mostly a want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);
const LIMITS: Limits = Limits {
    first_call: Duration::from_secs(10),
    idle: Duration::from_mins(10),
    pending: 128,
};

#[derive(Clone, Copy, Debug)]
struct Limits {
    /// How long a connection may take until a call of a known caller begins.
    first_call: Duration,
    /// A connection without such a call for so long ends before twice as long; a client connects anew without its user noticing.
    idle: Duration,
    /// How many connections of one address may be without such a call yet; more are closed at once. Callers behind one
    /// address (a sidecar, loopback) use theirs as soon as they are open; but while somebody at that very address keeps all places
    /// taken, new connections from it are refused, and only those that are open go on.
    pending: usize,
}

/// The connections of a listener, for ever: an accept that fails is tried again.
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
    most: usize,
) -> (TcpStream, Pending) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if let Some(pending) = counts.enter(peer.ip(), most) {
                    return (stream, pending);
                }
                debug!(peer = %peer.ip(), "too many connections without a call");
            }
            Err(error) if is_of_the_peer(&error) => {
                debug!(%error, "a connection was lost before it was accepted");
            }
            Err(error) => {
                warn!(%error, "accept failed");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

/// How many connections of each address have not been used yet.
#[derive(Clone, Debug, Default)]
struct PendingConnections(Arc<Mutex<HashMap<Network, usize>>>);

/// One of them, until it is dropped.
#[derive(Debug)]
struct Pending {
    all: PendingConnections,
    network: Network,
}

impl PendingConnections {
    fn enter(&self, ip: IpAddr, most: usize) -> Option<Pending> {
        let network = IpAddress::from(ip).network();
        let mut counts = lock(&self.0);
        let count = counts.entry(network).or_default();
        if *count >= most {
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

/// How a connection is used, as its calls tell; an extension of each request.
#[derive(Clone, Debug)]
pub struct Usage(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    /// Calls that are under way.
    open: AtomicU64,
    /// Calls that were let in so far.
    admitted: AtomicU64,
    pending: Mutex<Option<Pending>>,
}

/// A call that was let in; its connection is in use until this is dropped.
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

    /// Notes that a call was let in.
    pub(super) fn begin(&self) -> OpenCall {
        self.0.open.fetch_add(1, Ordering::SeqCst);
        if self.0.admitted.fetch_add(1, Ordering::SeqCst) == 0 {
            lock(&self.0.pending).take();
        }
        OpenCall(self.clone())
    }

    /// Whether a call that was let in is under way.
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

/// An accepted connection, which holds one of the places.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    usage: Usage,
    /// How many calls there had been at the last look.
    seen: u64,
    look: Pin<Box<Sleep>>,
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
            debug!(%error, "TCP_NODELAY");
        }
        let look = Box::pin(sleep(limits.first_call));
        Self {
            stream,
            usage: Usage::new(pending),
            seen: 0,
            look,
            idle: limits.idle,
            _slot: slot,
        }
    }

    /// Fails once no call is under way and none was let in since the look before. Writing asks too: who reads nothing stops our reading.
    fn in_use(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.look.as_mut().poll(cx).is_ready() {
            let (open, admitted) = (self.usage.is_open(), self.usage.admitted());
            if !open && admitted == self.seen {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.seen = admitted;
            self.look = Box::pin(sleep(self.idle));
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
        self.in_use(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.in_use(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.in_use(cx)?;
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
