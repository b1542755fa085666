//! Sessions and tokens.

use std::time::Duration;

use super::reader::Reader;
use super::urls;
use crate::model::algorithm::Algorithm;
use crate::secret::{ExposeSecret as _, SecretString};

/// Sessions and tokens.
#[derive(Clone, Debug)]
pub struct Token {
    /// `iss` of access tokens: COUNTERSIGN_ISSUER, default DOMAIN_SERVER, default
    /// `http://localhost:3080`.
    pub issuer: String,
    /// `aud` of access tokens: COUNTERSIGN_AUDIENCE, default the issuer.
    pub audience: String,
    /// SESSION_EXPIRY: how long an access token is valid, default 15 minutes.
    pub access_ttl: Duration,
    /// REFRESH_TOKEN_EXPIRY: how long a session lasts, default 7 days.
    pub session_ttl: Duration,
    /// COUNTERSIGN_SESSION_IDLE: how long a session lasts without being used; unset, for its whole life.
    pub session_idle: Option<Duration>,
    /// COUNTERSIGN_SESSIONS_PER_USER: how many live sessions a user may have, default 100.
    pub sessions_per_user: u32,
    /// COUNTERSIGN_KEY_ROTATION: for how long a signing key signs, default 30 days.
    pub key_rotation: Duration,
    /// COUNTERSIGN_TOKEN_ALG: what access tokens are signed with, default EdDSA.
    pub signing: Signing,
}

/// What access tokens are signed with.
#[derive(Clone, Debug)]
pub enum Signing {
    /// Keys of the service's own, new ones of this algorithm.
    Keys(Algorithm),
    /// JWT_SECRET, with HS256.
    Secret(SecretString),
}

const ACCESS: &str = "SESSION_EXPIRY";
const SESSION: &str = "REFRESH_TOKEN_EXPIRY";
const IDLE: &str = "COUNTERSIGN_SESSION_IDLE";
const SESSIONS_PER_USER: &str = "COUNTERSIGN_SESSIONS_PER_USER";
/// A sign-in sorts the user's live sessions, so they must not be any number.
const MOST_SESSIONS: u32 = 1000;
const ROTATION: &str = "COUNTERSIGN_KEY_ROTATION";
const ALG: &str = "COUNTERSIGN_TOKEN_ALG";
const SECRET: &str = "JWT_SECRET";
/// HS256 needs a key of as many bytes as its hash has (RFC 7518 section 3.2).
const SHORTEST_SECRET: usize = 32;
/// JWTs state times in whole seconds.
const SHORTEST: Duration = Duration::from_secs(1);
const SHORTEST_ROTATION: Duration = Duration::from_hours(48);
/// Verification refuses access tokens with a longer lifetime (`jose::MAX_LIFETIME`).
const LONGEST_ACCESS: Duration = Duration::from_hours(24);

impl Token {
    /// Reads the settings; `domain_server` is the default issuer.
    pub(super) fn read(r: &mut Reader<'_>, domain_server: &str) -> Self {
        // Kept exactly as it was written, because verifiers compare `iss` byte for byte.
        let issuer = r.parse("COUNTERSIGN_ISSUER", |text| {
            urls::base_url(text).map(|_| text.to_owned())
        });
        let issuer = issuer.unwrap_or_else(|| domain_server.to_owned());
        let audience = r
            .parse("COUNTERSIGN_AUDIENCE", audience)
            .unwrap_or_else(|| issuer.clone());
        let access_ttl = r.duration(ACCESS, Duration::from_mins(15), SHORTEST);
        let session_ttl = r.duration(SESSION, Duration::from_hours(7 * 24), SHORTEST);
        let session_idle = r.duration_if_set(IDLE, SHORTEST);
        let sessions_per_user = r.number(SESSIONS_PER_USER, 100, 1, MOST_SESSIONS);
        if access_ttl > LONGEST_ACCESS {
            r.mistake(
                ACCESS,
                "is longer than 24 hours, the longest lifetime of an access token; it is in milliseconds"
                    .to_owned(),
            );
        }
        if session_idle.is_some_and(|idle| idle < access_ttl) {
            r.mistake(
                IDLE,
                format!(
                    "is shorter than {ACCESS}: between two refreshes a session may not be seen here"
                ),
            );
        }
        if session_ttl < access_ttl {
            r.mistake(
                SESSION,
                format!("is shorter than {ACCESS}: a session would end before its access tokens"),
            );
        }
        let key_rotation = r.duration(ROTATION, Duration::from_hours(30 * 24), SHORTEST);
        if key_rotation < SHORTEST_ROTATION {
            r.mistake(
                ROTATION,
                "is shorter than 2 days: the next key is published a day before it signs; it is in milliseconds"
                    .to_owned(),
            );
        }
        Self {
            issuer,
            audience,
            access_ttl,
            session_ttl,
            session_idle,
            sessions_per_user,
            key_rotation,
            signing: signing(r),
        }
    }
}

fn signing(r: &mut Reader<'_>) -> Signing {
    let secret = r.secret(SECRET);
    let stated = r.parse(ALG, |text| match text {
        "HS256" => Ok(None),
        text => match Algorithm::parse(text) {
            Some(algorithm) => Ok(Some(algorithm)),
            None => Err("must be EdDSA, ES256 or HS256"),
        },
    });
    if let Some(None) = stated {
        return shared(r, secret);
    }
    if secret.is_some() {
        r.warn(format!(
            "{SECRET} has no effect: access tokens are signed with keys of the service's own, unless {ALG} is HS256"
        ));
    }
    Signing::Keys(stated.flatten().unwrap_or(Algorithm::EdDsa))
}

/// Tokens that are signed with a secret that others know.
fn shared(r: &mut Reader<'_>, secret: Option<SecretString>) -> Signing {
    r.warn(format!(
        "{ALG} is HS256: whoever knows {SECRET} can make access tokens, for every session whose id they know. VerifyToken accepts tokens of live sessions only"
    ));
    match secret {
        Some(secret) if secret.expose_secret().len() >= SHORTEST_SECRET => {
            return Signing::Secret(secret);
        }
        Some(_) => r.mistake(SECRET, "is shorter than 32 bytes, which HS256 needs"),
        // It is refused already.
        None if r.is_set(SECRET) => {}
        None => r.mistake(ALG, format!("is HS256, which needs {SECRET}")),
    }
    Signing::Keys(Algorithm::EdDsa)
}

fn audience(text: &str) -> Result<String, &'static str> {
    let one_word = !text.contains(|c: char| c.is_whitespace() || c.is_control());
    if one_word {
        Ok(text.to_owned())
    } else {
        Err("must be one audience, without white space")
    }
}
