//! Bans: which users and addresses they refuse, in which calls, and for how long.

use std::time::Duration;

use countersign::grpc::proto::*;
use serde_json::json;
use tonic::{Code, Status};

use crate::bans::{access, address, ban, range, user};
use crate::support::browser::sign_in;
use crate::support::calls::{
    ADDRESS, PASSWORD, authorization_url, by_session, by_token, by_user, client_at,
    complete_request, fields, login_request, register_request,
};
use crate::support::provider::Provider;
use crate::support::{World, on_each_engine, reason};

async fn free(world: &World<'_>, user_id: &str, ip_address: &str) -> bool {
    let answer = access(world, user_id, ip_address).await.expect("an answer");
    assert_eq!(answer.allowed, answer.ban.is_none());
    answer.allowed
}

fn banned<T>(answer: Result<T, Status>) -> bool {
    answer.is_err_and(|status| reason(&status) == (Code::PermissionDenied, "BANNED".to_owned()))
}

fn resolve(subject: Option<Subject>) -> ResolvePlaceholdersRequest {
    ResolvePlaceholdersRequest {
        subject,
        sink: Sink::Header.into(),
        entries: [("X-User".to_owned(), "{{LIBRECHAT_USER_ID}}".to_owned())].into(),
        ..Default::default()
    }
}

/// Asserts that every call for the user or their session answers BANNED.
async fn assert_banned_everywhere(world: &World<'_>, user: &User, tokens: &TokenPair) {
    assert_eq!(
        world.verify(&tokens.access_token).await.inactive_reason(),
        InactiveReason::Banned
    );
    assert!(banned(world.refresh(&tokens.refresh_token).await));
    for subject in [
        by_token(&tokens.access_token),
        by_session(&tokens.session_id),
        by_user(&user.id),
    ] {
        assert!(banned(
            world
                .federation()
                .resolve_placeholders(resolve(subject))
                .await
        ));
    }
    let who = GetUserRequest {
        user: by_token(&tokens.access_token).map(get_user_request::User::Subject),
    };
    assert!(banned(world.auth().get_user(who).await));
    let mint = MintSessionRequest {
        user_id: user.id.clone(),
        ..Default::default()
    };
    assert!(banned(world.tokens().mint_session(mint).await));
}

#[tokio::test]
async fn a_banned_user_is_refused_everywhere_and_the_sessions_are_gone_afterwards() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (bob, tokens) = world.arrive("bob").await;
        let (_, anns) = world.signed_in("ann@example.com").await;
        world
            .federation()
            .resolve_placeholders(resolve(by_token(&tokens.access_token)))
            .await
            .expect("resolved");
        ban(&world, user(&bob.id), 10).await;

        assert_banned_everywhere(&world, &bob, &tokens).await;
        assert!(banned(world.federated_login("bob").await));
        assert_eq!(
            engine.number("SELECT COUNT(*) FROM federated_tokens").await,
            0,
            "the provider's tokens are deleted"
        );
        assert!(
            world.verify(&anns.access_token).await.active,
            "another user's session is still active"
        );

        world.clock.advance(Duration::from_mins(10));
        assert_eq!(
            world.verify(&tokens.access_token).await.inactive_reason(),
            InactiveReason::SessionRevoked
        );
        assert!(!banned(world.refresh(&tokens.refresh_token).await));
        world.federated_login("bob").await.expect("signed in");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_ban_of_an_address_refuses_every_call_that_gives_the_address() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (ann, tokens) = world.signed_in("ann@example.com").await;
        let begun = world.begin_federated_login().await;
        let callback = sign_in(authorization_url(&begun), "bob").await;
        ban(&world, address(ADDRESS), 10).await;
        let mut auth = world.auth();
        let register = register_request("bob@example.com");
        assert!(banned(auth.register(register).await));
        let login = login_request("ann@example.com", PASSWORD);
        assert!(banned(auth.login(login).await));
        let request = BeginFederatedLoginRequest {
            provider: "openid".to_owned(),
            return_to: String::new(),
            client: client_at(ADDRESS),
        };
        assert!(banned(auth.begin_federated_login(request).await));
        let complete = complete_request(&begun, &callback);
        assert!(banned(auth.complete_federated_login(complete).await));
        assert!(banned(world.refresh(&tokens.refresh_token).await));
        let mint = MintSessionRequest {
            user_id: ann.id.clone(),
            client: client_at(ADDRESS),
            ..Default::default()
        };
        assert!(banned(world.tokens().mint_session(mint).await));
        world.clock.advance(Duration::from_mins(10));
        world.login("ann@example.com").await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_ban_of_an_address_ends_no_session_and_refuses_no_other_address() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (ann, tokens) = world.signed_in("ann@example.com").await;
        ban(&world, address(ADDRESS), 10).await;
        assert!(banned(world.refresh(&tokens.refresh_token).await));
        assert!(world.verify(&tokens.access_token).await.active);
        let elsewhere = RefreshSessionRequest {
            refresh_token: tokens.refresh_token.clone(),
            client: client_at("203.0.113.8"),
        };
        let renewed = world
            .tokens()
            .refresh_session(elsewhere)
            .await
            .expect("the refused one was not consumed")
            .into_inner();
        world.keep_secret(renewed.tokens.as_ref().expect("tokens"));
        assert!(
            free(&world, &ann.id, "203.0.113.8").await && !free(&world, &ann.id, ADDRESS).await
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_range_is_banned_from_its_first_to_its_last_address() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        ban(&world, range("198.51.100.128/25"), 10).await;
        ban(&world, address("2001:db8:0:1::7"), 10).await;
        for (text, is_free) in [
            ("198.51.100.127", true),
            ("198.51.100.128", false),
            ("::ffff:198.51.100.255", false),
            ("198.51.100.200:8080", false),
            ("198.51.101.0", true),
            ("2001:db8:0:1:ffff::1", false),
            ("2001:db8:0:2::7", true),
        ] {
            assert_eq!(free(&world, "", text).await, is_free, "{text}");
        }
        let login = LoginRequest {
            client: client_at("198.51.100.130"),
            ..login_request("ann@example.com", PASSWORD)
        };
        assert!(banned(world.auth().login(login).await));
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn of_several_bans_the_one_that_lasts_longest_is_reported() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let ann = world.register("ann@example.com").await;
        assert!(free(&world, &ann.id, "203.0.113.9").await);
        let of_user = ban(&world, user(&ann.id), 10).await;
        let of_range = ban(&world, range("203.0.113.0/24"), 20).await;
        let found = async |id: &str, ip: &str| access(&world, id, ip).await.expect("an answer").ban;
        assert_eq!(found(&ann.id, "").await, Some(of_user.clone()));
        assert_eq!(found("", "203.0.113.9").await.as_ref(), Some(&of_range));
        assert_eq!(
            found(&ann.id, "203.0.113.9").await.as_ref(),
            Some(&of_range)
        );
        assert_eq!(found(&ann.id, "192.0.2.1").await, Some(of_user));
        world.clock.advance(Duration::from_mins(10));
        assert_eq!(found(&ann.id, "").await, None);
        assert_eq!(found(&ann.id, "203.0.113.9").await, Some(of_range));
        assert_eq!(
            fields(&access(&world, "", "").await.expect_err("nobody named")),
            ["user_id"]
        );
        assert_eq!(
            fields(&access(&world, "ann", "unknown").await.expect_err("bad")),
            ["ip_address", "user_id"]
        );
        world.end().await;
    })
    .await;
}
