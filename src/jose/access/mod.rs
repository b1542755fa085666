//! The profile of our own access tokens (RFC 9068).

use std::borrow::{Borrow, Cow};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Compact, VerifyKey};
use crate::clock::Timestamp;

/// The longest life of an access token; one that claims more is refused.
pub const MAX_LIFETIME: Duration = Duration::from_hours(24);

const MAX_LEN: usize = 8 * 1024;
/// How far the clock of the replica that signed may be ahead of ours.
const LEEWAY: Duration = Duration::from_secs(30);

/// The claims of an access token: each of them, once, and no other.
///
/// An unknown claim is refused, because it may narrow the token (`scope`, `act`, `cnf`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessClaims {
    /// The issuer: this service.
    pub iss: String,
    /// The user.
    pub sub: String,
    /// The one audience.
    pub aud: String,
    /// The session.
    pub sid: String,
    /// The token's own id.
    pub jti: String,
    /// When it was signed; whole seconds.
    #[serde(with = "numeric_date")]
    pub iat: Timestamp,
    /// When it ends; whole seconds.
    #[serde(with = "numeric_date")]
    pub exp: Timestamp,
    /// When the user proved who they are; whole seconds.
    #[serde(with = "numeric_date")]
    pub auth_time: Timestamp,
    /// How they proved it (RFC 8176).
    pub amr: Vec<String>,
    /// The caller that the session belongs to.
    pub client_id: String,
}

impl AccessClaims {
    #[expect(clippy::expect_used, reason = "text and numbers always become JSON")]
    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("claims become JSON")
    }

    fn is_sound(&self, expected: &Expected<'_>, now: Timestamp) -> bool {
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

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
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

/// What an access token has to say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// `iss`, byte for byte.
    pub issuer: &'a str,
    /// `aud`, byte for byte; `None` leaves it to the caller.
    pub audience: Option<&'a str>,
}

/// Why an access token was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// It is not a token of ours for this audience; no more may be said.
    Invalid,
    /// It was, until its end.
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

/// Checks an access token against the keys, found by their `kid` (RFC 9068 section 4).
///
/// # Errors
/// [`Rejected::Expired`] only where everything but the time is right.
pub fn verify_access<K: Borrow<VerifyKey>>(
    token: &str,
    keys: impl FnOnce(&str) -> Option<K>,
    expected: &Expected<'_>,
    now: Timestamp,
) -> Result<AccessClaims, Rejected> {
    let claims = signed_claims(token, keys)
        .filter(|claims| claims.is_sound(expected, now))
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

/// serde's structs may also be read from an array, hence the look at the first byte.
fn members<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Option<T> {
    if json.first() == Some(&b'{') {
        serde_json::from_slice(json).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
