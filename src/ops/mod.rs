//! The HTTP side listener: metrics and probes, in clear text and without a secret.
//!
//! A connection carries one request and lives for a few seconds, so that none can be kept. If all
//! places are taken, the oldest connection makes room: strangers cannot keep probes out.

mod answer;
mod scrapes;
mod watch;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::FutureExt as _;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::clock::Clock;
use crate::health::Health;
use crate::metrics::Metrics;
use answer::answer;
use scrapes::Scrapes;

pub use watch::StoreWatch;

/// How many connections may be open at once.
const MAX_CONNECTIONS: usize = 64;
/// How long a request's headers may take, and the whole connection.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(10);
/// The head of a request, in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// The pause after a failed accept, whose usual cause is that no file descriptors are left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// The running listener; it ends when this is dropped.
#[derive(Debug)]
pub struct Ops {
    address: SocketAddr,
    _serving: AbortOnDropHandle<()>,
}

impl Ops {
    /// Serves at `address` from now on.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub async fn start(address: SocketAddr, metrics: Metrics, health: Health) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let scrapes = Scrapes::new(metrics, Clock::system());
        Ok(Self {
            address: listener.local_addr()?,
            _serving: AbortOnDropHandle::new(tokio::spawn(serve(listener, scrapes, health))),
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(listener: TcpListener, scrapes: Scrapes, health: Health) {
    let mut open = VecDeque::<AbortOnDropHandle<()>>::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "the ops listener could not accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        open.retain(|connection| !connection.is_finished());
        if open.len() == MAX_CONNECTIONS {
            open.pop_front();
        }
        let connection = connection(stream, scrapes.clone(), health.clone());
        open.push_back(AbortOnDropHandle::new(tokio::spawn(connection)));
    }
}

async fn connection(stream: TcpStream, scrapes: Scrapes, health: Health) {
    let service = service_fn(|request| {
        let answered = answer(request, &scrapes, &health);
        answered.map(Ok::<_, std::convert::Infallible>)
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = timeout(LONGEST, connection).await {
        tracing::debug!(%error, "a connection to the ops listener failed");
    }
}
