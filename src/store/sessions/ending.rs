//! Ending sessions: one, or all of a user, with their provider tokens.

use std::time::Duration;

use sqlx::query;

use super::opening::lock_user;
use crate::clock::Timestamp;
use crate::id::{SessionId, UserId};
use crate::store::backend::{Tx, statements, within, writing};
use crate::store::changes::Change;
use crate::store::{Store, StoreError};

/// Until then a spent refresh token of an ended session is still told apart from a forged one.
const KEPT_AFTER_END: Duration = Duration::from_hours(30 * 24);

statements! {
    REVOKE = "UPDATE sessions SET revoke_time = $2, revoke_reason = $3 WHERE id = $1 AND revoke_time IS NULL";
    REVOKE_OWN = "UPDATE sessions SET revoke_time = $3, revoke_reason = $4 WHERE id = $1 AND user_id = $2 AND revoke_time IS NULL";
    REVOKE_ALL = "UPDATE sessions SET revoke_time = $3, revoke_reason = $4 WHERE user_id = $1 AND id <> $2 AND revoke_time IS NULL AND expire_time > $3";
    DELETE_TOKENS = "DELETE FROM federated_tokens WHERE session_id IN (SELECT id FROM sessions WHERE id = $1 AND revoke_time IS NOT NULL)";
    DELETE_TOKENS_OF_USER = "DELETE FROM federated_tokens WHERE session_id IN (SELECT id FROM sessions WHERE user_id = $1 AND revoke_time IS NOT NULL)";
    DELETE_EXPIRED = "DELETE FROM sessions WHERE expire_time < $1";
}

impl Store {
    /// Ends a session and forgets its provider tokens; with `owner`, only that user's. An unknown one is no error.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn revoke_session(&self, id: &SessionId, owner: Option<&UserId>, reason: &str, now: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        within!(tx, |db| match owner {
            Some(owner) =>
                query(REVOKE_OWN).bind(id.as_str()).bind(owner.as_str()).bind(now.millis()).bind(reason).execute(db).await.map(drop),
            None => query(REVOKE).bind(id.as_str()).bind(now.millis()).bind(reason).execute(db).await.map(drop),
        })?;
        within!(tx, |db| query(DELETE_TOKENS).bind(id.as_str()).execute(db).await.map(drop))?;
        tx.commit().await?;
        self.publish(&Change::SessionRevoked(id.clone()));
        Ok(())
    }

    /// Ends all live sessions of a user but `except`, forgets their provider tokens, and says how many there were.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn revoke_user_sessions(
        &self,
        user: &UserId,
        except: Option<&SessionId>,
        reason: &str,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        let revoked = revoke_all(&mut tx, user, except, reason, now).await?;
        tx.commit().await?;
        self.publish(&Change::UserChanged(user.clone()));
        Ok(revoked)
    }

    /// Forgets sessions that ended 30 days ago; until then a spent refresh token of theirs is still told apart from a forged one.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn delete_expired_sessions(&self, now: Timestamp) -> Result<(), StoreError> {
        let before = now.minus(KEPT_AFTER_END).millis();
        writing!(self, |db| query(DELETE_EXPIRED).bind(before).execute(db).await.map(drop))?;
        Ok(())
    }
}

/// Ends all live sessions of a user but `except`, and forgets their provider tokens.
pub(in crate::store) async fn revoke_all(
    tx: &mut Tx,
    user: &UserId,
    except: Option<&SessionId>,
    reason: &str,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let except = except.map_or("", SessionId::as_str);
    lock_user(tx, user).await?;
    let revoked = within!(*tx, |db| query(REVOKE_ALL)
        .bind(user.as_str())
        .bind(except)
        .bind(now.millis())
        .bind(reason)
        .execute(db)
        .await
        .map(|done| done.rows_affected()))?;
    within!(*tx, |db| query(DELETE_TOKENS_OF_USER).bind(user.as_str()).execute(db).await.map(drop))?;
    Ok(revoked)
}
