mod algorithms;
mod claims;
mod exchanged;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::jose::{Algorithm, SigningKey, encode};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const EXPECTED: Expected<'_> = Expected {
    issuer: "https://id.example",
    audience: Some("chat"),
};

fn key() -> SigningKey {
    key_of(Algorithm::EdDsa)
}

fn key_of(algorithm: Algorithm) -> SigningKey {
    SigningKey::from_pkcs8(algorithm, &SigningKey::generate_pkcs8(algorithm)).expect("a key")
}

fn claims() -> AccessClaims {
    AccessClaims {
        iss: "https://id.example".into(),
        sub: "64b0c0ffee64b0c0ffee64b0".into(),
        aud: "chat".into(),
        sid: "s1".into(),
        jti: "j1".into(),
        iat: NOW,
        exp: NOW.plus(Duration::from_mins(15)),
        auth_time: NOW.minus(Duration::from_mins(5)),
        amr: vec!["pwd".into()],
        client_id: "chat-backend".into(),
        id: None,
        username: None,
        provider: None,
        email: None,
        scope: None,
        act: None,
    }
}

fn verify_at(key: &SigningKey, token: &str, now: Timestamp) -> Result<AccessClaims, Rejected> {
    verify_access(
        token,
        |kid| (kid == key.kid()).then(|| key.verify_key()),
        &EXPECTED,
        now,
    )
}

fn verify(key: &SigningKey, token: &str) -> Result<AccessClaims, Rejected> {
    verify_at(key, token, NOW)
}

/// A token with one claim changed (or left out if there is no value) and a good signature.
fn with(key: &SigningKey, name: &str, value: Option<Value>) -> String {
    let mut payload: Value = serde_json::from_slice(&claims().to_json()).expect("JSON");
    let members = payload.as_object_mut().expect("an object");
    match value {
        Some(value) => members.insert(name.to_owned(), value),
        None => members.remove(name),
    };
    key.sign_payload(payload.to_string().as_bytes())
}

/// A token under another header, signed with the right key.
fn under_header(key: &SigningKey, header: &str) -> String {
    let signed = key.sign(&claims());
    let payload = signed.split('.').nth(1).expect("a payload").to_owned();
    let other = format!("{}.{payload}", encode(header));
    let pair = key.sign_input(&other);
    format!("{other}.{pair}")
}

#[test]
fn a_signed_token_verifies_to_its_claims() {
    let key = key();
    let token = key.sign(&claims());
    assert_eq!(verify(&key, &token), Ok(claims()));
    let any = Expected {
        audience: None,
        ..EXPECTED
    };
    assert!(verify_access(&token, |_| Some(key.verify_key()), &any, NOW).is_ok());
}

#[test]
fn a_token_of_another_key_or_of_no_key_is_invalid() {
    let (key, other) = (key(), self::key());
    let token = key.sign(&claims());
    assert_eq!(verify(&other, &token), Err(Rejected::Invalid));
    assert_eq!(
        verify_access(&token, |_| Some(other.verify_key()), &EXPECTED, NOW),
        Err(Rejected::Invalid)
    );
}

#[test]
fn a_flipped_bit_is_refused_at_every_position() {
    let key = key();
    let token = key.sign(&claims()).into_bytes();
    for position in 0..token.len() {
        for bit in 0..8 {
            let mut changed = token.clone();
            changed[position] ^= 1 << bit;
            if let Ok(changed) = std::str::from_utf8(&changed) {
                assert_eq!(
                    verify(&key, changed),
                    Err(Rejected::Invalid),
                    "byte {position}, bit {bit}"
                );
            }
        }
    }
}

#[test]
fn an_unsigned_token_is_refused_however_none_is_spelled() {
    let key = key();
    let signed = key.sign(&claims());
    let mut parts = signed.split('.').skip(1);
    let (payload, signature) = (
        parts.next().expect("a payload"),
        parts.next().expect("a signature"),
    );
    for alg in ["none", "None", "nOnE", "", "EdDSA"] {
        let header = encode(format!(
            r#"{{"alg":"{alg}","kid":"{}","typ":"at+jwt"}}"#,
            key.kid()
        ));
        assert_eq!(
            verify(&key, &format!("{header}.{payload}.")),
            Err(Rejected::Invalid)
        );
        assert_eq!(
            verify(&key, &format!("{header}.{payload}")),
            Err(Rejected::Invalid)
        );
        if alg != "EdDSA" {
            assert_eq!(
                verify(&key, &format!("{header}.{payload}.{signature}")),
                Err(Rejected::Invalid)
            );
        }
    }
}

