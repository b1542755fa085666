//! Texts that are no active access token get a verdict, never an error, and a reason only if the
//! signature is valid.

use std::time::Duration;

use countersign::grpc::proto::*;
use serde_json::json;

use crate::support::calls::{answers, by_user};
use crate::support::provider::Provider;
use crate::support::{World, on_each_engine};

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
