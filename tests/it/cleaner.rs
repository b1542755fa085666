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
        let thread = std::thread::current();
        let test = thread.name().expect("a name");
        let line = [test, "rows=FederatedLogins", "failures=1"];
        let before = logs::count(&line);
        // The cleaner runs at each start.
        world.restart().await;
        let cleaned = async {
            while engine.number("SELECT COUNT(*) FROM limits").await > 0
                || logs::count(&line) == before
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), cleaned)
            .await
            .expect("the other rows are deleted, and the failure is logged");
        assert_eq!(logs::count(&line), before + 1);
        engine.execute(back).await;
        world.end().await;
    })
    .await;
}
