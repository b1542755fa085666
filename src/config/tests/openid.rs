//! The settings of identity providers.

use super::*;

#[test]
fn half_a_provider_is_a_mistake() {
    assert_eq!(refused(&[("OPENID_CLIENT_ID", "chat")]), ["OPENID_ISSUER"]);
    assert_eq!(
        refused(&[("OPENID_ISSUER", "https://id.example")]),
        ["OPENID_CLIENT_ID"]
    );
    assert_eq!(
        refused(&[("OPENID_CLIENT_SECRET", "s")]),
        ["OPENID_CLIENT_ID", "OPENID_ISSUER"]
    );
    assert!(
        good(&[("OPENID_SESSION_SECRET", "s"), ("OPENID_USE_PKCE", "true")])
            .providers
            .is_empty()
    );
}

#[test]
fn settings_without_a_provider_are_checked_and_warned_of() {
    assert_eq!(
        refused(&[("OPENID_SCOPE", "x"), ("OPENID_CLOCK_TOLERANCE", "canary")]),
        ["OPENID_SCOPE", "OPENID_CLOCK_TOLERANCE"]
    );
    let config = good(&[
        ("OPENID_SCOPE", "openid"),
        ("OPENID_AUDIENCE", "a"),
        ("ALLOW_SOCIAL_LOGIN", "true"),
    ]);
    assert!(config.providers.is_empty());
    assert!(
        config
            .warnings
            .iter()
            .any(|warning| warning.ends_with("OPENID_SCOPE, OPENID_AUDIENCE")),
        "{:?}",
        config.warnings
    );
    assert!(
        config
            .warnings
            .iter()
            .any(|warning| warning.starts_with("ALLOW_SOCIAL_LOGIN")),
        "{:?}",
        config.warnings
    );
}

#[test]
fn claims_have_plain_names() {
    for bad in ["a b", "a@b", "a|b", "rôle", "a\"b"] {
        assert_eq!(
            refused(&[("COUNTERSIGN_CLAIMS", bad)]),
            ["COUNTERSIGN_CLAIMS"],
            "{bad}"
        );
    }
}

#[test]
fn an_issuer_is_normalized() {
    for (text, expected) in [
        ("https://id.example/v2.0/", "https://id.example/v2.0"),
        (" https://id.example ", "https://id.example"),
        (
            "https://id.example/pool/.well-known/openid-configuration",
            "https://id.example/pool",
        ),
        (
            "https://id.example/.well-known/openid-configuration/",
            "https://id.example",
        ),
        ("http://127.0.0.1:4000/", "http://127.0.0.1:4000"),
    ] {
        assert_eq!(
            provider(&[("OPENID_ISSUER", text)]).expect(text).issuer,
            expected
        );
    }
    for text in [
        "http://id.example",
        "https://u@id.example",
        "https://id.example?p=1",
        "https://id.example#f",
        "https://login.example/Your Directory/v2.0",
        "id.example",
    ] {
        assert!(provider(&[("OPENID_ISSUER", text)]).is_err(), "{text}");
    }
}

#[test]
fn a_provider_has_librechats_defaults() {
    let provider = provider(&[]).expect("good");
    assert_eq!(
        (provider.id.as_str(), provider.client_id.as_str()),
        ("openid", "chat")
    );
    assert_eq!(provider.scopes, ["openid", "profile", "email"]);
    assert_eq!(
        provider.redirect_uri,
        "http://localhost:3080/oauth/openid/callback"
    );
    assert_eq!(
        (
            provider.auth_method,
            provider.algorithms,
            provider.clock_tolerance
        ),
        (
            providers::ClientAuth::Basic,
            vec![providers::SigningAlg::Rs256],
            Duration::from_mins(1)
        )
    );
    assert!(provider.allow_registration && provider.end_session.is_none());
}

