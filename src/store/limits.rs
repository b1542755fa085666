//! Counts the attempts of the limiters in the database, so that replicas share the counts.

use std::time::Duration;

use sqlx::query_as;

use super::Store;
use super::backend::{in_tx, statements, transaction};
use super::error::StoreError;
use super::record::record;
use crate::clock::Timestamp;
use crate::metrics::Lane;
use crate::model::violation::Attempt;

record!(Attempt, "limits", key target, { count, reset_time });

statements! {
    /// A window begins with its first attempt. If the clock was set back or the window made
    /// shorter, it ends no later than a new one would.
    COUNT = "INSERT INTO limits (name, target, attempts, reset_time) VALUES ($1, $2, 1, $4)
        ON CONFLICT (name, target) DO UPDATE SET
            attempts = CASE WHEN limits.reset_time <= $3 THEN 1 ELSE limits.attempts + 1 END,
            reset_time = CASE WHEN limits.reset_time <= $3 OR limits.reset_time > $4 THEN $4 ELSE limits.reset_time END
        RETURNING attempts AS count, reset_time";
}

impl Store {
    /// Counts an attempt of `target` in the current window of a limiter.
    pub async fn count_attempt(
        &self,
        name: &str,
        target: &str,
        window: Duration,
        now: Timestamp,
    ) -> Result<Attempt, StoreError> {
        let _turn = self.lanes.turn(Lane::SignIns).await?;
        // In a transaction: SQLite commits a lone RETURNING statement after its row is read, and
        // sqlx drops an error of that commit.
        transaction!(self, |tx| {
            let attempt = in_tx!(tx, COUNT, |db, sql| query_as::<_, Attempt>(sql)
                .bind(name)
                .bind(target)
                .bind(now.millis())
                .bind(now.plus(window).millis())
                .fetch_one(db)
                .await)?;
            tx.commit().await?;
            Ok(attempt)
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;
    use crate::store::Expired;
    use crate::store::testing::on_each_engine;

    const WINDOW: Duration = Duration::from_mins(5);
    const START: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[tokio::test]
    async fn a_window_begins_with_its_first_attempt_and_ends_on_time() {
        on_each_engine(async |store| {
            let count = async |now| {
                store
                    .count_attempt("login", "192.0.2.1", WINDOW, now)
                    .await
                    .expect("counted")
            };
            let end = START.plus(WINDOW);
            assert_eq!(
                count(START).await,
                Attempt {
                    count: 1,
                    reset_time: end
                }
            );
            assert_eq!(
                count(end.minus(Duration::from_millis(1))).await,
                Attempt {
                    count: 2,
                    reset_time: end
                }
            );
            store
                .delete_expired(Expired::Limits, end.minus(Duration::from_millis(1)))
                .await
                .expect("deleted");
            assert_eq!(count(START).await.count, 3);
            assert_eq!(
                count(end).await,
                Attempt {
                    count: 1,
                    reset_time: end.plus(WINDOW)
                }
            );
        })
        .await;
    }

    #[tokio::test]
    async fn limiters_and_targets_count_apart_and_parallel_attempts_all_count() {
        on_each_engine(async |store| {
            let attempts =
                join_all((0..20).map(|_| store.count_attempt("login", "192.0.2.1", WINDOW, START)))
                    .await;
            let mut counts: Vec<_> = attempts
                .into_iter()
                .map(|attempt| attempt.expect("counted").count)
                .collect();
            counts.sort_unstable();
            assert_eq!(counts, (1..=20).collect::<Vec<_>>());
            for (name, target) in [("login", "192.0.2.2"), ("register", "192.0.2.1")] {
                assert_eq!(
                    store
                        .count_attempt(name, target, WINDOW, START)
                        .await
                        .expect("counted")
                        .count,
                    1
                );
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_clock_set_back_does_not_lengthen_the_window() {
        on_each_engine(async |store| {
            store
                .count_attempt("login", "192.0.2.1", WINDOW, START)
                .await
                .expect("counted");
            let earlier = START.minus(Duration::from_hours(10));
            let attempt = store
                .count_attempt("login", "192.0.2.1", WINDOW, earlier)
                .await
                .expect("counted");
            assert_eq!(
                attempt,
                Attempt {
                    count: 2,
                    reset_time: earlier.plus(WINDOW)
                }
            );
        })
        .await;
    }
}
