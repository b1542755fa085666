//! Invalid ID tokens create no account.

use serde_json::{Value, json};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::calls::authorization_url;
use crate::support::hostile::{
    Hostile, hs256, signed, signed_as, signed_by_stranger, tokens, unsigned,
};
use crate::support::provider::{CLIENT_ID, CLIENT_SECRET};
use crate::support::{World, on_each_engine, reason};

const NOTHING_MADE: &str = "SELECT (SELECT COUNT(*) FROM users) + (SELECT COUNT(*) FROM identities)
    + (SELECT COUNT(*) FROM sessions) + (SELECT COUNT(*) FROM federated_logins)";

const ACCESS_TOKEN: &str = "an-access-token";

async fn assert_refused(
    world: &World<'_>,
    provider: &Hostile,
    what: &str,
    id_token: impl FnOnce(&Value) -> Value,
) {
    let now = world.clock.now().secs();
    let arrival = world.arrive_at(provider, |nonce| {
        let mut answer = tokens(ACCESS_TOKEN, "a-refresh-token", "");
        answer["id_token"] = id_token(&provider.claims("mallory", nonce, now));
        answer.to_string()
    });
    let status = arrival.await.map(drop).expect_err(what);
    assert_eq!(
        reason(&status),
        (Code::Unauthenticated, "ID_TOKEN_INVALID".to_owned()),
        "{what}"
    );
    let problem = &status.get_details_error_info().expect("info").metadata["problem"];
    assert!(
        !problem.is_empty() && !problem.contains("mallory"),
        "{what}: {problem}"
    );
}

/// The claims with one of them changed, or left out if the value is null.
fn with(claims: &Value, name: &str, value: &Value) -> Value {
    let mut claims = claims.clone();
    claims[name] = value.clone();
    claims
        .as_object_mut()
        .expect("an object")
        .retain(|_, value| !value.is_null());
    claims
}

