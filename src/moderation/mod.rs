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
use crate::error::Result;
use crate::store::Store;

pub use limiter::Limiter;
pub use violation::Violation;

/// How long violations, and bans that have ended, are kept.
const RETENTION: Duration = Duration::from_hours(30 * 24);

/// Scores, bans and limits, by the configured rules.
#[derive(Clone, Debug)]
pub struct Moderation {
    store: Store,
    config: Arc<config::Moderation>,
}

impl Moderation {
    /// Moderation by the rules of `config`.
    pub fn new(store: Store, config: config::Moderation) -> Self {
        Self {
            store,
            config: Arc::new(config),
        }
    }

    /// Deletes what no rule needs any more.
    pub async fn delete_expired(&self, now: Timestamp) -> Result<()> {
        let old = now.minus(RETENTION);
        self.store.delete_expired_limits(now).await?;
        self.store.delete_expired_scores(now).await?;
        self.store.delete_expired_violations(old).await?;
        self.store.delete_expired_bans(old).await?;
        Ok(())
    }
}
