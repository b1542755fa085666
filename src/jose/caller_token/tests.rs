//! Which JWTs of callers are good.

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaKeyPair,
};
use serde_json::{Value, json};

use super::*;
use crate::jose::encode;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const DAY: i64 = 24 * 3600;

struct Keys {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let random = SystemRandom::new();
    let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
    let ec = ec.expect("a key");
    let ed = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
    Keys {
        rsa: RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"),
        ec: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, ec.as_ref()).expect("a key"),
        ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).expect("a key"),
    }
});

fn sign(alg: &str, input: &str) -> Vec<u8> {
    let random = SystemRandom::new();
    let rsa = |encoding: &'static dyn aws_lc_rs::signature::RsaEncoding| {
        let mut signature = vec![0; KEYS.rsa.public_modulus_len()];
        let signed = KEYS
            .rsa
            .sign(encoding, &random, input.as_bytes(), &mut signature);
        signed.map(|()| signature).expect("signed")
    };
    match alg {
        "ES256" => {
            let signature = KEYS.ec.sign(&random, input.as_bytes());
            signature.expect("signed").as_ref().to_vec()
        }
        "EdDSA" => KEYS.ed.sign(input.as_bytes()).as_ref().to_vec(),
        "PS256" => rsa(&RSA_PSS_SHA256),
        _ => rsa(&RSA_PKCS1_SHA256),
    }
}

fn token_of(header: &Value, claims: &Value) -> String {
    let input = format!(
        "{}.{}",
        encode(header.to_string()),
        encode(claims.to_string())
    );
    let signature = sign(header["alg"].as_str().unwrap_or_default(), &input);
    format!("{input}.{}", encode(signature))
}

fn jwks() -> Value {
    let components = PublicKeyComponents::<Vec<u8>>::from(KEYS.rsa.public_key());
    let point = KEYS.ec.public_key().as_ref();
    json!({"keys": [
        {"kty": "RSA", "kid": "rsa", "use": "sig", "n": encode(&components.n), "e": encode(&components.e)},
        {"kty": "EC", "kid": "ec", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..])},
        {"kty": "OKP", "kid": "ed", "crv": "Ed25519", "alg": "EdDSA", "x": encode(KEYS.ed.public_key())},
    ]})
}

fn keys() -> CallerKeys {
    CallerKeys::parse(jwks().to_string().as_bytes()).expect("a key set")
}

fn claims() -> Value {
    json!({
        "iss": "https://kubernetes.default.svc", "aud": ["countersign"], "sub": "system:serviceaccount:chat:backend",
        "iat": NOW.secs(), "nbf": NOW.secs(), "exp": NOW.secs() + 3600,
    })
}

fn judge(token: &str, now: Timestamp) -> Result<Timestamp, CallerTokenFault> {
    CallerToken::parse(token)?.verify(&keys(), now)
}

fn with(name: &str, value: Value) -> String {
    let mut claims = claims();
    claims[name] = value;
    token_of(&json!({"alg": "ES256", "kid": "ec"}), &claims)
}

#[test]
fn tokens_of_each_kind_of_key_are_verified() {
    for (alg, kid) in [
        ("RS256", "rsa"),
        ("PS256", "rsa"),
        ("ES256", "ec"),
        ("EdDSA", "ed"),
    ] {
        for header in [
            json!({"alg": alg, "kid": kid}),
            json!({"alg": alg, "kid": kid, "typ": "JWT"}),
            json!({"alg": alg}),
        ] {
            let token = token_of(&header, &claims());
            assert_eq!(
                judge(&token, NOW),
                Ok(NOW.plus(Duration::from_secs(3630))),
                "{header}"
            );
        }
    }
    let token = token_of(&json!({"alg": "RS256", "kid": "rsa"}), &claims());
    let parsed = CallerToken::parse(&token).expect("well-formed");
    assert_eq!(parsed.issuer(), "https://kubernetes.default.svc");
    assert_eq!(parsed.subject(), "system:serviceaccount:chat:backend");
    assert!(parsed.is_for("countersign") && !parsed.is_for("counter"));
}

#[test]
fn a_header_that_is_not_a_callers_is_refused() {
    for header in [
        json!({"alg": "none"}),
        json!({"alg": "HS256", "kid": "rsa"}),
        json!({"alg": "ES256", "kid": "ec", "typ": "at+jwt"}),
        json!({"alg": "ES256", "kid": "ec", "typ": "logout+jwt"}),
        json!({"alg": "ES256", "kid": "ec", "crit": ["exp"]}),
        json!({"alg": "ES256", "kid": "ec", "jwk": jwks()["keys"][1]}),
        json!({"alg": "ES256", "kid": "ec", "jku": "https://evil.example"}),
        json!({"alg": "ES256", "kid": 1}),
        json!({"kid": "ec"}),
    ] {
        let judged = judge(&token_of(&header, &claims()), NOW);
        assert!(
            matches!(judged, Err(CallerTokenFault::Malformed(_))),
            "{header}"
        );
    }
}

