//! Texts that are no active access token get a verdict, never an error, and a reason only if the
//! signature is valid.

use std::time::Duration;

use countersign::grpc::proto::*;
use serde_json::json;

use crate::support::calls::{answers, by_user};
use crate::support::provider::Provider;
use crate::support::{World, client, on_each_engine, reason};

const MAX_TOKEN: usize = 8 * 1024;
pub(crate) const INVALID: (bool, InactiveReason) = (false, InactiveReason::Invalid);

/// Asserts that the verdict on each of the tokens is INVALID, and says nothing else.
pub(crate) async fn assert_invalid(world: &World<'_>, tokens: &[String]) {
    for batch in tokens.chunks(100) {
        let request = BatchVerifyTokensRequest {
            access_tokens: batch.to_vec(),
            audience: String::new(),
        };
        let results = world
            .tokens()
            .batch_verify_tokens(request)
            .await
            .map(answers)
            .expect("verdicts, never an error");
        for (token, answer) in batch.iter().zip(results) {
            let expected = VerifyTokenResponse {
                inactive_reason: InactiveReason::Invalid.into(),
                ..Default::default()
            };
            assert_eq!(answer, expected, "{token:.400}");
        }
    }
}

/// A user's ID token and access token at the provider.
async fn provider_tokens(world: &World<'_>, access_token: &str) -> Vec<String> {
    let mut found = Vec::new();
    for name in ["ID_TOKEN", "ACCESS_TOKEN"] {
        found.push(world.token(access_token, name).await.expect("resolved"));
    }
    found
}

/// The page token from a list of the user's sessions.
async fn page_token(world: &World<'_>, user: &User) -> String {
    world.mint(&user.id).await;
    let request = ListSessionsRequest {
        subject: by_user(&user.id),
        page_size: 1,
        ..Default::default()
    };
    let page = world
        .tokens()
        .list_sessions(request)
        .await
        .expect("listed")
        .into_inner();
    assert!(!page.next_page_token.is_empty());
    page.next_page_token
}

#[tokio::test]
async fn no_other_credential_is_accepted_as_an_access_token() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        let (_, tokens) = world.arrive("bob").await;
        let begun = world.begin_federated_login().await;
        let mut bad = provider_tokens(&world, &tokens.access_token).await;
        assert_eq!(bad.len(), 2);
        bad.extend([
            tokens.refresh_token,
            begun.state,
            begun.binding_token,
            page_token(&world, &user).await,
            tokens.session_id,
            format!("Bearer {}", tokens.access_token),
            format!("{} ", tokens.access_token),
        ]);
        assert_invalid(&world, &bad).await;
        assert_eq!(
            world.verdict(&tokens.access_token).await,
            (true, InactiveReason::Unspecified)
        );
        world.end().await;
    })
    .await;
}

/// Why a text is refused as a page token.
async fn as_page_token(world: &World<'_>, user: &User, text: &str) -> String {
    let request = ListSessionsRequest {
        subject: by_user(&user.id),
        page_token: text.to_owned(),
        ..Default::default()
    };
    let refused = world.tokens().list_sessions(request).await;
    reason(&refused.expect_err("no page token")).1
}

/// Why a text is refused as the state of a sign-in.
async fn as_state(world: &World<'_>, binding_token: &str, text: &str) -> String {
    let request = CompleteFederatedLoginRequest {
        provider: "openid".to_owned(),
        state: text.to_owned(),
        code: "a-code".to_owned(),
        binding_token: binding_token.to_owned(),
        client: client(),
        ..Default::default()
    };
    let refused = world.auth().complete_federated_login(request).await;
    reason(&refused.expect_err("no state")).1
}

