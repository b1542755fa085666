//! Secrets.

use super::*;
use crate::config::token::Signing;
use crate::model::algorithm::Algorithm;

#[test]
fn a_secret_may_come_from_a_file_and_only_from_one_place() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "a long bootstrap token\n").expect("written");
    let from_file = (
        "COUNTERSIGN_BOOTSTRAP_TOKEN_FILE",
        file.path().to_str().expect("a path"),
    );
    let config = good(&[from_file]);
    assert!(config.auth.bootstrap_token.as_ref().is_some_and(|token| {
        crate::secret::ExposeSecret::expose_secret(token) == "a long bootstrap token"
    }));
    assert_eq!(
        refused(&[
            from_file,
            ("COUNTERSIGN_BOOTSTRAP_TOKEN", "another long token")
        ]),
        ["COUNTERSIGN_BOOTSTRAP_TOKEN"]
    );
    assert_eq!(
        refused(&[("DATABASE_URL_FILE", "/nonexistent")]),
        ["DATABASE_URL_FILE"]
    );
    std::fs::write(file.path(), "\n").expect("written");
    assert_eq!(refused(&[from_file]), ["COUNTERSIGN_BOOTSTRAP_TOKEN_FILE"]);
}

#[test]
fn a_secret_that_everybody_knows_is_refused() {
    for value in ["secret", " Secret ", "Your client secret"] {
        assert_eq!(
            provider(&[("OPENID_CLIENT_SECRET", value)])
                .expect_err(value)
                .to_string(),
            "OPENID_CLIENT_SECRET is the value of a public sample file; make one of your own"
        );
    }
    assert_eq!(
        refused(&[("OPENID_SESSION_SECRET", "Any random string")]),
        ["OPENID_SESSION_SECRET"]
    );
}

#[test]
fn no_two_secrets_are_equal() {
    let key = "0f1e".repeat(16);
    for (one, other) in [
        ("CREDS_KEY", "OPENID_SESSION_SECRET"),
        ("COUNTERSIGN_BOOTSTRAP_TOKEN", "CREDS_KEY"),
        ("JWT_REFRESH_SECRET", "JWT_SECRET"),
    ] {
        let (first, second) = (one.min(other), one.max(other));
        let mistakes = load(&[(one, key.as_str()), (other, key.as_str())]).expect_err(one);
        assert_eq!(
            mistakes.to_string(),
            format!("{second} has the same value as {first}: give each a secret of its own")
        );
    }
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), format!("{key}\n")).expect("written");
    let path = file.path().to_str().expect("a path");
    assert_eq!(
        refused(&[("CREDS_KEY", key.as_str()), ("JWT_SECRET_FILE", path)]),
        ["JWT_SECRET"]
    );
}

#[test]
fn tokens_are_signed_with_a_secret_only_if_it_is_there_and_long_enough() {
    let secret = "a".repeat(32);
    let config = good(&[("COUNTERSIGN_TOKEN_ALG", "HS256"), ("JWT_SECRET", &secret)]);
    assert!(matches!(config.token.signing, Signing::Secret(_)));
    let about = |warnings: &[String], start: &str| {
        warnings.iter().any(|warning| warning.starts_with(start))
    };
    assert!(about(&config.warnings, "COUNTERSIGN_TOKEN_ALG is HS256"));
    for (pairs, name) in [
        (&[][..], "COUNTERSIGN_TOKEN_ALG"),
        (&[("JWT_SECRET", &secret[1..])], "JWT_SECRET"),
        (&[("JWT_SECRET", "secret")], "JWT_SECRET"),
    ] {
        let pairs = [&[("COUNTERSIGN_TOKEN_ALG", "HS256")], pairs].concat();
        assert_eq!(refused(&pairs), [name], "{pairs:?}");
    }
    for (stated, expected) in [("EdDSA", Algorithm::EdDsa), ("ES256", Algorithm::Es256)] {
        let config = good(&[("COUNTERSIGN_TOKEN_ALG", stated), ("JWT_SECRET", &secret)]);
        let Signing::Keys(algorithm) = config.token.signing.clone() else {
            panic!("{stated}")
        };
        assert_eq!(algorithm, expected);
        assert!(about(&config.warnings, "JWT_SECRET has no effect"));
    }
    // Whether it is used or not.
    for published in [
        "secret",
        "16f8c0ef4a5d391b26034086c628469d3f9f497f08163ab9b40137092f2909ef",
    ] {
        assert_eq!(refused(&[("JWT_SECRET", published)]), ["JWT_SECRET"]);
    }
    for bad in ["RS256", "none", "hs256", "eddsa"] {
        assert_eq!(
            refused(&[("COUNTERSIGN_TOKEN_ALG", bad)]),
            ["COUNTERSIGN_TOKEN_ALG"]
        );
    }
}
