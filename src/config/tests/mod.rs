//! Rules that concern several settings.

mod exposure;
mod librechat;
mod openid;
mod readme;
mod secrets;
mod switches;

use std::time::Duration;

use super::*;

/// A configuration without mistakes.
#[derive(Debug)]
struct Loaded {
    config: Config,
    warnings: Vec<String>,
}

impl std::ops::Deref for Loaded {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.config
    }
}

fn loaded(env: &Env) -> Result<Loaded, Mistakes> {
    let (config, report) = Config::read(env);
    let warnings = report.finish()?;
    Ok(Loaded { config, warnings })
}

fn load(pairs: &[(&str, &str)]) -> Result<Loaded, Mistakes> {
    loaded(&Env::from_pairs(pairs.iter().copied()))
}

fn good(pairs: &[(&str, &str)]) -> Loaded {
    load(pairs).unwrap_or_else(|mistakes| panic!("{pairs:?}: {mistakes}"))
}

/// The names of the settings that are refused.
fn refused(pairs: &[(&str, &str)]) -> Vec<String> {
    load(pairs).map_or_else(
        |found| {
            found
                .mistakes
                .into_iter()
                .map(|mistake| mistake.name)
                .collect()
        },
        |_| Vec::new(),
    )
}

fn callers_file() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(
        file.path(),
        format!(
            "callers: [{{ name: a, token_sha256: [{}] }}]",
            "0f".repeat(32)
        ),
    )
    .expect("written");
    file
}

const OPENID: [(&str, &str); 4] = [
    ("OPENID_CLIENT_ID", "chat"),
    ("OPENID_CLIENT_SECRET", "s3cret"),
    ("OPENID_ISSUER", "https://id.example.com"),
    ("ALLOW_SOCIAL_LOGIN", "true"),
];

