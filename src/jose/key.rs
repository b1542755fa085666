//! The key pairs that sign our own access tokens.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use zeroize::Zeroizing;

use super::claims::AccessClaims;
use super::verify_key::VerifyKey;
use super::{Algorithm, encode, signed};

/// A key that signs access tokens. It is kept parsed, because parsing it takes as long as signing.
pub struct SigningKey {
    pair: Pair,
    verify: VerifyKey,
    /// The encoded header and the dot after it, which are the same for every token of this key.
    prefix: String,
}

enum Pair {
    EdDsa(Ed25519KeyPair),
    Es256(EcdsaKeyPair),
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
    pub fn generate_pkcs8(algorithm: Algorithm) -> Zeroizing<Vec<u8>> {
        let random = SystemRandom::new();
        let document = match algorithm {
            Algorithm::EdDsa => Ed25519KeyPair::generate_pkcs8(&random),
            Algorithm::Es256 => {
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
            }
        };
        let document = document.expect("the random generator failed");
        Zeroizing::new(document.as_ref().to_vec())
    }

    /// From PKCS#8; `None` if it is not a key of this algorithm whose private and public halves
    /// match.
    #[must_use]
    pub fn from_pkcs8(algorithm: Algorithm, pkcs8: &[u8]) -> Option<Self> {
        let pair = Pair::read(algorithm, pkcs8)?;
        let verify = VerifyKey::from_bytes(algorithm, pair.public())?;
        let (alg, kid) = (algorithm.name(), verify.kid());
        let prefix = encode(format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"at+jwt"}}"#)) + ".";
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
        self.verify.kid()
    }

    /// Signs an access token with these claims (RFC 9068 section 2).
    #[must_use]
    pub fn sign(&self, claims: &AccessClaims) -> String {
        self.sign_payload(&claims.to_json())
    }

    pub(super) fn sign_payload(&self, payload: &[u8]) -> String {
        signed(&self.prefix, payload, |input| self.sign_input(input))
    }

    pub(super) fn sign_input(&self, input: &str) -> String {
        self.pair.sign(input.as_bytes())
    }
}

impl Pair {
    fn read(algorithm: Algorithm, pkcs8: &[u8]) -> Option<Self> {
        match algorithm {
            Algorithm::EdDsa => Ed25519KeyPair::from_pkcs8(pkcs8).ok().map(Self::EdDsa),
            Algorithm::Es256 => EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8)
                .ok()
                .map(Self::Es256),
        }
    }

    fn public(&self) -> &[u8] {
        match self {
            Self::EdDsa(pair) => pair.public_key().as_ref(),
            Self::Es256(pair) => pair.public_key().as_ref(),
        }
    }

    /// The encoded signature.
    #[expect(
        clippy::expect_used,
        reason = "signing fails only if the random generator does"
    )]
    fn sign(&self, input: &[u8]) -> String {
        match self {
            Self::EdDsa(pair) => encode(pair.sign(input)),
            Self::Es256(pair) => {
                let signature = pair.sign(&SystemRandom::new(), input);
                encode(signature.expect("the random generator failed"))
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_from_its_pkcs8_form_and_from_nothing_else() {
        for algorithm in Algorithm::ALL {
            let pkcs8 = SigningKey::generate_pkcs8(algorithm);
            let read = |pkcs8: &[u8]| SigningKey::from_pkcs8(algorithm, pkcs8);
            let key = read(&pkcs8).expect("a key");
            assert_eq!(key.verify_key().algorithm(), algorithm);
            assert_eq!(read(&pkcs8).expect("a key").kid(), key.kid());
            assert!(read(&pkcs8[1..]).is_none());
            assert!(read(&[]).is_none());
        }
    }

    #[test]
    fn a_key_of_another_algorithm_or_curve_is_refused() {
        let (ed, p256) = (
            SigningKey::generate_pkcs8(Algorithm::EdDsa),
            SigningKey::generate_pkcs8(Algorithm::Es256),
        );
        assert!(SigningKey::from_pkcs8(Algorithm::Es256, &ed).is_none());
        assert!(SigningKey::from_pkcs8(Algorithm::EdDsa, &p256).is_none());
        let p384 = EcdsaKeyPair::generate_pkcs8(
            &aws_lc_rs::signature::ECDSA_P384_SHA384_FIXED_SIGNING,
            &SystemRandom::new(),
        );
        let p384 = p384.expect("a key");
        assert!(SigningKey::from_pkcs8(Algorithm::Es256, p384.as_ref()).is_none());
    }
}
