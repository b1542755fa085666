//! Reports the state of a user's provider tokens, and deletes them.

use super::Federation;
use super::tokens::ProviderTokens;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::{SessionId, UserId};
use crate::model::provider_tokens::TokenState;
use crate::provider::Provider;

/// The state of one token, without the token itself.
#[derive(Clone, Debug)]
pub struct TokenStatus {
    pub provider: String,
    pub kind: TokenKind,
    pub state: TokenState,
    /// Whether a stored refresh token can renew it.
    pub refreshable: bool,
    pub expire_time: Timestamp,
    pub scopes: Vec<String>,
}

/// A kind of provider token that can be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    Access,
    Id,
}

impl Federation {
    /// The state of a session's tokens of one provider, or of all providers if `provider` is empty.
    ///
    /// # Errors
    /// [`crate::error::Error::ProviderNotFound`], and the store's errors.
    pub async fn token_status(
        &self,
        session: &SessionId,
        provider: &str,
    ) -> Result<Vec<TokenStatus>> {
        if !provider.is_empty() {
            Provider::find(self.providers(), provider)?;
        }
        let tokens = self.tokens(session).await?;
        Ok(tokens
            .iter()
            .filter(|tokens| provider.is_empty() || tokens.provider == provider)
            .flat_map(|tokens| statuses(tokens))
            .collect())
    }

    /// Deletes a session's tokens of one provider, or of all providers if `provider` is empty. The
    /// provider need not be configured any more.
    ///
    /// # Errors
    /// The store's errors.
    pub async fn delete_session_tokens(&self, session: &SessionId, provider: &str) -> Result<()> {
        Ok(self
            .0
            .store
            .delete_session_tokens(session, provider)
            .await?)
    }

    /// Deletes the tokens of all of a user's sessions, of one provider, or of all providers if
    /// `provider` is empty. The provider need not be configured any more.
    ///
    /// # Errors
    /// The store's errors.
    pub async fn delete_user_tokens(&self, user: &UserId, provider: &str) -> Result<()> {
        Ok(self.0.store.delete_user_tokens(user, provider).await?)
    }
}

fn statuses(tokens: &ProviderTokens) -> Vec<TokenStatus> {
    let status = |kind, expire_time| TokenStatus {
        provider: tokens.provider.clone(),
        kind,
        state: tokens.state,
        refreshable: tokens.refresh_token.is_some()
            && tokens.state != TokenState::ReconnectRequired,
        expire_time,
        scopes: tokens
            .scopes
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
    };
    let id_token = tokens
        .id_token
        .as_ref()
        .map(|token| status(TokenKind::Id, token.expire_time));
    std::iter::once(status(TokenKind::Access, tokens.access_expire_time))
        .chain(id_token)
        .collect()
}
