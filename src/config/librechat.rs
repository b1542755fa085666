//! LibreChat's settings that this version does not follow: those that restrict who may sign in, or
//! give a role, are refused, and the others are warned of. What is read stands where it is read.

use super::env::Env;

/// Settings of LibreChat and what they mean here.
pub(super) struct Row {
    /// Their names; `*` stands for any text, even none.
    pub names: &'static [&'static str],
    pub effect: Effect,
    /// The rest of a sentence about them.
    pub why: &'static str,
}

/// What happens if a setting is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The service does not start if the value restricts.
    Refused(Restricts),
    /// One warning.
    None,
}

/// Which values of a setting restrict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restricts {
    /// Any value that is not blank.
    IfSet,
    /// `true`.
    IfTrue,
    /// Anything but `true`, blank too.
    UnlessTrue,
    /// Any value that is not blank, while Login signs users in.
    WithEmailLogin,
}

const fn refused(restricts: Restricts, names: &'static [&'static str], why: &'static str) -> Row {
    Row {
        names,
        effect: Effect::Refused(restricts),
        why,
    }
}

const fn without_effect(names: &'static [&'static str], why: &'static str) -> Row {
    Row {
        names,
        effect: Effect::None,
        why,
    }
}

/// Of the rows that name a setting, one that refuses it counts, and otherwise the first. A `*` after
/// `OPENID_` covers settings of further providers, such as `OPENID_ENTRA_REQUIRED_ROLE`.
pub(super) const ROWS: &[Row] = &[
    refused(
        Restricts::IfSet,
        &["OPENID_*REQUIRED_ROLE*"],
        "lets in only users who have a role, which this version cannot check. Remove it if all users of the provider may sign in; otherwise restrict the application at the provider first",
    ),
    refused(
        Restricts::IfSet,
        &["OPENID_*ADMIN_ROLE*"],
        "makes users administrators by their role and takes that back, which this version cannot do. Remove it if you can do without",
    ),
    refused(
        Restricts::IfTrue,
        &["OPENID_*ROLE_SYNC_ENABLED"],
        "takes users' roles from the provider, which this version cannot do. Remove it if every user may have the role USER",
    ),
    refused(
        Restricts::UnlessTrue,
        &["ALLOW_UNVERIFIED_EMAIL_LOGIN"],
        "keeps out users whose address is not verified, and this version verifies no addresses. Set it to true if such users may sign in",
    ),
    refused(
        Restricts::WithEmailLogin,
        &["LDAP_URL"],
        "replaces accounts with passwords by those of a directory, which this version cannot ask. Remove it if users may register and sign in with passwords of their own, or set ALLOW_EMAIL_LOGIN to false",
    ),
    without_effect(
        &[
            "JWT_REFRESH_SECRET",
            "CREDS_IV",
            "OPENID_*SESSION_SECRET",
            "SAML_SESSION_SECRET",
        ],
        "all keys come from COUNTERSIGN_ENCRYPTION_KEYS, CREDS_KEY or the key file",
    ),
    without_effect(
        &["PROXY"],
        "the service connects to providers without a proxy",
    ),
    without_effect(
        &["ALLOW_EMAIL_LOGIN_OVERRIDE"],
        "ALLOW_EMAIL_LOGIN alone decides",
    ),
    without_effect(
        &["ALLOW_PASSWORD_RESET"],
        "passwords cannot be reset in this version",
    ),
    without_effect(
        &["ALLOW_ACCOUNT_DELETION"],
        "accounts cannot be deleted in this version",
    ),
    without_effect(
        &["OPENID_*USE_PKCE", "OPENID_*GENERATE_NONCE"],
        "PKCE and nonce are always on",
    ),
    without_effect(
        &[
            "OPENID_*JWKS_URL_CACHE_ENABLED",
            "OPENID_*JWKS_URL_CACHE_TIME",
        ],
        "a provider's keys are always kept, and fetched again if a token names an unknown one",
    ),
    without_effect(
        &[
            "OPENID_*REUSE_TOKENS",
            "OPENID_*REUSE_MAX_SESSION_AGE_MS",
            "OPENID_*REFRESH_BRIDGE_GRACE_MS",
        ],
        "sessions have tokens of their own, and the provider's tokens are always kept beside them and renewed",
    ),
    without_effect(
        &["OPENID_*DISCOVERY_RETRY_*"],
        "a provider is asked when a user signs in, and not at the start",
    ),
    without_effect(
        &["DEBUG_OPENID_REQUESTS"],
        "requests to providers are never logged",
    ),
    without_effect(
        &["OPENID_*AUTO_REDIRECT", "OPENID_*MAX_LOGOUT_URL_LENGTH"],
        "the application's own pages decide about it",
    ),
    without_effect(
        &[
            "OPENID_*ON_BEHALF_FLOW_FOR_USERINFO_REQUIRED",
            "OPENID_*ON_BEHALF_FLOW_USERINFO_SCOPE",
            "OPENID_*GRAPH_SCOPES",
        ],
        "provider tokens cannot be exchanged in this version",
    ),
    without_effect(
        &["OPENID_*ROLE_SYNC_*"],
        "roles cannot be taken from the provider in this version",
    ),
    without_effect(
        &[
            "GOOGLE_CLIENT_ID",
            "GOOGLE_CLIENT_SECRET",
            "GOOGLE_CALLBACK_URL",
            "FACEBOOK_CLIENT_ID",
            "FACEBOOK_CLIENT_SECRET",
            "FACEBOOK_CALLBACK_URL",
            "GITHUB_CLIENT_ID",
            "GITHUB_CLIENT_SECRET",
            "GITHUB_CALLBACK_URL",
            "GITHUB_ENTERPRISE_BASE_URL",
            "GITHUB_ENTERPRISE_USER_AGENT",
            "DISCORD_CLIENT_ID",
            "DISCORD_CLIENT_SECRET",
            "DISCORD_CALLBACK_URL",
            "APPLE_CLIENT_ID",
            "APPLE_TEAM_ID",
            "APPLE_KEY_ID",
            "APPLE_PRIVATE_KEY_PATH",
            "APPLE_CALLBACK_URL",
        ],
        "users of this provider cannot sign in in this version",
    ),
    without_effect(
        &["LDAP_*"],
        "users of a directory cannot sign in in this version",
    ),
    without_effect(&["SAML_*"], "users cannot sign in by SAML in this version"),
    without_effect(
        &[
            "EMAIL_SERVICE",
            "EMAIL_HOST",
            "EMAIL_PORT",
            "EMAIL_ENCRYPTION",
            "EMAIL_ENCRYPTION_HOSTNAME",
            "EMAIL_ALLOW_SELFSIGNED",
            "EMAIL_USERNAME",
            "EMAIL_PASSWORD",
            "EMAIL_FROM",
            "EMAIL_FROM_NAME",
            "MAILGUN_API_KEY",
            "MAILGUN_DOMAIN",
            "MAILGUN_HOST",
        ],
        "the service sends no e-mail in this version",
    ),
    without_effect(
        &[
            "LIMIT_CONCURRENT_MESSAGES",
            "CONCURRENT_MESSAGE_MAX",
            "LIMIT_MESSAGE_IP",
            "MESSAGE_IP_MAX",
            "MESSAGE_IP_WINDOW",
            "LIMIT_MESSAGE_USER",
            "MESSAGE_USER_MAX",
            "MESSAGE_USER_WINDOW",
            "FILE_UPLOAD_IP_*",
            "FILE_UPLOAD_USER_*",
            "IMPORT_IP_*",
            "IMPORT_USER_*",
            "FORK_IP_*",
            "FORK_USER_*",
            "TTS_IP_*",
            "TTS_USER_*",
            "STT_IP_*",
            "STT_USER_*",
            "SHARE_IP_*",
            "SHARE_USER_*",
        ],
        "the backend has to count these itself, and can report violations",
    ),
    without_effect(
        &["TWO_FACTOR_TEMP_MAX", "TWO_FACTOR_TEMP_WINDOW"],
        "there is no second factor in this version",
    ),
    without_effect(
        &[
            "OPENAI_MODERATION",
            "OPENAI_MODERATION_API_KEY",
            "OPENAI_MODERATION_REVERSE_PROXY",
        ],
        "the chat backend checks what users write",
    ),
];

