//! The background task of the signing keys: does what is due, and reads them again when they changed.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep};

use super::SigningKeys;
use super::plan::{Due, plan};
use crate::error::Result;
use crate::metrics::KeyChange;
use crate::tasks::Tasks;

/// How often it is looked for what is due.
const PERIOD: Duration = Duration::from_mins(1);
/// The pause after a failure. It doubles each time, up to [`PERIOD`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// More steps are never due at once.
const STEPS: usize = 4;

impl SigningKeys {
    /// The name of the background task.
    pub(in crate::token) const TASK: &'static str = "signing_keys";

    /// Keeps the keys in order. It never returns.
    pub(in crate::token) async fn run(self, tasks: Tasks) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut failures, mut pause) = (0_u64, FIRST_PAUSE);
        loop {
            let kept = tokio::select! {
                _ = ticks.tick() => self.keep_up().await,
                () = self.0.memory.changed() => self.read().await,
            };
            match kept {
                Ok(()) => {
                    if failures > 0 {
                        tracing::info!(failures, "the signing keys can be kept in order again");
                    }
                    (failures, pause) = (0, FIRST_PAUSE);
                    tasks.note_success(Self::TASK);
                }
                Err(error) => {
                    if failures == 0 {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(error, "the signing keys cannot be kept in order");
                    }
                    failures += 1;
                    // What is told meanwhile may be that the active key is revoked.
                    tokio::select! {
                        () = sleep(pause) => {}
                        () = self.0.memory.changed() => {}
                    }
                    pause = (pause * 2).min(PERIOD);
                    ticks.reset_immediately();
                }
            }
        }
    }

    /// Does what is due, and reads the keys, also if something due cannot be done.
    async fn keep_up(&self) -> Result<()> {
        let done = self.do_due().await;
        self.read().await.and(done)
    }

    /// Does what is due. Several processes may do so at once: one of them succeeds, and the others
    /// find it done.
    async fn do_due(&self) -> Result<()> {
        let stored = &self.0.stored;
        for _ in 0..STEPS {
            let keys = stored.list().await?;
            let due = plan(&keys, self.0.rotation, stored.clock().now());
            let (change, done) = match due {
                None => break,
                Some(Due::Publish) => (KeyChange::Published, stored.publish_next().await?),
                Some(Due::Promote { next, active }) => {
                    (KeyChange::Rotated, stored.promote(&next, &active).await?)
                }
                Some(Due::Delete { retired, revoked }) => (
                    KeyChange::Deleted,
                    stored.delete_ended(retired, revoked).await?,
                ),
            };
            self.0.metrics.changes.of(change).inc_by(u64::from(done));
        }
        Ok(())
    }
}
