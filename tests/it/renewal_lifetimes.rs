//! Provider tokens of various lifetimes, and when they are renewed.

use std::collections::BTreeSet;
use std::time::Duration;

use countersign::grpc::proto::*;
use serde_json::json;
use tonic::Code;

use crate::renewal::{AGE, provider};
use crate::support::federated::wish;
use crate::support::hostile::{Hostile, signed, tokens};
use crate::support::provider::Provider;
use crate::support::{World, on_each_engine, reason};

#[tokio::test]
async fn if_only_the_id_token_has_expired_it_is_renewed_when_it_is_requested() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        provider.reset().await;
        provider.change(json!({ "id_token_ttl": 100 })).await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (_, session) = world.arrive("ann").await;
        let id_token = world
            .token(&session.access_token, "ID_TOKEN")
            .await
            .expect("resolved");
        let access = world.bearer(&session.access_token).await.expect("resolved");
        provider.change(json!({ "id_token_ttl": 3600 })).await;
        world.clock.advance(AGE);
        assert_eq!(
            world
                .bearer(&session.access_token)
                .await
                .expect("good for long"),
            access
        );
        assert_eq!(provider.stats().await.refreshes(), 0);
        assert_ne!(
            world
                .token(&session.access_token, "ID_TOKEN")
                .await
                .expect("renewed"),
            id_token
        );
        assert_ne!(
            world
                .bearer(&session.access_token)
                .await
                .expect("renewed with it"),
            access
        );
        assert_eq!(provider.stats().await.refreshes(), 1);
        let held = world
            .held(&session.access_token, FederatedTokenKind::Id)
            .await
            .expect("held");
        assert!(held.expire_time.expect("an end").seconds > world.clock.now().secs() + 3000);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn an_expiring_id_token_causes_one_renewal_if_renewals_bring_no_id_token() {
    let provider = Hostile::start().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let now = world.clock.now().secs();
        let login = |nonce: &str| {
            let mut claims = provider.claims("ann", nonce, now);
            claims["exp"] = json!(now + 100);
            tokens("access-1", "refresh-token-1", &signed(&claims)).to_string()
        };
        let (_, session, _) = world.arrive_at(&provider, login).await.expect("signed in");
        world.secret("refresh-token-1");
        provider.answer(
            200,
            &json!({ "access_token": "access-2", "token_type": "Bearer", "expires_in": 3600 })
                .to_string(),
        );
        let before = provider.token_requests().len();
        world.clock.advance(AGE);
        world
            .token(&session.access_token, "ID_TOKEN")
            .await
            .expect("20 seconds left, and a renewal brings no better one");
        for _ in 0..3 {
            world.clock.advance(Duration::from_secs(11));
            assert_eq!(
                reason(
                    &world
                        .token(&session.access_token, "ID_TOKEN")
                        .await
                        .expect_err("it ends")
                )
                .1,
                "TOKEN_EXPIRED"
            );
        }
        assert_eq!(provider.token_requests().len(), before + 1);
        assert_eq!(
            world
                .bearer(&session.access_token)
                .await
                .expect("good for long"),
            "access-2"
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn without_a_refresh_token_the_tokens_of_a_login_last_until_they_expire() {
    let provider =
        Provider::start(json!({ "access_token_ttl": 100, "refresh_tokens": "never" })).await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (_, session) = world.arrive("ann").await;
        let held = world
            .held(&session.access_token, FederatedTokenKind::Access)
            .await
            .expect("held");
        assert_eq!(
            (held.state(), held.refreshable),
            (FederatedTokenState::Active, false)
        );
        world
            .bearer(&session.access_token)
            .await
            .expect("still good");
        world.clock.advance(AGE);
        let status = world
            .bearer(&session.access_token)
            .await
            .expect_err("expired");
        assert_eq!(
            reason(&status),
            (Code::FailedPrecondition, "TOKEN_EXPIRED".to_owned())
        );
        let profile = wish(
            &session.access_token,
            Sink::Text,
            &[(
                "who",
                "{{LIBRECHAT_OPENID_USER_ID}} {{LIBRECHAT_OPENID_USER_EMAIL}}",
            )],
        );
        assert_eq!(
            world.resolve(profile).await.expect("of the stored claims")["who"],
            "ann ann@example.org"
        );
        assert_eq!(provider.stats().await.refreshes(), 0);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn short_lived_tokens_are_given_right_after_a_renewal_and_not_renewed_at_every_call() {
    let provider = Provider::start(json!({ "access_token_ttl": 20 })).await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (_, session) = world.arrive("ann").await;
        let mut seen = BTreeSet::new();
        for round in 1..=3 {
            let token = world.bearer(&session.access_token).await.expect("renewed");
            world.clock.advance(Duration::from_secs(9));
            for _ in 0..3 {
                assert_eq!(
                    world
                        .bearer(&session.access_token)
                        .await
                        .expect("just renewed"),
                    token
                );
            }
            assert!(seen.insert(token) && provider.stats().await.refreshes() == round);
            world.clock.advance(Duration::from_secs(1));
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_token_lasts_as_long_as_the_caller_demands_and_the_provider_is_not_asked_at_every_call() {
    let provider = provider().await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (_, session) = world.arrive("ann").await;
        let lasting = async |seconds| {
            let mut request = wish(
                &session.access_token,
                Sink::Text,
                &[("t", "{{LIBRECHAT_OPENID_TOKEN}}")],
            );
            request.min_ttl = Some(prost_types::Duration { seconds, nanos: 0 });
            world
                .resolve(request)
                .await
                .map(|mut values| values.remove("t").expect("a token"))
        };
        let first = lasting(60).await.expect("100 seconds left");
        world.clock.advance(Duration::from_secs(50));
        assert_eq!(
            world
                .bearer(&session.access_token)
                .await
                .expect("50 seconds left"),
            first
        );
        assert_ne!(lasting(60).await.expect("renewed"), first);
        assert_eq!(provider.stats().await.refreshes(), 1);
        for _ in 0..3 {
            assert_eq!(
                reason(&lasting(3600).await.expect_err("not to be had")),
                (Code::FailedPrecondition, "TOKEN_EXPIRED".to_owned())
            );
        }
        assert_eq!(
            provider.stats().await.refreshes(),
            1,
            "the provider gave its longest-lived token a moment ago"
        );
        for (wait, refreshes) in [(49, 1), (1, 2), (49, 2)] {
            world.clock.advance(Duration::from_secs(wait));
            for _ in 0..3 {
                assert_eq!(
                    reason(&lasting(3600).await.expect_err("not to be had")).1,
                    "TOKEN_EXPIRED"
                );
            }
            assert_eq!(
                provider.stats().await.refreshes(),
                refreshes,
                "after half of the token's life the provider is asked again"
            );
        }
        assert_eq!(
            reason(&lasting(-1).await.expect_err("no duration")).1,
            "FIELDS_INVALID"
        );
        world.end().await;
    })
    .await;
}
