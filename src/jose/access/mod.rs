//! Our own access tokens (RFC 9068).

use std::borrow::{Borrow, Cow};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Compact, VerifyKey};
use crate::clock::Timestamp;

/// The longest lifetime of an access token; a token with a longer one is refused.
pub const MAX_LIFETIME: Duration = Duration::from_hours(24);

/// Checked before anything is parsed, so that a long token costs no work.
const MAX_LEN: usize = 8 * 1024;
/// How far the clock of the replica that signed a token may be ahead of ours.
const LEEWAY: Duration = Duration::from_secs(30);

/// The claims of an access token. A token must have exactly these, each once.
///
/// A token with an unknown claim is refused, because the claim may restrict the token (`scope`,
/// `act`, `cnf`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessClaims {
    /// The issuer: this service.
    pub iss: String,
    /// The user.
    pub sub: String,
    /// The audience: always one, as text.
    pub aud: String,
    /// The session.
    pub sid: String,
    /// The token's id.
    pub jti: String,
    /// When it was signed; whole seconds.
    #[serde(with = "numeric_date")]
    pub iat: Timestamp,
    /// When it expires; whole seconds.
    #[serde(with = "numeric_date")]
    pub exp: Timestamp,
    /// When the user authenticated; whole seconds.
    #[serde(with = "numeric_date")]
    pub auth_time: Timestamp,
    /// How the user authenticated (RFC 8176).
    pub amr: Vec<String>,
    /// The caller that the session belongs to.
    pub client_id: String,
}

impl AccessClaims {
    #[expect(clippy::expect_used, reason = "text and numbers always become JSON")]
    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("claims become JSON")
    }

    fn is_valid(&self, expected: &Expected<'_>, now: Timestamp) -> bool {
        self.iss == expected.issuer
            && expected
                .audience
                .is_none_or(|audience| self.aud == audience)
            && [&self.sub, &self.aud, &self.sid, &self.jti, &self.client_id]
                .iter()
                .all(|text| (1..=255).contains(&text.len()))
            && self.iat <= now.plus(LEEWAY)
            && self.iat < self.exp
            && self.exp <= self.iat.plus(MAX_LIFETIME)
    }
}

/// Whole seconds since the epoch, never a fraction or text (RFC 7519 section 2).
mod numeric_date {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::clock::Timestamp;

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes a reference"
    )]
    pub(super) fn serialize<S: Serializer>(
        time: &Timestamp,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(time.secs())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Timestamp, D::Error> {
        i64::deserialize(deserializer).map(Timestamp::from_secs)
    }
}

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
    #[serde(borrow)]
    kid: Cow<'a, str>,
    #[serde(borrow)]
    typ: Cow<'a, str>,
}

/// Verifies an access token (RFC 9068 section 4); `keys` finds a key by its `kid`.
///
/// # Errors
/// [`Rejected::Expired`] only if everything but the expiry is right.
pub fn verify_access<K: Borrow<VerifyKey>>(
    token: &str,
    keys: impl FnOnce(&str) -> Option<K>,
    expected: &Expected<'_>,
    now: Timestamp,
) -> Result<AccessClaims, Rejected> {
    let claims = signed_claims(token, keys)
        .filter(|claims| claims.is_valid(expected, now))
        .ok_or(Rejected::Invalid)?;
    if now < claims.exp {
        Ok(claims)
    } else {
        Err(Rejected::Expired(Box::new(claims)))
    }
}

fn signed_claims<K: Borrow<VerifyKey>>(
    token: &str,
    keys: impl FnOnce(&str) -> Option<K>,
) -> Option<AccessClaims> {
    let compact = Compact::split(token, MAX_LEN)?;
    let header = compact.header()?;
    let header: Header<'_> = members(&header)?;
    if header.alg != "EdDSA" || header.typ != "at+jwt" {
        return None;
    }
    let key = keys(&header.kid)?;
    if !key
        .borrow()
        .accepts(compact.signing_input, compact.signature)
    {
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
