//! The public halves of signing keys, and their JWKs (RFC 7517, RFC 7638).

use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey};
use jsonwebtoken::DecodingKey;
use serde::Serialize;

use super::{Algorithm, encode};
use crate::secret::sha256;

/// The bytes of a coordinate, and of an Ed25519 key.
const COORDINATE: usize = 32;
/// Both coordinates after a byte that says that neither is left out (SEC 1 section 2.3.3).
const POINT: usize = 1 + 2 * COORDINATE;

/// The public half of a signing key. It verifies signatures of its own algorithm alone.
#[derive(Clone)]
pub struct VerifyKey {
    algorithm: Algorithm,
    kid: String,
    public: Vec<u8>,
    decoding: DecodingKey,
}

/// A public key as JSON Web Key (RFC 7517 section 4, RFC 7518 section 6.2, RFC 8037 section 2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PublicJwk {
    pub kty: &'static str,
    pub crv: &'static str,
    pub x: String,
    /// Only a point of an elliptic curve has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
    pub kid: String,
    pub alg: &'static str,
    #[serde(rename = "use")]
    pub use_: &'static str,
}

impl VerifyKey {
    /// From the 32 bytes of an Ed25519 key, or the 65 of an uncompressed point on P-256; `None` if
    /// it is no such key.
    #[must_use]
    pub fn from_bytes(algorithm: Algorithm, public: &[u8]) -> Option<Self> {
        let decoding = match algorithm {
            Algorithm::EdDsa if public.len() == COORDINATE => {
                ParsedPublicKey::new(&ED25519, public).ok()?;
                DecodingKey::from_ed_der(public)
            }
            Algorithm::Es256 if public.len() == POINT => {
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public).ok()?;
                DecodingKey::from_ec_der(public)
            }
            _ => return None,
        };
        Some(Self {
            algorithm,
            kid: thumbprint(&Point::of(algorithm, public)),
            public: public.to_vec(),
            decoding,
        })
    }

    /// What its signatures are made with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key's id: the thumbprint of its JWK (RFC 7638).
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The bytes that [`VerifyKey::from_bytes`] reads.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// Its JWK, which verifiers find by the `kid` of a token.
    #[must_use]
    pub fn jwk(&self) -> PublicJwk {
        let Point { kty, crv, x, y } = Point::of(self.algorithm, &self.public);
        PublicJwk {
            kty,
            crv,
            x,
            y,
            kid: self.kid.clone(),
            alg: self.algorithm.name(),
            use_: "sig",
        }
    }

    pub(super) fn accepts(&self, signing_input: &str, signature: &str) -> bool {
        let algorithm = match self.algorithm {
            Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
            Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
        };
        let input = signing_input.as_bytes();
        jsonwebtoken::crypto::verify(signature, input, &self.decoding, algorithm).unwrap_or(false)
    }
}

impl fmt::Debug for VerifyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyKey")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// The members of a JWK that make up the key.
struct Point {
    kty: &'static str,
    crv: &'static str,
    x: String,
    y: Option<String>,
}

impl Point {
    fn of(algorithm: Algorithm, public: &[u8]) -> Self {
        match algorithm {
            Algorithm::EdDsa => Self {
                kty: "OKP",
                crv: "Ed25519",
                x: encode(public),
                y: None,
            },
            Algorithm::Es256 => Self {
                kty: "EC",
                crv: "P-256",
                x: encode(&public[1..=COORDINATE]),
                y: Some(encode(&public[1 + COORDINATE..])),
            },
        }
    }
}

