//! What is held of a user's provider tokens, and forgetting them.

use super::Federation;
use super::held::Held;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::{SessionId, UserId};
use crate::store::federated_tokens::TokenState;

/// What is held of one token; never the token.
#[derive(Clone, Debug)]
pub struct TokenStatus {
    pub provider: String,
    pub kind: TokenKind,
    pub state: TokenState,
    /// Whether a refresh token is held that can renew it.
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
    /// What is held in a session, of one provider or, where that is empty, of all.
    ///
    /// # Errors
    /// [`crate::error::Error::ProviderNotFound`]; the store's.
    pub async fn token_status(
        &self,
        session: &SessionId,
        provider: &str,
    ) -> Result<Vec<TokenStatus>> {
        self.check_provider(provider)?;
        let held = self.held(session).await?;
        Ok(held
            .iter()
            .filter(|held| provider.is_empty() || held.provider == provider)
            .flat_map(|held| statuses(held))
            .collect())
    }

    /// Forgets a session's tokens, of one provider or, where that is empty, of all.
    ///
    /// # Errors
    /// [`crate::error::Error::ProviderNotFound`]; the store's.
    pub async fn delete_session_tokens(&self, session: &SessionId, provider: &str) -> Result<()> {
        self.check_provider(provider)?;
        Ok(self
            .0
            .store
            .delete_session_tokens(session, provider)
            .await?)
    }

    /// Forgets the tokens of all of a user's sessions, of one provider or, where that is empty, of all.
    ///
    /// # Errors
    /// [`crate::error::Error::ProviderNotFound`]; the store's.
    pub async fn delete_user_tokens(&self, user: &UserId, provider: &str) -> Result<()> {
        self.check_provider(provider)?;
        Ok(self.0.store.delete_user_tokens(user, provider).await?)
    }

    fn check_provider(&self, provider: &str) -> Result<()> {
        if provider.is_empty() {
            Ok(())
        } else {
            self.provider(provider).map(drop)
        }
    }
}

fn statuses(held: &Held) -> Vec<TokenStatus> {
    let status = |kind, expire_time| TokenStatus {
        provider: held.provider.clone(),
        kind,
        state: held.state,
        refreshable: held.refresh_token.is_some() && held.state != TokenState::ReconnectRequired,
        expire_time,
        scopes: held.scopes.split_whitespace().map(str::to_owned).collect(),
    };
    let id_token = held
        .id_token
        .as_ref()
        .map(|token| status(TokenKind::Id, token.expire_time));
    std::iter::once(status(TokenKind::Access, held.access_expire_time))
        .chain(id_token)
        .collect()
}
