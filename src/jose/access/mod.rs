//! Our own access tokens (RFC 9068).

use std::borrow::{Borrow, Cow};
use std::time::Duration;

use serde::Deserialize;

use super::Compact;
use super::claims::{AccessClaims, present};
use super::shared_key::{self, SharedKey};
use super::verify_key::VerifyKey;
use crate::clock::Timestamp;

/// The longest lifetime of an access token; a token with a longer one is refused.
pub const MAX_LIFETIME: Duration = Duration::from_hours(24);

/// Checked before anything is parsed, so that a long token costs no work.
const MAX_LEN: usize = 8 * 1024;
/// How far the clock of the replica that signed a token may be ahead of ours.
const LEEWAY: Duration = Duration::from_secs(30);

/// What an access token must contain.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// `iss`, byte for byte.
    pub issuer: &'a str,
    /// `aud`, byte for byte; if `None`, the caller of this module checks it.
    pub audience: Option<&'a str>,
}

/// Why an access token was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// It is not a token of ours for this audience. Callers learn no more than that.
    Invalid,
    /// It was such a token until it expired.
    Expired(Box<AccessClaims>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(default, deserialize_with = "present")]
    kid: Option<Cow<'a, str>>,
    #[serde(borrow)]
    typ: Cow<'a, str>,
}

/// Verifies an access token that was signed with a key pair (RFC 9068 section 4); `keys` finds a key
/// by its `kid`. The key, not the token, says with which algorithm.
///
/// # Errors
/// [`Rejected::Expired`] only if everything but the expiry is right.
pub fn verify_access<K: Borrow<VerifyKey>>(
    token: &str,
    keys: impl FnOnce(&str) -> Option<K>,
    expected: &Expected<'_>,
    now: Timestamp,
) -> Result<AccessClaims, Rejected> {
    let accepts = |header: &Header<'_>, compact: &Compact<'_>| {
        let key = header.kid.as_deref().and_then(keys);
        key.is_some_and(|key| {
            let key = key.borrow();
            header.alg == key.algorithm().name()
                && key.accepts(compact.signing_input, compact.signature)
        })
    };
    judge(signed_claims(token, accepts), false, expected, now)
}

/// Verifies an access token that was signed with a secret that others know too. No other key counts
/// beside it.
///
/// # Errors
/// As [`verify_access`].
pub fn verify_shared_access(
    token: &str,
    key: &SharedKey,
    expected: &Expected<'_>,
    now: Timestamp,
) -> Result<AccessClaims, Rejected> {
    let accepts = |header: &Header<'_>, compact: &Compact<'_>| {
        header.alg == shared_key::ALG
            && header.kid.is_none()
            && key.accepts(compact.signing_input, compact.signature)
    };
    judge(signed_claims(token, accepts), true, expected, now)
}

fn judge(
    claims: Option<AccessClaims>,
    librechat: bool,
    expected: &Expected<'_>,
    now: Timestamp,
) -> Result<AccessClaims, Rejected> {
    let claims = claims
        .filter(|claims| claims.fits(librechat) && is_valid(claims, expected, now))
        .ok_or(Rejected::Invalid)?;
    if now < claims.exp {
        Ok(claims)
    } else {
        Err(Rejected::Expired(Box::new(claims)))
    }
}

fn is_valid(claims: &AccessClaims, expected: &Expected<'_>, now: Timestamp) -> bool {
    claims.iss == expected.issuer
        && expected
            .audience
            .is_none_or(|audience| claims.aud == audience)
        && [
            &claims.sub,
            &claims.aud,
            &claims.sid,
            &claims.jti,
            &claims.client_id,
        ]
        .iter()
        .all(|text| (1..=255).contains(&text.len()))
        && claims.is_exchange_valid()
        && claims.iat <= now.plus(LEEWAY)
        && claims.iat < claims.exp
        && claims.exp <= claims.iat.plus(MAX_LIFETIME)
}

/// The claims of a token whose signature is accepted.
fn signed_claims(
    token: &str,
    accepts: impl FnOnce(&Header<'_>, &Compact<'_>) -> bool,
) -> Option<AccessClaims> {
    let compact = Compact::split(token, MAX_LEN)?;
    let header = compact.header()?;
    let header: Header<'_> = members(&header)?;
    if header.typ != "at+jwt" || !accepts(&header, &compact) {
        return None;
    }
    members(&compact.payload()?)
}

/// Reads a JSON object. serde would read a struct from an array too, so the first byte is checked.
fn members<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Option<T> {
    if json.first() == Some(&b'{') {
        serde_json::from_slice(json).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
