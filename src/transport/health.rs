//! `grpc.health.v1`: tells which services can answer, and asks a running server.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::timeout;
use tonic::transport::Endpoint;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use super::routes::Route;
use crate::health::{Health, State};

/// The name under which the whole server is asked for.
const WHOLE: &str = "";

/// Tells the status of each service, to watchers too.
#[derive(Debug)]
pub struct HealthStatuses {
    reporter: HealthReporter,
    health: Health,
    services: Mutex<Vec<Service>>,
}

#[derive(Debug)]
struct Service {
    name: &'static str,
    answers_from_memory: bool,
    /// What was told last.
    serves: Option<bool>,
}

impl Service {
    fn serves(&self, state: State) -> bool {
        state.is_ready() || (self.answers_from_memory && state.verifies())
    }
}

impl HealthStatuses {
    /// The statuses of these services and of the whole server.
    pub async fn new(routes: &[Route], health: Health) -> Self {
        let whole = [(WHOLE, false)].into_iter();
        let services = whole.chain(
            routes
                .iter()
                .map(|route| (route.name(), route.is_from_memory())),
        );
        let services = services.map(|(name, answers_from_memory)| Service {
            name,
            answers_from_memory,
            serves: None,
        });
        let statuses = Self {
            reporter: HealthReporter::new(),
            health,
            services: Mutex::new(services.collect()),
        };
        statuses.tell().await;
        statuses
    }

    /// The service that tells them.
    pub fn service(&self, max_request: usize) -> HealthServer<HealthService> {
        HealthServer::new(HealthService::from_health_reporter(self.reporter.clone()))
            .max_decoding_message_size(max_request)
    }

    /// Tells each change, until this is dropped.
    pub async fn follow(&self) -> Infallible {
        let mut changes = self.health.subscribe();
        loop {
            self.tell().await;
            if changes.changed().await.is_err() {
                return pending().await;
            }
        }
    }

    /// Tells what has changed.
    pub async fn tell(&self) {
        let mut services = self.services.lock().await;
        let state = self.health.state();
        for service in services.iter_mut() {
            let serves = service.serves(state);
            if service.serves.replace(serves) == Some(serves) {
                continue;
            }
            let status = if serves {
                ServingStatus::Serving
            } else {
                ServingStatus::NotServing
            };
            self.reporter.set_service_status(service.name, status).await;
        }
    }
}

/// What a running server says of a service, or why it could not be asked.
///
/// # Errors
/// A text that names the cause: no answer in time, no connection, or a refusal.
pub async fn ask_health(
    address: &str,
    service: &str,
    within: Duration,
) -> Result<&'static str, String> {
    let asked = async {
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        let endpoint = endpoint.map_err(|_| "is no address and port".to_owned())?;
        let channel = endpoint.connect().await;
        let channel =
            channel.map_err(|error| format!("cannot be reached: {}", last_cause(&error)))?;
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = HealthClient::new(channel).check(request).await;
        let answer = answer.map_err(|status| match status.code() {
            tonic::Code::NotFound => "does not know the service".to_owned(),
            code => format!("refused: {code}"),
        })?;
        Ok(answer.into_inner().status().as_str_name())
    };
    let answer = timeout(within, asked).await;
    answer.map_err(|_| format!("did not answer within {} seconds", within.as_secs()))?
}

/// tonic's own text names no cause.
fn last_cause(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}
