//! Which algorithm a token may be signed with: its key's, whatever its header says.

use super::*;
use crate::jose::SharedKey;
use crate::secret::SecretString;

const SECRET: &str = "a secret that LibreChat's backends know";

fn shared() -> SharedKey {
    SharedKey::new(&SecretString::from(SECRET)).expect("long enough")
}

/// The claims of a token that LibreChat's backends can read.
fn librechats() -> AccessClaims {
    AccessClaims {
        id: Some(claims().sub),
        username: Some("ann".into()),
        provider: Some("local".into()),
        email: Some(String::new()),
        ..claims()
    }
}

fn verify_shared(token: &str) -> Result<AccessClaims, Rejected> {
    verify_shared_access(token, &shared(), &EXPECTED, NOW)
}

/// A payload under a header, and the MAC of both.
fn shared_under_header(header: &str, claims: &AccessClaims) -> String {
    let input = format!("{}.{}", encode(header), encode(claims.to_json()));
    let mac = shared().sign_input(&input);
    format!("{input}.{mac}")
}

/// The claims as JSON with one of them changed, or left out if there is no value.
fn payload(claims: &AccessClaims, name: &str, value: Option<Value>) -> Vec<u8> {
    let mut payload: Value = serde_json::from_slice(&claims.to_json()).expect("JSON");
    let members = payload.as_object_mut().expect("an object");
    match value {
        Some(value) => members.insert(name.to_owned(), value),
        None => members.remove(name),
    };
    payload.to_string().into_bytes()
}

#[test]
fn a_token_of_each_algorithm_verifies_to_its_claims() {
    for algorithm in Algorithm::ALL {
        let key = key_of(algorithm);
        assert_eq!(verify(&key, &key.sign(&claims())), Ok(claims()));
    }
    assert_eq!(
        verify_shared(&shared().sign(&librechats())),
        Ok(librechats())
    );
}

#[test]
fn the_alg_of_a_header_must_be_that_of_the_key() {
    for algorithm in Algorithm::ALL {
        let key = key_of(algorithm);
        let kid = key.kid();
        for alg in ["EdDSA", "ES256", "ES384", "RS256", "HS256", "none", ""] {
            let header = format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"at+jwt"}}"#);
            let verified = verify(&key, &under_header(&key, &header));
            assert_eq!(verified.is_ok(), alg == algorithm.name(), "{alg}");
        }
    }
}

#[test]
fn a_signature_of_one_algorithm_under_the_name_of_a_key_of_another_is_refused() {
    let (ed, p256) = (key_of(Algorithm::EdDsa), key_of(Algorithm::Es256));
    for (signer, named) in [(&ed, &p256), (&p256, &ed)] {
        for alg in Algorithm::ALL {
            let (alg, kid) = (alg.name(), named.kid());
            let header = format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"at+jwt"}}"#);
            assert_eq!(
                verify(named, &under_header(signer, &header)),
                Err(Rejected::Invalid)
            );
        }
    }
}

#[test]
fn a_key_pair_verifies_no_token_under_a_shared_secret() {
    for algorithm in Algorithm::ALL {
        let key = key_of(algorithm);
        let kid = key.kid();
        let any =
            |token: &str| verify_access(token, |_| Some(key.verify_key()), &EXPECTED, NOW).err();
        for claims in [claims(), librechats()] {
            assert_eq!(any(&shared().sign(&claims)), Some(Rejected::Invalid));
            for alg in ["HS256", algorithm.name()] {
                let header = format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"at+jwt"}}"#);
                let token = shared_under_header(&header, &claims);
                assert_eq!(any(&token), Some(Rejected::Invalid));
            }
        }
    }
}

