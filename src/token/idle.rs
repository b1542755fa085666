//! What is done in the background about sessions that are used, and those that are not.

use super::{Tokens, last_seen};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::tasks::Tasks;

impl Tokens {
    /// The name of the task that writes when sessions were used.
    pub const LAST_SEEN: &str = last_seen::TASK;

    /// Writes now and then when sessions were used.
    pub async fn keep_writing_last_seen(self, tasks: Tasks) {
        self.0.last_seen.keep_writing(&tasks).await;
    }

    /// Writes when sessions were used, so that a stop loses none of it.
    pub async fn write_last_seen(&self) {
        if let Err(error) = self.0.last_seen.write().await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "it could not be written when sessions were last used"
            );
        }
    }

    /// Lets sessions expire that have been idle for too long.
    ///
    /// # Errors
    /// The store's.
    pub async fn expire_idle(&self, now: Timestamp) -> Result<()> {
        self.0.last_seen.expire_idle(now).await
    }
}