/// The SHA-256 of the key's own members in the order of their names (RFC 7638 section 3).
fn thumbprint(Point { kty, crv, x, y }: &Point) -> String {
    let y = y
        .as_ref()
        .map_or_else(String::new, |y| format!(r#","y":"{y}""#));
    let members = format!(r#"{{"crv":"{crv}","kty":"{kty}","x":"{x}"{y}}}"#);
    encode(sha256(members.as_bytes()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jose::decode;

    /// RFC 7515 appendix A.3.1.
    const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

    fn bytes(text: &str) -> Vec<u8> {
        decode(text).expect("base64url")
    }

    fn p256() -> Vec<u8> {
        [&[4][..], &bytes(X), &bytes(Y)].concat()
    }

    #[test]
    fn the_key_id_is_the_thumbprint_of_rfc_8037_appendix_a_3() {
        let public = bytes("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        let key = VerifyKey::from_bytes(Algorithm::EdDsa, &public).expect("32 bytes");
        assert_eq!(key.kid(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!(
            json!(key.jwk()),
            json!({"kty": "OKP", "crv": "Ed25519", "x": encode(public), "kid": key.kid(), "alg": "EdDSA", "use": "sig"})
        );
    }

    #[test]
    fn a_point_gives_both_of_its_coordinates() {
        let key = VerifyKey::from_bytes(Algorithm::Es256, &p256()).expect("a point");
        let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{X}","y":"{Y}"}}"#);
        assert_eq!(key.kid(), encode(sha256(members.as_bytes())));
        assert_eq!(
            json!(key.jwk()),
            json!({"kty": "EC", "crv": "P-256", "x": X, "y": Y, "kid": key.kid(), "alg": "ES256", "use": "sig"})
        );
    }

    #[test]
    fn the_signature_of_rfc_7515_appendix_a_3_is_accepted_and_no_other() {
        let key = VerifyKey::from_bytes(Algorithm::Es256, &p256()).expect("a point");
        let input = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        assert!(key.accepts(input, signature));
        assert!(!key.accepts(input, &signature.replacen('D', "E", 1)));
        assert!(!key.accepts(&input[1..], signature));
        // Zeros fulfil the equation of a verifier that does not look for them.
        assert!(!key.accepts(input, &encode([0; 64])));
    }

    /// Wycheproof's verdict on a signature against ours; messages that are no text cannot be the input
    /// of a JWT's signature.
    fn agrees(key: Option<&VerifyKey>, message: &[u8], signature: &[u8], is_bad: bool) -> bool {
        let Ok(message) = std::str::from_utf8(message) else {
            return true;
        };
        let accepted = key.is_some_and(|key| key.accepts(message, &encode(signature)));
        accepted != is_bad
    }

    #[test]
    fn signatures_of_wycheproof_are_accepted_and_refused_as_it_says() {
        let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519);
        let mut seen = 0;
        for group in set.expect("vectors").test_groups {
            let key = VerifyKey::from_bytes(Algorithm::EdDsa, &group.key.pk);
            for test in group.tests {
                let agrees = agrees(key.as_ref(), &test.msg, &test.sig, test.result.must_fail());
                assert!(agrees, "Ed25519, {}: {}", test.tc_id, test.comment);
                seen += 1;
            }
        }
        let name = wycheproof::ecdsa::TestName::EcdsaSecp256r1Sha256P1363;
        let set = wycheproof::ecdsa::TestSet::load(name);
        for group in set.expect("vectors").test_groups {
            let key = VerifyKey::from_bytes(Algorithm::Es256, &group.key.key);
            for test in group.tests {
                let agrees = agrees(key.as_ref(), &test.msg, &test.sig, test.result.must_fail());
                assert!(agrees, "P-256, {}: {}", test.tc_id, test.comment);
                seen += 1;
            }
        }
        assert!(seen > 300, "{seen}");
    }

    #[test]
    fn what_is_no_public_key_of_the_algorithm_is_refused() {
        let mut off_the_curve = p256();
        off_the_curve[POINT - 1] ^= 1;
        let compressed = [&[3][..], &bytes(X)].concat();
        for public in [
            &off_the_curve[..],
            &compressed,
            &p256()[1..],
            &[0; POINT],
            &[],
        ] {
            assert!(VerifyKey::from_bytes(Algorithm::Es256, public).is_none());
        }
        for public in [&[0; 31][..], &[0; 33], &p256()] {
            assert!(VerifyKey::from_bytes(Algorithm::EdDsa, public).is_none());
        }
    }
}
