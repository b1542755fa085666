//! Secrets.

use super::*;

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
