//! `grpc.health.v1`: tells which services can answer.

use std::convert::Infallible;
use std::future::pending;

use tokio::sync::Mutex;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use super::routes::Route;
use crate::health::{Health, State};

/// The names that are no services: the whole server, and those that probes ask for.
const NAMES: [(&str, Rule); 3] = [
    ("", Rule::Ready),
    ("startup", Rule::Started),
    ("liveness", Rule::Alive),
];

/// When a name is SERVING.
#[derive(Clone, Copy, Debug)]
enum Rule {
    /// While calls can be answered.
    Ready,
    /// The same, and while tokens can be verified from memory.
    FromMemory,
    /// Once the service has started, whatever happens later.
    Started,
    /// Always: whoever answers is alive.
    Alive,
}

impl Rule {
    fn of(route: &Route) -> Self {
        if route.is_from_memory() {
            Self::FromMemory
        } else {
            Self::Ready
        }
    }

    fn serves(self, state: State) -> bool {
        match self {
            Self::Ready => state.is_ready(),
            Self::FromMemory => state.is_ready() || state.verifies(),
            Self::Started => state.is_started(),
            Self::Alive => true,
        }
    }
}

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
    rule: Rule,
    /// What was told last.
    serves: Option<bool>,
}

impl HealthStatuses {
    /// The statuses of these services, of the whole server, and for probes.
    pub async fn new(routes: &[Route], health: Health) -> Self {
        let routes = routes.iter().map(|route| (route.name(), Rule::of(route)));
        let services = NAMES.into_iter().chain(routes);
        let services = services.map(|(name, rule)| Service {
            name,
            rule,
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
            let serves = service.rule.serves(state);
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

#[cfg(test)]
mod tests {
    use tonic::Request;
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus as Told;
    use tonic_health::pb::health_server::Health as _;

    use super::*;
    use crate::health::Part;

    /// What is told of `""`, `startup` and `liveness`.
    async fn told(statuses: &HealthStatuses) -> [bool; 3] {
        statuses.tell().await;
        let service = HealthService::from_health_reporter(statuses.reporter.clone());
        let mut told = [false; 3];
        for ((name, _), told) in NAMES.into_iter().zip(&mut told) {
            let request = HealthCheckRequest {
                service: name.to_owned(),
            };
            let answer = service.check(Request::new(request)).await.expect("known");
            *told = answer.into_inner().status() == Told::Serving;
        }
        told
    }

    #[tokio::test]
    async fn startup_serves_from_the_start_on_and_liveness_always() {
        let health = Health::new();
        let statuses = HealthStatuses::new(&[], health.clone()).await;
        assert_eq!(told(&statuses).await, [false, false, true]);
        for part in [Part::Store, Part::Keys, Part::Migrations, Part::Start] {
            health.complete(part);
        }
        assert_eq!(told(&statuses).await, [true; 3]);
        health.note_store(false, false);
        assert_eq!(told(&statuses).await, [false, true, true]);
        health.note_store(true, true);
        health.stop();
        assert_eq!(told(&statuses).await, [false, true, true]);
    }
}
