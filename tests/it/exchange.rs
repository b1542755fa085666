//! ExchangeToken: a narrower token of the same session, to hand on to another backend.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::grpc::proto::*;
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::support::calls::{PASSWORD, fields};
use crate::support::{World, on_each_engine, reason};

pub(crate) const AGENTS: &str = "https://agents.example";

pub(crate) fn wish(access_token: &str, audience: &str, scopes: &[&str]) -> ExchangeTokenRequest {
    ExchangeTokenRequest {
        access_token: access_token.to_owned(),
        audience: audience.to_owned(),
        scopes: scopes.iter().map(ToString::to_string).collect(),
        ttl: None,
    }
}

/// What the open caller gets.
pub(crate) async fn exchange(
    world: &World<'_>,
    request: ExchangeTokenRequest,
) -> Result<ExchangeTokenResponse, Status> {
    let exchanged = world.tokens().exchange_token(request).await?.into_inner();
    world.secret(&exchanged.access_token);
    Ok(exchanged)
}

pub(crate) fn payload(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64url")).expect("JSON")
}

pub(crate) fn callers_of(actor: Option<&Actor>) -> Vec<&str> {
    let mut callers = Vec::new();
    let mut next = actor;
    while let Some(actor) = next {
        callers.push(actor.caller.as_str());
        next = actor.actor.as_deref();
    }
    callers
}

