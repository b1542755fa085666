//! Tables with one sealed value in a row, to seal the values anew. [`super::federated_tokens`] has
//! several in a row, and its own statements.

use sqlx::{query, query_as, query_scalar};

use super::Store;
use super::backend::{in_tx, reading, statements, transaction};
use super::error::StoreError;
use super::statement::Statement;
use crate::clock::Timestamp;
use crate::model::sealed::Replacement;

statements! {
    LIST_SIGNING_KEYS = "SELECT id, private_key FROM signing_keys WHERE id > $1 ORDER BY id LIMIT $2";
    REPLACE_SIGNING_KEY = "UPDATE signing_keys SET private_key = $3 WHERE id = $1 AND private_key = $2";
    LIST_LOGINS = "SELECT state_hash, secrets FROM federated_logins WHERE state_hash > $1 ORDER BY state_hash LIMIT $2";
    REPLACE_LOGIN = "UPDATE federated_logins SET secrets = $3 WHERE state_hash = $1 AND secrets = $2";
    LAST_END = "SELECT expire_time FROM sessions WHERE expire_time > $1 AND revoke_time IS NULL ORDER BY expire_time DESC LIMIT 1";
}

/// A row's key and its sealed value.
type Row = (String, Vec<u8>);
/// A sealed value, and what it is to be replaced by.
type NewValue = Replacement<String, Vec<u8>, Vec<u8>>;

impl Store {
    /// At most `limit` signing keys after `after`, with their sealed private halves.
    pub async fn list_sealed_signing_keys(
        &self,
        after: &str,
        limit: i64,
    ) -> Result<Vec<Row>, StoreError> {
        reading!(self, LIST_SIGNING_KEYS, |db, sql| query_as(sql)
            .bind(after)
            .bind(limit)
            .fetch_all(db)
            .await)
    }

    /// Replaces the values that are as they were read, in one transaction; returns how many were.
    pub async fn replace_sealed_signing_keys(&self, new: &[NewValue]) -> Result<u64, StoreError> {
        let keyed = new.iter().map(|new| (new.key.as_str(), new));
        self.replace_sealed(REPLACE_SIGNING_KEY, &keyed.collect::<Vec<_>>())
            .await
    }

    /// At most `limit` sign-ins in progress after `after`, with their sealed secrets. The keys are in
    /// hexadecimal.
    pub async fn list_sealed_logins(
        &self,
        after: &str,
        limit: i64,
    ) -> Result<Vec<Row>, StoreError> {
        let after = hex::decode(after).unwrap_or_default();
        let rows: Vec<(Vec<u8>, Vec<u8>)> = reading!(self, LIST_LOGINS, |db, sql| query_as(sql)
            .bind(&after)
            .bind(limit)
            .fetch_all(db)
            .await)?;
        let keyed = rows
            .into_iter()
            .map(|(key, value)| (hex::encode(key), value));
        Ok(keyed.collect())
    }

    /// Replaces the values that are as they were read, in one transaction; returns how many were.
    pub async fn replace_sealed_logins(&self, new: &[NewValue]) -> Result<u64, StoreError> {
        let keyed = new
            .iter()
            .map(|new| (hex::decode(&new.key).unwrap_or_default(), new));
        self.replace_sealed(REPLACE_LOGIN, &keyed.collect::<Vec<_>>())
            .await
    }

    async fn replace_sealed<K>(
        &self,
        statement: Statement,
        new: &[(K, &NewValue)],
    ) -> Result<u64, StoreError>
    where
        K: Clone + Send + Sync,
        for<'q> K: sqlx::Encode<'q, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
        for<'q> K: sqlx::Encode<'q, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        transaction!(self, |tx| {
            let mut replaced = 0;
            for (key, value) in new {
                replaced += in_tx!(tx, statement, |db, sql| query(sql)
                    .bind(key.clone())
                    .bind(&value.read)
                    .bind(&value.new)
                    .execute(db)
                    .await
                    .map(|done| done.rows_affected()))?;
            }
            tx.commit().await?;
            Ok(replaced)
        })
    }

    /// When the last of the live sessions ends; `None` if there are none.
    pub async fn last_session_end(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let end: Option<i64> = reading!(self, LAST_END, |db, sql| query_scalar(sql)
            .bind(now.millis())
            .fetch_optional(db)
            .await)?;
        Ok(end.map(Timestamp::from_millis))
    }
}
