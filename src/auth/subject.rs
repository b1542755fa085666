//! Who a subject is, and whether they may act now.

use std::sync::Arc;

use super::Auth;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::federation::MIN_LIFE;
use crate::id::{SessionId, UserId};
use crate::model::account::User;
use crate::model::session::{NotLive, SessionState};
use crate::token::{Inactive, LiveToken, Outage, Verdict};

/// How a caller names the user that a call is about.
pub enum Subject {
    /// The user acts for themself.
    AccessToken {
        token: String,
        /// What the token must be good for, if it has scopes: the permission of the called RPC.
        scope: &'static str,
    },
    Session(SessionId),
    User(UserId),
}

/// Who a subject is.
pub enum ResolvedSubject {
    /// A live session and its user.
    Session(Arc<SessionState>),
    /// A user, named by their id.
    User(User),
}

impl ResolvedSubject {
    /// The user's id.
    pub fn user_id(&self) -> &UserId {
        match self {
            Self::Session(state) => &state.user.id,
            Self::User(user) => &user.id,
        }
    }

    /// The user.
    pub fn into_user(self) -> User {
        match self {
            Self::Session(state) => state.user.clone(),
            Self::User(user) => user,
        }
    }
}

impl Auth {
    /// The user of a subject. A user who is named by token or session must be allowed to act now.
    ///
    /// # Errors
    /// [`Error::AccessTokenInvalid`], [`Error::ScopeInsufficient`], [`Error::SessionNotFound`],
    /// [`Error::UserNotFound`], [`Error::Banned`], and the store's errors.
    pub async fn resolve(&self, subject: &Subject, now: Timestamp) -> Result<ResolvedSubject> {
        match subject {
            Subject::AccessToken { token, scope } => self
                .acting_by_token(token, scope, now)
                .await
                .map(ResolvedSubject::Session),
            Subject::Session(id) => self
                .acting_by_session(id, now)
                .await
                .map(ResolvedSubject::Session),
            Subject::User(id) => self
                .0
                .store
                .find_user(id)
                .await?
                .map(ResolvedSubject::User)
                .ok_or(Error::UserNotFound),
        }
    }

    /// The live session that a subject acts in. For a user's id it is the one whose good provider
    /// tokens were renewed last.
    ///
    /// # Errors
    /// As [`Auth::resolve`], and [`Error::SessionNotFound`] if the user has no live session.
    pub async fn acting(&self, subject: &Subject, now: Timestamp) -> Result<Arc<SessionState>> {
        match subject {
            Subject::AccessToken { token, scope } => self.acting_by_token(token, scope, now).await,
            Subject::Session(id) => self.acting_by_session(id, now).await,
            Subject::User(id) => {
                self.0.moderation.refuse_banned(Some(id), None, now).await?;
                let latest = self.0.tokens.acting_session(id, now.plus(MIN_LIFE), now);
                let latest = latest.await?.ok_or(Error::SessionNotFound)?;
                self.acting_by_session(&latest, now).await
            }
        }
    }

    pub(super) async fn acting_by_token(
        &self,
        token: &str,
        scope: &'static str,
        now: Timestamp,
    ) -> Result<Arc<SessionState>> {
        let tokens = &self.0.tokens;
        let verdict = tokens.verify(token, tokens.audience(), Outage::Fail, now);
        admitted(verdict.await?, scope).map(|live| live.state)
    }

    async fn acting_by_session(&self, id: &SessionId, now: Timestamp) -> Result<Arc<SessionState>> {
        match self.0.tokens.live_session(id, now).await? {
            Ok(state) => Ok(state),
            Err(NotLive::Banned(ban)) => Err(Error::Banned { until: ban.until }),
            Err(NotLive::Revoked | NotLive::Expired) => Err(Error::SessionNotFound),
        }
    }
}

/// The live token that a verdict is about, if it is good for what is asked.
pub(super) fn admitted(verdict: Verdict, scope: &str) -> Result<LiveToken> {
    match verdict {
        Verdict::Active(live) if live.claims().is_good_for(scope) => Ok(live),
        Verdict::Active(_) => Err(Error::ScopeInsufficient(scope.to_owned())),
        Verdict::Inactive(Inactive::Banned { until }) => Err(Error::Banned { until }),
        Verdict::Inactive(_) => Err(Error::AccessTokenInvalid),
    }
}
