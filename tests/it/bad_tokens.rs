//! What is no live access token of ours gets a verdict, never an error, and no reason without a valid signature.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::grpc::proto::*;
use countersign::jose::VerifyKey;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::support::calls::{by_token, by_user};
use crate::support::provider::Provider;
use crate::support::{World, on_each_engine};

const MAX_TOKEN: usize = 8 * 1024;
const INVALID: (bool, InactiveReason) = (false, InactiveReason::Invalid);

/// Asserts that each of the tokens is INVALID and says nothing else.
async fn assert_invalid(world: &World<'_>, tokens: &[String]) {
    for batch in tokens.chunks(100) {
        let request = BatchVerifyTokensRequest {
            access_tokens: batch.to_vec(),
            audience: String::new(),
        };
        let results = world
            .tokens()
            .batch_verify_tokens(request)
            .await
            .expect("verdicts, never an error")
            .into_inner()
            .results;
        for (token, answer) in batch.iter().zip(results) {
            let expected = VerifyTokenResponse {
                inactive_reason: InactiveReason::Invalid.into(),
                ..Default::default()
            };
            assert_eq!(answer, expected, "{token:.400}");
        }
    }
}

fn encode(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64url")).expect("JSON")
}

#[tokio::test]
async fn a_token_with_any_one_bit_changed_is_invalid() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        let good = tokens.access_token.as_bytes();
        let flipped = |position: usize, bit: u32| {
            let mut bytes = good.to_vec();
            bytes[position] ^= 1 << bit;
            String::from_utf8(bytes).expect("ASCII")
        };
        let changed: Vec<_> = (0..good.len())
            .flat_map(|position| (0..7).map(move |bit| flipped(position, bit)))
            .collect();
        assert!(changed.len() > 2000);
        assert_invalid(&world, &changed).await;
        let shortened: Vec<_> = (0..good.len())
            .map(|end| tokens.access_token[..end].to_owned())
            .collect();
        assert_invalid(&world, &shortened).await;
        assert!(world.verdict(&tokens.access_token).await.0);
        world.end().await;
    })
    .await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story told in order")]
async fn a_token_that_picks_its_own_algorithm_or_key_is_invalid() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        let [header, payload, signature]: [&str; 3] = tokens
            .access_token
            .split('.')
            .collect::<Vec<_>>()
            .try_into()
            .expect("three parts");
        let public = engine.bytes("SELECT public_key FROM signing_keys").await;
        let kid = VerifyKey::from_bytes(&public)
            .expect("a key")
            .kid()
            .to_owned();
        let x = URL_SAFE_NO_PAD.encode(&public);

        let mut bad = Vec::new();
        for alg in [
            "none", "None", "nOnE", "NONE", "", "HS256", "ES256", "RS256", "Ed25519",
        ] {
            let header = encode(&json!({ "alg": alg, "kid": kid, "typ": "at+jwt" }).to_string());
            bad.extend([
                format!("{header}.{payload}."),
                format!("{header}.{payload}.{signature}"),
                format!("{header}.{payload}"),
            ]);
        }
        let mut hs256 = Header::new(Algorithm::HS256);
        (hs256.typ, hs256.kid) = (Some("at+jwt".to_owned()), Some(kid.clone()));
        let jwk = json!({ "crv": "Ed25519", "kty": "OKP", "x": x }).to_string();
        for key in [
            public.as_slice(),
            x.as_bytes(),
            jwk.as_bytes(),
            hex::encode(&public).as_bytes(),
            kid.as_bytes(),
        ] {
            let forged = jsonwebtoken::encode(
                &hs256,
                &claims(&tokens.access_token),
                &EncodingKey::from_secret(key),
            );
            bad.push(forged.expect("signed"));
        }
        for extra in [
            json!({ "jku": "https://evil.example/keys" }),
            json!({ "jwk": { "kty": "OKP" } }),
            json!({ "crit": ["exp"] }),
        ] {
            let mut header = json!({ "alg": "EdDSA", "kid": kid, "typ": "at+jwt" });
            header
                .as_object_mut()
                .expect("an object")
                .extend(extra.as_object().expect("an object").clone());
            bad.push(format!(
                "{}.{payload}.{signature}",
                encode(&header.to_string())
            ));
        }
        bad.extend([
            format!("{header}.{payload}.{signature}."),
            format!("{header}..{signature}"),
            format!(".{payload}.{signature}"),
        ]);
        assert_invalid(&world, &bad).await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_token_of_another_service_is_invalid_here() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let elsewhere = crate::support::Engine::sqlite();
        let other = World::start(&elsewhere, &[]).await;
        let (_, theirs) = other.signed_in("ann@example.com").await;
        assert!(other.verdict(&theirs.access_token).await.0);
        assert_eq!(world.verdict(&theirs.access_token).await, INVALID);
        other.end().await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story told in order")]
async fn no_other_credential_passes_for_an_access_token() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        let (signed_in, _) = world.federated_login("bob").await.expect("signed in");
        let tokens = signed_in.tokens.expect("tokens");
        let names = ["LIBRECHAT_OPENID_ID_TOKEN", "LIBRECHAT_OPENID_ACCESS_TOKEN"];
        let request = ResolvePlaceholdersRequest {
            subject: by_token(&tokens.access_token),
            sink: Sink::Header.into(),
            entries: names
                .map(|name| (name.to_owned(), format!("{{{{{name}}}}}")))
                .into(),
            ..Default::default()
        };
        let resolved = world
            .federation()
            .resolve_placeholders(request)
            .await
            .expect("resolved")
            .into_inner()
            .entries;
        let begun = world.begin_federated_login().await;
        world.mint(&user.id).await;
        let page = ListSessionsRequest {
            subject: by_user(&user.id),
            page_size: 1,
            ..Default::default()
        };
        let page_token = world
            .tokens()
            .list_sessions(page)
            .await
            .expect("listed")
            .into_inner()
            .next_page_token;
        assert!(!page_token.is_empty());
        let mut bad: Vec<String> = resolved
            .into_values()
            .inspect(|token| world.secret(token))
            .collect();
        assert_eq!(bad.len(), 2);
        bad.extend([
            tokens.refresh_token,
            begun.state,
            begun.binding_token,
            page_token,
            tokens.session_id,
        ]);
        bad.extend([
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
async fn a_text_of_any_length_gets_its_verdict() {
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
async fn only_a_valid_signature_earns_a_reason() {
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
