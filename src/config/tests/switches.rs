//! LibreChat's ALLOW_ switches.

use super::*;

#[test]
fn unset_follows_librechats_sample_file_and_blank_its_code() {
    let allowed = |pairs: &[(&str, &str)]| {
        let auth = good(pairs).config.auth;
        [
            auth.allow_registration,
            auth.allow_email_login,
            auth.allow_social_login,
        ]
    };
    assert_eq!(allowed(&[]), [true, true, false]);
    for value in ["", " ", "false", "1", "on"] {
        let pairs = [
            ("ALLOW_REGISTRATION", value),
            ("ALLOW_EMAIL_LOGIN", value),
            ("ALLOW_SOCIAL_LOGIN", value),
        ];
        assert_eq!(allowed(&pairs), [false, false, false], "{value:?}");
    }
    assert_eq!(
        allowed(&[("ALLOW_SOCIAL_LOGIN", " True ")]),
        [true, true, true]
    );
}

#[test]
fn a_value_that_is_neither_true_nor_false_is_warned_of() {
    let warned = |value| {
        let warnings = good(&[("ALLOW_REGISTRATION", value)]).warnings;
        warnings
            .iter()
            .any(|warning| warning.starts_with("ALLOW_REGISTRATION"))
    };
    assert!(warned("yes"));
    assert!(!warned("FALSE") && !warned("true") && !warned(""));
}
