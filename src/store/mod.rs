//! Everything durable. One function commits one use case; no transaction leaves this module.

mod backend;
pub mod bans;
pub mod changes;
pub mod federated_logins;
pub mod federated_tokens;
mod limits;
mod markers;
mod network;
mod open;
pub mod sessions;
mod signing_keys;
#[cfg(test)]
pub(crate) mod testing;
pub mod users;
pub mod violations;

use std::fmt;

use crate::clock::Timestamp;
use crate::error::Error;
use backend::{Pools, Tx};
use changes::{Change, Changes};

pub use limits::Attempt;
pub use network::Network;
pub use open::OpenStoreError;
pub use signing_keys::StoredSigningKey;

/// The store, on SQLite or PostgreSQL. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Store {
    pools: Pools,
    changes: Changes,
}

/// The store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the database does not answer or refused: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the database could not be brought to this version: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    #[error("row {key} of {table} holds an impossible {column}")]
    Corrupt { table: &'static str, column: &'static str, key: String },
}

impl StoreError {
    /// A row that cannot be.
    pub(crate) fn corrupt(table: &'static str, column: &'static str, key: impl fmt::Display) -> Self {
        Self::Corrupt { table, column, key: key.to_string() }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Corrupt { .. } | StoreError::Migration(_) => Self::internal(error),
            StoreError::Database(ref cause) if is_fault_of_ours(cause) => Self::internal(error),
            StoreError::Database(_) => Self::StoreUnavailable(Box::new(error)),
        }
    }
}

/// Statements that are wrong, or break a constraint that the code should have seen to, are faults; the rest is unavailability.
fn is_fault_of_ours(error: &sqlx::Error) -> bool {
    use sqlx::error::ErrorKind;
    match error {
        sqlx::Error::Database(database) => {
            !matches!(database.kind(), ErrorKind::Other) || database.code().is_some_and(|code| code.starts_with("42"))
        }
        sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::Encode(_)
        | sqlx::Error::RowNotFound => true,
        _ => false,
    }
}

impl Store {
    /// Where to hear of changes.
    #[must_use]
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    async fn begin(&self) -> Result<Tx, StoreError> {
        self.pools.begin().await
    }

    fn publish(&self, change: &Change) {
        self.changes.publish(change);
    }

    /// Closes all connections once they are free.
    pub async fn close(&self) {
        self.pools.close().await;
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`StoreError::Database`] where it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        backend::reading!(self, |db| sqlx::query("SELECT 1").execute(db).await.map(drop))?;
        Ok(())
    }

    /// Every statement, so that a test can prepare each on both engines.
    #[must_use]
    pub fn statements() -> Vec<&'static str> {
        [
            bans::STATEMENTS,
            federated_logins::STATEMENTS,
            federated_tokens::STATEMENTS,
            limits::STATEMENTS,
            markers::STATEMENTS,
            open::STATEMENTS,
            sessions::STATEMENTS,
            sessions::ending::STATEMENTS,
            sessions::opening::STATEMENTS,
            signing_keys::STATEMENTS,
            users::STATEMENTS,
            violations::STATEMENTS,
        ]
        .concat()
    }
}

/// A time column.
fn time(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}