#[tokio::test]
async fn no_other_credential_is_accepted_as_a_refresh_token_a_cursor_a_page_token_or_a_state() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        let (_, tokens) = world.arrive("bob").await;
        let begun = world.begin_federated_login().await;
        let page_token = page_token(&world, &user).await;
        let mut others = provider_tokens(&world, &tokens.access_token).await;
        others.extend([
            tokens.access_token.clone(),
            begun.binding_token.clone(),
            tokens.session_id.clone(),
            "csc_not-a-token-of-a-caller".to_owned(),
        ]);
        let with = |more: &[&String]| {
            let more = more.iter().map(|text| (*text).clone());
            more.chain(others.clone()).collect::<Vec<_>>()
        };
        for text in with(&[&begun.state, &page_token]) {
            let refused = world.refresh(&text).await.expect_err("no refresh token");
            assert_eq!(reason(&refused).1, "REFRESH_TOKEN_INVALID", "{text:.40}");
        }
        for text in with(&[&begun.state, &page_token, &tokens.refresh_token]) {
            let mut watch = world.tokens();
            let watch = watch.watch_revocations(WatchRevocationsRequest {
                cursor: text.clone(),
            });
            let refused = match watch.await {
                Ok(mut events) => events.get_mut().message().await.map(drop),
                Err(status) => Err(status),
            };
            let refused = reason(&refused.expect_err("no cursor")).1;
            assert!(
                ["FIELDS_INVALID", "CURSOR_EXPIRED"].contains(&refused.as_str()),
                "{refused}"
            );
        }
        for text in with(&[&begun.state, &tokens.refresh_token]) {
            let refused = as_page_token(&world, &user, &text).await;
            assert_eq!(refused, "FIELDS_INVALID", "{text:.40}");
        }
        for text in with(&[&page_token, &tokens.refresh_token]) {
            let refused = as_state(&world, &begun.binding_token, &text).await;
            assert!(
                ["STATE_INVALID", "FIELDS_INVALID"].contains(&refused.as_str()),
                "{refused}"
            );
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_text_of_any_length_gets_a_verdict() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        let padded = |length: usize| {
            format!(
                "{}{}",
                tokens.access_token,
                "A".repeat(length - tokens.access_token.len())
            )
        };
        let texts = ["", ".", "..", "...", "a.b.c", "\0", "ü.ü.ü", "null"].map(str::to_owned);
        assert_invalid(&world, &texts).await;
        assert_invalid(
            &world,
            &[MAX_TOKEN, MAX_TOKEN + 1, 64 * 1024, 255 * 1024].map(padded),
        )
        .await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn only_a_token_with_a_valid_signature_gets_a_reason() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, revoked) = world.signed_in("ann@example.com").await;
        let expired = world.mint(&user.id).await;
        world.revoke(&revoked.session_id).await;
        let (banned_user, banned) = world.signed_in("bob@example.com").await;
        let target = Some(ban_target_request::Target::UserId(banned_user.id));
        let request = BanTargetRequest {
            target,
            reason: "spam".to_owned(),
            ..Default::default()
        };
        world
            .moderation()
            .ban_target(request)
            .await
            .expect("banned");
        let tampered = |tokens: &TokenPair| {
            let (signed, signature) = tokens.access_token.rsplit_once('.').expect("a signature");
            let other = if signature.starts_with('A') { "B" } else { "A" };
            format!("{signed}.{other}{}", &signature[1..])
        };
        let reasons = [
            (&revoked, InactiveReason::SessionRevoked, Duration::ZERO),
            (&banned, InactiveReason::Banned, Duration::ZERO),
            (&expired, InactiveReason::Expired, Duration::from_mins(15)),
        ];
        for (tokens, inactive, wait) in reasons {
            world.clock.advance(wait);
            assert_invalid(&world, &[tampered(tokens)]).await;
            assert_eq!(world.verdict(&tokens.access_token).await, (false, inactive));
            let request = VerifyTokenRequest {
                access_token: tokens.access_token.clone(),
                audience: "another".to_owned(),
            };
            let answer = world
                .tokens()
                .verify_token(request)
                .await
                .expect("a verdict")
                .into_inner();
            assert_eq!(
                (answer.active, answer.inactive_reason()),
                INVALID,
                "for another audience"
            );
        }
        world.end().await;
    })
    .await;
}
