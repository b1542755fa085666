//! Sessions whose users authenticate again.

use super::{TokenPair, Tokens};
use crate::error::{Error, Result};
use crate::id::SessionId;
use crate::metrics::Reauthenticated;
use crate::model::session::{Authentication, NotLive};

impl Tokens {
    /// The tokens of a session whose user has just authenticated again: a new access token that says
    /// so, and the current refresh token. The session stays as it is, so whoever holds an older token
    /// gains nothing, and an answer that is lost or asked for twice costs nothing.
    ///
    /// # Errors
    /// [`Error::AccessTokenInvalid`] if the session has ended, [`Error::Banned`], and the store's
    /// errors.
    pub async fn reauthenticate(&self, id: &SessionId, by: Authentication) -> Result<TokenPair> {
        let inner = &self.0;
        let began = self.moment();
        // The password was hashed meanwhile, so the call's time is too old.
        let now = inner.clock.now();
        let state = inner.store.find_session(id, now).await?;
        let state = state.ok_or(Error::AccessTokenInvalid)?;
        inner
            .check_live(&state, now)
            .map_err(|reason| match reason {
                NotLive::Banned(ban) => Error::Banned { until: ban.until },
                NotLive::Revoked | NotLive::Expired => Error::AccessTokenInvalid,
            })?;
        Ok(self.issue_proven(state, began, by, now))
    }

    /// Counts an attempt to authenticate again, by its error if it failed.
    pub fn count_reauthentication(&self, error: Option<&Error>) {
        let outcome = match error {
            None => Reauthenticated::Proven,
            Some(
                Error::AccessTokenInvalid
                | Error::CredentialsWrong
                | Error::LimitExceeded { .. }
                | Error::Banned { .. },
            ) => Reauthenticated::Refused,
            Some(_) => Reauthenticated::Failed,
        };
        self.0.metrics.reauthenticated.of(outcome).inc();
    }
}
