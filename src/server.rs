//! The gRPC listeners: limits, health, reflection, and an orderly stop.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Server;
use tracing::{info, warn};

use crate::caller::Gate;
use crate::error::{Error, Result};
use crate::grpc::proto::FILE_DESCRIPTOR_SET;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::tasks::Tasks;
use crate::transport::{
    CallService, HealthStatuses, Listener, Route, Routes, connections, health_connections,
    serve_connections,
};

/// How long calls in flight may take to end once the service stops.
const MAX_DRAIN: Duration = Duration::from_secs(20);
/// Concurrent streams of one connection. HTTP/2 has no default limit, and recommends at least 100
/// (RFC 9113 section 6.5.2).
const MAX_STREAMS: u32 = 128;
/// How much of a connection's requests is received before somebody reads it, in bytes. Many
/// connections that send at once would otherwise take a mebibyte each, hyper's default.
const WINDOW: u32 = 256 * 1024;
/// The headers of one request, in bytes.
const MAX_HEADERS: u32 = 16 * 1024;
/// Streams that were reset before they were accepted; more end the connection ("rapid reset",
/// CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 20;
/// HTTP/2 pings end connections whose peer is gone without having closed them.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest request to health or reflection, in bytes; anybody may make one.
const MAX_PUBLIC_REQUEST: usize = 4 * 1024;

/// What is served, and where.
#[derive(Debug)]
pub struct Serving<'a> {
    pub listener: Listener,
    /// Serves health alone, in clear text.
    pub health_listener: Option<TcpListener>,
    pub routes: Vec<Route>,
    pub gate: Gate,
    pub reflection: bool,
    pub tasks: Tasks,
    pub health: Health,
    pub metrics: &'a Metrics,
}

/// Serves the routes until `shutdown`. Then health reports NOT_SERVING, the tasks are told to stop,
/// connections get a GOAWAY, and calls in flight have 20 seconds to end. Connections without a call of
/// a known caller are closed after a second.
///
/// # Errors
/// [`Error::Internal`] if reflection cannot read the descriptors.
pub async fn serve(serving: Serving<'_>, shutdown: impl Future<Output = ()>) -> Result<()> {
    let (tasks, health, metrics) = (serving.tasks, serving.health, serving.metrics);
    let clock = tasks.clock().clone();
    let statuses = HealthStatuses::new(&serving.routes, health.clone()).await;
    let standard = standard(&statuses, serving.reflection)?;
    let routes = Routes::new(serving.routes, standard, tasks.clone());
    let service = CallService::new(serving.gate, clock.clone(), metrics, routes);
    let _side = serving.health_listener.map(|listener| {
        let alone = tonic::service::Routes::new(statuses.service(MAX_PUBLIC_REQUEST));
        let routes = Routes::new(Vec::new(), alone, tasks.clone());
        let service = CallService::for_health(clock, metrics, routes);
        let connections = health_connections(listener);
        let served = async move {
            serve_connections(&limited(), &service, connections, pending()).await;
        };
        AbortOnDropHandle::new(tokio::spawn(served))
    });

    let stopping = Arc::new(AtomicBool::new(false));
    let server = limited();
    let incoming = connections(serving.listener, metrics, Arc::clone(&stopping));
    let stop = async {
        shutdown.await;
        health.stop();
        // Before the streams of health end.
        statuses.tell().await;
        info!("stopping; waiting for calls in flight to end");
        tasks.stop();
        stopping.store(true, Ordering::Relaxed);
    };
    let overdue = async {
        tasks.stopping().await;
        sleep(MAX_DRAIN).await;
    };
    tokio::select! {
        () = serve_connections(&server, &service, incoming, stop) => Ok(()),
        never = statuses.follow() => match never {},
        () = overdue => {
            warn!("calls were still in flight after {} seconds", MAX_DRAIN.as_secs());
            Ok(())
        }
    }
}

/// A server with limits. It sets no connection age, because with a grace period tonic 0.14.9 cuts
/// calls off without a GOAWAY.
fn limited() -> Server {
    Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .initial_connection_window_size(WINDOW)
        .initial_stream_window_size(WINDOW)
        .http2_max_header_list_size(MAX_HEADERS)
        .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESETS))
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
}

/// Health, and reflection in both versions, so that every version of grpcurl works.
fn standard(health: &HealthStatuses, reflection: bool) -> Result<tonic::service::Routes> {
    let routes = tonic::service::Routes::new(health.service(MAX_PUBLIC_REQUEST));
    if !reflection {
        return Ok(routes);
    }
    let v1 = descriptors()
        .build_v1()
        .map_err(Error::internal)?
        .max_decoding_message_size(MAX_PUBLIC_REQUEST);
    let v1alpha = descriptors()
        .build_v1alpha()
        .map_err(Error::internal)?
        .max_decoding_message_size(MAX_PUBLIC_REQUEST);
    Ok(routes.add_service(v1).add_service(v1alpha))
}

/// The descriptors of our services and of the standard error details, which tools could not show
/// otherwise.
fn descriptors() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}
