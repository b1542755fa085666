//! When provider tokens cannot be renewed: nothing is given, and no refresh token is sent twice.

use std::time::Duration;

use countersign::grpc::proto::*;
use serde_json::json;
use tonic::Code;

use crate::renewal::{AGE, provider};
use crate::support::calls::retry_after;
use crate::support::federated::wish;
use crate::support::hostile::{Hostile, signed, signed_by_stranger, tokens};
use crate::support::{World, on_each_engine, reason};

async fn state(world: &World<'_>, session: &TokenPair) -> (FederatedTokenState, bool) {
    let held = world
        .held(&session.access_token, FederatedTokenKind::Access)
        .await
        .expect("held");
    (held.state(), held.refreshable)
}

#[tokio::test]
async fn a_refresh_token_that_the_provider_refuses_is_not_sent_again() {
    let provider = provider().await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (_, session) = world.arrive("ann").await;
        world.clock.advance(AGE);
        provider
            .fail(json!({ "grant_type": "refresh_token", "status": 400, "error": "invalid_grant" }))
            .await;
        let status = world
            .bearer(&session.access_token)
            .await
            .expect_err("refused");
        assert_eq!(
            reason(&status),
            (Code::FailedPrecondition, "RECONNECT_REQUIRED".to_owned())
        );
        assert_eq!(
            state(&world, &session).await,
            (FederatedTokenState::ReconnectRequired, false)
        );
        let kept = "SELECT COUNT(*) FROM federated_tokens WHERE refresh_token IS NOT NULL";
        assert_eq!(engine.number(kept).await, 0, "it is erased");
        provider.fail(json!({})).await;
        for _ in 0..2 {
            world.clock.advance(Duration::from_mins(1));
            assert_eq!(
                world.no_bearer(&session.access_token).await,
                "RECONNECT_REQUIRED"
            );
        }
        let profile = wish(
            &session.access_token,
            Sink::Text,
            &[("who", "{{LIBRECHAT_OPENID_USER_ID}}")],
        );
        assert_eq!(
            world.resolve(profile).await.expect("of the stored claims")["who"],
            "ann"
        );
        assert_eq!(provider.stats().await.refreshes(), 1);
        let (_, again) = world.arrive("ann").await;
        world
            .bearer(&again.access_token)
            .await
            .expect("signed in again");
        assert_eq!(
            world.no_bearer(&session.access_token).await,
            "RECONNECT_REQUIRED",
            "a new login renews the tokens of its own session only"
        );
        world.end().await;
    })
    .await;
}

/// How long the caller should wait, because the provider is not asked now.
async fn wait(world: &World<'_>, session: &TokenPair) -> Duration {
    let status = world.bearer(&session.access_token).await;
    let status = status.expect_err("not asked yet");
    assert_eq!(reason(&status).1, "PROVIDER_UNAVAILABLE");
    retry_after(&status).expect("a wait")
}

