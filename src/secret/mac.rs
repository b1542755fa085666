//! Message authentication codes.

use std::fmt;

use aws_lc_rs::hmac;

use super::random::sha256;
use super::root_key::{Purpose, RootKey};

/// An HMAC-SHA256 key, with a short id that identifies the root key it was derived from.
pub struct MacKey {
    id: [u8; 4],
    key: hmac::Key,
}

impl MacKey {
    /// Derives the key for a purpose from a root key.
    #[must_use]
    pub fn derive(root: &RootKey, purpose: Purpose) -> Self {
        let bytes = root.derive::<32>(purpose, &[]);
        let mut id = [0; 4];
        id.copy_from_slice(&sha256(root.id().as_bytes())[..4]);
        Self {
            id,
            key: hmac::Key::new(hmac::HMAC_SHA256, bytes.as_slice()),
        }
    }

    /// The first four bytes of the SHA-256 of the root key's id.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        self.id
    }

    /// The MAC of the parts, joined without separators: every part but the last must have a fixed
    /// length.
    #[must_use]
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(part);
        }
        let mut out = [0; 32];
        out.copy_from_slice(context.sign().as_ref());
        out
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MacKey").finish_non_exhaustive()
    }
}