#[test]
fn the_public_key_is_no_shared_secret() {
    let key = key();
    let payload = encode(claims().to_json());
    let header = encode(format!(
        r#"{{"alg":"HS256","kid":"{}","typ":"at+jwt"}}"#,
        key.kid()
    ));
    let input = format!("{header}.{payload}");
    let public = key.verify_key().public();
    for secret in [public, encode(public).as_bytes(), b""] {
        let mac = aws_lc_rs::hmac::sign(
            &aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret),
            input.as_bytes(),
        );
        assert_eq!(
            verify(&key, &format!("{input}.{}", encode(mac))),
            Err(Rejected::Invalid)
        );
    }
}

#[test]
fn a_header_with_anything_but_its_three_members_is_refused() {
    let key = key();
    let kid = key.kid();
    let good = format!(r#"{{"alg":"EdDSA","kid":"{kid}","typ":"at+jwt"}}"#);
    assert!(
        verify(&key, &under_header(&key, &good)).is_ok(),
        "the control"
    );
    for member in [
        r#""jwk":{}"#,
        r#""jku":"https://evil.example""#,
        r#""x5u":"https://evil.example""#,
        r#""x5c":[]"#,
        r#""crit":["exp"]"#,
        r#""crit":["b64"],"b64":false"#,
        r#""crit":[]"#,
        r#""zip":"DEF""#,
        r#""alg":"EdDSA""#,
        r#""cty":"JWT""#,
    ] {
        let header = good.replacen('{', &format!("{{{member},"), 1);
        assert_eq!(
            verify(&key, &under_header(&key, &header)),
            Err(Rejected::Invalid),
            "{header}"
        );
    }
    for header in [
        format!(r#"{{"alg":"EdDSA","kid":"{kid}","typ":"JWT"}}"#),
        format!(r#"{{"alg":"EdDSA","kid":"{kid}","typ":"AT+JWT"}}"#),
        format!(r#"{{"alg":"EdDSA","kid":"{kid}"}}"#),
        r#"{"alg":"EdDSA","typ":"at+jwt"}"#.to_owned(),
        format!(r#"["EdDSA","{kid}","at+jwt"]"#),
    ] {
        assert_eq!(
            verify(&key, &under_header(&key, &header)),
            Err(Rejected::Invalid),
            "{header}"
        );
    }
}

#[test]
fn tokens_of_other_kinds_are_refused() {
    let key = key();
    for token in [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "csr_0123456789abcdef",
        "eyJhbGciOiJFZERTQSJ9..c2ln",
    ] {
        assert_eq!(verify(&key, token), Err(Rejected::Invalid), "{token}");
    }
    let good = key.sign(&claims());
    for token in [
        format!("{good}."),
        format!(".{good}"),
        format!("{good} "),
        format!("{good}="),
        good.replacen('.', "..", 1),
    ] {
        assert_eq!(verify(&key, &token), Err(Rejected::Invalid), "{token}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_is_refused(token in ".{0,200}") {
        let key = VerifyKey::from_bytes(Algorithm::EdDsa, &[7; 32]).expect("32 bytes");
        prop_assert_eq!(verify_access(&token, |_| Some(&key), &EXPECTED, NOW), Err(Rejected::Invalid));
    }

    #[test]
    fn arbitrary_parts_are_refused(header in ".{0,80}", payload in ".{0,80}", signature in proptest::collection::vec(any::<u8>(), 0..80)) {
        let key = VerifyKey::from_bytes(Algorithm::EdDsa, &[7; 32]).expect("32 bytes");
        let token = format!("{}.{}.{}", encode(header), encode(payload), encode(signature));
        prop_assert_eq!(verify_access(&token, |_| Some(&key), &EXPECTED, NOW), Err(Rejected::Invalid));
    }
}