#[tokio::test]
async fn an_id_token_with_a_wrong_claim_is_refused() {
    let provider = Hostile::start().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let now = world.clock.now().secs();
        let other_nonce = world.begin_federated_login().await;
        for (name, value) in [
            ("nonce", json!(null)),
            ("nonce", json!("")),
            (
                "nonce",
                json!(crate::support::federated::parameter(
                    authorization_url(&other_nonce),
                    "nonce"
                )),
            ),
            ("aud", json!("another-client")),
            ("aud", json!([CLIENT_ID, "another-client"])),
            ("aud", json!(CLIENT_ID[..5])),
            ("aud", json!(null)),
            ("azp", json!("another-client")),
            ("azp", json!([CLIENT_ID])),
            ("iss", json!("https://honest.example")),
            ("iss", json!(format!("{}/", provider.issuer))),
            ("iss", json!(null)),
            ("exp", json!(now - 60)),
            ("exp", json!(null)),
            ("iat", json!(now + 61)),
            ("iat", json!(now - 2 * 3600)),
            ("iat", json!(null)),
            ("nbf", json!(now + 61)),
            ("at_hash", json!("AAAAAAAAAAAAAAAAAAAAAA")),
            ("sub", json!(null)),
            ("sub", json!("")),
            ("sub", json!(" ")),
            ("sub", json!("null")),
            ("sub", json!("undefined")),
            ("sub", json!("a\u{0}b")),
            ("sub", json!(7)),
        ] {
            assert_refused(&world, &provider, &format!("{name} {value}"), |claims| {
                json!(signed(&with(claims, name, &value)))
            })
            .await;
        }
        let two =
            |claims: &Value| json!(signed(&with(claims, "aud", &json!([CLIENT_ID, CLIENT_ID]))));
        assert_refused(&world, &provider, "several audiences without azp", two).await;
        assert_eq!(
            engine.number(NOTHING_MADE).await,
            1,
            "only the login whose nonce was stolen is still open"
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn an_id_token_for_further_audiences_is_accepted_if_each_of_them_is_trusted() {
    let provider = Hostile::start().await;
    on_each_engine(async |engine| {
        let trusted = [("OPENID_TRUSTED_AUDIENCES", "project-7, api")];
        let world = World::trusting(engine, &provider.issuer, &trusted).await;
        let for_all = |claims: &Value, azp: &Value| {
            let several = with(claims, "aud", &json!(["project-7", CLIENT_ID, "api"]));
            json!(signed(&with(&several, "azp", azp)))
        };
        for (what, azp) in [("no azp", json!(null)), ("azp", json!("project-7"))] {
            assert_refused(&world, &provider, what, |claims| for_all(claims, &azp)).await;
        }
        assert_refused(&world, &provider, "a stranger", |claims| {
            let several = with(claims, "aud", &json!([CLIENT_ID, "another-client"]));
            json!(signed(&with(&several, "azp", &json!(CLIENT_ID))))
        })
        .await;
        let now = world.clock.now().secs();
        let (_, session, _) = world
            .arrive_at(&provider, |nonce| {
                let claims = provider.claims("ann", nonce, now);
                let mut answer = tokens(ACCESS_TOKEN, "a-refresh-token", "");
                answer["id_token"] = for_all(&claims, &json!(CLIENT_ID));
                answer.to_string()
            })
            .await
            .expect("signed in");
        world.bearer(&session.access_token).await.expect("released");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn an_id_token_that_the_provider_did_not_sign_is_refused() {
    let provider = Hostile::start().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        world.secret(CLIENT_SECRET);
        let header = |alg: &str| json!({ "alg": alg, "kid": "k1" });
        assert_refused(
            &world,
            &provider,
            "HS256 with the client's secret",
            |claims| json!(hs256(CLIENT_SECRET.as_bytes(), claims)),
        )
        .await;
        assert_refused(&world, &provider, "HS256 without a secret", |claims| {
            json!(hs256(b"", claims))
        })
        .await;
        assert_refused(&world, &provider, "none", |claims| {
            json!(format!("{}.", unsigned(&header("none"), claims)))
        })
        .await;
        for alg in ["ES256", "PS256", "RS512", "rs256", ""] {
            assert_refused(&world, &provider, alg, |claims| {
                json!(signed_as(&header(alg), claims))
            })
            .await;
        }
        assert_refused(&world, &provider, "another key", |claims| {
            json!(signed_by_stranger(&header("RS256"), claims))
        })
        .await;
        let nameless = json!({ "alg": "RS256" });
        assert_refused(&world, &provider, "another key without a name", |claims| {
            json!(signed_by_stranger(&nameless, claims))
        })
        .await;
        let critical = json!({ "alg": "RS256", "kid": "k1", "crit": ["exp"] });
        assert_refused(&world, &provider, "crit", |claims| {
            json!(signed_as(&critical, claims))
        })
        .await;
        let logout = json!({ "alg": "RS256", "kid": "k1", "typ": "logout+jwt" });
        assert_refused(&world, &provider, "a logout token", |claims| {
            json!(signed_as(&logout, claims))
        })
        .await;
        assert_refused(&world, &provider, "no ID token", |_| json!(null)).await;
        assert_refused(&world, &provider, "no token", |_| json!("x.y.z")).await;
        assert_refused(&world, &provider, "too large", |claims| {
            json!(signed(&with(claims, "x", &json!("x".repeat(65 * 1024)))))
        })
        .await;
        assert_eq!(engine.number(NOTHING_MADE).await, 0);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn an_email_address_is_verified_only_if_the_provider_says_so() {
    let provider = Hostile::start().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let now = world.clock.now().secs();
        let said = [
            json!(true),
            json!("true"),
            json!(false),
            json!("false"),
            json!(null),
        ];
        for (index, said) in said.iter().enumerate() {
            let arrival = world.arrive_at(&provider, |nonce| {
                let claims = with(
                    &provider.claims(&format!("user-{index}"), nonce, now),
                    "email_verified",
                    said,
                );
                tokens(ACCESS_TOKEN, "a-refresh-token", &signed(&claims)).to_string()
            });
            assert_eq!(
                arrival.await.expect("signed in").0.email_verified,
                index < 2,
                "{said}"
            );
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn an_unreadable_answer_of_the_token_endpoint_means_that_the_provider_is_unavailable() {
    let provider = Hostile::start().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let huge = format!("{{\"access_token\":\"{}\"}}", "x".repeat(2 * 1024 * 1024));
        let mac = json!({ "access_token": ACCESS_TOKEN, "token_type": "mac" }).to_string();
        for body in [
            "<html>",
            "",
            "[]",
            r#"{"access_token":"a","access_token":"b"}"#,
            &mac,
            &huge,
        ] {
            let status = world
                .arrive_at(&provider, |_| body.to_owned())
                .await
                .map(drop)
                .expect_err("no sense");
            assert_eq!(
                reason(&status),
                (Code::Unavailable, "PROVIDER_UNAVAILABLE".to_owned()),
                "{body:.40}"
            );
        }
        assert_eq!(engine.number(NOTHING_MADE).await, 0);
        world.end().await;
    })
    .await;
}
