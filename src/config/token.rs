//! Sessions and tokens.

use std::time::Duration;

use super::reader::Reader;
use super::urls;

/// Sessions and tokens.
#[derive(Clone, Debug)]
pub struct Token {
    /// `iss` of access tokens: COUNTERSIGN_ISSUER, default DOMAIN_SERVER, default `http://localhost:3080`.
    pub issuer: String,
    /// `aud` of access tokens: COUNTERSIGN_AUDIENCE, default the issuer.
    pub audience: String,
    /// SESSION_EXPIRY: how long an access token lasts, default 15 minutes.
    pub access_ttl: Duration,
    /// REFRESH_TOKEN_EXPIRY: how long a session lasts, default 7 days.
    pub session_ttl: Duration,
}

const ACCESS: &str = "SESSION_EXPIRY";
const SESSION: &str = "REFRESH_TOKEN_EXPIRY";
/// JWTs count in seconds.
const SHORTEST: Duration = Duration::from_secs(1);
/// No verifier of ours takes an access token of more than a day.
const LONGEST_ACCESS: Duration = Duration::from_hours(24);

impl Token {
    /// Reads the settings; `domain_server` is the default issuer.
    pub(super) fn read(r: &mut Reader<'_>, domain_server: &str) -> Self {
        // As it is written: others compare it byte by byte.
        let issuer = r.parse("COUNTERSIGN_ISSUER", |text| {
            urls::place(text).map(|_| text.to_owned())
        });
        let issuer = issuer.unwrap_or_else(|| domain_server.to_owned());
        let audience = r
            .parse("COUNTERSIGN_AUDIENCE", audience)
            .unwrap_or_else(|| issuer.clone());
        let access_ttl = r.duration(ACCESS, Duration::from_mins(15), SHORTEST);
        let session_ttl = r.duration(SESSION, Duration::from_hours(7 * 24), SHORTEST);
        if access_ttl > LONGEST_ACCESS {
            r.mistake(
                ACCESS,
                "is longer than 24 hours, which no access token may last; it is in milliseconds"
                    .to_owned(),
            );
        }
        if session_ttl < access_ttl {
            r.mistake(
                SESSION,
                format!("is shorter than {ACCESS}: a session would end before its access tokens"),
            );
        }
        Self {
            issuer,
            audience,
            access_ttl,
            session_ttl,
        }
    }
}

fn audience(text: &str) -> Result<String, &'static str> {
    let one_word = !text.contains(|c: char| c.is_whitespace() || c.is_control());
    if one_word {
        Ok(text.to_owned())
    } else {
        Err("must be one audience, without white space")
    }
}