#[tokio::test]
async fn what_a_slow_answer_brings_counts_from_when_it_came() {
    let provider = provider().await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (_, session) = world.arrive("ann").await;
        world.clock.advance(AGE);
        let slowly = async |fault: serde_json::Value, before: u32| {
            provider.fail(fault).await;
            let late = async {
                provider.wait_for_refreshes(before + 1).await;
                world.clock.advance(Duration::from_secs(20));
            };
            tokio::join!(world.bearer(&session.access_token), late).0
        };
        let fault =
            json!({ "grant_type": "refresh_token", "status": 503, "delay_ms": 300, "times": 1 });
        slowly(fault, 0).await.expect_err("out of order");
        assert_eq!(wait(&world, &session).await, Duration::from_secs(30));
        world.clock.advance(Duration::from_secs(30));
        let fault = json!({ "grant_type": "refresh_token", "delay_ms": 300, "times": 1 });
        slowly(fault, 1).await.expect("renewed");
        let update_time = engine
            .number("SELECT update_time FROM federated_tokens")
            .await;
        assert_eq!(update_time, world.clock.now().millis());
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_provider_that_fails_is_asked_again_only_after_a_while() {
    let provider = provider().await;
    on_each_engine(async |engine| {
        for fault in [
            json!({ "status": 503 }),
            json!({ "status": 500, "error": "invalid_grant" }),
            json!({ "status": 401, "error": "invalid_client" }),
            json!({ "status": 429 }),
        ] {
            provider.reset().await;
            let world = World::trusting(engine, &provider.issuer, &[]).await;
            let (_, session) = world.arrive("ann").await;
            world.clock.advance(AGE);
            provider.fail(fault.clone()).await;
            let status = world
                .bearer(&session.access_token)
                .await
                .expect_err("out of order");
            assert_eq!(
                reason(&status),
                (Code::Unavailable, "PROVIDER_UNAVAILABLE".to_owned()),
                "{fault}"
            );
            assert_eq!(retry_after(&status), Some(Duration::from_secs(30)));
            assert_eq!(
                state(&world, &session).await,
                (FederatedTokenState::Backoff, true)
            );
            world.clock.advance(Duration::from_secs(12));
            assert_eq!(wait(&world, &session).await, Duration::from_secs(18));
            let mut optional = wish(
                &session.access_token,
                Sink::Header,
                &[("A", "Bearer {{LIBRECHAT_OPENID_TOKEN}}"), ("B", "b")],
            );
            optional.on_unresolved = OnUnresolved::Omit.into();
            assert_eq!(
                world
                    .resolve(optional)
                    .await
                    .expect("without it")
                    .into_keys()
                    .collect::<Vec<_>>(),
                ["B"]
            );
            assert_eq!(provider.stats().await.refreshes(), 1);

            provider.fail(json!({})).await;
            world.clock.advance(Duration::from_secs(18));
            world.bearer(&session.access_token).await.expect("renewed");
            assert_eq!(
                (
                    state(&world, &session).await,
                    provider.stats().await.refreshes()
                ),
                ((FederatedTokenState::Active, true), 2)
            );
            world.end().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_refresh_token_is_kept_while_the_provider_cannot_be_reached() {
    on_each_engine(async |engine| {
        let provider = provider().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (_, session) = world.arrive("ann").await;
        world.clock.advance(AGE);
        drop(provider);
        assert_eq!(
            world.no_bearer(&session.access_token).await,
            "PROVIDER_UNAVAILABLE"
        );
        assert_eq!(
            state(&world, &session).await,
            (FederatedTokenState::Backoff, true)
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn after_a_lost_answer_the_refresh_token_is_not_sent_again_and_a_new_login_is_needed() {
    let provider = provider().await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (_, session) = world.arrive("ann").await;
        world.clock.advance(AGE);
        provider
            .fail(json!({ "grant_type": "refresh_token", "drop": true, "times": 1 }))
            .await;
        for _ in 0..2 {
            assert_eq!(
                world.no_bearer(&session.access_token).await,
                "RECONNECT_REQUIRED"
            );
            world.clock.advance(Duration::from_mins(1));
        }
        assert_eq!(
            (
                state(&world, &session).await,
                provider.stats().await.refreshes()
            ),
            ((FederatedTokenState::ReconnectRequired, false), 1)
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn tokens_of_another_user_or_with_a_bad_id_token_are_refused_at_renewal() {
    let provider = Hostile::start().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let now = world.clock.now().secs();
        let header = json!({ "alg": "RS256", "kid": "k1" });
        let other_nonce = provider.claims("user-1", "another", now);
        let mut foreign = provider.claims("user-2", "", now);
        foreign["aud"] = json!("another-client");
        for (index, id_token) in [
            signed(&provider.claims("bob", "", now)),
            signed_by_stranger(&header, &other_nonce),
            signed(&foreign),
        ]
        .iter()
        .enumerate()
        {
            let login = |nonce: &str| {
                let claims =
                    provider.claims(&format!("user-{index}"), nonce, world.clock.now().secs());
                tokens("access-1", "refresh-1", &signed(&claims)).to_string()
            };
            let (_, session, _) = world.arrive_at(&provider, login).await.expect("signed in");
            world.clock.advance(Duration::from_secs(280));
            provider.answer(
                200,
                &tokens("access-of-bob", "refresh-of-bob", id_token).to_string(),
            );
            let asked = provider.token_requests().len();
            for _ in 0..2 {
                assert_eq!(
                    world.no_bearer(&session.access_token).await,
                    "RECONNECT_REQUIRED"
                );
            }
            assert_eq!(provider.token_requests().len(), asked + 1);
            assert_eq!(
                state(&world, &session).await,
                (FederatedTokenState::ReconnectRequired, false)
            );
        }
        world.end().await;
    })
    .await;
}
