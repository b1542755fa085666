//! The log of what strangers, or a database that does not answer, could cause with every call.

use std::sync::Arc;

use crate::clock::Clock;
use crate::model::network::Network;
use crate::repeats::Repeats;

/// What was logged of such calls. Clones share everything.
#[derive(Clone, Debug)]
pub(super) struct Refusals(Arc<Logged>);

#[derive(Debug)]
struct Logged {
    /// By address.
    strangers: Repeats<Network>,
    /// By method and cause.
    unavailable: Repeats<(String, String)>,
}

impl Refusals {
    pub(super) fn new(clock: Clock) -> Self {
        Self(Arc::new(Logged {
            strangers: Repeats::new(clock.clone()),
            unavailable: Repeats::new(clock),
        }))
    }

    /// Notes a call that was refused because its caller is unknown.
    pub(super) fn note(&self, address: Option<Network>, path: &str) {
        let Some((address, unlogged)) = self.0.strangers.due(address) else {
            return;
        };
        let address = address.map_or_else(|| "others".to_owned(), |address| address.to_string());
        tracing::info!(
            address,
            path,
            unlogged,
            "a call without a known credential was refused"
        );
    }

    /// Notes a call that failed because the database or a provider is not available.
    pub(super) fn note_unavailable(&self, method: &str, caller: &str, cause: &str) {
        let key = (method.to_owned(), cause.to_owned());
        let due = self.0.unavailable.due(Some(key));
        if let Some((_, unlogged)) = due {
            tracing::warn!(method, caller, cause, unlogged, "unavailable");
        } else {
            tracing::debug!(method, caller, cause, "unavailable");
        }
    }
}