#[test]
fn a_key_verifies_only_its_own_algorithm() {
    for (alg, kid) in [
        ("RS256", "ec"),
        ("ES256", "rsa"),
        ("EdDSA", "ec"),
        ("ES256", "other"),
    ] {
        let token = token_of(&json!({"alg": alg, "kid": kid}), &claims());
        assert_eq!(
            judge(&token, NOW),
            Err(CallerTokenFault::KeyUnknown),
            "{alg} {kid}"
        );
    }
}

#[test]
fn a_change_anywhere_in_a_token_is_seen() {
    let token = token_of(&json!({"alg": "ES256", "kid": "ec"}), &claims());
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).expect("ASCII");
        assert!(changed == token || judge(&changed, NOW).is_err(), "{at}");
    }
}

#[test]
fn a_token_without_kid_needs_a_set_with_one_fitting_key() {
    let token = token_of(&json!({"alg": "ES256"}), &claims());
    let mut set = jwks();
    let mut second = set["keys"][1].clone();
    second["kid"] = json!("ec2");
    set["keys"].as_array_mut().expect("a list").push(second);
    let keys = CallerKeys::parse(set.to_string().as_bytes()).expect("a key set");
    let judged = CallerToken::parse(&token)
        .expect("well-formed")
        .verify(&keys, NOW);
    assert_eq!(judged, Err(CallerTokenFault::KeyUnknown));
}

#[test]
fn times_are_checked_to_the_second_with_a_leeway_of_thirty() {
    let (now, later) = (NOW.secs(), |seconds| NOW.plus(Duration::from_secs(seconds)));
    let good = with("exp", json!(now + 3600));
    assert!(judge(&good, later(3629)).is_ok());
    assert_eq!(judge(&good, later(3630)), Err(CallerTokenFault::Expired));
    for name in ["nbf", "iat"] {
        assert!(judge(&with(name, json!(now + 30)), NOW).is_ok(), "{name}");
        let early = judge(&with(name, json!(now + 31)), NOW);
        assert_eq!(early, Err(CallerTokenFault::NotYetValid), "{name}");
    }
    assert!(judge(&with("exp", json!(now + DAY)), NOW).is_ok());
    let long = judge(&with("exp", json!(now + DAY + 1)), NOW);
    assert_eq!(long, Err(CallerTokenFault::TooLongLived));
    let mut undated = claims();
    undated.as_object_mut().expect("an object").remove("iat");
    undated["exp"] = json!(now + DAY + 31);
    let undated = token_of(&json!({"alg": "ES256", "kid": "ec"}), &undated);
    assert_eq!(judge(&undated, NOW), Err(CallerTokenFault::TooLongLived));
    assert!(judge(&undated, later(1)).is_ok());
}

#[test]
fn claims_of_another_form_are_refused() {
    for (name, value) in [
        ("iss", json!(null)),
        ("iss", json!(["https://kubernetes.default.svc"])),
        ("sub", json!(7)),
        ("aud", json!(null)),
        ("aud", json!({})),
        ("aud", json!(["countersign", 7])),
        ("exp", json!(null)),
        ("exp", json!("1800003600")),
        ("nbf", json!("now")),
        ("iat", json!(-1)),
    ] {
        let judged = judge(&with(name, value.clone()), NOW);
        assert!(
            matches!(judged, Err(CallerTokenFault::Malformed(_))),
            "{name} {value}"
        );
    }
}

#[test]
fn what_is_too_long_or_no_token_is_refused() {
    let long = with("more", json!("x".repeat(MAX_CALLER_TOKEN)));
    for token in ["", ".", "..", "a.b", "a.b.c", "....", &long] {
        let judged = judge(token, NOW);
        assert!(
            matches!(judged, Err(CallerTokenFault::Malformed(_))),
            "{token}"
        );
    }
}

#[test]
fn keys_that_could_not_verify_are_left_out() {
    let mut set = jwks();
    set["keys"][0]["alg"] = json!("ES256");
    set["keys"][1]["crv"] = json!("P-384");
    set["keys"][2]["x"] = json!("AAAA");
    let keys = CallerKeys::parse(set.to_string().as_bytes()).expect("a key set");
    assert!(keys.is_empty());
    assert!(CallerKeys::parse(b"{}").is_none());
}
