//! Opening sessions. Opening a session and banning its user lock the user's row, so that one waits
//! for the other.

use std::time::Duration;

use const_format::concatcp;
use sqlx::{query, query_scalar};

use super::user_ban;
use crate::clock::Timestamp;
use crate::id::UserId;
use crate::model::session::{Opening, Session};
use crate::store::Store;
use crate::store::backend::{Tx, in_tx, statements, transaction};
use crate::store::error::StoreError;
use crate::store::record::{Bind as _, Record as _};

/// By how much a session may count as opened later than it was: a second, and the difference of two
/// machines' clocks.
const LATEST: Duration = Duration::from_secs(5);

statements! {
    INSERT = concatcp!(
        "INSERT INTO sessions (", Session::COLUMNS, ") VALUES (", Session::PLACEHOLDERS, ") ON CONFLICT (caller, request_id) DO NOTHING"
    );
    /// An update that changes nothing locks the row until the transaction ends.
    LOCK_USER = "UPDATE users SET update_time = update_time WHERE id = $1 RETURNING not_before";
    BANNED_UNTIL = "SELECT MAX(COALESCE(expire_time, 9223372036854775807)) AS ban_until FROM bans
        WHERE user_id = $1 AND lift_time IS NULL AND (expire_time IS NULL OR expire_time > $2)";
}

impl Store {
    /// Opens a session, unless its request id has opened one before or its user is banned.
    // No turn: a login took one when it was counted, and a session that a backend opens does not
    // wait behind the logins of strangers.
    pub async fn insert_session(&self, session: &Session) -> Result<Opening, StoreError> {
        transaction!(self, |tx| {
            let opening = insert(&mut tx, session).await?;
            tx.commit().await?;
            Ok(opening)
        })
    }
}

/// Opens a session within a transaction.
pub(in crate::store) async fn insert(
    tx: &mut Tx,
    session: &Session,
) -> Result<Opening, StoreError> {
    let user = session.user_id.as_str();
    let not_before = lock_user(tx, &session.user_id).await?;
    let session = session.clone();
    // A clock that is far ahead must not decide when others' sessions begin.
    let latest = session.create_time.plus(LATEST);
    let create_time = session.create_time.max(not_before.min(latest));
    let session = session.opened_at(create_time);
    let banned: Option<i64> = in_tx!(*tx, BANNED_UNTIL, |db, sql| query_scalar(sql)
        .bind(user)
        .bind(session.create_time.millis())
        .fetch_one(db)
        .await)?;
    if let Some(until) = banned {
        return Ok(Opening::Banned(user_ban(until)));
    }
    let inserted = in_tx!(*tx, INSERT, |db, sql| session
        .bind_to(query(sql))
        .execute(db)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(if inserted == 1 {
        Opening::Opened { create_time }
    } else {
        Opening::Repeated
    })
}

/// Locks the user's row, so that a ban and a session opened at the same time wait for each other:
/// either the ban ends the session, or the session is not opened because of the ban. Returns when the
/// user's next session counts as opened at the earliest.
pub(super) async fn lock_user(tx: &mut Tx, user: &UserId) -> Result<Timestamp, StoreError> {
    let not_before: Option<i64> = in_tx!(*tx, LOCK_USER, |db, sql| query_scalar(sql)
        .bind(user.as_str())
        .fetch_optional(db)
        .await)?;
    // Without the user, the row of a session cannot be written.
    Ok(Timestamp::from_millis(not_before.unwrap_or_default()))
}
