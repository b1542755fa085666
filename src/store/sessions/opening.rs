//! Opening sessions. A session and a ban of its user wait for each other.

use sqlx::{query, query_scalar};

use super::{NewSession, Opening, UserBan, address};
use crate::id::UserId;
use crate::store::backend::{Tx, retrying, statements, within};
use crate::store::{Store, StoreError};

statements! {
    INSERT = "INSERT INTO sessions (id, user_id, caller, provider, amr, salt, generation, ip_address, user_agent, device_name, request_id, auth_time, create_time, refresh_time, expire_time)
        VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $8, $9, $10, $11, $12, $12, $13) ON CONFLICT (caller, request_id) DO NOTHING";
    LOCK_USER = "UPDATE users SET update_time = update_time WHERE id = $1";
    BANNED_UNTIL = "SELECT MAX(COALESCE(expire_time, 9223372036854775807)) AS ban_until FROM bans
        WHERE user_id = $1 AND lift_time IS NULL AND (expire_time IS NULL OR expire_time > $2)";
}

impl Store {
    /// Opens a session, unless its request id has opened one before or its user is banned.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn insert_session(&self, session: &NewSession) -> Result<Opening, StoreError> {
        retrying!({
            let mut tx = self.begin().await?;
            let opening = insert(&mut tx, session).await?;
            tx.commit().await?;
            Ok(opening)
        })
    }
}

/// Opens a session within a transaction.
pub(in crate::store) async fn insert(
    tx: &mut Tx,
    session: &NewSession,
) -> Result<Opening, StoreError> {
    let user = session.user_id.as_str();
    lock_user(tx, &session.user_id).await?;
    let banned: Option<i64> = within!(*tx, |db| query_scalar(BANNED_UNTIL)
        .bind(user)
        .bind(session.create_time.millis())
        .fetch_one(db)
        .await)?;
    if let Some(until) = banned {
        return Ok(Opening::Banned(UserBan::read(until)));
    }
    let inserted = within!(*tx, |db| query(INSERT)
        .bind(session.id.as_str())
        .bind(session.user_id.as_str())
        .bind(&session.caller)
        .bind(&session.provider)
        .bind(&session.amr)
        .bind(session.salt.as_slice())
        .bind(address(&session.client))
        .bind(&session.client.user_agent)
        .bind(&session.client.device_name)
        .bind(session.request_id.as_deref())
        .bind(session.auth_time.millis())
        .bind(session.create_time.millis())
        .bind(session.expire_time.millis())
        .execute(db)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(if inserted == 1 {
        Opening::Opened
    } else {
        Opening::Repeated
    })
}

/// A ban that is being committed and a session that is being opened wait for each other: it ends the session, or the session sees it.
pub(super) async fn lock_user(tx: &mut Tx, user: &UserId) -> Result<(), StoreError> {
    within!(*tx, |db| query(LOCK_USER)
        .bind(user.as_str())
        .execute(db)
        .await
        .map(drop))?;
    Ok(())
}
