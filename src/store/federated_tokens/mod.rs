//! Sealed tokens that providers issued, one row for each session and identity.

pub(in crate::store) mod sealed;

use const_format::concatcp;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, query, query_as};

use super::Store;
use super::announcements::Announcement;
use super::backend::{Tx, in_tx, reading, statements, transaction, writing};
use super::error::StoreError;
use super::record::{Bind as _, JoinedRecord as _, ReadJoined as _, Record as _, record};
use super::statement::Statement;
use crate::clock::Timestamp;
use crate::id::{IdentityId, SessionId, UserId};
use crate::model::provider_tokens::{
    NewTokens, SealedState, SealedTokens, StoredTokens, TokenState, TokensKey,
};

/// The columns of a row beside its [`SealedTokens`].
struct StatusRow {
    session_id: SessionId,
    identity_id: IdentityId,
    provider: String,
    state: String,
    version: i64,
    retry_time: Option<Timestamp>,
}

/// Whom a row's identity belongs to.
struct OwnerRow {
    user_id: UserId,
    issuer: String,
    subject: String,
}

record!(StatusRow, "federated_tokens", key session_id, as "t" "", {
    session_id, identity_id, provider, state, version, retry_time,
});

record!(SealedTokens, "federated_tokens", key session_id, as "t" "", {
    access_token, access_expire_time, id_token, id_expire_time, refresh_token, claims, scopes, state_seal, update_time,
});

record!(OwnerRow, "identities", key session_id, as "i" "", { user_id, issuer, subject });

const SELECT: &str = concatcp!(
    "SELECT ",
    StatusRow::JOINED,
    ", ",
    SealedTokens::JOINED,
    ", ",
    OwnerRow::JOINED,
    "
        FROM federated_tokens t JOIN identities i ON i.id = t.identity_id "
);

statements! {
    INSERT = concatcp!(
        "INSERT INTO federated_tokens (", SealedTokens::COLUMNS, ", session_id, identity_id, provider, state, version, session_expire_time)
        VALUES (", SealedTokens::PLACEHOLDERS, ", $10, $11, $12, 'ACTIVE', 1, (SELECT s.expire_time FROM sessions s WHERE s.id = $10))"
    );
    LIST = concatcp!(SELECT, "WHERE t.session_id = $1 ORDER BY t.provider, t.identity_id");
    LIST_WITHOUT_SEAL = concatcp!(
        SELECT, "WHERE t.state_seal IS NULL AND (t.session_id, t.identity_id) > ($1, $2) ORDER BY t.session_id, t.identity_id LIMIT $3"
    );
    SET_SEALS = concatcp!(
        "UPDATE federated_tokens SET (", SealedTokens::COLUMNS, ") = (", SealedTokens::PLACEHOLDERS, ")
        WHERE session_id = $10 AND identity_id = $11 AND version = $12 AND state_seal IS NULL"
    );
    /// Seals differ, so the state is replaced only if no other call replaced it since it was read.
    SET_STATE = "UPDATE federated_tokens SET state = $4, retry_time = $5, state_seal = $6
        WHERE session_id = $1 AND identity_id = $2 AND state_seal = $3";
    ERASE_REFRESH_TOKEN = "UPDATE federated_tokens SET state = $4, retry_time = $5, state_seal = $6, refresh_token = NULL
        WHERE session_id = $1 AND identity_id = $2 AND state_seal = $3";
    /// Whatever the state is: new tokens are worth more than another process's verdict that there
    /// will be none.
    COMPLETE_REFRESH = concatcp!(
        "UPDATE federated_tokens SET (", SealedTokens::COLUMNS, ") = (", SealedTokens::PLACEHOLDERS, "),
            state = 'ACTIVE', version = version + 1, retry_time = NULL
        WHERE session_id = $10 AND identity_id = $11 AND version = $12"
    );
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
    fn key(&self) -> TokensKey {
        TokensKey {
            session_id: self.session_id.clone(),
            identity_id: self.identity_id.clone(),
        }
    }

    fn state(&self) -> Result<TokenState, StoreError> {
        match (self.state.as_str(), self.retry_time) {
            ("ACTIVE", _) => Ok(TokenState::Active),
            ("REFRESHING", _) => Ok(TokenState::Refreshing),
            ("BACKOFF", Some(retry)) => Ok(TokenState::Backoff { retry }),
            ("RECONNECT_REQUIRED", _) => Ok(TokenState::ReconnectRequired),
            _ => Err(StoreError::corrupt("federated_tokens", "state", self.key())),
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
            key: status.key(),
            user_id: owner.user_id,
            issuer: owner.issuer,
            subject: owner.subject,
            provider: status.provider,
            content,
            version: status.version,
        })
    }
}

/// A row, or why it cannot be read; one such row says nothing about others.
pub type TokensOrError = (TokensKey, Result<StoredTokens, StoreError>);

fn each_read(rows: Vec<TokensRow>) -> Vec<TokensOrError> {
    rows.into_iter()
        .map(|row| (row.status.key(), StoredTokens::try_from(row)))
        .collect()
}

impl Store {
    /// The tokens of a session.
    pub async fn list_federated_tokens(
        &self,
        session: &SessionId,
    ) -> Result<Vec<TokensOrError>, StoreError> {
        let rows = reading!(self, LIST, |db, sql| query_as::<_, TokensRow>(sql)
            .bind(session.as_str())
            .fetch_all(db)
            .await)?;
        Ok(each_read(rows))
    }

