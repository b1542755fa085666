//! Strict reading, checking and signing of JSON Web Tokens: one parser of the compact form, a profile for each kind of token.

mod access;
mod id_token;
mod json;
mod jwks;
mod key;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

pub use access::{AccessClaims, Expected, MAX_LIFETIME, Rejected, verify_access};
pub use id_token::{UnverifiedIdToken, parse_id_token};
pub use json::object;
pub use jwks::provider_keys;
pub use key::{SigningKey, VerifyKey};

/// A compact JWS, taken apart and not yet believed (RFC 7515 section 3.1).
struct Compact<'a> {
    signing_input: &'a str,
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> Compact<'a> {
    /// The size is looked at before anything else, so that a long token costs nothing.
    fn split(token: &'a str, max_len: usize) -> Option<Self> {
        if token.len() > max_len {
            return None;
        }
        let (signing_input, signature) = token.rsplit_once('.')?;
        let (header, payload) = signing_input.split_once('.')?;
        Some(Self {
            signing_input,
            header,
            payload,
            signature,
        })
    }

    fn header(&self) -> Option<Vec<u8>> {
        decode(self.header)
    }

    fn payload(&self) -> Option<Vec<u8>> {
        decode(self.payload)
    }
}

/// Unpadded base64url in its one canonical form; a dot or a stray last bit is refused (RFC 7515 section 2).
fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
