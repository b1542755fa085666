//! Sealed tokens that providers issued, one row for each session and identity.

use sqlx::{query, query_as};

use super::Store;
use super::backend::{Tx, in_tx, reading, statements, writing};
use super::changes::Change;
use super::error::StoreError;
use super::record::record;
use crate::clock::Timestamp;
use crate::id::{IdentityId, SessionId, UserId};
use crate::model::provider_tokens::{
    FailedRefresh, NewTokens, SealedTokens, StoredTokens, TokenState, TokensKey,
};

statements! {
    INSERT = "INSERT INTO federated_tokens (session_id, identity_id, provider, access_token, access_expire_time, id_token, id_expire_time,
            refresh_token, claims, scopes, state, version, update_time)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'ACTIVE', 1, $11)";
    LIST = "SELECT t.session_id, t.identity_id, i.user_id, i.issuer, i.subject, t.provider, t.access_token, t.access_expire_time, t.id_token,
            t.id_expire_time, t.refresh_token, t.claims, t.scopes, t.state, t.version, t.attempt_expire_time, t.retry_time, t.update_time
        FROM federated_tokens t JOIN identities i ON i.id = t.identity_id WHERE t.session_id = $1 ORDER BY t.provider, t.identity_id";
    /// Allows one attempt at a time, and after an attempt whose outcome is unknown another one only
    /// if `$6` says so.
    BEGIN_REFRESH = "UPDATE federated_tokens SET state = 'REFRESHING', attempt_expire_time = $4
        WHERE session_id = $1 AND identity_id = $2 AND version = $3
            AND (state = 'ACTIVE' OR (state = 'BACKOFF' AND retry_time <= $5) OR (state = 'REFRESHING' AND attempt_expire_time <= $5 AND $6))";
    COMPLETE_REFRESH = "UPDATE federated_tokens SET access_token = $4, access_expire_time = $5, id_token = $6, id_expire_time = $7,
            refresh_token = $8, claims = $9, scopes = $10, state = 'ACTIVE', version = version + 1, attempt_expire_time = NULL, retry_time = NULL, update_time = $11
        WHERE session_id = $1 AND identity_id = $2 AND version = $3 AND state = 'REFRESHING'";
    FAIL_REFRESH = "UPDATE federated_tokens SET state = $4, retry_time = $5, attempt_expire_time = NULL
        WHERE session_id = $1 AND identity_id = $2 AND version = $3 AND state = 'REFRESHING'";
    DELETE_OF_SESSION = "DELETE FROM federated_tokens WHERE session_id = $1 AND ($2 = '' OR provider = $2)";
    DELETE_OF_USER = "DELETE FROM federated_tokens WHERE ($2 = '' OR provider = $2) AND session_id IN (SELECT id FROM sessions WHERE user_id = $1)";
}

struct TokensRow {
    session_id: SessionId,
    identity_id: IdentityId,
    user_id: UserId,
    issuer: String,
    subject: String,
    provider: String,
    access_token: Vec<u8>,
    access_expire_time: Timestamp,
    id_token: Option<Vec<u8>>,
    id_expire_time: Option<Timestamp>,
    refresh_token: Option<Vec<u8>>,
    claims: Vec<u8>,
    scopes: String,
    state: String,
    version: i64,
    attempt_expire_time: Option<Timestamp>,
    retry_time: Option<Timestamp>,
    update_time: Timestamp,
}

record!(TokensRow, "federated_tokens", key session_id, {
    session_id, identity_id, user_id, issuer, subject, provider, access_token, access_expire_time, id_token,
    id_expire_time, refresh_token, claims, scopes, state, version, attempt_expire_time, retry_time, update_time,
});

impl TryFrom<TokensRow> for StoredTokens {
    type Error = StoreError;

    fn try_from(row: TokensRow) -> Result<Self, StoreError> {
        let state = match (row.state.as_str(), row.attempt_expire_time, row.retry_time) {
            ("ACTIVE", ..) => TokenState::Active,
            ("REFRESHING", Some(lease), _) => TokenState::Refreshing { lease },
            ("BACKOFF", _, Some(retry)) => TokenState::Backoff { retry },
            ("RECONNECT_REQUIRED", ..) => TokenState::ReconnectRequired,
            _ => {
                let key = format!("{}/{}", row.session_id, row.identity_id);
                return Err(StoreError::corrupt("federated_tokens", "state", key));
            }
        };
        Ok(Self {
            key: TokensKey {
                session_id: row.session_id,
                identity_id: row.identity_id,
            },
            user_id: row.user_id,
            issuer: row.issuer,
            subject: row.subject,
            provider: row.provider,
            content: SealedTokens {
                access_token: row.access_token,
                access_expire_time: row.access_expire_time,
                id_token: row.id_token,
                id_expire_time: row.id_expire_time,
                refresh_token: row.refresh_token,
                claims: row.claims,
                scopes: row.scopes,
            },
            state,
            version: row.version,
            update_time: row.update_time,
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
        let completed = writing!(self, |db| query(COMPLETE_REFRESH)
            .bind(key.session_id.as_str())
            .bind(key.identity_id.as_str())
            .bind(version)
            .bind(&new.access_token)
            .bind(new.access_expire_time.millis())
            .bind(new.id_token.as_deref())
            .bind(new.id_expire_time.map(Timestamp::millis))
            .bind(new.refresh_token.as_deref())
            .bind(&new.claims)
            .bind(&new.scopes)
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
        writing!(self, |db| query(DELETE_OF_SESSION)
            .bind(session.as_str())
            .bind(provider)
            .execute(db)
            .await
            .map(drop))?;
        self.publish(&Change::TokensChanged(session.clone()));
        Ok(())
    }

    /// Deletes the tokens of all of a user's sessions, of one provider, or of all providers if
    /// `provider` is empty.
    pub async fn delete_user_tokens(
        &self,
        user: &UserId,
        provider: &str,
    ) -> Result<(), StoreError> {
        writing!(self, |db| query(DELETE_OF_USER)
            .bind(user.as_str())
            .bind(provider)
            .execute(db)
            .await
            .map(drop))?;
        self.publish(&Change::UserChanged(user.clone()));
        Ok(())
    }
}

/// Stores a new session's tokens within its transaction.
pub(super) async fn insert(tx: &mut Tx, tokens: &NewTokens) -> Result<(), StoreError> {
    let content = &tokens.content;
    in_tx!(*tx, |db| query(INSERT)
        .bind(tokens.key.session_id.as_str())
        .bind(tokens.key.identity_id.as_str())
        .bind(&tokens.provider)
        .bind(&content.access_token)
        .bind(content.access_expire_time.millis())
        .bind(content.id_token.as_deref())
        .bind(content.id_expire_time.map(Timestamp::millis))
        .bind(content.refresh_token.as_deref())
        .bind(&content.claims)
        .bind(&content.scopes)
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
