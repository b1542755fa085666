//! When tokens cannot be renewed, and when they are gone: nothing is given, and no refresh token is sent twice.

use std::time::Duration;

use countersign::grpc::proto::*;
use serde_json::json;
use tonic::Code;

use crate::support::calls::{by_token, by_user};
use crate::support::federated::wish;
use crate::support::hostile::{Hostile, signed, signed_by_stranger, tokens};
use crate::support::provider::Provider;
use crate::support::{Engine, World, on_each_engine, reason};

const AGE: Duration = Duration::from_secs(80);
const TOKENS: &str = "SELECT COUNT(*) FROM federated_tokens";

async fn provider() -> Provider {
    Provider::start(json!({ "access_token_ttl": 100 })).await
}

async fn state(world: &World<'_>, session: &TokenPair) -> (TokenState, bool) {
    let held = world
        .held(&session.access_token, TokenKind::Access)
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
            (TokenState::ReconnectRequired, false)
        );
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
            "tokens are a session's own"
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_provider_that_is_out_of_order_is_left_alone_for_a_while_and_asked_again() {
    let provider = provider().await;
    on_each_engine(async |engine| {
        for fault in [
            json!({ "status": 503 }),
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
            assert_eq!(state(&world, &session).await, (TokenState::Backoff, true));
            assert_eq!(
                world.no_bearer(&session.access_token).await,
                "PROVIDER_UNAVAILABLE"
            );
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
            world.clock.advance(Duration::from_secs(30));
            world.bearer(&session.access_token).await.expect("renewed");
            assert_eq!(
                (
                    state(&world, &session).await,
                    provider.stats().await.refreshes()
                ),
                ((TokenState::Active, true), 2)
            );
            world.end().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_costs_nobody_their_refresh_token() {
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
        assert_eq!(state(&world, &session).await, (TokenState::Backoff, true));
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn an_answer_lost_after_the_provider_acted_is_in_doubt_and_ends_in_a_new_login() {
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
            ((TokenState::ReconnectRequired, false), 1)
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn an_attempt_of_a_process_that_was_killed_is_in_doubt_and_never_repeated() {
    let provider = provider().await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let mut world = World::trusting(engine, &provider.issuer, &[]).await;
        let (_, session) = world.arrive("ann").await;
        world.clock.advance(AGE);
        let lease = world.clock.now().millis() - 1;
        let killed = format!(
            "UPDATE federated_tokens SET state = 'REFRESHING', attempt_expire_time = {lease}"
        );
        assert_eq!(engine.execute(&killed).await, 1);
        world.restart().await;
        assert_eq!(
            state(&world, &session).await,
            (TokenState::Refreshing, true)
        );
        assert_eq!(
            world.no_bearer(&session.access_token).await,
            "RECONNECT_REQUIRED"
        );
        assert_eq!(
            (
                state(&world, &session).await,
                provider.stats().await.refreshes()
            ),
            ((TokenState::ReconnectRequired, false), 0)
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
                (TokenState::ReconnectRequired, false)
            );
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn whatever_ends_a_session_or_asks_for_it_deletes_its_tokens_at_once() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        for (index, expected) in [
            "ACCESS_TOKEN_INVALID",
            "ACCESS_TOKEN_INVALID",
            "ACCESS_TOKEN_INVALID",
            "TOKEN_MISSING",
            "TOKEN_MISSING",
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
async fn a_renewal_that_comes_back_to_an_ended_session_leaves_nothing() {
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
            "TOKEN_MISSING"
        );
        assert_eq!(engine.number(TOKENS).await, 0);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn two_devices_have_tokens_of_their_own() {
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

/// Sets columns of Ann's row to what the statement says, where `other` names Bob's row.
async fn tamper(engine: &Engine, ann: &TokenPair, bob: &TokenPair, set: &str) {
    let bobs = |column: &str| {
        format!(
            "(SELECT o.{column} FROM federated_tokens o WHERE o.session_id = '{}')",
            bob.session_id
        )
    };
    let set = [
        "access_token",
        "id_token",
        "refresh_token",
        "claims",
        "identity_id",
    ]
    .iter()
    .fold(set.to_owned(), |set, column| {
        set.replace(&format!("other.{column}"), &bobs(column))
    });
    let changed = engine
        .execute(&format!(
            "UPDATE federated_tokens SET {set} WHERE session_id = '{}'",
            ann.session_id
        ))
        .await;
    assert_eq!(changed, 1);
}

#[tokio::test]
async fn sealed_tokens_open_nowhere_but_in_their_own_row_and_column() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (_, bob) = world.arrive("bob").await;
        let of_bob = world.bearer(&bob.access_token).await.expect("resolved");
        for set in [
            "access_token = other.access_token",
            "id_token = other.id_token",
            "refresh_token = other.refresh_token",
            "claims = other.claims",
            "identity_id = other.identity_id",
            "access_token = other.access_token, id_token = other.id_token, refresh_token = other.refresh_token, claims = other.claims,
                identity_id = other.identity_id",
            "access_token = id_token",
            "access_token = refresh_token, refresh_token = access_token",
        ] {
            let (_, ann) = world.arrive("ann").await;
            tamper(engine, &ann, &bob, set).await;
            world.clock.advance(Duration::from_secs(2));
            let status = world.bearer(&ann.access_token).await.expect_err(set);
            assert_eq!(reason(&status), (Code::Internal, "INTERNAL".to_owned()), "{set}");
            let told = format!("{status:?}{}", String::from_utf8_lossy(status.details()));
            assert!(!told.contains(&of_bob) && !told.contains("federated_tokens"), "{told}");
            world.auth().logout(LogoutRequest { refresh_token: ann.refresh_token.clone() }).await.expect("a session can always be ended");
            assert!(!world.verify(&ann.access_token).await.active);
        }
        assert_eq!(world.bearer(&bob.access_token).await.expect("untouched"), of_bob);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn sealed_tokens_open_only_for_the_account_and_provider_that_they_are_of() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (_, session) = world.arrive("ann").await;
        let token = world.bearer(&session.access_token).await.expect("resolved");
        for (table, column, own) in [
            ("identities", "subject", "ann"),
            ("identities", "issuer", &provider.issuer),
            ("federated_tokens", "provider", "openid"),
        ] {
            let set = async |value: &str| {
                engine
                    .execute(&format!("UPDATE {table} SET {column} = '{value}'"))
                    .await
            };
            assert_eq!(set("another").await, 1);
            world.clock.advance(Duration::from_secs(2));
            assert_eq!(
                world.no_bearer(&session.access_token).await,
                "INTERNAL",
                "{column}"
            );
            assert_eq!(set(own).await, 1);
            assert_eq!(
                world
                    .bearer(&session.access_token)
                    .await
                    .expect("as before"),
                token
            );
        }
        world.end().await;
    })
    .await;
}
