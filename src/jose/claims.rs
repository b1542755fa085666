//! The claims of our own access tokens.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

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
    /// The bytes of its texts.
    pub fn text_bytes(&self) -> usize {
        let texts = [
            &self.iss,
            &self.sub,
            &self.aud,
            &self.sid,
            &self.jti,
            &self.client_id,
        ];
        let texts = texts.into_iter().chain(&self.amr);
        texts.map(String::len).sum()
    }

    #[expect(clippy::expect_used, reason = "text and numbers always become JSON")]
    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("claims become JSON")
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
