//! Signing keys; their private halves are sealed.

use const_format::concatcp;
use sqlx::{query, query_as};

use super::Store;
use super::backend::{reading, statements, writing};
use super::error::StoreError;
use super::record::{Record as _, record};
use crate::clock::Timestamp;
use crate::model::signing_key::SealedSigningKey;

record!(SealedSigningKey, "signing_keys", key id, { id, public_key, private_key, state });

statements! {
    LIST = concatcp!("SELECT ", SealedSigningKey::COLUMNS, " FROM signing_keys WHERE algorithm = 'EdDSA' AND state IN ('active', 'retired') ORDER BY create_time DESC, id");
    INSERT_ACTIVE = "INSERT INTO signing_keys (id, algorithm, public_key, private_key, state, create_time) VALUES ($1, 'EdDSA', $2, $3, 'active', $4) ON CONFLICT DO NOTHING";
}

impl Store {
    /// The active key and the retired ones, whose tokens are still accepted.
    pub async fn list_signing_keys(&self) -> Result<Vec<SealedSigningKey>, StoreError> {
        Ok(reading!(self, LIST, |db, sql| query_as(sql)
            .fetch_all(db)
            .await)?)
    }

    /// Inserts a key as the active one; does nothing if there is an active key already.
    pub async fn insert_active_signing_key(
        &self,
        id: &str,
        public: &[u8],
        sealed: &[u8],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        writing!(self, INSERT_ACTIVE, |db, sql| query(sql)
            .bind(id)
            .bind(public)
            .bind(sealed)
            .bind(now.millis())
            .execute(db)
            .await
            .map(drop))?;
        Ok(())
    }
}
