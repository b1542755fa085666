//! Signing keys as the store holds them.

/// A key that access tokens are signed with; its private half is sealed.
#[derive(Debug)]
pub struct SealedSigningKey {
    /// Its `kid`.
    pub id: String,
    /// Its raw public half.
    pub public_key: Vec<u8>,
    /// Its private half, sealed.
    pub private_key: Vec<u8>,
    pub state: SigningKeyState,
}

/// What a signing key is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningKeyState {
    /// It signs.
    Active,
    /// Tokens that it signed are still accepted.
    Retired,
}