#[test]
fn a_providers_settings_are_checked() {
    for (name, value) in [
        ("OPENID_SCOPE", "profile email"),
        ("OPENID_CALLBACK_URL", "https://evil.example/"),
        ("OPENID_CALLBACK_URL", "/a?b"),
        ("OPENID_CLOCK_TOLERANCE", "301"),
        ("OPENID_ID_TOKEN_ALGS", "HS256"),
        ("OPENID_ID_TOKEN_ALGS", "RS256,none"),
        ("OPENID_TOKEN_ENDPOINT_AUTH_METHOD", "none"),
        ("OPENID_TOKEN_ENDPOINT_AUTH_METHOD", "basic"),
        ("OPENID_CLIENT_ID", " "),
        ("OPENID_EMAIL_TRUSTED", "yes"),
        ("OPENID_POST_LOGOUT_REDIRECT_URI", "/login"),
        ("OPENID_POST_LOGOUT_REDIRECT_URI", "javascript:alert(1)"),
    ] {
        assert!(
            provider(&[(name, value)]).is_err_and(|found| found.mistakes[0].name == name),
            "{name}={value}"
        );
    }
    let public = provider(&[
        ("OPENID_CLIENT_SECRET", ""),
        ("OPENID_ID_TOKEN_ALGS", "ES256, EdDSA"),
    ])
    .expect("good");
    assert_eq!(
        (public.auth_method, public.algorithms.len()),
        (providers::ClientAuth::None, 2)
    );
}

#[test]
fn after_a_logout_the_browser_goes_to_librechats_login_page_or_where_the_setting_says() {
    let redirect = |more: &[(&str, &str)]| {
        let used = [("OPENID_USE_END_SESSION_ENDPOINT", "true")];
        let provider = provider(&[more, &used].concat()).expect("good");
        provider.end_session.expect("used").redirect_uri
    };
    assert_eq!(redirect(&[]), None);
    assert_eq!(
        redirect(&[("DOMAIN_CLIENT", "https://chat.example/")]).as_deref(),
        Some("https://chat.example/login")
    );
    assert_eq!(
        redirect(&[
            ("DOMAIN_CLIENT", "https://chat.example"),
            ("OPENID_POST_LOGOUT_REDIRECT_URI", "https://chat.example/"),
        ])
        .as_deref(),
        Some("https://chat.example/")
    );
}

#[test]
fn a_refresh_asks_for_the_scopes_again_only_if_they_are_configured() {
    assert!(!provider(&[]).expect("good").scopes_on_refresh);
    let set = provider(&[("OPENID_SCOPE", "openid offline_access")]).expect("good");
    assert!(set.scopes_on_refresh);
}

#[test]
fn social_login_off_means_no_provider() {
    let config = loaded(&Env::from_pairs(openid(&[("ALLOW_SOCIAL_LOGIN", "false")])));
    let config = config.expect("good");
    assert!(
        config.providers.is_empty()
            && config
                .warnings
                .iter()
                .any(|warning| warning.starts_with("ALLOW_SOCIAL_LOGIN"))
    );
}

#[test]
fn registration_through_a_provider_is_open_unless_a_switch_says_otherwise() {
    for (more, open) in [
        (&[][..], true),
        (&[("ALLOW_SOCIAL_REGISTRATION", "true")], true),
        (&[("ALLOW_SOCIAL_REGISTRATION", "false")], false),
        (&[("ALLOW_SOCIAL_REGISTRATION", "")], false),
        (&[("OPENID_ALLOW_REGISTRATION", "")], false),
        (
            &[
                ("ALLOW_SOCIAL_REGISTRATION", "false"),
                ("OPENID_ALLOW_REGISTRATION", "true"),
            ],
            true,
        ),
    ] {
        let provider = provider(more).expect("good");
        assert_eq!(provider.allow_registration, open, "{more:?}");
    }
    for (more, warned) in [
        (&[("ALLOW_SOCIAL_REGISTRATION", "false")][..], true),
        (&[("OPENID_ALLOW_REGISTRATION", "false")], false),
        (&[("ALLOW_SOCIAL_REGISTRATION", "true")], false),
    ] {
        let loaded = loaded(&Env::from_pairs(openid(more))).expect("good");
        let mut warnings = loaded.warnings.iter();
        let is_about = |warning: &String| warning.starts_with("ALLOW_SOCIAL_REGISTRATION is off");
        assert_eq!(warnings.any(is_about), warned, "{more:?}");
    }
}
