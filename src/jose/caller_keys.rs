//! The keys that verify JWTs of callers: a JWK set that the operator named (RFC 7517).

use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};

use super::{Compact, decode, provider_keys};
use crate::secret::sha256;

/// The coordinate of a point of a curve, in bytes, by the curve's name.
const CURVES: [(&str, usize, Algorithm); 2] = [
    ("P-256", 32, Algorithm::ES256),
    ("P-384", 48, Algorithm::ES384),
];
const ED25519_BYTES: usize = 32;
const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// The public keys of an issuer of callers' JWTs.
#[derive(Clone)]
pub struct CallerKeys {
    keys: Vec<Key>,
    digest: [u8; 32],
}

#[derive(Clone)]
struct Key {
    kid: Option<String>,
    /// What it may verify.
    algorithms: Vec<Algorithm>,
    decoding: DecodingKey,
}

/// Why no key verifies a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unverified {
    /// None is the token's.
    KeyUnknown,
    SignatureWrong,
}

impl CallerKeys {
    /// Reads a JWK set; `None` if it is none, or has more than 100 keys. Keys that are not for
    /// signatures, weak, private or of an unknown kind are left out.
    #[must_use]
    pub fn parse(json: &[u8]) -> Option<Self> {
        let keys = provider_keys(json)?;
        Some(Self {
            keys: keys.iter().filter_map(Key::read).collect(),
            digest: sha256(json),
        })
    }

    /// Whether it has no key that verifies anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The SHA-256 of its text.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Checks the signature of a token. One without `kid` is checked only if a single key is for its
    /// algorithm, so that it costs no more than one with it.
    pub(super) fn verify(
        &self,
        token: &Compact<'_>,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<(), Unverified> {
        let fits = |key: &&Key| {
            key.algorithms.contains(&algorithm) && (kid.is_none() || key.kid.as_deref() == kid)
        };
        let mut fitting = self.keys.iter().filter(fits);
        let (Some(key), None) = (fitting.next(), fitting.next()) else {
            return Err(Unverified::KeyUnknown);
        };
        let input = token.signing_input.as_bytes();
        let verified =
            jsonwebtoken::crypto::verify(token.signature, input, &key.decoding, algorithm);
        match verified {
            Ok(true) => Ok(()),
            // Without a kid, only the signature shows that the issuer has replaced its key.
            _ if kid.is_none() => Err(Unverified::KeyUnknown),
            _ => Err(Unverified::SignatureWrong),
        }
    }
}

impl PartialEq for CallerKeys {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for CallerKeys {}

impl std::fmt::Debug for CallerKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kids = self.keys.iter().map(|key| &key.kid);
        f.debug_list().entries(kids).finish()
    }
}

impl Key {
    fn read(jwk: &Map<String, Value>) -> Option<Self> {
        let text = |name| jwk.get(name).and_then(Value::as_str);
        let (mut algorithms, decoding) = match text("kty")? {
            "RSA" => {
                let key = DecodingKey::from_rsa_components(text("n")?, text("e")?).ok()?;
                (RSA.to_vec(), key)
            }
            "EC" => {
                let curve = CURVES.iter().find(|(name, ..)| text("crv") == Some(name));
                let (_, bytes, algorithm) = curve?;
                let (x, y) = (text("x")?, text("y")?);
                let fits = [x, y].map(|part| decode(part).is_some_and(|part| part.len() == *bytes));
                let key = DecodingKey::from_ec_components(x, y).ok();
                (vec![*algorithm], key.filter(|_| fits == [true; 2])?)
            }
            "OKP" if text("crv") == Some("Ed25519") => {
                let public = decode(text("x")?).filter(|x| x.len() == ED25519_BYTES)?;
                (vec![Algorithm::EdDSA], DecodingKey::from_ed_der(&public))
            }
            _ => return None,
        };
        if let Some(stated) = jwk.get("alg") {
            let stated: Algorithm = stated.as_str()?.parse().ok()?;
            algorithms.retain(|algorithm| *algorithm == stated);
        }
        (!algorithms.is_empty()).then(|| Self {
            kid: text("kid").map(str::to_owned),
            algorithms,
            decoding,
        })
    }
}
