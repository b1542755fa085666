//! Serves connections, and tells each of them when to end.

use std::convert::Infallible;
use std::error::Error;
use std::future::ready;
use std::pin::pin;

use futures_util::{Stream, StreamExt as _, stream};
use http::{Request, Response};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::transport::Server;
use tonic::transport::server::Connected as _;
use tower::Service;
use tracing::error;

use super::secured::Secured;

/// Serves the connections. Once `stop` is ready, it takes no more of them, tells their peers by a
/// GOAWAY to make no new calls, and waits for the calls in flight. A single peer is told so if it has
/// to connect again.
pub async fn serve_connections<S, B>(
    server: &Server,
    service: &S,
    connections: impl Stream<Item = Secured>,
    stop: impl Future<Output = ()>,
) where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (stopping, serving) = (CancellationToken::new(), TaskTracker::new());
    {
        // Dropped before the calls in flight are waited for, so that the port is closed.
        let mut connections = pin!(connections.take_until(stop));
        while let Some(connection) = connections.next().await {
            let whole = serve_one(server.clone(), service.clone(), connection, &stopping);
            serving.spawn(whole);
        }
    }
    stopping.cancel();
    serving.close();
    serving.wait().await;
}

/// Serves one connection by a server of its own, because tonic can tell only all connections of a
/// server to end.
fn serve_one<S, B>(
    server: Server,
    service: S,
    connection: Secured,
    stopping: &CancellationToken,
) -> impl Future<Output = ()> + use<S, B>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let own = connection.connect_info().ends_after_calls();
    let stopping = stopping.clone();
    let end = async move {
        tokio::select! {
            () = own.cancelled() => {}
            () = stopping.cancelled() => {}
        }
    };
    // A server whose connections come to an end tells those that it has to end.
    let alone = stream::once(ready(Ok::<_, Infallible>(connection))).chain(stream::pending());
    async move {
        let whole = server.serve_with_incoming_shutdown(service, alone, end);
        if let Err(error) = whole.await {
            error!(%error, "a connection could not be served");
        }
    }
}
