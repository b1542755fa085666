//! Violations, scores, bans and limits.

mod ban;
mod limiter;
mod score;
#[cfg(test)]
mod testing;
mod violation;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::moderation as config;
use crate::metrics;
use crate::store::{Expired, Store};

pub use ban::NewBan;
pub use limiter::Limiter;
pub use violation::Violation;

/// How long violations, and bans that have ended, are kept.
const RETENTION: Duration = Duration::from_hours(30 * 24);

/// Scores, bans and limits, by the configured rules.
#[derive(Clone, Debug)]
pub struct Moderation {
    store: Store,
    config: Arc<config::Moderation>,
    metrics: Arc<metrics::Moderation>,
}

impl Moderation {
    /// Moderation by the rules of `config`.
    pub fn new(
        store: Store,
        config: config::Moderation,
        metrics: Arc<metrics::Moderation>,
    ) -> Self {
        Self {
            store,
            config: Arc::new(config),
            metrics,
        }
    }

    /// The rows that no rule needs any more, and up to when.
    pub fn expired(now: Timestamp) -> [(Expired, Timestamp); 5] {
        let old = now.minus(RETENTION);
        [
            (Expired::Limits, now),
            (Expired::Scores, now),
            (Expired::Violations, old),
            (Expired::Bans, old),
            (Expired::LiftedBans, old),
        ]
    }
}