/// The row that keeps the service from starting, because a setting is there and restricts.
pub(super) fn refusing(env: &Env, name: &str) -> Option<&'static Row> {
    rows(name).find(|row| row.refuses(env, name))
}

/// The row that says why a setting, which is there, has no effect.
pub(super) fn idle(env: &Env, name: &str) -> Option<&'static Row> {
    rows(name).find(|row| row.effect == Effect::None && env.has_value(name))
}

/// Whether a row names the setting.
pub(super) fn knows(name: &str) -> bool {
    rows(name).next().is_some()
}

fn rows(name: &str) -> impl Iterator<Item = &'static Row> {
    let name = name.strip_suffix("_FILE").unwrap_or(name);
    let names = move |row: &&Row| row.names.iter().any(|pattern| matches(pattern, name));
    ROWS.iter().filter(names)
}

impl Row {
    fn refuses(&self, env: &Env, name: &str) -> bool {
        let Effect::Refused(restricts) = self.effect else {
            return false;
        };
        match restricts {
            Restricts::IfSet => env.has_value(name),
            Restricts::IfTrue => is_true(env, name),
            Restricts::UnlessTrue => !is_true(env, name),
            Restricts::WithEmailLogin => {
                let login = "ALLOW_EMAIL_LOGIN";
                env.has_value(name) && (env.get(login).is_none() || is_true(env, login))
            }
        }
    }
}

fn is_true(env: &Env, name: &str) -> bool {
    env.get(name)
        .is_some_and(|value| value.to_string_lossy().trim().eq_ignore_ascii_case("true"))
}

/// Whether a name fits a pattern in which each `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, pattern)) = pattern.split_once('*') else {
        return pattern == name;
    };
    name.strip_prefix(start).is_some_and(|rest| {
        let mut ends = (0..=rest.len()).filter_map(|at| rest.get(at..));
        ends.any(|end| matches(pattern, end))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name, expected) in [
            ("PROXY", "PROXY", true),
            ("PROXY", "PROXY_URL", false),
            ("LDAP_*", "LDAP_URL", true),
            ("LDAP_*", "LDAP", false),
            ("OPENID_*REQUIRED_ROLE*", "OPENID_REQUIRED_ROLE", true),
            (
                "OPENID_*REQUIRED_ROLE*",
                "OPENID_A_REQUIRED_ROLE_PARAMETER_PATH",
                true,
            ),
            ("OPENID_*REQUIRED_ROLE*", "OPENID_ROLE", false),
            ("OPENID_*USE_PKCE", "OPENID_A_USE_PKCE", true),
            ("OPENID_*USE_PKCE", "OPENID_USE_PKCE_", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
