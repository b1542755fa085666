//! Which claims an access token must have.

use super::*;

#[test]
fn an_issuer_or_audience_that_is_not_the_expected_text_is_refused() {
    let key = key();
    for issuer in [
        json!(null),
        json!(1),
        json!(["https://id.example"]),
        json!("https://id.example/"),
        json!("https://ID.example"),
        json!(""),
    ] {
        assert_eq!(
            verify(&key, &with(&key, "iss", Some(issuer))),
            Err(Rejected::Invalid)
        );
    }
    for audience in [
        json!("other"),
        json!(["chat"]),
        json!(["chat", "x"]),
        json!([]),
        json!({}),
        json!(""),
        json!(null),
    ] {
        assert_eq!(
            verify(&key, &with(&key, "aud", Some(audience))),
            Err(Rejected::Invalid)
        );
    }
}

#[test]
fn every_claim_is_required_once_and_no_other_is_taken() {
    let key = key();
    for name in [
        "iss",
        "sub",
        "aud",
        "sid",
        "jti",
        "iat",
        "exp",
        "auth_time",
        "amr",
        "client_id",
    ] {
        assert_eq!(
            verify(&key, &with(&key, name, None)),
            Err(Rejected::Invalid),
            "{name} left out"
        );
        let text = String::from_utf8(claims().to_json()).expect("text");
        let value: Value = serde_json::from_str::<Value>(&text).expect("JSON")[name].clone();
        let twice = text.replacen('{', &format!(r#"{{"{name}":{value},"#), 1);
        assert_eq!(
            verify(&key, &key.sign_payload(twice.as_bytes())),
            Err(Rejected::Invalid),
            "{name} twice"
        );
    }
    assert_eq!(
        verify(&key, &with(&key, "cnf", Some(json!({})))),
        Err(Rejected::Invalid)
    );
    assert_eq!(
        verify(&key, &with(&key, "nbf", Some(json!(1)))),
        Err(Rejected::Invalid)
    );
}

#[test]
fn claims_of_another_type_or_size_are_refused() {
    let key = key();
    for (name, value) in [
        ("sub", json!("")),
        ("sub", json!("x".repeat(256))),
        ("sub", json!(7)),
        ("sid", json!("")),
        ("jti", json!("")),
        ("client_id", json!("")),
        ("amr", json!("pwd")),
        ("amr", json!([1])),
        ("exp", json!(1e18)),
        ("exp", json!(1_800_000_100.5)),
        ("exp", json!("1800000100")),
        ("iat", json!(-1)),
        ("auth_time", json!(null)),
    ] {
        assert_eq!(
            verify(&key, &with(&key, name, Some(value.clone()))),
            Err(Rejected::Invalid),
            "{name} {value}"
        );
    }
}

#[test]
fn times_are_exact_to_the_second() {
    let key = key();
    let at = |seconds| Timestamp::from_secs(NOW.secs() + seconds);
    let token = key.sign(&claims());
    assert!(verify_at(&key, &token, at(899)).is_ok());
    assert_eq!(
        verify_at(&key, &token, at(900)),
        Err(Rejected::Expired(Box::new(claims())))
    );
    assert!(verify_at(&key, &token, at(-30)).is_ok());
    assert_eq!(verify_at(&key, &token, at(-31)), Err(Rejected::Invalid));
    let day = 24 * 60 * 60;
    assert!(verify(&key, &with(&key, "exp", Some(json!(NOW.secs() + day)))).is_ok());
    assert_eq!(
        verify(&key, &with(&key, "exp", Some(json!(NOW.secs() + day + 1)))),
        Err(Rejected::Invalid)
    );
    assert_eq!(
        verify(&key, &with(&key, "exp", Some(json!(NOW.secs())))),
        Err(Rejected::Invalid)
    );
}

#[test]
fn an_expired_token_with_a_bad_signature_is_only_invalid() {
    let (key, other) = (key(), self::key());
    let late = NOW.plus(MAX_LIFETIME);
    assert_eq!(
        verify_access(
            &other.sign(&claims()),
            |_| Some(key.verify_key()),
            &EXPECTED,
            late
        ),
        Err(Rejected::Invalid)
    );
}

#[test]
fn a_token_beyond_eight_kibibytes_is_not_parsed() {
    let key = key();
    let filled = |amr: usize| {
        key.sign(&AccessClaims {
            amr: vec!["x".repeat(amr)],
            ..claims()
        })
    };
    let spare = MAX_LEN - filled(0).len();
    let longest = filled(spare / 4 * 3);
    assert!(longest.len() <= MAX_LEN && longest.len() > MAX_LEN - 4);
    assert!(verify(&key, &longest).is_ok());
    let looked_up = |token: &str| {
        let mut asked = false;
        let result = verify_access::<&VerifyKey>(
            token,
            |_| {
                asked = true;
                None
            },
            &EXPECTED,
            NOW,
        );
        assert_eq!(result, Err(Rejected::Invalid));
        asked
    };
    assert!(looked_up(&longest));
    for size in [spare / 4 * 3 + 4, 64 * 1024, 4 * 1024 * 1024] {
        assert!(!looked_up(&filled(size)));
    }
}