#[tokio::test]
async fn an_exchanged_token_is_of_the_same_session_and_says_what_it_is_good_for() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, tokens) = world.signed_in("ann@example.com").await;
        let given = payload(&tokens.access_token);
        let scopes = ["federation.resolve", "auth.read"];
        let exchanged = exchange(&world, wish(&tokens.access_token, "", &scopes))
            .await
            .expect("exchanged");
        assert_eq!(exchanged.scopes, scopes);
        assert_eq!(exchanged.token_type, "Bearer");
        assert_eq!(
            exchanged.issued_token_type,
            "urn:ietf:params:oauth:token-type:access_token"
        );
        assert_eq!(exchanged.expire_time, tokens.access_expire_time);
        let made = payload(&exchanged.access_token);
        for same in ["iss", "sub", "aud", "sid", "iat", "exp", "auth_time", "amr"] {
            assert_eq!(made[same], given[same], "{same}");
        }
        assert_ne!(made["jti"], given["jti"]);
        assert_eq!(made["scope"], json!("federation.resolve auth.read"));
        assert_eq!(
            (&made["act"], &made["client_id"]),
            (&json!({"sub": "open"}), &json!("open"))
        );

        let answer = world.verify(&exchanged.access_token).await;
        let claims = answer.claims.expect("active");
        assert_eq!(
            (claims.user_id, claims.session_id),
            (user.id, tokens.session_id.clone())
        );
        assert_eq!(claims.scopes, scopes);
        assert_eq!(callers_of(claims.actor.as_ref()), ["open"]);
        let own = world
            .verify(&tokens.access_token)
            .await
            .claims
            .expect("active");
        assert_eq!((own.scopes, own.actor), (Vec::new(), None));

        // Another replica, which knows the token by its signature alone.
        let other = world.another().await.expect("starts");
        let request = VerifyTokenRequest {
            access_token: exchanged.access_token.clone(),
            audience: String::new(),
        };
        assert!(
            other
                .tokens()
                .verify_token(request)
                .await
                .expect("a verdict")
                .into_inner()
                .active
        );
        other.stop().await;
        world.revoke(&tokens.session_id).await;
        assert!(!world.verify(&exchanged.access_token).await.active);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn an_exchanged_token_is_as_fresh_as_the_given_one() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        let old = world.mint(&user.id).await;
        world.clock.advance(Duration::from_mins(10));
        let proof = crate::reauthenticate::proof(&old.access_token, PASSWORD);
        let proven = world.auth().reauthenticate(proof).await.expect("proven");
        let proven = proven.into_inner().tokens.expect("tokens");
        world.keep_secret(&proven);
        let mut times = Vec::new();
        for token in [&old.access_token, &proven.access_token] {
            let given = payload(token);
            let exchanged = exchange(&world, wish(token, "", &["auth.read"])).await;
            let made = payload(&exchanged.expect("exchanged").access_token);
            for same in ["auth_time", "amr", "iat"] {
                assert_eq!(made[same], given[same], "{same}");
            }
            times.push(made["auth_time"].as_i64().expect("seconds"));
        }
        assert_eq!(times[1] - times[0], 600);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn an_exchanged_token_ends_when_it_is_asked_to_and_never_after_the_given_one() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        let lasting = |seconds, nanos| ExchangeTokenRequest {
            ttl: Some(prost_types::Duration { seconds, nanos }),
            ..wish(&tokens.access_token, "", &["auth.read"])
        };
        let minute = exchange(&world, lasting(60, 0)).await.expect("exchanged");
        let end = world.clock.now().plus(Duration::from_mins(1)).secs();
        assert_eq!(minute.expire_time.expect("an end").seconds, end);
        let day = exchange(&world, lasting(86_400, 0))
            .await
            .expect("exchanged");
        assert_eq!(day.expire_time, tokens.access_expire_time);
        for (seconds, nanos) in [(0, 0), (0, 999_999_999), (-1, 0)] {
            let refused = exchange(&world, lasting(seconds, nanos))
                .await
                .expect_err("too short");
            assert_eq!(fields(&refused), ["ttl"]);
        }
        world.clock.advance(Duration::from_secs(61));
        assert!(!world.verify(&minute.access_token).await.active);
        assert!(world.verify(&day.access_token).await.active);
        let again = wish(&minute.access_token, "", &["auth.read"]);
        let refused = exchange(&world, again).await.expect_err("expired");
        assert_eq!(
            reason(&refused),
            (Code::Unauthenticated, "ACCESS_TOKEN_INVALID".to_owned())
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_with_a_wish_is_told_all_at_once() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        let wrong = ExchangeTokenRequest {
            ttl: Some(prost_types::Duration::default()),
            ..wish(
                &tokens.access_token,
                "two words",
                &["auth.read", "tools.search", "auth.read", "auth.*"],
            )
        };
        let refused = exchange(&world, wrong).await.expect_err("wrong");
        assert_eq!(
            fields(&refused),
            ["audience", "scopes[1]", "scopes[2]", "scopes[3]", "ttl"]
        );
        for scopes in [&[][..], &["auth.read"; 21]] {
            let request = wish(&tokens.access_token, "", scopes);
            let refused = exchange(&world, request)
                .await
                .expect_err("too few or too many");
            assert_eq!(fields(&refused), ["scopes"]);
        }
        exchange(&world, wish("x", "", &["auth.read"]))
            .await
            .expect_err("no token");
        exchange(&world, wish(&tokens.access_token, AGENTS, &["auth.read"]))
            .await
            .expect("the open caller may name any audience");
        let outcomes = ["exchanged", "refused", "failed"].map(|outcome| {
            world.count(
                "countersign_token_exchanges_total",
                &format!("outcome=\"{outcome}\""),
            )
        });
        assert_eq!(outcomes, [1, 1, 0]);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn an_exchange_works_whatever_signs_tokens() {
    let algorithms = [
        ("EdDSA", ""),
        ("ES256", ""),
        ("HS256", "0f1e2d3c4b5a69788796a5b4c3d2e1f0"),
    ];
    on_each_engine(async |engine| {
        for (algorithm, secret) in algorithms {
            let settings = [("COUNTERSIGN_TOKEN_ALG", algorithm), ("JWT_SECRET", secret)];
            let world = World::start(engine, &settings).await;
            let email = format!("{}@example.com", algorithm.to_lowercase());
            let (_, tokens) = world.signed_in(&email).await;
            let scopes = ["auth.read", "token.exchange"];
            let request = wish(&tokens.access_token, "", &scopes);
            let first = exchange(&world, request).await.expect("exchanged");
            let request = wish(&first.access_token, "", &["auth.read"]);
            let second = exchange(&world, request).await.expect("exchanged");
            // This one knows neither of them.
            let other = world.another().await.expect("starts");
            for (token, actors) in [(first.access_token, 1), (second.access_token, 2)] {
                let request = VerifyTokenRequest {
                    access_token: token,
                    audience: String::new(),
                };
                let answer = other.tokens().verify_token(request).await;
                let claims = answer.expect("a verdict").into_inner().claims;
                let claims = claims.expect(algorithm);
                assert_eq!(callers_of(claims.actor.as_ref()).len(), actors);
                assert_eq!(claims.scopes, scopes[..3 - actors]);
            }
            other.stop().await;
            world.end().await;
        }
    })
    .await;
}
