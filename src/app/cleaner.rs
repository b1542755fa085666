//! Deletes expired rows in the background.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::clock::{Clock, Timestamp};
use crate::moderation::Moderation;
use crate::store::{Expired, Store};
use crate::tasks::Tasks;
use crate::token::Tokens;

/// The name of the task.
pub(super) const TASK: &str = "cleaner";
/// How often rows that no rule reads any more are deleted.
const CLEANING: Duration = Duration::from_mins(10);

/// Deletes expired rows at each tick, each kind on its own: a failure is logged, counted and tried
/// again at the next tick, and the other rows are deleted nevertheless.
pub(super) async fn clean(store: Store, tokens: Tokens, clock: Clock, tasks: Tasks) {
    let mut ticks = interval(CLEANING);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failures = BTreeMap::<Expired, u64>::new();
    loop {
        ticks.tick().await;
        let mut succeeded = true;
        if let Err(error) = tokens.expire_idle(clock.now()).await {
            succeeded = false;
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "idle sessions could not be ended"
            );
        }
        for (rows, before) in expired(clock.now()) {
            if let Err(error) = store.delete_expired(rows, before).await {
                succeeded = false;
                let failures = failures.entry(rows).or_default();
                *failures += 1;
                tracing::warn!(
                    ?rows,
                    failures,
                    error = &error as &dyn std::error::Error,
                    "expired rows could not be deleted"
                );
            }
        }
        if succeeded {
            tasks.note_success(TASK);
        }
    }
}

/// All rows that expire, and up to when they are deleted.
fn expired(now: Timestamp) -> impl Iterator<Item = (Expired, Timestamp)> {
    let logins = [(Expired::FederatedLogins, now)].into_iter();
    logins
        .chain(Tokens::expired(now))
        .chain(Moderation::expired(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_expires_is_deleted() {
        let rows = expired(Timestamp::from_secs(1_800_000_000)).map(|(rows, _)| rows);
        assert_eq!(rows.collect::<Vec<_>>(), Expired::ALL);
    }
}
