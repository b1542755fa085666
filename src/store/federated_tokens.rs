//! Sealed tokens that providers issued, one row for each session and identity.

use const_format::concatcp;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, query, query_as};

use super::Store;
use super::backend::{Tx, in_tx, reading, statements, writing};
use super::changes::Change;
use super::error::StoreError;
use super::record::{Bind as _, JoinedRecord as _, ReadJoined as _, Record as _, record};
use crate::clock::Timestamp;
use crate::id::{IdentityId, SessionId, UserId};
use crate::model::provider_tokens::{
    FailedRefresh, NewTokens, SealedTokens, StoredTokens, TokenState, TokensKey,
};

/// The columns of a row beside its [`SealedTokens`].
struct StatusRow {
    session_id: SessionId,
    identity_id: IdentityId,
    provider: String,
    state: String,
    version: i64,
    attempt_expire_time: Option<Timestamp>,
    retry_time: Option<Timestamp>,
    update_time: Timestamp,
}

/// Whom a row's identity belongs to.
struct OwnerRow {
    user_id: UserId,
    issuer: String,
    subject: String,
}

record!(StatusRow, "federated_tokens", key session_id, as "t" "", {
    session_id, identity_id, provider, state, version, attempt_expire_time, retry_time, update_time,
});

record!(SealedTokens, "federated_tokens", key session_id, as "t" "", {
    access_token, access_expire_time, id_token, id_expire_time, refresh_token, claims, scopes,
});

record!(OwnerRow, "identities", key session_id, as "i" "", { user_id, issuer, subject });

statements! {
    INSERT = concatcp!(
        "INSERT INTO federated_tokens (", SealedTokens::COLUMNS, ", session_id, identity_id, provider, update_time, state, version, session_expire_time)
        VALUES (", SealedTokens::PLACEHOLDERS, ", $8, $9, $10, $11, 'ACTIVE', 1, (SELECT s.expire_time FROM sessions s WHERE s.id = $8))"
    );
    LIST = concatcp!(
        "SELECT ", StatusRow::JOINED, ", ", SealedTokens::JOINED, ", ", OwnerRow::JOINED, "
        FROM federated_tokens t JOIN identities i ON i.id = t.identity_id WHERE t.session_id = $1 ORDER BY t.provider, t.identity_id"
    );
    /// Allows one attempt at a time, and after an attempt whose outcome is unknown another one only
    /// if `$6` says so.
    BEGIN_REFRESH = "UPDATE federated_tokens SET state = 'REFRESHING', attempt_expire_time = $4
        WHERE session_id = $1 AND identity_id = $2 AND version = $3
            AND (state = 'ACTIVE' OR (state = 'BACKOFF' AND retry_time <= $5) OR (state = 'REFRESHING' AND attempt_expire_time <= $5 AND $6))";
    COMPLETE_REFRESH = concatcp!(
        "UPDATE federated_tokens SET (", SealedTokens::COLUMNS, ") = (", SealedTokens::PLACEHOLDERS, "),
            state = 'ACTIVE', version = version + 1, attempt_expire_time = NULL, retry_time = NULL, update_time = $11
        WHERE session_id = $8 AND identity_id = $9 AND version = $10 AND state = 'REFRESHING'"
    );
    FAIL_REFRESH = "UPDATE federated_tokens SET state = $4, retry_time = $5, attempt_expire_time = NULL
        WHERE session_id = $1 AND identity_id = $2 AND version = $3 AND state = 'REFRESHING'";
    DELETE_OF_SESSION = "DELETE FROM federated_tokens WHERE session_id = $1 AND ($2 = '' OR provider = $2)";
    DELETE_OF_USER = "DELETE FROM federated_tokens WHERE ($2 = '' OR provider = $2) AND session_id IN (SELECT id FROM sessions WHERE user_id = $1)";
}

/// A row with the tokens and the owner.
struct TokensRow {
    status: StatusRow,
    content: SealedTokens,
    owner: OwnerRow,
}

macro_rules! read_tokens {
    ($row:ty) => {
        impl FromRow<'_, $row> for TokensRow {
            fn from_row(row: &$row) -> sqlx::Result<Self> {
                Ok(Self {
                    status: StatusRow::read_joined(row)?,
                    content: SealedTokens::read_joined(row)?,
                    owner: OwnerRow::read_joined(row)?,
                })
            }
        }
    };
}

read_tokens!(SqliteRow);
read_tokens!(PgRow);

impl StatusRow {
    fn state(&self) -> Result<TokenState, StoreError> {
        match (
            self.state.as_str(),
            self.attempt_expire_time,
            self.retry_time,
        ) {
            ("ACTIVE", ..) => Ok(TokenState::Active),
            ("REFRESHING", Some(lease), _) => Ok(TokenState::Refreshing { lease }),
            ("BACKOFF", _, Some(retry)) => Ok(TokenState::Backoff { retry }),
            ("RECONNECT_REQUIRED", ..) => Ok(TokenState::ReconnectRequired),
            _ => {
                let key = format!("{}/{}", self.session_id, self.identity_id);
                Err(StoreError::corrupt("federated_tokens", "state", key))
            }
        }
    }
}

impl TryFrom<TokensRow> for StoredTokens {
    type Error = StoreError;

    fn try_from(row: TokensRow) -> Result<Self, StoreError> {
        let TokensRow {
            status,
            content,
            owner,
        } = row;
        Ok(Self {
            state: status.state()?,
            key: TokensKey {
                session_id: status.session_id,
                identity_id: status.identity_id,
            },
            user_id: owner.user_id,
            issuer: owner.issuer,
            subject: owner.subject,
            provider: status.provider,
            content,
            version: status.version,
            update_time: status.update_time,
        })
    }
}

