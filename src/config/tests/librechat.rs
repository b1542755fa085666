//! LibreChat's settings: each is read, refused or warned of, or not the service's affair.

use super::*;

/// What is read, by the names under which LibreChat's documentation has it.
const READ: &str = "DOMAIN_CLIENT DOMAIN_SERVER CREDS_KEY JWT_SECRET SESSION_EXPIRY REFRESH_TOKEN_EXPIRY \
    ALLOW_REGISTRATION ALLOW_EMAIL_LOGIN ALLOW_SOCIAL_LOGIN ALLOW_SOCIAL_REGISTRATION \
    MIN_PASSWORD_LENGTH OPENID_CLIENT_ID OPENID_CLIENT_SECRET OPENID_ISSUER OPENID_SCOPE \
    OPENID_CALLBACK_URL OPENID_AUDIENCE OPENID_CLOCK_TOLERANCE OPENID_EMAIL_CLAIM \
    OPENID_USERNAME_CLAIM OPENID_NAME_CLAIM OPENID_BUTTON_LABEL OPENID_IMAGE_URL \
    OPENID_USE_END_SESSION_ENDPOINT OPENID_POST_LOGOUT_REDIRECT_URI OPENID_REFRESH_AUDIENCE \
    OPENID_TOKEN_ENDPOINT_AUTH_METHOD BAN_VIOLATIONS BAN_DURATION \
    BAN_INTERVAL VIOLATION_SCORE_TTL LOGIN_VIOLATION_SCORE REGISTRATION_VIOLATION_SCORE \
    CONCURRENT_VIOLATION_SCORE MESSAGE_VIOLATION_SCORE NON_BROWSER_VIOLATION_SCORE \
    ILLEGAL_MODEL_REQ_SCORE RESET_PASSWORD_VIOLATION_SCORE VERIFY_EMAIL_VIOLATION_SCORE \
    FILE_UPLOAD_VIOLATION_SCORE IMPORT_VIOLATION_SCORE FORK_VIOLATION_SCORE TTS_VIOLATION_SCORE \
    STT_VIOLATION_SCORE TOOL_CALL_VIOLATION_SCORE CONVO_ACCESS_VIOLATION_SCORE \
    SHARE_VIOLATION_SCORE LOGIN_MAX LOGIN_WINDOW REGISTER_MAX REGISTER_WINDOW";

const REFUSED: &str = "OPENID_REQUIRED_ROLE OPENID_REQUIRED_ROLE_TOKEN_KIND \
    OPENID_REQUIRED_ROLE_PARAMETER_PATH OPENID_ENTRA_REQUIRED_ROLE OPENID_ADMIN_ROLE \
    OPENID_ADMIN_ROLE_PARAMETER_PATH OPENID_ADMIN_ROLE_TOKEN_KIND OPENID_KEYCLOAK_ADMIN_ROLE \
    LDAP_URL";

const WITHOUT_EFFECT: &str = "CREDS_IV JWT_REFRESH_SECRET OPENID_SESSION_SECRET \
    SAML_SESSION_SECRET PROXY ALLOW_PASSWORD_RESET ALLOW_ACCOUNT_DELETION \
    ALLOW_EMAIL_LOGIN_OVERRIDE OPENID_USE_PKCE OPENID_GENERATE_NONCE \
    OPENID_JWKS_URL_CACHE_ENABLED OPENID_JWKS_URL_CACHE_TIME OPENID_REUSE_TOKENS \
    OPENID_REUSE_MAX_SESSION_AGE_MS OPENID_REFRESH_BRIDGE_GRACE_MS OPENID_AUTO_REDIRECT \
    OPENID_MAX_LOGOUT_URL_LENGTH OPENID_DISCOVERY_RETRY_ATTEMPTS DEBUG_OPENID_REQUESTS \
    OPENID_ON_BEHALF_FLOW_FOR_USERINFO_REQUIRED OPENID_ON_BEHALF_FLOW_USERINFO_SCOPE \
    OPENID_GRAPH_SCOPES OPENID_ROLE_SYNC_SOURCE OPENID_ENTRA_USE_PKCE GOOGLE_CLIENT_ID \
    GOOGLE_CLIENT_SECRET GOOGLE_CALLBACK_URL FACEBOOK_CLIENT_ID FACEBOOK_CLIENT_SECRET \
    FACEBOOK_CALLBACK_URL GITHUB_CLIENT_ID GITHUB_CLIENT_SECRET GITHUB_CALLBACK_URL \
    GITHUB_ENTERPRISE_BASE_URL GITHUB_ENTERPRISE_USER_AGENT DISCORD_CLIENT_ID \
    DISCORD_CLIENT_SECRET DISCORD_CALLBACK_URL APPLE_CLIENT_ID APPLE_TEAM_ID APPLE_KEY_ID \
    APPLE_PRIVATE_KEY_PATH APPLE_CALLBACK_URL LDAP_BIND_DN LDAP_BIND_CREDENTIALS \
    LDAP_USER_SEARCH_BASE LDAP_SEARCH_FILTER LDAP_CA_CERT_PATH LDAP_TLS_REJECT_UNAUTHORIZED \
    LDAP_STARTTLS LDAP_ID LDAP_USERNAME LDAP_EMAIL LDAP_FULL_NAME LDAP_LOGIN_USES_USERNAME \
    SAML_ENTRY_POINT SAML_ISSUER SAML_CERT SAML_CALLBACK_URL EMAIL_SERVICE EMAIL_HOST EMAIL_PORT \
    EMAIL_ENCRYPTION EMAIL_ENCRYPTION_HOSTNAME EMAIL_ALLOW_SELFSIGNED EMAIL_USERNAME \
    EMAIL_PASSWORD EMAIL_FROM_NAME EMAIL_FROM MAILGUN_API_KEY MAILGUN_DOMAIN MAILGUN_HOST \
    LIMIT_CONCURRENT_MESSAGES CONCURRENT_MESSAGE_MAX LIMIT_MESSAGE_IP LIMIT_MESSAGE_USER \
    MESSAGE_IP_MAX MESSAGE_IP_WINDOW MESSAGE_USER_MAX MESSAGE_USER_WINDOW FILE_UPLOAD_IP_MAX \
    FILE_UPLOAD_USER_WINDOW IMPORT_IP_MAX IMPORT_USER_WINDOW FORK_IP_MAX FORK_USER_WINDOW \
    TTS_IP_MAX TTS_USER_WINDOW STT_IP_MAX STT_USER_WINDOW SHARE_IP_MAX SHARE_USER_WINDOW \
    TWO_FACTOR_TEMP_MAX TWO_FACTOR_TEMP_WINDOW OPENAI_MODERATION OPENAI_MODERATION_API_KEY \
    OPENAI_MODERATION_REVERSE_PROXY";

