//! Background tasks.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::register::register;

/// The name of a task, from the source code.
type Name = [(&'static str, &'static str); 1];

/// What is counted of background tasks.
#[derive(Debug)]
pub struct Tasks {
    alive: Family<Name, Gauge>,
    restarts: Family<Name, Counter>,
    last_success: Family<Name, Gauge>,
}

/// What is counted of one task.
#[derive(Clone, Debug)]
pub struct Task {
    pub alive: Gauge,
    pub restarts: Counter,
    /// In seconds since the Unix epoch; zero if there was none.
    pub last_success: Gauge,
}

impl Tasks {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            alive: register(
                registry,
                "countersign_background_task_alive",
                "Whether a background task runs",
            ),
            restarts: register(
                registry,
                "countersign_background_task_restarts",
                "How often a background task ended and had to be started again",
            ),
            last_success: register(
                registry,
                "countersign_background_task_last_success_timestamp_seconds",
                "When a background task last did all of its work, in seconds since the Unix epoch",
            ),
        }
    }

    /// The metrics of the task with this name.
    #[must_use]
    pub fn of(&self, name: &'static str) -> Task {
        let name = [("task", name)];
        Task {
            alive: self.alive.get_or_create_owned(&name),
            restarts: self.restarts.get_or_create_owned(&name),
            last_success: self.last_success.get_or_create_owned(&name),
        }
    }
}
