//! The keys that sign and verify our own access tokens: Ed25519 (RFC 8037).

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use jsonwebtoken::{Algorithm, DecodingKey};
use zeroize::Zeroizing;

use super::claims::AccessClaims;
use super::encode;
use crate::secret::sha256;

/// A key that signs access tokens. It is kept parsed, because parsing it takes as long as signing.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    verify: VerifyKey,
    /// The encoded header and the dot after it, which are the same for every token of this key.
    prefix: String,
}

impl SigningKey {
    /// A new private key as PKCS#8, for the caller to seal and store; [`SigningKey::from_pkcs8`]
    /// reads it.
    ///
    /// # Panics
    /// If the system's random generator fails.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "a service without randomness must not go on"
    )]
    pub fn generate_pkcs8() -> Zeroizing<Vec<u8>> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .expect("the random generator failed");
        Zeroizing::new(document.as_ref().to_vec())
    }

    /// From PKCS#8; `None` if it is not an Ed25519 key whose private and public halves match.
    #[must_use]
    pub fn from_pkcs8(pkcs8: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).ok()?;
        let verify = VerifyKey::from_bytes(pair.public_key().as_ref())?;
        let prefix = encode(format!(
            r#"{{"alg":"EdDSA","kid":"{}","typ":"at+jwt"}}"#,
            verify.kid
        )) + ".";
        Some(Self {
            pair,
            verify,
            prefix,
        })
    }

    /// Its public half.
    #[must_use]
    pub fn verify_key(&self) -> &VerifyKey {
        &self.verify
    }

    /// The key's id.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.verify.kid
    }

    /// Signs an access token with these claims (RFC 9068 section 2).
    #[must_use]
    pub fn sign(&self, claims: &AccessClaims) -> String {
        self.sign_payload(&claims.to_json())
    }

    pub(super) fn sign_payload(&self, payload: &[u8]) -> String {
        let input = self.prefix.clone() + &encode(payload);
        let signature = self.sign_input(&input);
        input + "." + &signature
    }

    pub(super) fn sign_input(&self, input: &str) -> String {
        encode(self.pair.sign(input.as_bytes()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.verify.kid)
            .finish_non_exhaustive()
    }
}

/// The public half of a signing key.
#[derive(Clone)]
pub struct VerifyKey {
    kid: String,
    public: [u8; 32],
    decoding: DecodingKey,
}

impl VerifyKey {
    /// From the 32 bytes of an Ed25519 public key; `None` if the length is another.
    #[must_use]
    pub fn from_bytes(public: &[u8]) -> Option<Self> {
        let public = public.try_into().ok()?;
        Some(Self {
            kid: thumbprint(&public),
            public,
            decoding: DecodingKey::from_ed_der(&public),
        })
    }

    /// The key's id: the thumbprint of its JWK (RFC 7638).
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The key's 32 bytes.
    #[must_use]
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    pub(super) fn accepts(&self, signing_input: &str, signature: &str) -> bool {
        jsonwebtoken::crypto::verify(
            signature,
            signing_input.as_bytes(),
            &self.decoding,
            Algorithm::EdDSA,
        )
        .unwrap_or(false)
    }
}

impl fmt::Debug for VerifyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyKey")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

fn thumbprint(public: &[u8; 32]) -> String {
    encode(sha256(
        format!(
            r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#,
            encode(public)
        )
        .as_bytes(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::decode;

    #[test]
    fn the_key_id_is_the_thumbprint_of_rfc_8037_appendix_a_3() {
        let public = decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").expect("base64url");
        let key = VerifyKey::from_bytes(&public).expect("32 bytes");
        assert_eq!(key.kid(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_key_is_read_from_its_pkcs8_form_and_from_nothing_else() {
        let pkcs8 = SigningKey::generate_pkcs8();
        let key = SigningKey::from_pkcs8(&pkcs8).expect("a key");
        assert_eq!(
            SigningKey::from_pkcs8(&pkcs8).expect("a key").kid(),
            key.kid()
        );
        assert!(SigningKey::from_pkcs8(&pkcs8[1..]).is_none());
        assert!(SigningKey::from_pkcs8(&[]).is_none());
        assert!(VerifyKey::from_bytes(&[0; 31]).is_none());
    }
}