#[test]
fn a_shared_secret_verifies_no_token_of_a_key_pair() {
    for algorithm in Algorithm::ALL {
        let key = key_of(algorithm);
        for claims in [claims(), librechats()] {
            assert_eq!(verify_shared(&key.sign(&claims)), Err(Rejected::Invalid));
            let under = key.sign_payload(&claims.to_json());
            let payload = under.split('.').nth(1).expect("a payload");
            let input = format!("{}.{payload}", encode(r#"{"alg":"HS256","typ":"at+jwt"}"#));
            let forged = format!("{input}.{}", key.sign_input(&input));
            assert_eq!(verify_shared(&forged), Err(Rejected::Invalid));
        }
    }
}

#[test]
fn a_header_beside_a_shared_secret_is_exactly_its_own() {
    let good = r#"{"alg":"HS256","typ":"at+jwt"}"#;
    assert!(verify_shared(&shared_under_header(good, &librechats())).is_ok());
    for header in [
        r#"{"alg":"none","typ":"at+jwt"}"#,
        r#"{"alg":"hs256","typ":"at+jwt"}"#,
        r#"{"alg":"HS512","typ":"at+jwt"}"#,
        r#"{"alg":"EdDSA","typ":"at+jwt"}"#,
        r#"{"alg":"ES256","typ":"at+jwt"}"#,
        r#"{"alg":"HS256","typ":"JWT"}"#,
        r#"{"alg":"HS256"}"#,
        r#"{"alg":"HS256","typ":"at+jwt","kid":"k"}"#,
        r#"{"alg":"HS256","typ":"at+jwt","kid":null}"#,
        r#"{"alg":"HS256","typ":"at+jwt","jwk":{}}"#,
        r#"{"alg":"HS256","typ":"at+jwt","crit":[]}"#,
        r#"{"alg":"HS256","alg":"HS256","typ":"at+jwt"}"#,
    ] {
        assert_eq!(
            verify_shared(&shared_under_header(header, &librechats())),
            Err(Rejected::Invalid),
            "{header}"
        );
    }
}

#[test]
fn a_flipped_bit_of_a_token_under_a_shared_secret_is_refused_at_every_position() {
    let token = shared().sign(&librechats()).into_bytes();
    for position in 0..token.len() {
        for bit in 0..8 {
            let mut changed = token.clone();
            changed[position] ^= 1 << bit;
            if let Ok(changed) = std::str::from_utf8(&changed) {
                assert_eq!(verify_shared(changed), Err(Rejected::Invalid));
            }
        }
    }
}

#[test]
fn librechats_claims_are_in_tokens_under_its_secret_and_in_no_others() {
    let key = key();
    assert_eq!(
        verify(&key, &key.sign(&librechats())),
        Err(Rejected::Invalid)
    );
    assert_eq!(
        verify_shared(&shared().sign(&claims())),
        Err(Rejected::Invalid)
    );
    for name in ["id", "username", "provider", "email"] {
        let one = payload(&claims(), name, Some(json!("x")));
        assert_eq!(
            verify(&key, &key.sign_payload(&one)),
            Err(Rejected::Invalid)
        );
        let null = payload(&claims(), name, Some(json!(null)));
        assert_eq!(
            verify(&key, &key.sign_payload(&null)),
            Err(Rejected::Invalid)
        );
        for value in [None, Some(json!(null)), Some(json!(1))] {
            let other = payload(&librechats(), name, value);
            let token = shared().sign_payload(&other);
            assert_eq!(verify_shared(&token), Err(Rejected::Invalid), "{name}");
        }
    }
    let other = payload(&librechats(), "id", Some(json!("64b0c0ffee64b0c0ffee64b1")));
    assert_eq!(
        verify_shared(&shared().sign_payload(&other)),
        Err(Rejected::Invalid)
    );
}

#[test]
fn a_token_that_librechat_signed_itself_is_refused() {
    let theirs = json!({"id": claims().sub, "username": "ann", "provider": "local", "email": "a@b.c",
        "iat": NOW.secs(), "exp": NOW.secs() + 900});
    for header in [
        r#"{"alg":"HS256","typ":"JWT"}"#,
        r#"{"alg":"HS256","typ":"at+jwt"}"#,
    ] {
        let input = format!("{}.{}", encode(header), encode(theirs.to_string()));
        let token = format!("{input}.{}", shared().sign_input(&input));
        assert_eq!(verify_shared(&token), Err(Rejected::Invalid));
    }
}

#[test]
fn what_is_expected_of_a_token_is_so_under_a_shared_secret_too() {
    for (name, value) in [
        ("iss", json!("https://other.example")),
        ("aud", json!("other")),
        ("sub", json!("")),
        ("exp", json!(NOW.secs() + 25 * 60 * 60)),
        ("iat", json!(NOW.secs() + 31)),
        ("nbf", json!(NOW.secs())),
    ] {
        let token = shared().sign_payload(&payload(&librechats(), name, Some(value)));
        assert_eq!(verify_shared(&token), Err(Rejected::Invalid), "{name}");
    }
    let late = NOW.plus(Duration::from_mins(15));
    assert_eq!(
        verify_shared_access(&shared().sign(&librechats()), &shared(), &EXPECTED, late),
        Err(Rejected::Expired(Box::new(librechats())))
    );
}
