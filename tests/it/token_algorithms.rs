//! COUNTERSIGN_TOKEN_ALG: the algorithms of access tokens.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::grpc::proto::*;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Value, json};
use tonic::Code;

use crate::ops::get;
use crate::signing_keys::{keys_at, kid, states, verdict_at};
use crate::support::binary::Binary;
use crate::support::{World, on_each_engine, reason};
use crate::verify::{ACTIVE, INVALID, REVOKED};

const ALG: &str = "COUNTERSIGN_TOKEN_ALG";
const SECRET: &str = "f3a1c5d7e9b2f4a6c8d0e2f4a6b8c0d2";
const ISSUER: &str = "http://localhost:3080";

/// One part of a token, decoded.
fn part(token: &str, number: usize) -> Value {
    let part = token.split('.').nth(number).expect("a part");
    let part = URL_SAFE_NO_PAD.decode(part).expect("base64url");
    serde_json::from_slice(&part).expect("JSON")
}

async fn served(world: &World<'_>, path: &str) -> Value {
    let ops = world.replica().ops.expect("listens");
    let (status, body) = get(ops, &format!("/.well-known/{path}")).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

#[tokio::test]
async fn after_a_change_of_the_algorithm_new_tokens_have_it_and_old_ones_are_still_active() {
    use SigningKeyState::{Active, Next, Retired};
    on_each_engine(async |engine| {
        let mut world = World::start(engine, &[("COUNTERSIGN_OPS_LISTEN", "127.0.0.1:0")]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        assert_eq!(part(&tokens.access_token, 0)["alg"], "EdDSA");

        world.stop().await;
        world.set(ALG, "ES256");
        world.clock.advance(Duration::from_secs(1));
        world.resume().await;
        assert_eq!(world.verdict(&tokens.access_token).await, ACTIVE);
        let next = world
            .refresh(&tokens.refresh_token)
            .await
            .expect("the next pair");
        let header = part(&next.access_token, 0);
        assert_eq!(header["alg"], "ES256");
        let fresh = world.another().await.expect("starts");
        assert_eq!(verdict_at(&fresh, &next.access_token).await, ACTIVE);
        fresh.stop().await;

        // The next key was withdrawn, because it has the former algorithm.
        let keys = keys_at(world.replica()).await;
        assert_eq!(states(&keys), [Next, Active, Retired]);
        assert_eq!(keys[0].algorithm, "ES256");
        let told: Vec<_> = keys[1..]
            .iter()
            .map(|key| (key.kid.clone(), key.algorithm.as_str()))
            .collect();
        let expected = [
            (kid(&next.access_token), "ES256"),
            (kid(&tokens.access_token), "EdDSA"),
        ];
        assert_eq!(told, expected);
        let jwks = served(&world, "jwks.json").await;
        let of = |number: usize| (&jwks["keys"][number]["kty"], &jwks["keys"][number]["alg"]);
        assert_eq!(of(1), (&json!("EC"), &json!("ES256")));
        assert_eq!(of(2), (&json!("OKP"), &json!("EdDSA")));
        let metadata = served(&world, "openid-configuration").await;
        assert_eq!(
            metadata["id_token_signing_alg_values_supported"],
            json!(["ES256", "EdDSA"])
        );
        world.end().await;
    })
    .await;
}

/// A token with these claims, made by somebody who knows the secret.
fn made_by_another(claims: &Value) -> String {
    let mut header = Header::new(Algorithm::HS256);
    header.typ = Some("at+jwt".to_owned());
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&header, claims, &key).expect("signed")
}

#[tokio::test]
async fn tokens_that_are_signed_with_librechats_secret_are_as_its_backends_expect_them() {
    on_each_engine(async |engine| {
        let ops = ("COUNTERSIGN_OPS_LISTEN", "127.0.0.1:0");
        let world = World::start(engine, &[(ALG, "HS256"), ("JWT_SECRET", SECRET), ops]).await;
        world.secret(SECRET);
        let (user, tokens) = world.signed_in("ann@example.com").await;
        assert_eq!(
            part(&tokens.access_token, 0),
            json!({"alg": "HS256", "typ": "at+jwt"})
        );
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[ISSUER]);
        let key = DecodingKey::from_secret(SECRET.as_bytes());
        let claims = jsonwebtoken::decode::<Value>(&tokens.access_token, &key, &validation);
        let claims = claims.expect("verified").claims;
        let librechats = json!([user.id, user.username, "local", "ann@example.com"]);
        assert_eq!(
            json!([
                claims["id"],
                claims["username"],
                claims["provider"],
                claims["email"]
            ]),
            librechats
        );

        let fresh = world.another().await.expect("starts");
        assert_eq!(verdict_at(&fresh, &tokens.access_token).await, ACTIVE);
        fresh.stop().await;
        // Whoever knows the secret can make tokens, but no session.
        let mut forged = claims.clone();
        forged["sid"] = json!("0123456789abcdef0123456789abcdef");
        assert_eq!(world.verdict(&made_by_another(&forged)).await, REVOKED);
        let mut others = claims;
        others["id"] = json!("0123456789abcdef01234567");
        assert_eq!(world.verdict(&made_by_another(&others)).await, INVALID);
        world.revoke(&tokens.session_id).await;
        assert_eq!(world.verdict(&tokens.access_token).await, REVOKED);
        assert_eq!(served(&world, "jwks.json").await, json!({"keys": []}));
        let metadata = served(&world, "openid-configuration").await;
        assert_eq!(
            metadata["id_token_signing_alg_values_supported"],
            json!(["HS256"])
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn with_librechats_secret_there_are_no_signing_keys() {
    on_each_engine(async |engine| {
        let mut world = World::start(engine, &[(ALG, "HS256"), ("JWT_SECRET", SECRET)]).await;
        let unused = (Code::FailedPrecondition, "SIGNING_KEYS_UNUSED".to_owned());
        let mut tokens = world.tokens();
        let kid = "x".to_owned();
        for refused in [
            tokens
                .list_signing_keys(ListSigningKeysRequest {})
                .await
                .map(drop),
            tokens
                .rotate_signing_key(RotateSigningKeyRequest {})
                .await
                .map(drop),
            tokens
                .revoke_signing_key(RevokeSigningKeyRequest { kid })
                .await
                .map(drop),
        ] {
            assert_eq!(reason(&refused.expect_err("no keys")), unused);
        }
        assert_eq!(engine.number("SELECT COUNT(*) FROM signing_keys").await, 0);
        // With keys again, tokens that were signed with the secret are not accepted any more.
        let (_, old) = world.signed_in("ann@example.com").await;
        world.stop().await;
        world.set(ALG, "EdDSA");
        world.resume().await;
        assert_eq!(world.verdict(&old.access_token).await, INVALID);
        let next = world
            .refresh(&old.refresh_token)
            .await
            .expect("the session goes on");
        assert_eq!(world.verdict(&next.access_token).await, ACTIVE);
        world.end().await;
    })
    .await;
}

#[test]
fn a_start_with_librechats_secret_warns_and_the_command_line_has_no_keys() {
    let settings = [(ALG, "HS256"), ("JWT_SECRET", SECRET)];
    let binary = Binary::new();
    let logged = binary.served(&settings);
    assert!(
        logged.contains("COUNTERSIGN_TOKEN_ALG is HS256: whoever knows JWT_SECRET"),
        "{logged}"
    );
    for arguments in [
        &["key", "list"][..],
        &["key", "rotate"],
        &["key", "revoke", "x"],
    ] {
        let printed = binary.run(arguments, &settings);
        assert!(
            !printed.succeeded && printed.error.contains("there are no signing keys"),
            "{}",
            printed.error
        );
    }
}
