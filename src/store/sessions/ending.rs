//! Ending sessions: one, or all of a user, with their provider tokens.

use const_format::concatcp;
use sqlx::{query, query_scalar};

use super::lock::lock_user;
use super::{LIVE, NOT_ENDED, session_id};
use crate::clock::Timestamp;
use crate::id::{SessionId, UserId};
use crate::metrics::{Ended, Label as _};
use crate::model::change::Change;
use crate::model::session::{Session, SessionLimit};
use crate::store::Store;
use crate::store::backend::{Tx, in_tx, statements, transaction};
use crate::store::error::StoreError;

statements! {
    REVOKE = "UPDATE sessions SET revoke_time = $2, revoke_reason = $3 WHERE id = $1 AND revoke_time IS NULL";
    REVOKE_OWN = "UPDATE sessions SET revoke_time = $3, revoke_reason = $4 WHERE id = $1 AND user_id = $2 AND revoke_time IS NULL";
    REVOKE_ALL = concatcp!("UPDATE sessions SET revoke_time = $1, revoke_reason = $2 WHERE user_id = $3 AND id <> $4 AND ", NOT_ENDED);
    /// Ends the oldest of those that are beyond the newest $6 of a user's live sessions without $5. Those
    /// that expire last are looked at, because an index has them, however many have ended.
    REVOKE_OLDEST = concatcp!("UPDATE sessions SET revoke_time = $1, revoke_reason = $3 WHERE revoke_time IS NULL AND id IN
        (SELECT id FROM
            (SELECT id, create_time FROM
                (SELECT id, create_time FROM sessions WHERE user_id = $4 AND id <> $5 AND ", LIVE, " ORDER BY expire_time DESC LIMIT 2000) AS found
                ORDER BY create_time DESC, id DESC LIMIT 2000 OFFSET $6) AS found
            ORDER BY create_time, id LIMIT 100)
        RETURNING id");
    /// When the last of the sessions that were ended at $2 was refreshed or opened.
    LAST_USE = "SELECT MAX(refresh_time) FROM sessions WHERE user_id = $1 AND revoke_time = $2";
    SET_NOT_BEFORE = "UPDATE users SET not_before = $2 WHERE id = $1 AND not_before < $2";
    DELETE_TOKENS = "DELETE FROM federated_tokens WHERE session_id IN (SELECT id FROM sessions WHERE id = $1 AND revoke_time IS NOT NULL)";
    DELETE_TOKENS_OF_USER = "DELETE FROM federated_tokens WHERE session_id IN (SELECT id FROM sessions WHERE user_id = $1 AND revoke_time IS NOT NULL)";
}

impl Store {
    /// Ends a session and deletes its provider tokens; with `owner`, only if it is that user's.
    /// Returns whether it ended it: an unknown session, or one that had ended, is not an error.
    pub async fn revoke_session(
        &self,
        id: &SessionId,
        owner: Option<&UserId>,
        reason: Ended,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let revoked = transaction!(self, |tx| {
            let revoked = match owner {
                Some(owner) => in_tx!(tx, REVOKE_OWN, |db, sql| query(sql)
                    .bind(id.as_str())
                    .bind(owner.as_str())
                    .bind(now.millis())
                    .bind(reason.value())
                    .execute(db)
                    .await
                    .map(|done| done.rows_affected())),
                None => in_tx!(tx, REVOKE, |db, sql| query(sql)
                    .bind(id.as_str())
                    .bind(now.millis())
                    .bind(reason.value())
                    .execute(db)
                    .await
                    .map(|done| done.rows_affected())),
            }?;
            in_tx!(tx, DELETE_TOKENS, |db, sql| query(sql)
                .bind(id.as_str())
                .execute(db)
                .await
                .map(drop))?;
            if revoked == 1 {
                tx.note(Change::SessionRevoked(id.clone()));
            }
            tx.commit().await?;
            Ok(revoked == 1)
        })?;
        if revoked {
            self.count_ended(reason, 1);
        }
        Ok(revoked)
    }

    /// Ends all live sessions of a user except `except`, deletes their provider tokens, and returns
    /// how many it ended.
    pub async fn revoke_user_sessions(
        &self,
        user: &UserId,
        except: Option<&SessionId>,
        reason: Ended,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let revoked = transaction!(self, |tx| {
            let revoked = revoke_all(&mut tx, user, except, reason, now).await?;
            tx.commit().await?;
            Ok(revoked)
        })?;
        self.count_ended(reason, revoked);
        Ok(revoked)
    }

    /// Counts sessions whose end was committed.
    pub(in crate::store) fn count_ended(&self, reason: Ended, sessions: u64) {
        self.metrics.sessions.ended.of(reason).inc_by(sessions);
    }
}

/// Ends all live sessions of a user except `except`, and deletes their provider tokens.
pub(in crate::store) async fn revoke_all(
    tx: &mut Tx,
    user: &UserId,
    except: Option<&SessionId>,
    reason: Ended,
    now: Timestamp,
) -> Result<u64, StoreError> {
    lock_user(tx, user).await?;
    let revoked = in_tx!(*tx, REVOKE_ALL, |db, sql| query(sql)
        .bind(now.millis())
        .bind(reason.value())
        .bind(user.as_str())
        .bind(except.map_or("", SessionId::as_str))
        .execute(db)
        .await
        .map(|done| done.rows_affected()))?;
    in_tx!(*tx, DELETE_TOKENS_OF_USER, |db, sql| query(sql)
        .bind(user.as_str())
        .execute(db)
        .await
        .map(drop))?;
    if revoked > 0 {
        refuse_older(tx, user, except, now).await?;
    }
    Ok(revoked)
}

/// Ends the oldest live sessions of a user who has just opened another one, so that they have as many
/// as they may, deletes their provider tokens, and returns how many it ended. It ends a hundred at most; if
/// there are more, the next session that the user opens ends them. The caller holds the lock of the user.
pub(super) async fn revoke_oldest(
    tx: &mut Tx,
    opened: &Session,
    limit: SessionLimit,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let others = i64::from(limit.most.saturating_sub(1));
    let revoked: Vec<String> = in_tx!(*tx, REVOKE_OLDEST, |db, sql| query_scalar(sql)
        .bind(now.millis())
        .bind(limit.used_since.millis())
        .bind(Ended::Cap.value())
        .bind(opened.user_id.as_str())
        .bind(opened.id.as_str())
        .bind(others)
        .fetch_all(db)
        .await)?;
    let mut ended = 0;
    for id in revoked {
        in_tx!(*tx, DELETE_TOKENS, |db, sql| query(sql)
            .bind(&id)
            .execute(db)
            .await
            .map(drop))?;
        tx.note(Change::SessionRevoked(session_id(&id)?));
        ended += 1;
    }
    Ok(ended)
}

/// Notes that the user's older sessions were ended. No token of these sessions was issued after the
/// last of them was refreshed or opened, by whatever clock that was. Tokens tell in whole seconds when
/// they were issued, so a session that is opened within this second counts as opened in the next one.
async fn refuse_older(
    tx: &mut Tx,
    user: &UserId,
    except: Option<&SessionId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    // The sessions are locked by now.
    let last_use: Option<i64> = in_tx!(*tx, LAST_USE, |db, sql| query_scalar(sql)
        .bind(user.as_str())
        .bind(now.millis())
        .fetch_one(db)
        .await)?;
    let last_use = Timestamp::from_millis(last_use.unwrap_or_default());
    let not_before = tx.clock.now().max(last_use).next_sec();
    in_tx!(*tx, SET_NOT_BEFORE, |db, sql| query(sql)
        .bind(user.as_str())
        .bind(not_before.millis())
        .execute(db)
        .await
        .map(drop))?;
    tx.note(Change::UserNotBefore {
        user: user.clone(),
        not_before,
        except: except.cloned(),
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::Expired;
    use crate::store::backend::{reading, writing};
    use crate::store::testing::{on_each_engine, signed_in};

    const KEPT: Duration = Duration::from_hours(30 * 24);
    const START: Timestamp = Timestamp::from_secs(1_800_000_000);
    const IDENTITY: &str = "INSERT INTO identities (id, user_id, provider, issuer, subject, create_time) VALUES ('i', $1, 'openid', 'iss', 'sub', 0)";
    const TOKENS: &str = "INSERT INTO federated_tokens (session_id, identity_id, provider, access_token, access_expire_time, claims, scopes, state, version, update_time, session_expire_time)
        VALUES ($1, 'i', 'openid', $2, 0, $2, '', 'ACTIVE', 1, 0, (SELECT expire_time FROM sessions WHERE id = $1))";

    async fn count(store: &Store, sql: &'static str) -> i64 {
        reading!(store, sql, |db, sql| query_scalar(sql).fetch_one(db).await).expect("counted")
    }

    #[tokio::test]
    async fn an_expired_session_loses_its_provider_tokens_at_once_and_its_row_later() {
        on_each_engine(async |store| {
            let (user, session) = signed_in(&store, START).await;
            writing!(store, IDENTITY, |db, sql| query(sql)
                .bind(user.as_str())
                .execute(db)
                .await
                .map(drop))
            .expect("stored");
            writing!(store, TOKENS, |db, sql| query(sql)
                .bind(session.as_str())
                .bind([1_u8].as_slice())
                .execute(db)
                .await
                .map(drop))
            .expect("stored");
            let end = START.plus(Duration::from_hours(24));
            let left = async |now: Timestamp| {
                for (rows, before) in [
                    (Expired::FederatedTokens, now),
                    (Expired::Sessions, now.minus(KEPT)),
                ] {
                    store.delete_expired(rows, before).await.expect("deleted");
                }
                (
                    count(&store, "SELECT COUNT(*) FROM federated_tokens").await,
                    count(&store, "SELECT COUNT(*) FROM sessions").await,
                )
            };
            assert_eq!(left(end.minus(Duration::from_millis(1))).await, (1, 1));
            assert_eq!(left(end).await, (0, 1));
            let kept = end.plus(KEPT).minus(Duration::from_millis(1));
            assert_eq!(left(kept).await, (0, 1));
            assert_eq!(left(end.plus(KEPT)).await, (0, 0));
        })
        .await;
    }

    #[tokio::test]
    async fn no_statement_of_a_call_goes_on_for_ever() {
        on_each_engine(async |store| {
            if store.postgres().is_none() {
                return;
            }
            for (setting, limit) in [
                ("statement_timeout", "8s"),
                ("lock_timeout", "5s"),
                ("idle_in_transaction_session_timeout", "10s"),
            ] {
                let set: Result<String, _> = reading!(
                    store,
                    "SELECT current_setting($1)",
                    |db, sql| query_scalar(sql).bind(setting).fetch_one(db).await
                );
                assert_eq!(set.expect("read"), limit);
            }
        })
        .await;
    }
}
