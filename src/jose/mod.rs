//! Strict parsing, verification and signing of JSON Web Tokens: one parser for the compact form,
//! and a module with the rules for each kind of token.

mod access;
mod caller_keys;
mod caller_token;
mod claims;
mod id_token;
mod json;
mod jwks;
mod key;
mod numeric_date;
mod shared_key;
mod verify_key;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

pub use access::{Expected, MAX_LIFETIME, Rejected, verify_access, verify_shared_access};
pub use caller_keys::CallerKeys;
pub use caller_token::{CallerToken, CallerTokenFault, MAX_CALLER_TOKEN};
pub use claims::{AccessClaims, Actor, MAX_ACTORS};
pub use id_token::{UnverifiedIdToken, parse_id_token};
pub use json::object;
pub use jwks::provider_keys;
pub use key::SigningKey;
pub use numeric_date::numeric_date;
pub use shared_key::SharedKey;
pub use verify_key::{PublicJwk, VerifyKey};

pub use crate::model::algorithm::Algorithm;

/// The parts of a compact JWS whose signature has not been checked (RFC 7515 section 3.1).
struct Compact<'a> {
    signing_input: &'a str,
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> Compact<'a> {
    /// Checks the length first, so that a long token costs no work.
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

/// Decodes unpadded base64url (RFC 7515 section 2). Only the canonical form is accepted: other
/// characters, such as a dot, and trailing bits that are not zero are refused.
/// A token: the encoded header with its dot, the payload, and the encoded signature of both.
fn signed(header: &str, payload: &[u8], sign: impl FnOnce(&str) -> String) -> String {
    let input = header.to_owned() + &encode(payload);
    let signature = sign(&input);
    input + "." + &signature
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
