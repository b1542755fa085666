//! JWTs of callers, such as the projected service account tokens of Kubernetes (RFC 7519).

use std::time::Duration;

use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::caller_keys::{CallerKeys, Unverified};
use super::id_token::read_header;
use super::{Compact, numeric_date, object};
use crate::clock::Timestamp;

/// Checked before anything is parsed.
pub const MAX_CALLER_TOKEN: usize = 8 * 1024;
/// The longest time from `iat` to `exp`.
const MAX_LIFETIME: Duration = Duration::from_hours(24);
/// How far the issuer's clock may be from ours.
const LEEWAY: Duration = Duration::from_secs(30);
/// Symmetric algorithms are none of them.
const ALGORITHMS: [&str; 9] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
];

/// Why a caller's JWT was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerTokenFault {
    /// It is not of the form that callers' JWTs have; the text says where.
    Malformed(&'static str),
    /// Its time is over.
    Expired,
    /// It begins later, or was issued later than now.
    NotYetValid,
    /// It lives for more than 24 hours.
    TooLongLived,
    /// No key is known that is the token's.
    KeyUnknown,
    SignatureWrong,
}

/// A well-formed JWT of a caller, whose signature has not been checked.
pub struct CallerToken<'a> {
    compact: Compact<'a>,
    algorithm: Algorithm,
    kid: Option<String>,
    issuer: String,
    subject: String,
    audiences: Vec<String>,
    claims: Map<String, Value>,
}

impl<'a> CallerToken<'a> {
    /// Reads a token. Its `typ` is absent or `JWT`, so it is no access token of ours or of others
    /// (RFC 9068).
    ///
    /// # Errors
    /// [`CallerTokenFault::Malformed`]
    pub fn parse(token: &'a str) -> Result<Self, CallerTokenFault> {
        use CallerTokenFault::Malformed;
        let compact = Compact::split(token, MAX_CALLER_TOKEN)
            .ok_or(Malformed("it is not a compact JWS of at most 8 KiB"))?;
        let header = compact.header().and_then(|json| object(&json));
        let header = header.ok_or(Malformed("its header is not an object"))?;
        let kid = read_header(&header, &ALGORITHMS).map_err(Malformed)?;
        let algorithm = header.get("alg").and_then(Value::as_str);
        let algorithm = algorithm.and_then(|name| name.parse().ok());
        let algorithm = algorithm.ok_or(Malformed("its alg is unknown"))?;
        let claims = compact.payload().and_then(|json| object(&json));
        let claims = claims.ok_or(Malformed("its payload is not an object"))?;
        let text = |name| claims.get(name).and_then(Value::as_str).map(str::to_owned);
        Ok(Self {
            issuer: text("iss").ok_or(Malformed("it has no iss"))?,
            subject: text("sub").ok_or(Malformed("it has no sub"))?,
            audiences: audiences(claims.get("aud")).ok_or(Malformed("its aud is not text"))?,
            compact,
            algorithm,
            kid,
            claims,
        })
    }

    /// `iss`
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// `sub`
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Whether `aud` contains the audience.
    #[must_use]
    pub fn is_for(&self, audience: &str) -> bool {
        self.audiences.iter().any(|one| one == audience)
    }

    /// Checks times and signature, and returns when the token is not good any more.
    ///
    /// # Errors
    /// [`CallerTokenFault`]
    pub fn verify(&self, keys: &CallerKeys, now: Timestamp) -> Result<Timestamp, CallerTokenFault> {
        let end = self.check_times(now)?;
        let verified = keys.verify(&self.compact, self.kid.as_deref(), self.algorithm);
        verified.map_err(|unverified| match unverified {
            Unverified::KeyUnknown => CallerTokenFault::KeyUnknown,
            Unverified::SignatureWrong => CallerTokenFault::SignatureWrong,
        })?;
        Ok(end)
    }

    /// Checks `exp`, which is required, `nbf` and `iat`, and returns when the token is not good any
    /// more.
    ///
    /// # Errors
    /// [`CallerTokenFault`]
    pub fn check_times(&self, now: Timestamp) -> Result<Timestamp, CallerTokenFault> {
        let time = |name, problem| match self.claims.get(name) {
            None => Ok(None),
            value => numeric_date(value)
                .map(Some)
                .ok_or(CallerTokenFault::Malformed(problem)),
        };
        let expires = time("exp", "its exp is not a time")?;
        let expires = expires.ok_or(CallerTokenFault::Malformed("it has no exp"))?;
        let not_before = time("nbf", "its nbf is not a time")?;
        let issued = time("iat", "its iat is not a time")?;
        let (earliest, latest) = (now.minus(LEEWAY), now.plus(LEEWAY));
        if expires <= earliest {
            return Err(CallerTokenFault::Expired);
        }
        if [not_before, issued]
            .into_iter()
            .flatten()
            .any(|from| from > latest)
        {
            return Err(CallerTokenFault::NotYetValid);
        }
        // Without `iat`, nobody knows how long it has lived already.
        if expires > issued.unwrap_or(latest).plus(MAX_LIFETIME) {
            return Err(CallerTokenFault::TooLongLived);
        }
        Ok(expires.plus(LEEWAY))
    }
}

/// `aud`, which is text or a list of texts (RFC 7519 section 4.1.3).
fn audiences(value: Option<&Value>) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    match value? {
        Value::Array(list) => list.iter().map(text).collect(),
        one => Some(vec![text(one)?]),
    }
}

#[cfg(test)]
mod tests;
