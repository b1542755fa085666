//! What has expired is deleted in the background.

use std::time::Duration;

use crate::support::{World, logs, on_each_engine};

#[tokio::test]
async fn rows_that_cannot_be_deleted_hold_up_no_others() {
    on_each_engine(async |engine| {
        let mut world = World::start(engine, &[]).await;
        // More rows than a batch deletes.
        let expired = "INSERT INTO limits (name, target, attempts, reset_time)
            WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 450)
            SELECT 'login', 'target-' || CAST(n AS TEXT), 1, 0 FROM numbers";
        assert_eq!(engine.execute(expired).await, 450);
        let (away, back) = (
            "ALTER TABLE federated_logins RENAME TO away",
            "ALTER TABLE away RENAME TO federated_logins",
        );
        engine.execute(away).await;
        // The cleaner runs at each start.
        world.restart().await;
        let cleaned = async {
            while engine.number("SELECT COUNT(*) FROM limits").await > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), cleaned)
            .await
            .expect("the other rows are deleted");
        let log = String::from_utf8_lossy(&logs::kept()).into_owned();
        let failure = log
            .lines()
            .find(|line| line.contains("rows=FederatedLogins"))
            .expect("the failure is logged");
        assert!(failure.contains("failures=1"), "{failure}");
        engine.execute(back).await;
        world.end().await;
    })
    .await;
}
