//! Opening sessions.

use std::time::Duration;

use const_format::concatcp;
use sqlx::{query, query_scalar};

use super::ending::revoke_oldest;
use super::lock::lock_user;
use super::user_ban;
use crate::metrics::Ended;
use crate::model::session::{Opening, Session, SessionLimit};
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
    BANNED_UNTIL = "SELECT MAX(COALESCE(expire_time, 9223372036854775807)) AS ban_until FROM bans
        WHERE user_id = $1 AND lift_time IS NULL AND (expire_time IS NULL OR expire_time > $2)";
}

impl Store {
    /// Opens a session, unless its request id has opened one before or its user is banned. The user's
    /// oldest sessions beyond the limit are ended.
    // No turn: a login took one when it was counted, and a session that a backend opens does not
    // wait behind the logins of strangers.
    pub async fn insert_session(
        &self,
        session: &Session,
        limit: SessionLimit,
    ) -> Result<Opening, StoreError> {
        let opening = transaction!(self, |tx| {
            let opening = insert(&mut tx, session, limit).await?;
            tx.commit().await?;
            Ok(opening)
        })?;
        if let Opening::Opened { ended, .. } = opening {
            self.count_ended(Ended::Cap, ended);
        }
        Ok(opening)
    }
}

/// Opens a session within a transaction, and ends the user's oldest ones beyond the limit.
pub(in crate::store) async fn insert(
    tx: &mut Tx,
    session: &Session,
    limit: SessionLimit,
) -> Result<Opening, StoreError> {
    let (user, now) = (session.user_id.as_str(), session.create_time);
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
    if inserted == 0 {
        return Ok(Opening::Repeated);
    }
    // Whoever opens a session of the same user at the same time waits for the lock, and counts this
    // one.
    let ended = revoke_oldest(tx, &session, limit, now).await?;
    Ok(Opening::Opened { create_time, ended })
}
