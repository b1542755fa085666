//! Asks a running server for its health.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::tls;

/// What a running server says of a service. It is asked by TLS if certificates are given in PEM: its
/// own one, or those of who signed it.
///
/// # Errors
/// Why it could not be asked, as the rest of a sentence that begins with the address.
pub async fn ask_health(
    address: &str,
    trusted: Option<&str>,
    service: &str,
    within: Duration,
) -> Result<&'static str, String> {
    let asked = async {
        let channel = connect(address, trusted).await?;
        check(channel, service).await
    };
    let answer = timeout(within, asked).await;
    answer.map_err(|_| {
        format!(
            "did not answer within {} seconds: see the server's log, or wait longer with --timeout",
            within.as_secs()
        )
    })?
}

async fn connect(address: &str, trusted: Option<&str>) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    let endpoint = endpoint.map_err(|_| "is no address and port".to_owned())?;
    let channel = match trusted {
        None => endpoint.connect().await,
        Some(pem) => {
            let config = tls::client(pem)?;
            let host = endpoint.uri().host().unwrap_or_default();
            let name = server_name(host).ok_or("is no address and port")?;
            let address = address.to_owned();
            let connect = tower::service_fn(move |_| {
                shake_hands(address.clone(), name.clone(), config.clone())
            });
            endpoint.connect_with_connector(connect).await
        }
    };
    channel.map_err(|error| {
        format!(
            "cannot be reached: {}: check that the server runs, and that it listens there",
            last_cause(&error)
        )
    })
}

fn server_name(host: &str) -> Option<ServerName<'static>> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned()).ok()
}

async fn shake_hands(
    address: String,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
    let stream = TcpStream::connect(address).await?;
    let shaken = TlsConnector::from(config).connect(name, stream).await;
    shaken.map(TokioIo::new)
}

async fn check(channel: Channel, service: &str) -> Result<&'static str, String> {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    match HealthClient::new(channel).check(request).await {
        Ok(answer) => Ok(answer.into_inner().status().as_str_name()),
        Err(status) if status.code() == Code::NotFound => {
            Err("does not know the service".to_owned())
        }
        Err(status) => Err(format!(
            "gave no answer to the question ({}): check that it serves gRPC there, in clear text or by TLS as it was asked",
            status.code()
        )),
    }
}

/// tonic's own text names no cause.
fn last_cause(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}
