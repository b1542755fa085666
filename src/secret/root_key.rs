//! Root keys, and the keys derived from them.

use std::fmt;

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use zeroize::Zeroizing;

/// What a derived key is for; keys for different purposes are independent of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Sealed provider tokens and claims.
    FederatedTokens,
    /// Private halves of signing keys.
    SigningKeys,
    /// MACs of refresh tokens.
    RefreshTokens,
    /// Secrets of a login in progress.
    LoginFlow,
    /// MACs of page tokens.
    PageTokens,
    /// The sealed row that shows at start whether the configured root key is the right one.
    Canary,
}

impl Purpose {
    const fn label(self) -> &'static str {
        match self {
            Self::FederatedTokens => "countersign federated tokens v1",
            Self::SigningKeys => "countersign signing keys v1",
            Self::RefreshTokens => "countersign refresh tokens v1",
            Self::LoginFlow => "countersign login flow v1",
            Self::PageTokens => "countersign page tokens v1",
            Self::Canary => "countersign canary v1",
        }
    }
}

/// A root key; everything else is derived from it.
#[derive(Clone)]
pub struct RootKey {
    id: String,
    bytes: Zeroizing<[u8; 32]>,
}

impl RootKey {
    /// A key with its id, which is written into each sealed value: 1 to 32 characters out of a-z,
    /// A-Z, 0-9, `-` and `_`. `None` if the id has another form.
    #[must_use]
    pub fn new(id: &str, bytes: [u8; 32]) -> Option<Self> {
        let well_formed = (1..=32).contains(&id.len())
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        well_formed.then(|| Self {
            id: id.to_owned(),
            bytes: Zeroizing::new(bytes),
        })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// `N` bytes of HKDF-SHA256 (RFC 5869) with the purpose as `info`.
    pub(super) fn derive<const N: usize>(
        &self,
        purpose: Purpose,
        salt: &[u8],
    ) -> Zeroizing<[u8; N]> {
        let mut out = Zeroizing::new([0; N]);
        let info = [purpose.label().as_bytes()];
        let filled = Salt::new(HKDF_SHA256, salt)
            .extract(self.bytes.as_slice())
            .expand(&info, Length(N))
            .and_then(|okm| okm.fill(out.as_mut_slice()));
        debug_assert!(filled.is_ok(), "HKDF-SHA256 yields at most 8,160 bytes");
        out
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}
