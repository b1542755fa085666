//! Accepts a bounded number of connections, and closes those that are not used, or whose peer does not
//! take its answers.
//!
//! A connection takes one of the slots before any credential is seen. So only calls that the gate
//! admitted keep it open, and until the first one little is read from it.

mod limited;
mod limits;
mod pending;
mod secured;
mod serve;
mod usage;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use limited::Connection;
use limits::Limits;
use pending::{Pending, PendingConnections};
use secured::Secured;

use super::tls::Tls;
use crate::metrics::Metrics;

pub use serve::serve_connections;
pub use usage::Usage;
pub(super) use usage::{OpenCall, PublicCall, Untaken};

/// How many connections may be open at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 1024;
/// The pause after a failed accept. The usual cause is that no file descriptors are left, so trying
/// again at once would fail too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);
/// How long to wait for a slot before one more connection has to make room.
const ROOM_WITHIN: Duration = Duration::from_secs(1);
const LIMITS: Limits = Limits {
    period: Duration::from_secs(10),
    idle: 60,
    pending: 128,
    pending_in_all: 256,
    makes_room: false,
    public_counts: false,
    ending: Duration::from_secs(1),
    untaken: 5,
};
/// A listener for health alone never gets a call of a known caller, so whoever keeps its places taken
/// would keep every probe of the same address out. Its connections cost little: they have no TLS. One
/// that watches may stay, because others make room before it.
const HEALTH_LIMITS: Limits = Limits {
    makes_room: true,
    public_counts: true,
    ..LIMITS
};

/// Where connections come in, and how they are secured.
#[derive(Debug)]
pub struct Listener {
    pub socket: TcpListener,
    /// Without it the service speaks plain text.
    pub tls: Option<Tls>,
}

/// The connections of a listener. The stream never ends, because a failed accept is tried again. Once
/// `stopping` is true, those without a call of a known caller are closed.
pub fn connections(
    listener: Listener,
    metrics: &Metrics,
    stopping: Arc<AtomicBool>,
) -> impl Stream<Item = Secured> + use<> {
    let Listener { socket, tls } = listener;
    let counts = PendingConnections::new(Arc::clone(&metrics.connections));
    let connections = limited(socket, counts, LIMITS, stopping);
    connections.map(move |connection| Secured::new(connection, tls.as_ref()))
}

/// The connections of a listener for health alone, in plain text. They are in no metric.
pub fn health_connections(socket: TcpListener) -> impl Stream<Item = Secured> + use<> {
    let counts = PendingConnections::new(Arc::default());
    limited(socket, counts, HEALTH_LIMITS, Arc::default()).map(Secured::Plain)
}

fn limited(
    listener: TcpListener,
    counts: PendingConnections,
    limits: Limits,
    stopping: Arc<AtomicBool>,
) -> impl Stream<Item = Connection> {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    stream::unfold(
        (listener, slots, counts, stopping),
        move |(listener, slots, counts, stopping)| async move {
            let (stream, pending) = accept(&listener, &counts, limits).await;
            let slot = slot(&slots, &counts, &pending).await?;
            let ends = Arc::clone(&stopping);
            Some((
                Connection::new(stream, pending, slot, limits, ends),
                (listener, slots, counts, stopping),
            ))
        },
    )
}

/// A slot for a connection. While none is free, others that have not been used make room, one after
/// another: the first call of the one that was told to may just have begun, and then it stays.
async fn slot(
    slots: &Arc<Semaphore>,
    counts: &PendingConnections,
    newcomer: &Pending,
) -> Option<OwnedSemaphorePermit> {
    loop {
        if slots.available_permits() == 0 {
            counts.make_room(newcomer);
        }
        if let Ok(slot) = timeout(ROOM_WITHIN, Arc::clone(slots).acquire_owned()).await {
            return slot.ok();
        }
    }
}

async fn accept(
    listener: &TcpListener,
    counts: &PendingConnections,
    limits: Limits,
) -> (TcpStream, Pending) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let pending = counts.enter(peer.ip(), limits);
                if let Some(pending) = pending {
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

#[cfg(test)]
mod secured_tests;
#[cfg(test)]
mod tests;