impl Store {
    /// The tokens of a session.
    pub async fn list_federated_tokens(
        &self,
        session: &SessionId,
    ) -> Result<Vec<StoredTokens>, StoreError> {
        let rows = reading!(self, |db| query_as::<_, TokensRow>(LIST)
            .bind(session.as_str())
            .fetch_all(db)
            .await)?;
        rows.into_iter().map(StoredTokens::try_from).collect()
    }

    /// Claims the refresh of a version until `lease`; `false` if another attempt holds the claim or
    /// the row has another version. With `again`, an attempt whose outcome is unknown may be
    /// repeated.
    pub async fn begin_token_refresh(
        &self,
        key: &TokensKey,
        version: i64,
        lease: Timestamp,
        now: Timestamp,
        again: bool,
    ) -> Result<bool, StoreError> {
        let begun = writing!(self, |db| query(BEGIN_REFRESH)
            .bind(key.session_id.as_str())
            .bind(key.identity_id.as_str())
            .bind(version)
            .bind(lease.millis())
            .bind(now.millis())
            .bind(again)
            .execute(db)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(begun == 1)
    }

    /// Stores the tokens of a refresh; `false` if the session has ended or the attempt's outcome is
    /// stored already.
    pub async fn complete_token_refresh(
        &self,
        key: &TokensKey,
        version: i64,
        new: &SealedTokens,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let completed = writing!(self, |db| new
            .bind_to(query(COMPLETE_REFRESH))
            .bind(key.session_id.as_str())
            .bind(key.identity_id.as_str())
            .bind(version)
            .bind(now.millis())
            .execute(db)
            .await
            .map(|done| done.rows_affected()))?;
        self.publish(&Change::TokensChanged(key.session_id.clone()));
        Ok(completed == 1)
    }

    /// Stores that a refresh failed; `false` if the session has ended or the attempt's outcome is
    /// stored already.
    pub async fn fail_token_refresh(
        &self,
        key: &TokensKey,
        version: i64,
        failed: FailedRefresh,
    ) -> Result<bool, StoreError> {
        let (state, retry) = match failed {
            FailedRefresh::Backoff { retry } => ("BACKOFF", Some(retry.millis())),
            FailedRefresh::ReconnectRequired => ("RECONNECT_REQUIRED", None),
        };
        let failed = writing!(self, |db| query(FAIL_REFRESH)
            .bind(key.session_id.as_str())
            .bind(key.identity_id.as_str())
            .bind(version)
            .bind(state)
            .bind(retry)
            .execute(db)
            .await
            .map(|done| done.rows_affected()))?;
        self.publish(&Change::TokensChanged(key.session_id.clone()));
        Ok(failed == 1)
    }

    /// Deletes a session's tokens of one provider, or of all providers if `provider` is empty.
    pub async fn delete_session_tokens(
        &self,
        session: &SessionId,
        provider: &str,
    ) -> Result<(), StoreError> {
        let deleted = writing!(self, |db| query(DELETE_OF_SESSION)
            .bind(session.as_str())
            .bind(provider)
            .execute(db)
            .await
            .map(|done| done.rows_affected()))?;
        if deleted > 0 {
            self.publish(&Change::TokensChanged(session.clone()));
        }
        Ok(())
    }

    /// Deletes the tokens of all of a user's sessions, of one provider, or of all providers if
    /// `provider` is empty.
    pub async fn delete_user_tokens(
        &self,
        user: &UserId,
        provider: &str,
    ) -> Result<(), StoreError> {
        let deleted = writing!(self, |db| query(DELETE_OF_USER)
            .bind(user.as_str())
            .bind(provider)
            .execute(db)
            .await
            .map(|done| done.rows_affected()))?;
        if deleted > 0 {
            self.publish(&Change::TokensOfUserChanged(user.clone()));
        }
        Ok(())
    }
}

/// Stores a new session's tokens within its transaction.
pub(super) async fn insert(tx: &mut Tx, tokens: &NewTokens) -> Result<(), StoreError> {
    in_tx!(*tx, |db| tokens
        .content
        .bind_to(query(INSERT))
        .bind(tokens.key.session_id.as_str())
        .bind(tokens.key.identity_id.as_str())
        .bind(&tokens.provider)
        .bind(tokens.update_time.millis())
        .execute(db)
        .await
        .map(drop))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::federated_logins::tests::{full_profile, login};
    use crate::store::testing::on_each_engine;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[tokio::test]
    async fn an_attempt_without_an_outcome_is_followed_by_another_only_if_that_is_safe() {
        on_each_engine(async |store| {
            let (user, identity) = (UserId::new(NOW), IdentityId::new());
            let login = login(&user, full_profile(), &identity, Some("ann"));
            let key = login.tokens.key.clone();
            store.commit_federated_login(login).await.expect("stored");
            let (lease, over) = (
                Timestamp::from_secs(1_800_000_030),
                Timestamp::from_secs(1_800_000_060),
            );
            let begin = async |end, now, again| {
                store
                    .begin_token_refresh(&key, 1, end, now, again)
                    .await
                    .expect("asked")
            };
            assert!(begin(lease, NOW, false).await);
            assert!(!begin(over, NOW, true).await, "it may still have one");
            assert!(!begin(over, lease, false).await);
            assert!(begin(over, lease, true).await);
            let fail = async || {
                store
                    .fail_token_refresh(&key, 1, FailedRefresh::ReconnectRequired)
                    .await
                    .expect("asked")
            };
            assert_eq!((fail().await, fail().await), (true, false));
        })
        .await;
    }
}