const NOT_OURS: &str = "MONGO_URI HOST PORT TRUST_PROXY NO_INDEX CONFIG_PATH CHECK_BALANCE \
    START_BALANCE ALLOW_SHARED_LINKS ALLOW_SHARED_LINKS_PUBLIC USE_ENTRA_ID_FOR_PEOPLE_SEARCH \
    ENTRA_ID_INCLUDE_OWNERS_AS_MEMBERS ENDPOINTS OPENAI_API_KEY GOOGLE_KEY MEILI_MASTER_KEY \
    RAG_PORT FIREBASE_API_KEY AWS_REGION REDIS_URI APP_TITLE TTS_API_KEY DEBUG_LOGGING";

/// The warnings about a setting.
fn warnings(name: &str, value: &str) -> Vec<String> {
    let about = |warning: &String| warning.split(' ').next() == Some(name);
    let all = good(&[(name, value)]).warnings;
    all.into_iter().filter(about).collect()
}

#[test]
fn what_restricts_is_refused_by_name() {
    for name in REFUSED.split_whitespace() {
        assert_eq!(refused(&[(name, "canary")]), [name]);
        assert!(refused(&[(name, " ")]).is_empty(), "{name}");
    }
    for (name, restricting, other) in [
        ("ALLOW_UNVERIFIED_EMAIL_LOGIN", "false", "true"),
        ("ALLOW_UNVERIFIED_EMAIL_LOGIN", "", " TRUE "),
        ("OPENID_ROLE_SYNC_ENABLED", "true", "false"),
    ] {
        assert_eq!(refused(&[(name, restricting)]), [name]);
        assert!(refused(&[(name, other)]).is_empty(), "{name}");
    }
}

#[test]
fn a_directory_is_refused_only_while_passwords_sign_users_in() {
    let off = |value| {
        [
            ("LDAP_URL", "ldaps://id.example"),
            ("ALLOW_EMAIL_LOGIN", value),
        ]
    };
    for value in ["", "false"] {
        let warnings = good(&off(value)).warnings;
        assert!(
            warnings
                .iter()
                .any(|warning| warning.starts_with("LDAP_URL has no effect")),
            "{warnings:?}"
        );
    }
    assert_eq!(refused(&off("true")), ["LDAP_URL"]);
}

#[test]
fn what_has_no_effect_is_warned_of_in_one_line_that_says_why() {
    for name in WITHOUT_EFFECT.split_whitespace() {
        let warnings = warnings(name, "1");
        assert_eq!(warnings.len(), 1, "{name}: {warnings:?}");
        assert!(
            warnings[0].starts_with(&format!("{name} has no effect: ")),
            "{warnings:?}"
        );
        assert_eq!(good(&[(name, "")]).warnings.len(), 1, "{name}");
    }
    for unknown in ["OPENID_ISUER", "OPENID_ENTRA_CLIENT_ID"] {
        let expected = format!("{unknown} is not a setting of this version; it has no effect");
        assert_eq!(warnings(unknown, "x"), [expected]);
    }
}

#[test]
fn what_is_not_the_services_affair_is_left_alone() {
    for name in NOT_OURS.split_whitespace() {
        assert_eq!(warnings(name, "true"), [""; 0], "{name}");
    }
}

#[test]
fn what_is_read_is_neither_refused_nor_said_to_have_no_effect() {
    let env = Env::from_pairs([("DOMAIN_SERVER", "http://chat.example")]);
    let mut reader = Reader::new(&env);
    Config::read_all(&mut reader);
    for name in READ.split_whitespace() {
        assert!(reader.names().contains(name), "{name}");
    }
    let is_followed = |name: &&String| {
        let stem = name.strip_suffix("_FILE").unwrap_or(name);
        !keys::OTHERS.contains(&stem)
    };
    for name in reader.names().iter().filter(is_followed) {
        assert!(!super::super::librechat::knows(name), "{name}");
    }
}
