//! Violations, their scores, and what they lead to: bans and limits.

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

/// How long violations and bans that are over stay on record.
const RETENTION: Duration = Duration::from_hours(30 * 24);

/// Scores, bans and limits, by the configured rules.
#[derive(Clone, Debug)]
pub struct Moderation {
    store: Store,
    config: Arc<config::Moderation>,
}

impl Moderation {
    /// By the rules of `config`, on `store`.
    #[must_use]
    pub fn new(store: Store, config: config::Moderation) -> Self {
        Self {
            store,
            config: Arc::new(config),
        }
    }

    /// Forgets what no rule reads any more.
    ///
    /// # Errors
    /// [`crate::error::Error::StoreUnavailable`].
    pub async fn delete_expired(&self, now: Timestamp) -> Result<()> {
        let old = now.minus(RETENTION);
        self.store.delete_expired_limits(now).await?;
        self.store.delete_expired_scores(now).await?;
        self.store.delete_expired_violations(old).await?;
        self.store.delete_expired_bans(old).await?;
        Ok(())
    }
}
