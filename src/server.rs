//! The gRPC listener: limits on everything, health, reflection, and an orderly end.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::sleep;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tracing::{info, warn};

use crate::caller::Gate;
use crate::error::{Error, Result};
use crate::grpc::proto::FILE_DESCRIPTOR_SET;
use crate::tasks::Tasks;
use crate::transport::{CallService, MAX_REQUEST, Route, Routes, connections};

/// How long calls in flight may take to end once the service stops.
const MAX_DRAIN: Duration = Duration::from_secs(20);
const MAX_STREAMS: u32 = 128;
const MAX_HEADERS: u32 = 16 * 1024;
/// Streams that were reset before they were accepted; more end the connection ("rapid reset").
const MAX_PENDING_RESETS: usize = 20;
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves the routes until `shutdown`; then health says NOT_SERVING, `tasks` are told to stop, connections are asked to go, and
/// calls in flight end, for 20 seconds at most.
///
/// # Errors
/// [`Error::Internal`] if tonic or the descriptors do not work.
pub async fn serve(
    listener: TcpListener,
    routes: Vec<Route>,
    gate: Gate,
    reflection: bool,
    tasks: Tasks,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let routes: Arc<[Route]> = routes.into();
    let health = HealthReporter::new();
    set_health(&health, &routes, ServingStatus::Serving).await;
    let standard = standard(health.clone(), reflection)?;
    let service = CallService::new(
        gate,
        Routes::new(Arc::clone(&routes), standard, tasks.clone()),
    );

    let stop = async {
        shutdown.await;
        set_health(&health, &routes, ServingStatus::NotServing).await;
        info!("stopping: calls in flight are finished");
        tasks.stop();
    };
    let overdue = async {
        tasks.stopping().await;
        sleep(MAX_DRAIN).await;
    };
    tokio::select! {
        served = limited().serve_with_incoming_shutdown(service, connections(listener), stop) => served.map_err(Error::internal),
        () = overdue => {
            warn!("calls were still in flight after {} seconds", MAX_DRAIN.as_secs());
            Ok(())
        }
    }
}

/// No compression, and no connection age: with a grace tonic 0.14.9 cuts calls without a GOAWAY.
fn limited() -> Server {
    Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_HEADERS)
        .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESETS))
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
}

/// Health, and reflection in both versions, so that any grpcurl works.
fn standard(health: HealthReporter, reflection: bool) -> Result<tonic::service::Routes> {
    let health = HealthServer::new(HealthService::from_health_reporter(health))
        .max_decoding_message_size(MAX_REQUEST);
    let routes = tonic::service::Routes::new(health);
    if !reflection {
        return Ok(routes);
    }
    let v1 = descriptors()
        .build_v1()
        .map_err(Error::internal)?
        .max_decoding_message_size(MAX_REQUEST);
    let v1alpha = descriptors()
        .build_v1alpha()
        .map_err(Error::internal)?
        .max_decoding_message_size(MAX_REQUEST);
    Ok(routes.add_service(v1).add_service(v1alpha))
}

/// With the standard details of errors, which tools cannot show otherwise.
fn descriptors() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

async fn set_health(health: &HealthReporter, routes: &[Route], status: ServingStatus) {
    health.set_service_status("", status).await;
    for route in routes {
        health.set_service_status(route.name(), status).await;
    }
}
