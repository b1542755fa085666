//! A renewal ends before others take it for dead, however slow the store is.

use std::time::Duration;

use countersign::grpc::proto::*;
use serde_json::json;
use tonic::Code;

use crate::renewal::{AGE, bearer_of, provider};
use crate::support::{World, on_each_engine, reason};

/// How long an attempt without an outcome keeps others out.
const LEASE: Duration = Duration::from_secs(30);

async fn state(world: &World<'_>, session: &TokenPair) -> FederatedTokenState {
    let held = world
        .held(&session.access_token, FederatedTokenKind::Access)
        .await;
    held.expect("held").state()
}

#[tokio::test]
async fn an_attempt_that_was_committed_too_late_asks_nobody_and_is_taken_back() {
    let provider = provider().await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (_, session) = world.arrive("ann").await;
        world.clock.advance(AGE);
        let held = engine.hold_provider_tokens().await;
        let (channel, access_token) = (world.channel(), session.access_token.clone());
        let call = tokio::spawn(async move { bearer_of(channel, &access_token).await });
        // Time goes on until the attempt waits for the lock, which nothing shows, and a little
        // longer.
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            world.clock.advance(Duration::from_secs(5));
        }
        held.release().await;
        let status = call.await.expect("no panic").expect_err("too late");
        assert_eq!(
            reason(&status),
            (Code::Unavailable, "PROVIDER_UNAVAILABLE".to_owned())
        );
        assert_eq!(provider.stats().await.refreshes(), 0);
        assert_eq!(state(&world, &session).await, FederatedTokenState::Active);
        world.bearer(&session.access_token).await.expect("renewed");
        assert_eq!(provider.stats().await.refreshes(), 1);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn new_tokens_that_cannot_be_stored_before_the_deadline_are_given_up() {
    let provider = provider().await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (_, session) = world.arrive("ann").await;
        world.clock.advance(AGE);
        let fault = json!({ "grant_type": "refresh_token", "delay_ms": 300, "times": 1 });
        provider.fail(fault).await;
        let outage = async {
            provider.wait_for_refreshes(1).await;
            engine
                .execute("ALTER TABLE federated_tokens RENAME TO tokens_away")
                .await;
            world.clock.advance(LEASE);
        };
        let (answer, ()) = tokio::join!(world.bearer(&session.access_token), outage);
        // If storing was retried for longer, the call would end at its own deadline.
        let status = answer.expect_err("not stored");
        assert_eq!(
            reason(&status),
            (Code::Unavailable, "PROVIDER_UNAVAILABLE".to_owned())
        );
        engine
            .execute("ALTER TABLE tokens_away RENAME TO federated_tokens")
            .await;
        // What the attempt brought is not stored any more: others may have taken it for dead.
        let state = state(&world, &session).await;
        assert_eq!(state, FederatedTokenState::Refreshing);
        assert_eq!(provider.stats().await.successes["refresh_token"], 1);
        world.end().await;
    })
    .await;
}
