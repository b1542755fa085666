//! The HTTP side listener: metrics, probes and public keys, in clear text and without a secret.
//!
//! A connection carries one request and lives for a few seconds, so that none can be kept. If all
//! places are taken, the oldest connection makes room: strangers cannot keep probes out.

mod answer;
mod discovery;
mod scrapes;
mod text;
mod watch;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
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
use crate::token::Tokens;
use answer::answer;
use discovery::Discovery;
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
    discovery: Arc<Discovery>,
    _serving: AbortOnDropHandle<()>,
}

impl Ops {
    /// Serves at `address` from now on; others reach it at `url`.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub async fn start(
        address: SocketAddr,
        url: Option<String>,
        metrics: Metrics,
        health: Health,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let discovery = Arc::new(Discovery::new(url, address));
        let shown = Shown {
            scrapes: Scrapes::new(metrics, Clock::system()),
            health,
            discovery: Arc::clone(&discovery),
        };
        Ok(Self {
            address,
            discovery,
            _serving: AbortOnDropHandle::new(tokio::spawn(serve(listener, shown))),
        })
    }

    /// Tells the public keys of these tokens from now on.
    pub fn publish(&self, tokens: Tokens) {
        self.discovery.publish(tokens);
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// What is shown. Clones share everything.
#[derive(Clone)]
struct Shown {
    scrapes: Scrapes,
    health: Health,
    discovery: Arc<Discovery>,
}

async fn serve(listener: TcpListener, shown: Shown) {
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
        let connection = connection(stream, shown.clone());
        open.push_back(AbortOnDropHandle::new(tokio::spawn(connection)));
    }
}

async fn connection(stream: TcpStream, shown: Shown) {
    let service = service_fn(|request| {
        let answered = answer(request, &shown.scrapes, &shown.health, &shown.discovery);
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
