//! Sessions without a sign-in: opens them at a caller's request, refreshes them and logs them out.

use std::time::Duration;

use super::{Auth, SignedIn};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{SessionId, UserId};
use crate::metrics::{Ended, Opened};
use crate::model::ip_address::IpAddress;
use crate::model::request_id::RequestId;
use crate::model::session::{Authentication, Device};
use crate::token::OpenSession;

/// A session to be opened at a caller's request, without the user's credentials.
pub struct Mint {
    pub user_id: UserId,
    pub address: Option<IpAddress>,
    pub device: Device,
    /// How long it lasts; `None` means as configured.
    pub ttl: Option<Duration>,
    /// The caller's name for this request, if it may be repeated.
    pub request_id: Option<RequestId>,
}

impl Auth {
    /// Opens a session for a user at the caller's request, after the same checks as a login.
    ///
    /// # Errors
    /// [`Error::UserNotFound`], [`Error::Banned`], [`Error::RequestIdUsed`] also if the session that
    /// the request id opened has ended, and the store's errors.
    pub async fn mint(&self, mint: Mint, caller: &str, now: Timestamp) -> Result<SignedIn> {
        let began = self.0.tokens.moment();
        let user = self
            .0
            .store
            .find_user(&mint.user_id)
            .await?
            .ok_or(Error::UserNotFound)?;
        self.0
            .moderation
            .refuse_banned(Some(&user.id), mint.address, now)
            .await?;
        let open = OpenSession {
            user_id: mint.user_id,
            way: Opened::Mint,
            caller: caller.to_owned(),
            provider: "caller".to_owned(),
            authentication: Authentication::by("caller"),
            device: mint.device,
            ttl: mint.ttl,
            request_id: mint.request_id,
        };
        let tokens = self.0.tokens.open(open, &user, began, now).await?;
        tracing::info!(user = %user.id, session = %tokens.session_id, caller, "a caller opened a session for a user");
        Ok(SignedIn { user, tokens })
    }

    /// Exchanges a refresh token for the next token pair. If an address is given, it must not be
    /// banned.
    ///
    /// # Errors
    /// [`Error::Banned`] and those of [`crate::token::Tokens::refresh`].
    pub async fn refresh(
        &self,
        token: &str,
        address: Option<IpAddress>,
        device: &Device,
        caller: &str,
        now: Timestamp,
    ) -> Result<SignedIn> {
        self.0.moderation.refuse_banned(None, address, now).await?;
        let (tokens, user) = self.0.tokens.refresh(token, caller, device, now).await?;
        Ok(SignedIn { user, tokens })
    }

    /// Ends the session of a sign-in whose caller gave up before it was complete.
    pub async fn abandon(&self, session: &SessionId, now: Timestamp) {
        match self
            .0
            .tokens
            .revoke(session, None, Ended::Abandoned, now)
            .await
        {
            Ok(_) => {
                tracing::info!(%session, "a session was ended, because the caller gave up before the sign-in was complete");
            }
            Err(error) => {
                tracing::warn!(%session, error = &error as &dyn std::error::Error, "the session of an abandoned sign-in could not be ended");
            }
        }
    }

    /// Ends the session of a refresh token of any generation, and returns the URL at which the
    /// provider's own session can be ended.
    ///
    /// # Errors
    /// [`Error::RefreshTokenInvalid`], and the store's errors.
    pub async fn logout(
        &self,
        token: &str,
        caller: &str,
        now: Timestamp,
    ) -> Result<Option<String>> {
        let state = self.0.tokens.session_of_refresh_token(token, now).await?;
        let session = &state.session;
        if session.caller != caller {
            return Err(Error::RefreshTokenInvalid);
        }
        let federation = &self.0.federation;
        let hint = federation.logout_hint(&session.id, &session.provider).await;
        self.0
            .tokens
            .revoke(&session.id, None, Ended::Logout, now)
            .await?;
        tracing::info!(user = %state.user.id, session = %session.id, "a session was logged out");
        // Last, because a slow provider must not delay the end of the session.
        Ok(federation
            .end_session_url(&session.provider, hint.as_ref())
            .await)
    }
}
