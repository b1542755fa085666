//! Tokens that providers issued, as the store holds them: sealed.

use std::fmt;

use crate::clock::Timestamp;
use crate::id::{IdentityId, SessionId, UserId};

/// Which row: the tokens of an identity in a session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokensKey {
    pub session_id: SessionId,
    pub identity_id: IdentityId,
}

impl fmt::Display for TokensKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.session_id, self.identity_id)
    }
}

/// The tokens of a login, to be stored.
#[derive(Debug)]
pub struct NewTokens {
    pub key: TokensKey,
    pub provider: String,
    pub content: SealedTokens,
}

/// What a refresh replaces. Each sealed value opens only together with the times, the scopes and
/// the version that it was sealed with.
#[derive(Clone, Debug)]
pub struct SealedTokens {
    pub access_token: Vec<u8>,
    pub access_expire_time: Timestamp,
    pub id_token: Option<Vec<u8>>,
    pub id_expire_time: Option<Timestamp>,
    pub refresh_token: Option<Vec<u8>>,
    pub claims: Vec<u8>,
    /// Granted scopes, separated by spaces.
    pub scopes: String,
    /// The seal over the state and the version; `None` in rows that were sealed before there was
    /// one.
    pub state_seal: Option<Vec<u8>>,
    pub update_time: Timestamp,
}

/// How the tokens of an identity stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// As the provider gave them.
    Active,
    /// An attempt to renew them was begun.
    Refreshing,
    /// The provider could not be asked; not again before `retry`.
    Backoff { retry: Timestamp },
    /// The user has to sign in at the provider again.
    ReconnectRequired,
}

impl TokenState {
    /// As it is stored.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Refreshing => "REFRESHING",
            Self::Backoff { .. } => "BACKOFF",
            Self::ReconnectRequired => "RECONNECT_REQUIRED",
        }
    }

    /// When the provider may be asked again.
    pub fn retry(self) -> Option<Timestamp> {
        match self {
            Self::Backoff { retry } => Some(retry),
            Self::Active | Self::Refreshing | Self::ReconnectRequired => None,
        }
    }
}

/// A state to be stored. No two seals are the same, so a seal also tells one attempt from another.
#[derive(Debug)]
pub struct SealedState {
    pub state: TokenState,
    pub seal: Vec<u8>,
}

/// Tokens as stored.
#[derive(Clone, Debug)]
pub struct StoredTokens {
    pub key: TokensKey,
    pub user_id: UserId,
    pub issuer: String,
    pub subject: String,
    pub provider: String,
    pub content: SealedTokens,
    pub state: TokenState,
    /// 1 for those of the login, and one more with each refresh.
    pub version: i64,
}
