//! The queue of those who wait for a core to have a password hashed.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::label::{Cells, label};
use super::register::register;

label! {
    /// What a call in the queue does.
    Hashing = "state" {
        Waiting = "waiting",
        Running = "running",
    }
}

label! {
    /// Why a call was sent away.
    Full = "reason" {
        /// The queue was full.
        NoPlace = "queue_full",
        /// No core became free in time.
        NoCore = "wait_too_long",
    }
}

/// What is counted of passwords.
#[derive(Debug)]
pub struct Passwords {
    pub calls: Cells<Hashing, Gauge>,
    pub refused: Cells<Full, Counter>,
}

impl Passwords {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            calls: register(
                registry,
                "countersign_password_calls",
                "Calls that wait to have a password hashed, and those whose password is hashed now",
            ),
            refused: register(
                registry,
                "countersign_password_calls_refused",
                "Calls that were answered BUSY because too many passwords are hashed",
            ),
        }
    }
}
