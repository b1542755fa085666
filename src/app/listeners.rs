//! The listeners beside the main one, which are there before the store is opened.

use tokio::net::TcpListener;

use super::start_error::StartError;
use crate::config::Server;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::ops::Ops;

/// Starts the ops listener, if there is one. It answers while the store is opened.
pub(super) async fn ops(
    config: &Server,
    metrics: &Metrics,
    health: &Health,
) -> Result<Option<Ops>, StartError> {
    let Some(address) = config.ops_listen else {
        return Ok(None);
    };
    let (url, metrics, health) = (config.ops_url.clone(), metrics.clone(), health.clone());
    let started = Ops::start(address, url, metrics, health).await;
    let ops =
        started.map_err(|cause| StartError::listen("COUNTERSIGN_OPS_LISTEN", address, cause))?;
    tracing::info!(address = %ops.address(), "the ops listener serves metrics, probes and public keys");
    Ok(Some(ops))
}

/// Takes the port of the health listener, if there is one.
pub(super) async fn health(config: &Server) -> Result<Option<TcpListener>, StartError> {
    let Some(address) = config.health_listen else {
        return Ok(None);
    };
    let listener = TcpListener::bind(address).await;
    listener
        .map(Some)
        .map_err(|cause| StartError::listen("COUNTERSIGN_HEALTH_LISTEN", address, cause))
}
