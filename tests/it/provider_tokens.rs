//! Provider tokens belong to a session and are deleted with it.

use countersign::grpc::proto::*;
use serde_json::json;

use crate::renewal::{AGE, provider};
use crate::support::calls::{by_token, by_user};
use crate::support::provider::Provider;
use crate::support::{World, on_each_engine, reason};

const TOKENS: &str = "SELECT COUNT(*) FROM federated_tokens";

#[tokio::test]
async fn whatever_ends_a_session_deletes_its_provider_tokens_at_once() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        for (index, expected) in [
            "ACCESS_TOKEN_INVALID",
            "ACCESS_TOKEN_INVALID",
            "ACCESS_TOKEN_INVALID",
            "VALUE_MISSING",
            "VALUE_MISSING",
            "BANNED",
        ]
        .into_iter()
        .enumerate()
        {
            let (user, session) = world.arrive("ann").await;
            world.bearer(&session.access_token).await.expect("resolved");
            assert_eq!(engine.number(TOKENS).await, 1);
            end(&world, index, &user, &session).await;
            assert_eq!(engine.number(TOKENS).await, 0, "{index}");
            let status = world.bearer(&session.access_token).await.expect_err("gone");
            assert_eq!(reason(&status).1, expected, "{index}");
        }
        world.end().await;
    })
    .await;
}

async fn end(world: &World<'_>, way: usize, user: &User, session: &TokenPair) {
    let subject = by_token(&session.access_token);
    let provider = "openid".to_owned();
    match way {
        0 => world
            .auth()
            .logout(LogoutRequest {
                refresh_token: session.refresh_token.clone(),
            })
            .await
            .map(drop),
        1 => {
            let request = RevokeSessionRequest {
                session_id: session.session_id.clone(),
                subject,
            };
            world.tokens().revoke_session(request).await.map(drop)
        }
        2 => {
            let request = RevokeUserSessionsRequest {
                subject: by_user(&user.id),
                ..Default::default()
            };
            world.tokens().revoke_user_sessions(request).await.map(drop)
        }
        3 => world
            .federation()
            .delete_tokens(DeleteTokensRequest { subject, provider })
            .await
            .map(drop),
        4 => {
            let request = DeleteTokensRequest {
                subject: by_user(&user.id),
                provider: String::new(),
            };
            world.federation().delete_tokens(request).await.map(drop)
        }
        _ => {
            let target = ban_target_request::Target::UserId(user.id.clone());
            let request = BanTargetRequest {
                target: Some(target),
                reason: "test".to_owned(),
                ..Default::default()
            };
            world.moderation().ban_target(request).await.map(drop)
        }
    }
    .expect("done");
}

#[tokio::test]
async fn a_renewal_that_returns_after_its_session_ended_stores_nothing() {
    let provider = provider().await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (_, session) = world.arrive("ann").await;
        world.clock.advance(AGE);
        provider
            .fail(json!({ "grant_type": "refresh_token", "delay_ms": 300, "times": 1 }))
            .await;
        let ended = async {
            provider.wait_for_refreshes(1).await;
            let request = LogoutRequest {
                refresh_token: session.refresh_token.clone(),
            };
            world.auth().logout(request).await.expect("logged out");
        };
        let (answer, ()) = tokio::join!(world.bearer(&session.access_token), ended);
        assert_eq!(
            reason(&answer.expect_err("ended meanwhile")).1,
            "VALUE_MISSING"
        );
        assert_eq!(engine.number(TOKENS).await, 0);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn each_device_has_its_own_provider_tokens() {
    let provider = provider().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (user, phone) = world.arrive("ann").await;
        let (same, laptop) = world.arrive("ann").await;
        let (_, bob) = world.arrive("bob").await;
        let [of_phone, of_laptop] =
            [&phone, &laptop].map(|device| world.bearer(&device.access_token));
        let (of_phone, of_laptop) = (
            of_phone.await.expect("resolved"),
            of_laptop.await.expect("resolved"),
        );
        assert!(user.id == same.id && of_phone != of_laptop);
        world
            .auth()
            .logout(LogoutRequest {
                refresh_token: phone.refresh_token.clone(),
            })
            .await
            .expect("logged out");
        assert_eq!(engine.number(TOKENS).await, 2);
        assert_eq!(
            world.no_bearer(&phone.access_token).await,
            "ACCESS_TOKEN_INVALID"
        );
        assert_eq!(
            world.bearer(&laptop.access_token).await.expect("kept"),
            of_laptop
        );
        world.clock.advance(AGE);
        world.bearer(&laptop.access_token).await.expect("renewed");
        world
            .bearer(&bob.access_token)
            .await
            .expect("another user's");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn tokens_of_a_provider_that_is_no_longer_configured_are_not_reported_and_can_be_deleted() {
    let provider = provider().await;
    on_each_engine(async |engine| {
        let mut world = World::trusting(engine, &provider.issuer, &[]).await;
        let (user, phone) = world.arrive("ann").await;
        let (_, laptop) = world.arrive("ann").await;
        let held = async |world: &World<'_>| {
            let held = world.held(&phone.access_token, FederatedTokenKind::Access);
            held.await.is_some()
        };
        assert!(held(&world).await);
        world.restart_without_provider().await;
        assert!(!held(&world).await);
        for (subject, left) in [(by_token(&laptop.access_token), 1), (by_user(&user.id), 0)] {
            let provider = "openid".to_owned();
            let request = DeleteTokensRequest { subject, provider };
            let deleted = world.federation().delete_tokens(request).await;
            deleted.expect("deleted");
            assert_eq!(engine.number(TOKENS).await, left);
        }
        world.end().await;
    })
    .await;
}
