//! A database that other writers keep for too long.

use sqlx::{Connection as _, SqliteConnection, raw_sql};
use tonic::Code;

use crate::support::calls::retry_after;
use crate::support::{Engine, World, reason};

#[tokio::test]
async fn writes_that_wait_too_long_for_other_writers_are_answered_busy() {
    let engine = Engine::sqlite();
    let world = World::start(&engine, &[]).await;
    let (_, ann) = world.signed_in("ann@example.com").await;
    let (_, bob) = world.signed_in("bob@example.com").await;
    // Another process, such as a backup, has the database locked. One call waits for the lock, the
    // other one for the service's only connection for writing.
    let mut other = SqliteConnection::connect(&engine.url())
        .await
        .expect("opens");
    raw_sql("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .expect("locked");
    let (anns, bobs) = tokio::join!(
        world.refresh(&ann.refresh_token),
        world.refresh(&bob.refresh_token)
    );
    for answer in [anns, bobs] {
        let status = answer.expect_err("refused");
        assert_eq!(
            reason(&status),
            (Code::ResourceExhausted, "BUSY".to_owned())
        );
        assert!(retry_after(&status).is_some_and(|wait| !wait.is_zero()));
    }
    raw_sql("ROLLBACK").execute(&mut other).await.expect("free");
    world.refresh(&ann.refresh_token).await.expect("refreshed");
    world.end().await;
}
