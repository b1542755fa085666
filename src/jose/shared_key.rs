//! A secret that others know too: LibreChat's JWT_SECRET (HS256, RFC 7518 section 3.2).

use std::fmt;

use aws_lc_rs::hmac;

use super::claims::AccessClaims;
use super::{decode, encode, signed};
use crate::secret::{ExposeSecret, SecretString};

/// A key of HS256 must have at least as many bytes as its hash (RFC 7518 section 3.2).
const LEAST: usize = 32;
/// The name of the algorithm.
pub(super) const ALG: &str = "HS256";
/// It names no key, because verifiers have only this one.
const HEADER: &str = r#"{"alg":"HS256","typ":"at+jwt"}"#;

/// Signs and verifies access tokens with a secret that LibreChat's backends know as well.
pub struct SharedKey {
    key: hmac::Key,
    /// The encoded header and the dot after it.
    prefix: String,
}

impl SharedKey {
    /// The UTF-8 bytes of the secret, as LibreChat takes them; `None` if there are fewer than 32.
    #[must_use]
    pub fn new(secret: &SecretString) -> Option<Self> {
        let bytes = secret.expose_secret().as_bytes();
        (bytes.len() >= LEAST).then(|| Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, bytes),
            prefix: encode(HEADER) + ".",
        })
    }

    /// Signs an access token with these claims, LibreChat's among them.
    #[must_use]
    pub fn sign(&self, claims: &AccessClaims) -> String {
        self.sign_payload(&claims.to_json())
    }

    pub(super) fn sign_payload(&self, payload: &[u8]) -> String {
        signed(&self.prefix, payload, |input| self.sign_input(input))
    }

    pub(super) fn sign_input(&self, input: &str) -> String {
        encode(hmac::sign(&self.key, input.as_bytes()))
    }

    /// The comparison takes the same time whatever the signature is.
    pub(super) fn accepts(&self, signing_input: &str, signature: &str) -> bool {
        decode(signature)
            .is_some_and(|mac| hmac::verify(&self.key, signing_input.as_bytes(), &mac).is_ok())
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_secret_of_fewer_than_32_bytes_is_refused() {
        assert!(SharedKey::new(&SecretString::from(&SECRET[1..])).is_none());
        assert!(SharedKey::new(&SecretString::from("")).is_none());
        // 16 characters of two bytes each.
        assert!(SharedKey::new(&SecretString::from("é".repeat(16))).is_some());
    }

    #[test]
    fn a_signature_is_the_mac_that_others_compute_from_the_text_of_the_secret() {
        let key = SharedKey::new(&SecretString::from(SECRET)).expect("long enough");
        let theirs = jsonwebtoken::crypto::sign(
            b"input",
            &jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes()),
            jsonwebtoken::Algorithm::HS256,
        );
        let theirs = theirs.expect("a signature");
        assert_eq!(key.sign_input("input"), theirs);
        assert!(key.accepts("input", &theirs));
        assert!(!key.accepts("inpuT", &theirs));
        assert!(!key.accepts("input", &theirs[..theirs.len() - 4]));
        assert!(!key.accepts("input", ""));
    }

    #[test]
    fn the_secret_is_not_printed() {
        let key = SharedKey::new(&SecretString::from(SECRET)).expect("long enough");
        assert_eq!(format!("{key:?}"), "SharedKey { .. }");
    }
}