    /// Replaces the state that has the seal `seen`; `false` if there is another state by now or the
    /// session has ended.
    pub async fn set_token_state(
        &self,
        key: &TokensKey,
        seen: &[u8],
        new: &SealedState,
    ) -> Result<bool, StoreError> {
        self.replace_state(SET_STATE, key, seen, new).await
    }

    /// Replaces the state as [`Store::set_token_state`] does, and erases the refresh token.
    pub async fn erase_refresh_token(
        &self,
        key: &TokensKey,
        seen: &[u8],
        new: &SealedState,
    ) -> Result<bool, StoreError> {
        self.replace_state(ERASE_REFRESH_TOKEN, key, seen, new)
            .await
    }

    async fn replace_state(
        &self,
        statement: Statement,
        key: &TokensKey,
        seen: &[u8],
        new: &SealedState,
    ) -> Result<bool, StoreError> {
        let replaced = writing!(self, statement, |db, sql| query(sql)
            .bind(key.session_id.as_str())
            .bind(key.identity_id.as_str())
            .bind(seen)
            .bind(new.state.name())
            .bind(new.state.retry().map(Timestamp::millis))
            .bind(&new.seal)
            .execute(db)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(self.tokens_changed(&key.session_id, replaced))
    }

    /// Stores the tokens of a refresh in the place of those of `version`; `false` if there are newer
    /// ones or the session has ended.
    pub async fn complete_token_refresh(
        &self,
        key: &TokensKey,
        version: i64,
        new: &SealedTokens,
    ) -> Result<bool, StoreError> {
        let completed = writing!(self, COMPLETE_REFRESH, |db, sql| new
            .bind_to(query(sql))
            .bind(key.session_id.as_str())
            .bind(key.identity_id.as_str())
            .bind(version)
            .execute(db)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(self.tokens_changed(&key.session_id, completed))
    }

    /// Whether a statement changed a session's tokens, which is published then.
    fn tokens_changed(&self, session: &SessionId, rows: u64) -> bool {
        if rows > 0 {
            self.publish(&Announcement::TokensChanged(session.clone()));
        }
        rows > 0
    }

    /// At most `limit` rows without a seal of their state that come after `after`.
    pub async fn list_tokens_without_seal(
        &self,
        after: Option<&TokensKey>,
        limit: i64,
    ) -> Result<Vec<TokensOrError>, StoreError> {
        self.list_after(LIST_WITHOUT_SEAL, after, limit).await
    }

    /// At most `limit` of the rows after `after` that a statement lists.
    async fn list_after(
        &self,
        statement: Statement,
        after: Option<&TokensKey>,
        limit: i64,
    ) -> Result<Vec<TokensOrError>, StoreError> {
        let (session, identity) = after.map_or(("", ""), |key| {
            (key.session_id.as_str(), key.identity_id.as_str())
        });
        let rows = reading!(self, statement, |db, sql| query_as::<_, TokensRow>(sql)
            .bind(session)
            .bind(identity)
            .bind(limit)
            .fetch_all(db)
            .await)?;
        Ok(each_read(rows))
    }

    /// Gives rows without a seal of their state their new seals, in one transaction.
    pub async fn set_token_seals(
        &self,
        sealed: &[(TokensKey, i64, SealedTokens)],
    ) -> Result<(), StoreError> {
        transaction!(self, |tx| {
            for (key, version, content) in sealed {
                in_tx!(tx, SET_SEALS, |db, sql| content
                    .bind_to(query(sql))
                    .bind(key.session_id.as_str())
                    .bind(key.identity_id.as_str())
                    .bind(*version)
                    .execute(db)
                    .await
                    .map(drop))?;
            }
            tx.commit().await
        })
    }

    /// Deletes a session's tokens of one provider, or of all providers if `provider` is empty.
    pub async fn delete_session_tokens(
        &self,
        session: &SessionId,
        provider: &str,
    ) -> Result<(), StoreError> {
        let deleted = writing!(self, DELETE_OF_SESSION, |db, sql| query(sql)
            .bind(session.as_str())
            .bind(provider)
            .execute(db)
            .await
            .map(|done| done.rows_affected()))?;
        self.tokens_changed(session, deleted);
        Ok(())
    }

    /// Deletes the tokens of all of a user's sessions, of one provider, or of all providers if
    /// `provider` is empty.
    pub async fn delete_user_tokens(
        &self,
        user: &UserId,
        provider: &str,
    ) -> Result<(), StoreError> {
        let deleted = writing!(self, DELETE_OF_USER, |db, sql| query(sql)
            .bind(user.as_str())
            .bind(provider)
            .execute(db)
            .await
            .map(|done| done.rows_affected()))?;
        if deleted > 0 {
            self.publish(&Announcement::TokensOfUserChanged(user.clone()));
        }
        Ok(())
    }
}

/// Stores a new session's tokens within its transaction.
pub(super) async fn insert(tx: &mut Tx, tokens: &NewTokens) -> Result<(), StoreError> {
    in_tx!(*tx, INSERT, |db, sql| tokens
        .content
        .bind_to(query(sql))
        .bind(tokens.key.session_id.as_str())
        .bind(tokens.key.identity_id.as_str())
        .bind(&tokens.provider)
        .execute(db)
        .await
        .map(drop))?;
    Ok(())
}

#[cfg(test)]
mod tests;
