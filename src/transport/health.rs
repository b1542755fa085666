//! `grpc.health.v1`: tells which services can answer.

use std::convert::Infallible;
use std::future::pending;

use tokio::sync::Mutex;
use tonic_health::ServingStatus;
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
