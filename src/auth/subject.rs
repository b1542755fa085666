//! Who a subject is, and whether they may act now.

use std::sync::Arc;

use super::Auth;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{SessionId, UserId};
use crate::store::sessions::SessionState;
use crate::store::users::User;
use crate::token::{Inactive, Verdict};

/// How a caller names the user that a call is about.
pub enum Subject {
    /// The user acts for themself.
    AccessToken(String),
    Session(SessionId),
    User(UserId),
}

/// A subject as it turned out.
pub enum Who {
    /// A live session and its user.
    Session(Arc<SessionState>),
    /// A user, named by their id.
    User(User),
}

impl Who {
    /// The user's id.
    #[must_use]
    pub fn user_id(&self) -> &UserId {
        match self {
            Self::Session(session) => &session.user.id,
            Self::User(user) => &user.id,
        }
    }

    /// The user.
    #[must_use]
    pub fn user(&self) -> &User {
        match self {
            Self::Session(session) => &session.user,
            Self::User(user) => user,
        }
    }
}

impl Auth {
    /// The user of a subject; by token or session, they must be allowed to act now.
    ///
    /// # Errors
    /// [`Error::AccessTokenInvalid`], [`Error::SessionNotFound`], [`Error::UserNotFound`], [`Error::Banned`]; the store's.
    pub async fn who(&self, subject: &Subject, now: Timestamp) -> Result<Who> {
        match subject {
            Subject::AccessToken(token) => self.acting_by_token(token, now).await.map(Who::Session),
            Subject::Session(id) => self.acting_by_session(id, now).await.map(Who::Session),
            Subject::User(id) => self
                .0
                .store
                .find_user(id)
                .await?
                .map(Who::User)
                .ok_or(Error::UserNotFound),
        }
    }

    /// The live session that a subject acts in; a user's id means the one whose tokens were renewed last.
    ///
    /// # Errors
    /// As [`Auth::who`], and [`Error::SessionNotFound`] where the user has no live session.
    pub async fn acting(&self, subject: &Subject, now: Timestamp) -> Result<Arc<SessionState>> {
        match subject {
            Subject::AccessToken(token) => self.acting_by_token(token, now).await,
            Subject::Session(id) => self.acting_by_session(id, now).await,
            Subject::User(id) => {
                self.0.moderation.refuse_banned(Some(id), None, now).await?;
                let latest = self
                    .0
                    .store
                    .find_latest_session(id, now)
                    .await?
                    .ok_or(Error::SessionNotFound)?;
                self.acting_by_session(&latest, now).await
            }
        }
    }

    async fn acting_by_token(&self, token: &str, now: Timestamp) -> Result<Arc<SessionState>> {
        match self.0.tokens.verify(token, "", now).await? {
            Verdict::Active(live) => Ok(live.session),
            Verdict::Inactive(Inactive::Banned { until }) => Err(Error::Banned { until }),
            Verdict::Inactive(_) => Err(Error::AccessTokenInvalid),
        }
    }

    async fn acting_by_session(&self, id: &SessionId, now: Timestamp) -> Result<Arc<SessionState>> {
        let session = self
            .0
            .tokens
            .session(id, now)
            .await?
            .ok_or(Error::SessionNotFound)?;
        match session.ban.filter(|ban| ban.in_force(now)) {
            Some(ban) => Err(Error::Banned { until: ban.until }),
            None if session.revoked || now >= session.expire_time => Err(Error::SessionNotFound),
            None => Ok(session),
        }
    }
}
