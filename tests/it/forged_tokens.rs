//! Access tokens that were changed, forged or signed elsewhere are invalid.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::jose::{self, VerifyKey};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::bad_tokens::{INVALID, assert_invalid};
use crate::support::{Engine, World, on_each_engine};

fn encode(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64url")).expect("JSON")
}

/// The parts of an access token, and the public key that verifies it.
struct Parts {
    header: String,
    payload: String,
    signature: String,
    public: Vec<u8>,
    kid: String,
}

impl Parts {
    async fn of(access_token: &str, engine: &Engine) -> Self {
        let [header, payload, signature]: [&str; 3] = access_token
            .split('.')
            .collect::<Vec<_>>()
            .try_into()
            .expect("three parts");
        let public = engine
            .bytes("SELECT public_key FROM signing_keys WHERE state = 'active'")
            .await;
        let key = VerifyKey::from_bytes(jose::Algorithm::EdDsa, &public).expect("a key");
        Self {
            header: header.to_owned(),
            payload: payload.to_owned(),
            signature: signature.to_owned(),
            kid: key.kid().to_owned(),
            public,
        }
    }
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
async fn a_token_that_names_another_algorithm_is_invalid() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        let Parts {
            payload,
            signature,
            public,
            kid,
            ..
        } = Parts::of(&tokens.access_token, engine).await;
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
        assert_invalid(&world, &bad).await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_token_that_brings_its_own_key_or_has_missing_parts_is_invalid() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        let Parts {
            header,
            payload,
            signature,
            kid,
            ..
        } = Parts::of(&tokens.access_token, engine).await;
        let mut bad = vec![
            format!("{header}.{payload}.{signature}."),
            format!("{header}..{signature}"),
            format!(".{payload}.{signature}"),
        ];
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
        assert_invalid(&world, &bad).await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_token_of_another_service_is_invalid_here() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let elsewhere = Engine::sqlite();
        let other = World::start(&elsewhere, &[]).await;
        let (_, theirs) = other.signed_in("ann@example.com").await;
        assert!(other.verdict(&theirs.access_token).await.0);
        assert_eq!(world.verdict(&theirs.access_token).await, INVALID);
        other.end().await;
        world.end().await;
    })
    .await;
}
