//! Signing keys as the store holds them.

use super::algorithm::Algorithm;
use crate::clock::Timestamp;

/// A key that access tokens are signed with; its private half is sealed.
#[derive(Debug)]
pub struct SealedSigningKey {
    /// Its `kid`.
    pub id: String,
    pub algorithm: Algorithm,
    /// Its raw public half.
    pub public_key: Vec<u8>,
    /// Its private half, sealed.
    pub private_key: Vec<u8>,
    pub state: SigningKeyState,
    pub create_time: Timestamp,
    /// When it began to sign.
    pub activate_time: Option<Timestamp>,
    /// When it ceased to sign.
    pub retire_time: Option<Timestamp>,
    pub revoke_time: Option<Timestamp>,
}

/// What a signing key is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningKeyState {
    /// It is published, and will sign next.
    Next,
    /// It signs.
    Active,
    /// It signs no more. Tokens that it signed are still accepted.
    Retired,
    /// No token that it signed is accepted.
    Revoked,
}

/// What is told of a signing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKeyInfo {
    pub kid: String,
    pub algorithm: Algorithm,
    pub state: SigningKeyState,
    pub create_time: Timestamp,
    pub activate_time: Option<Timestamp>,
    pub retire_time: Option<Timestamp>,
    pub revoke_time: Option<Timestamp>,
}

impl SigningKeyState {
    /// Its name, as it is stored and shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retired => "retired",
            Self::Revoked => "revoked",
        }
    }

    /// The state of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Next, Self::Active, Self::Retired, Self::Revoked]
            .into_iter()
            .find(|state| state.name() == name)
    }
}

impl SealedSigningKey {
    /// What is told of it.
    #[must_use]
    pub fn info(&self) -> SigningKeyInfo {
        SigningKeyInfo {
            kid: self.id.clone(),
            algorithm: self.algorithm,
            state: self.state,
            create_time: self.create_time,
            activate_time: self.activate_time,
            retire_time: self.retire_time,
            revoke_time: self.revoke_time,
        }
    }
}
