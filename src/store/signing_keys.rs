//! Signing keys; their private halves are sealed.

use sqlx::{query, query_as};

use super::backend::{reading, row, statements, writing};
use super::{Store, StoreError};
use crate::clock::Timestamp;

statements! {
    LIST = "SELECT id, public_key, private_key, state FROM signing_keys WHERE algorithm = 'EdDSA' AND state IN ('active', 'retired') ORDER BY create_time DESC, id";
    INSERT_ACTIVE = "INSERT INTO signing_keys (id, algorithm, public_key, private_key, state, create_time) VALUES ($1, 'EdDSA', $2, $3, 'active', $4) ON CONFLICT DO NOTHING";
}

row! {
    /// A key as stored.
    pub struct StoredSigningKey {
        /// Its `kid`.
        pub id: String,
        /// Its raw public half.
        pub public_key: Vec<u8>,
        /// Its private half, sealed.
        pub private_key: Vec<u8>,
        /// `active` or `retired`.
        pub state: String,
    }
}

impl Store {
    /// The keys that tokens may be signed with.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn list_signing_keys(&self) -> Result<Vec<StoredSigningKey>, StoreError> {
        Ok(reading!(self, |db| query_as(LIST).fetch_all(db).await)?)
    }

    /// Makes a key the active one, unless there is one: then nothing happens.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn insert_active_signing_key(
        &self,
        id: &str,
        public: &[u8],
        sealed: &[u8],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        writing!(self, |db| query(INSERT_ACTIVE)
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