fn openid(more: &[(&str, &str)]) -> Vec<(String, String)> {
    OPENID
        .iter()
        .chain(more)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn provider(more: &[(&str, &str)]) -> Result<providers::OpenIdProvider, Mistakes> {
    let mut loaded = loaded(&Env::from_pairs(openid(more)))?;
    let providers::Provider::OpenId(provider) = loaded.config.providers.remove(0);
    Ok(provider)
}

#[test]
fn nothing_configured_is_the_documented_default() {
    let config = good(&[]);
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:50051");
    assert!(config.server.reflection && config.keyring.is_none() && config.providers.is_empty());
    assert!(
        matches!(&config.database, Database::Sqlite(path) if path.as_os_str() == "countersign.db")
    );
    assert!(config.callers_file.is_none());
    assert_eq!(
        (config.token.issuer.as_str(), config.token.audience.as_str()),
        ("http://localhost:3080", "http://localhost:3080")
    );
    assert!(
        config.auth.allow_registration
            && config.auth.allow_email_login
            && !config.auth.allow_social_login
    );
    assert_eq!(config.auth.min_password_length, 8);
    assert_eq!(
        (
            config.moderation.ban_interval,
            config.moderation.scores["non_browser"],
            config.moderation.scores["token_balance"]
        ),
        (20, 20, 0)
    );
    assert_eq!(
        (config.moderation.login.max, config.moderation.login.window),
        (7, Duration::from_mins(5))
    );
    assert_eq!(config.warnings.len(), 1);
}

#[test]
fn n01_durations_are_librechats_arithmetic() {
    let config = good(&[
        ("SESSION_EXPIRY", "1000 * 60 * 15"),
        ("REFRESH_TOKEN_EXPIRY", "(1000 * 60 * 60 * 24) * 7"),
        ("BAN_DURATION", "1000 * 60 * 60 * 2"),
    ]);
    assert_eq!(config.token.access_ttl, Duration::from_mins(15));
    assert_eq!(config.token.session_ttl, Duration::from_hours(7 * 24));
    assert_eq!(config.moderation.ban_duration, Duration::from_hours(2));
}

#[test]
fn n02_code_and_nonsense_are_refused_with_the_settings_name() {
    for text in [
        "process.exit()",
        "1;2",
        "0x10",
        "1e3",
        "9**9**9",
        "-1000",
        "0",
        "900",
        "1000*60*60*24*366*10",
        "1/0",
    ] {
        assert_eq!(
            refused(&[("SESSION_EXPIRY", text)]),
            ["SESSION_EXPIRY"],
            "{text}"
        );
    }
}

#[test]
fn n03_switches_are_true_or_false_and_never_silently_false() {
    assert!(
        good(&[("ALLOW_SOCIAL_LOGIN", "TRUE")])
            .auth
            .allow_social_login
    );
    assert!(
        !good(&[("BAN_VIOLATIONS", " False ")])
            .moderation
            .ban_violations
    );
    for name in ["BAN_VIOLATIONS", "COUNTERSIGN_INSECURE_OPEN"] {
        assert_eq!(refused(&[(name, "yes")]), [name]);
    }
}

#[test]
fn n04_blank_is_unset() {
    for blank in ["", "  ", "\t"] {
        let config = good(&[
            ("SESSION_EXPIRY", blank),
            ("OPENID_CLIENT_ID", blank),
            ("COUNTERSIGN_CALLERS", blank),
            ("CREDS_KEY", blank),
        ]);
        assert_eq!(config.token.access_ttl, Duration::from_mins(15));
    }
}

#[test]
fn a_user_may_have_one_to_a_thousand_sessions() {
    const NAME: &str = "COUNTERSIGN_SESSIONS_PER_USER";
    assert_eq!(good(&[]).token.sessions_per_user, 100);
    for (text, number) in [("1", 1), ("1000", 1000)] {
        assert_eq!(good(&[(NAME, text)]).token.sessions_per_user, number);
    }
    for text in ["0", "1001", "-1", "1.5", "many"] {
        assert_eq!(refused(&[(NAME, text)]), [NAME], "{text}");
    }
}

#[test]
fn a_session_may_not_be_idle_for_less_than_an_access_token_lives() {
    const NAME: &str = "COUNTERSIGN_SESSION_IDLE";
    assert_eq!(good(&[]).token.session_idle, None);
    assert_eq!(good(&[(NAME, "")]).token.session_idle, None);
    let config = good(&[(NAME, "1000 * 60 * 15")]);
    assert_eq!(config.token.session_idle, Some(Duration::from_mins(15)));
    for text in ["1000 * 60 * 15 - 1", "0", "-1", "a week"] {
        assert_eq!(refused(&[(NAME, text)]), [NAME], "{text}");
    }
    good(&[(NAME, "1000"), ("SESSION_EXPIRY", "1000")]);
}

#[test]
fn n05_inconsistent_times_are_refused() {
    assert_eq!(
        refused(&[
            ("SESSION_EXPIRY", "1000*60*60"),
            ("REFRESH_TOKEN_EXPIRY", "1000*60")
        ]),
        ["REFRESH_TOKEN_EXPIRY"]
    );
    assert_eq!(
        refused(&[("SESSION_EXPIRY", "1000*60*60*24 + 1")]),
        ["SESSION_EXPIRY"]
    );
    good(&[("SESSION_EXPIRY", "1000*60*60*24")]);
    assert_eq!(
        refused(&[("COUNTERSIGN_KEY_ROTATION", "1000*60*60*48 - 1")]),
        ["COUNTERSIGN_KEY_ROTATION"]
    );
    let config = good(&[("COUNTERSIGN_KEY_ROTATION", "1000*60*60*48")]);
    assert_eq!(config.token.key_rotation, Duration::from_hours(48));
    assert_eq!(refused(&[("BAN_DURATION", "-1")]), ["BAN_DURATION"]);
    let config = good(&[("BAN_DURATION", "0"), ("VIOLATION_SCORE_TTL", "0")]);
    assert!(config.moderation.ban_duration.is_zero() && config.moderation.score_ttl.is_none());
}

#[test]
fn n07_public_addresses_are_plain_base_urls() {
    for text in [
        "https://u:p@a.example",
        "https://a.example?x",
        "https://a.example/#x",
        "a.example",
        "ftp://a.example",
    ] {
        for name in ["DOMAIN_SERVER", "DOMAIN_CLIENT", "COUNTERSIGN_ISSUER"] {
            assert!(
                refused(&[(name, text), ("COUNTERSIGN_INSECURE_OPEN", "true")])
                    .contains(&name.to_owned()),
                "{name}={text}"
            );
        }
    }
    let http = [
        ("DOMAIN_SERVER", "http://chat.example"),
        ("COUNTERSIGN_INSECURE_OPEN", "true"),
    ];
    assert_eq!(good(&http).warnings.len(), 2);
    assert_eq!(
        refused(&[http[0], http[1], ("NODE_ENV", "production")]),
        ["DOMAIN_SERVER"]
    );
    assert_eq!(
        good(&[("DOMAIN_SERVER", "http://localhost:1/sub/")])
            .token
            .issuer,
        "http://localhost:1/sub"
    );
}

#[test]
fn n08_an_unknown_name_of_ours_is_warned_about() {
    assert!(
        good(&[("COUNTERSIGN_LISTN", "x")])
            .warnings
            .iter()
            .any(|warning| warning.starts_with("COUNTERSIGN_LISTN is not a setting"))
    );
    let linked = [
        ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
        ("COUNTERSIGN_INSECURE_OPEN", "true"),
        ("COUNTERSIGN_PORT_50051_TCP_ADDR", "x"),
        ("COUNTERSIGN_SERVICE_HOST", "x"),
    ];
    assert_eq!(good(&linked).warnings.len(), 1);
}

#[test]
fn a_misspelt_name_is_told_beside_the_mistake_that_it_leads_to() {
    let mistakes = load(&[("COUNTERSIGN_LOG", "="), ("COUNTERSIGN_LISTN", "x")]);
    let text = mistakes.map_or_else(|mistakes| mistakes.with_warnings(), |_| String::new());
    assert!(text.starts_with("COUNTERSIGN_LOG "), "{text}");
    assert!(text.contains("\nwarning: COUNTERSIGN_LISTN "), "{text}");
}

#[test]
fn templates_read_only_listed_variables_and_never_a_secret() {
    let config = good(&[
        ("COUNTERSIGN_TEMPLATE_ENV", "API_KEY, ABSENT"),
        ("API_KEY", "k"),
        ("COUNTERSIGN_CLAIMS", "groups,https://a.example/role"),
    ]);
    assert_eq!(config.templates.env.keys().collect::<Vec<_>>(), ["API_KEY"]);
    assert_eq!(
        config.templates.claims,
        ["groups", "https://a.example/role"]
    );
    assert!(
        config
            .warnings
            .iter()
            .any(|warning| warning.contains("ABSENT"))
    );
    for name in [
        "JWT_SECRET",
        "JWT_REFRESH_SECRET",
        "CREDS_KEY",
        "CREDS_IV",
        "MEILI_MASTER_KEY",
        "MONGO_URI",
        "REDIS_URI",
        "REDIS_PASSWORD",
        "MAILGUN_API_KEY",
        "DATABASE_URL",
        "DATABASE_URL_FILE",
        "OPENID_CLIENT_SECRET",
        "GOOGLE_CLIENT_SECRET",
        "OPENID_SESSION_SECRET",
        "COUNTERSIGN_ENCRYPTION_KEYS",
        "COUNTERSIGN_BOOTSTRAP_TOKEN",
        "FROM_FILE",
    ] {
        assert_eq!(
            refused(&[("COUNTERSIGN_TEMPLATE_ENV", name), ("FROM_FILE_FILE", "/x")]),
            ["COUNTERSIGN_TEMPLATE_ENV"],
            "{name}"
        );
    }
}

#[test]
fn scores_and_limits_have_librechats_names() {
    let config = good(&[
        ("LOGIN_VIOLATION_SCORE", "3"),
        ("NON_BROWSER_VIOLATION_SCORE", "0"),
        ("LOGIN_MAX", "9"),
        ("LOGIN_WINDOW", "0.5"),
        ("BAN_INTERVAL", "10 * 2 + 1"),
    ]);
    assert_eq!(
        (
            config.moderation.scores["logins"],
            config.moderation.scores["non_browser"]
        ),
        (3, 0)
    );
    assert_eq!(
        (config.moderation.login.max, config.moderation.login.window),
        (9, Duration::from_secs(30))
    );
    assert_eq!(config.moderation.ban_interval, 21);
    for (name, value) in [
        ("LOGIN_MAX", "0"),
        ("LOGIN_WINDOW", "0"),
        ("LOGIN_WINDOW", "1e3"),
        ("LOGIN_WINDOW", "1 * 2"),
        ("REGISTER_WINDOW", "-1"),
        ("TTS_VIOLATION_SCORE", "1001"),
    ] {
        assert_eq!(refused(&[(name, value)]), [name], "{value}");
    }
}

#[test]
fn no_secret_shows_in_debug() {
    let key = format!("k:{}", "AQEC".repeat(10) + "AQE=");
    let config = loaded(&Env::from_pairs(openid(&[
        ("OPENID_CLIENT_SECRET", "canary-client"),
        ("COUNTERSIGN_BOOTSTRAP_TOKEN", "canary-bootstrap-token"),
        ("DATABASE_URL", "postgres://u:canary@localhost/c"),
        ("COUNTERSIGN_ENCRYPTION_KEYS", &key),
        ("COUNTERSIGN_TEMPLATE_ENV", "API_KEY"),
        ("API_KEY", "canary-api-key"),
    ])));
    let shown = format!("{:?}", config.expect("good"));
    assert!(
        !shown.contains("canary") && !shown.contains("AQEC"),
        "{shown}"
    );
}
