//! A proxy in front of a TCP server, whose connections can fall silent as they do behind a dead
//! router: they stay open, and every byte is swallowed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A running proxy.
pub struct Proxy {
    pub port: u16,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    /// Connections that were made before the last silence are silent.
    silences: AtomicUsize,
    /// Whether new connections are silent too.
    is_frozen: AtomicBool,
    connections: AtomicUsize,
}

impl Proxy {
    /// A proxy of the server at `host` and `port`.
    pub async fn start(host: String, port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address: SocketAddr = listener.local_addr().expect("an address");
        let state = Arc::new(State::default());
        let accepted = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                accepted.connections.fetch_add(1, Ordering::SeqCst);
                let server = TcpStream::connect((host.as_str(), port)).await;
                let (client, server) = (client.into_split(), server.expect("there").into_split());
                let made = accepted.silences.load(Ordering::SeqCst);
                tokio::spawn(pass(client.0, server.1, Arc::clone(&accepted), made));
                tokio::spawn(pass(server.0, client.1, Arc::clone(&accepted), made));
            }
        });
        Self {
            port: address.port(),
            state,
            accepting,
        }
    }

    /// All connections that are open now fall silent for ever; new ones work.
    pub fn silence(&self) {
        self.state.silences.fetch_add(1, Ordering::SeqCst);
    }

    /// New connections are silent too, until [`Proxy::thaw`].
    pub fn freeze(&self) {
        self.state.is_frozen.store(true, Ordering::SeqCst);
        self.silence();
    }

    /// Connections that are made from now on work.
    pub fn thaw(&self) {
        self.silence();
        self.state.is_frozen.store(false, Ordering::SeqCst);
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Refuses new connections.
    pub async fn refuse(&mut self) {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Passes bytes on until either end closes, or swallows them.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: Arc<State>, made: usize) {
    let is_silent =
        || state.is_frozen.load(Ordering::SeqCst) || state.silences.load(Ordering::SeqCst) != made;
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if !is_silent() && to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    // Nobody hears of an end behind a dead router either.
    if is_silent() {
        std::future::pending::<()>().await;
    }
}
