//! Callers: their limits.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::label::{Cells, label};
use super::register::register;

label! {
    /// A limit that a caller may have, as it is called in the callers' file.
    CallerLimit = "limit" {
        /// Calls that begin in a second.
        PerSecond = "per_second",
        /// Open calls.
        Concurrent = "concurrent",
    }
}

/// What is counted of callers.
#[derive(Debug)]
pub struct Callers {
    limited: Cells<CallerLimit, Counter>,
}

impl Callers {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            limited: register(
                registry,
                "countersign_caller_limit_refusals",
                "Calls that were refused because their caller had reached one of its limits",
            ),
        }
    }

    /// Counts a call that was refused because of a limit.
    pub fn limited(&self, limit: CallerLimit) {
        self.limited.of(limit).inc();
    }
}
