//! Sessions and tokens.

use std::time::Duration;

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
