//! The public keys on the side listener.

use std::net::SocketAddr;
use std::time::Duration;

use countersign::grpc::proto::*;
use serde_json::{Value, json};

use crate::ops::{get, send};
use crate::signing_keys::{keys_at, kid};
use crate::support::world::Replica;
use crate::support::{Engine, World, on_each_engine};

const ANY: (&str, &str) = ("COUNTERSIGN_OPS_LISTEN", "127.0.0.1:0");
const JWKS: &str = "/.well-known/jwks.json";
const METADATA: &str = "/.well-known/openid-configuration";

fn ops(replica: &Replica) -> SocketAddr {
    replica.ops.expect("listens")
}

/// The keys that a replica serves.
async fn served(replica: &Replica) -> Vec<Value> {
    let (status, body) = get(ops(replica), JWKS).await;
    assert_eq!(status, 200, "{body}");
    let mut set: Value = serde_json::from_str(&body).expect("JSON");
    let Value::Array(keys) = set["keys"].take() else {
        panic!("no keys: {body}")
    };
    keys
}

async fn kids(replica: &Replica) -> Vec<String> {
    let kid = |key: Value| key["kid"].as_str().expect("a kid").to_owned();
    served(replica).await.into_iter().map(kid).collect()
}

#[tokio::test]
async fn the_keys_of_all_accepted_tokens_are_served_and_no_private_half() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[ANY]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        let first = kid(&tokens.access_token);
        let keys = served(world.replica()).await;
        let public = keys[1]["x"].as_str().expect("a public half");
        let expected = json!({"kty": "OKP", "crv": "Ed25519", "x": public, "kid": first, "alg": "EdDSA", "use": "sig"});
        assert_eq!((keys.len(), &keys[1]), (2, &expected));
        let listed = world.tokens().list_signing_keys(ListSigningKeysRequest {}).await;
        let listed: Value = serde_json::from_str(&listed.expect("listed").into_inner().jwks).expect("JSON");
        assert_eq!(listed, json!({ "keys": keys }));

        let second = keys[0]["kid"].as_str().expect("a kid").to_owned();
        let rotated = world.tokens().rotate_signing_key(RotateSigningKeyRequest {}).await;
        let active = rotated.expect("rotated").into_inner().active_key.expect("a key").kid;
        assert_eq!(active, second);
        assert_eq!(kids(world.replica()).await[1..], [second.clone(), first.clone()]);
        let revoke = RevokeSigningKeyRequest { kid: first };
        world.tokens().revoke_signing_key(revoke).await.expect("revoked");
        assert_eq!(kids(world.replica()).await[1..], [second]);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn another_process_serves_a_new_key_before_it_signs() {
    on_each_engine(async |engine| {
        let mut world = World::start(engine, &[ANY]).await;
        let other = world.another().await.expect("starts");
        let first = kids(&other).await;
        assert_eq!(kids(world.replica()).await, first);
        world.clock.advance(Duration::from_hours(30 * 24));
        world.restart().await;
        let told = async {
            while kids(&other).await.len() < 3 {
                tokio::task::yield_now().await;
            }
        };
        let told = tokio::time::timeout(Duration::from_secs(30), told).await;
        told.expect("it follows the change feed");
        let keys = keys_at(&other).await;
        // The one that was served before signs now.
        assert_eq!([&keys[1].kid, &keys[2].kid], [&first[0], &first[1]]);
        assert_eq!(keys[0].state(), SigningKeyState::Next);
        let listed: Vec<_> = keys.into_iter().map(|key| key.kid).collect();
        assert_eq!(kids(&other).await, listed);
        other.stop().await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn keys_may_be_kept_for_a_minute_and_are_sent_once_to_those_who_have_them() {
    let engine = Engine::sqlite();
    let world = World::start(&engine, &[ANY]).await;
    let head = |condition: &str| format!("GET {JWKS} HTTP/1.1\r\n{condition}");
    let answer = send(ops(world.replica()), &head("")).await;
    for line in [
        "HTTP/1.1 200 OK",
        "content-type: application/json",
        "cache-control: public, max-age=60",
    ] {
        assert!(
            answer.lines().any(|found| found == line),
            "{line}: {answer}"
        );
    }
    let tag = answer
        .lines()
        .find_map(|line| line.strip_prefix("etag: "))
        .expect("a tag");
    for known in [tag, "*", &format!("\"x\", W/{tag}")] {
        let again = send(
            ops(world.replica()),
            &head(&format!("if-none-match: {known}\r\n")),
        )
        .await;
        assert!(
            again.starts_with("HTTP/1.1 304 ") && again.ends_with("\r\n\r\n"),
            "{again}"
        );
        assert!(again.contains(&format!("etag: {tag}")), "{again}");
    }
    world
        .tokens()
        .rotate_signing_key(RotateSigningKeyRequest {})
        .await
        .expect("rotated");
    let changed = send(
        ops(world.replica()),
        &head(&format!("if-none-match: {tag}\r\n")),
    )
    .await;
    assert!(changed.starts_with("HTTP/1.1 200 "), "{changed}");
    world.end().await;
}

#[tokio::test]
async fn the_metadata_of_the_issuer_names_the_address_of_the_keys() {
    let engine = Engine::sqlite();
    let issuer = ("DOMAIN_SERVER", "https://chat.example.com");
    let open = ("COUNTERSIGN_INSECURE_OPEN", "true");
    for (settings, base) in [
        (&[ANY, issuer, open][..], None),
        (
            &[
                ANY,
                issuer,
                open,
                ("COUNTERSIGN_OPS_URL", "https://keys.example.com/c/"),
            ],
            Some("https://keys.example.com/c"),
        ),
    ] {
        let world = World::start(&engine, settings).await;
        let address = ops(world.replica());
        let base = base.map_or_else(|| format!("http://{address}"), str::to_owned);
        let (status, body) = get(address, METADATA).await;
        let metadata: Value = serde_json::from_str(&body).expect("JSON");
        let expected = json!({
            "issuer": "https://chat.example.com",
            "jwks_uri": format!("{base}{JWKS}"),
            "response_types_supported": [],
            "grant_types_supported": [],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["EdDSA"],
        });
        assert_eq!((status, metadata), (200, expected));
        world.end().await;
    }
}

#[tokio::test]
async fn a_listener_that_does_not_know_its_own_address_says_which_setting_is_missing() {
    let engine = Engine::sqlite();
    let world = World::start(&engine, &[("COUNTERSIGN_OPS_LISTEN", "0.0.0.0:0")]).await;
    let port = ops(world.replica()).port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let (status, body) = get(address, METADATA).await;
    assert!(
        status == 404 && body.contains("COUNTERSIGN_OPS_URL"),
        "{body}"
    );
    assert_eq!(get(address, JWKS).await.0, 200);
    world.end().await;
}
