//! Markers, each of which is set once in a store's life.

use sqlx::{query, query_scalar};

use super::Store;
use super::backend::{Tx, in_tx, reading, statements, writing};
use super::error::StoreError;
use crate::secret;

statements! {
    CLAIM = "INSERT INTO markers (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
    FIND = "SELECT COUNT(*) FROM markers WHERE name = $1";
}

/// A marker.
#[derive(Clone, Copy, Debug)]
pub(super) enum Marker {
    /// The random name that a new store is given.
    Epoch,
    /// An account was made.
    FirstAccount,
    /// An account became administrator, by being the first or by the bootstrap token.
    Administrator,
    /// The provider tokens of earlier versions were sealed anew.
    TokensSealed,
}

impl Marker {
    const fn name(self) -> &'static str {
        match self {
            Self::Epoch => "epoch",
            Self::FirstAccount => "first_account",
            Self::Administrator => "administrator",
            Self::TokensSealed => "tokens_sealed",
        }
    }
}

/// Sets the marker; `false` if it was set before. Another transaction that tries to set it waits
/// until this one ends.
pub(super) async fn claim(tx: &mut Tx, marker: Marker, value: &str) -> Result<bool, StoreError> {
    let claimed = in_tx!(*tx, CLAIM, |db, sql| query(sql)
        .bind(marker.name())
        .bind(value)
        .execute(db)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(claimed == 1)
}

impl Store {
    /// Sets the epoch of a new store.
    pub(super) async fn ensure_epoch(&self) -> Result<(), StoreError> {
        let epoch = hex::encode(secret::random::<16>());
        self.set_marker(Marker::Epoch, &epoch).await
    }

    /// Asks the store something that costs it almost nothing, to see whether it answers.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn ask(&self) -> Result<(), StoreError> {
        reading!(self, FIND, |db, sql| query_scalar::<_, i64>(sql)
            .bind(Marker::Epoch.name())
            .fetch_one(db)
            .await)
        .map(drop)
    }

    /// Whether the provider tokens of earlier versions were sealed anew.
    pub async fn are_tokens_sealed(&self) -> Result<bool, StoreError> {
        let found: i64 = reading!(self, FIND, |db, sql| query_scalar(sql)
            .bind(Marker::TokensSealed.name())
            .fetch_one(db)
            .await)?;
        Ok(found > 0)
    }

    /// Notes that the provider tokens of earlier versions were sealed anew.
    pub async fn note_tokens_sealed(&self) -> Result<(), StoreError> {
        self.set_marker(Marker::TokensSealed, "").await
    }

    /// Sets a marker unless it is set.
    async fn set_marker(&self, marker: Marker, value: &str) -> Result<(), StoreError> {
        writing!(self, CLAIM, |db, sql| query(sql)
            .bind(marker.name())
            .bind(value)
            .execute(db)
            .await
            .map(drop))
    }
}
