//! Tokens that providers issued, as the store holds them: sealed.

use crate::clock::Timestamp;
use crate::id::{IdentityId, SessionId, UserId};

/// Which row: the tokens of an identity in a session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokensKey {
    pub session_id: SessionId,
    pub identity_id: IdentityId,
}

/// The tokens of a login, to be stored.
#[derive(Debug)]
pub struct NewTokens {
    pub key: TokensKey,
    pub provider: String,
    pub content: SealedTokens,
    pub update_time: Timestamp,
}

/// What a refresh replaces.
#[derive(Debug)]
pub struct SealedTokens {
    pub access_token: Vec<u8>,
    pub access_expire_time: Timestamp,
    pub id_token: Option<Vec<u8>>,
    pub id_expire_time: Option<Timestamp>,
    pub refresh_token: Option<Vec<u8>>,
    pub claims: Vec<u8>,
    /// Granted scopes, separated by spaces.
    pub scopes: String,
}

/// How the tokens of an identity stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// As the provider gave them.
    Active,
    /// Being renewed; from `lease` on the attempt counts as one without an outcome.
    Refreshing { lease: Timestamp },
    /// The provider could not be asked; not again before `retry`.
    Backoff { retry: Timestamp },
    /// The user has to sign in at the provider again.
    ReconnectRequired,
}

/// Tokens as stored.
#[derive(Debug)]
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
    pub update_time: Timestamp,
}

/// How a refresh ended that brought no tokens.
#[derive(Clone, Copy, Debug)]
pub enum FailedRefresh {
    /// It may be tried again from `retry` on.
    Backoff { retry: Timestamp },
    /// The provider refused, or whether it answered is not known.
    ReconnectRequired,
}
