//! Why the store did not do what it was asked.

use std::fmt;
use std::time::Duration;

use crate::error::Error;

/// The store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    // Whole in itself, hence no source: a log that follows sources would tell it twice.
    #[error("the database does not answer or refused: {0}")]
    Database(sqlx::Error),
    #[error("the database could not be brought to this version: {0}")]
    Migration(sqlx::migrate::MigrateError),
    #[error("other writers held the database for too long")]
    Overloaded,
    #[error("row {key} of {table} holds an impossible {column}")]
    Corrupt {
        table: &'static str,
        column: &'static str,
        key: String,
    },
}

impl StoreError {
    /// A row that cannot be.
    pub(crate) fn corrupt(
        table: &'static str,
        column: &'static str,
        key: impl fmt::Display,
    ) -> Self {
        Self::Corrupt {
            table,
            column,
            key: key.to_string(),
        }
    }

    /// Whether the transaction was ended in favour of another one, so that it may be tried anew: `serialization_failure` and
    /// `deadlock_detected`.
    pub(super) fn is_conflict(&self) -> bool {
        let Self::Database(sqlx::Error::Database(error)) = self else {
            return false;
        };
        matches!(error.code().as_deref(), Some("40001" | "40P01"))
    }
}

impl From<sqlx::Error> for StoreError {
    /// A row's reader can give only sqlx's errors, so what is corrupt comes inside one.
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Decode(cause) => match cause.downcast() {
                Ok(corrupt) => *corrupt,
                Err(cause) => Self::Database(sqlx::Error::Decode(cause)),
            },
            error => Self::Database(error),
        }
    }
}

impl From<sqlx::migrate::MigrateError> for StoreError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        Self::Migration(error)
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Corrupt { .. } | StoreError::Migration(_) => Self::internal(error),
            StoreError::Database(ref cause) if is_fault_of_ours(cause) => Self::internal(error),
            StoreError::Database(_) => Self::StoreUnavailable(Box::new(error)),
            StoreError::Overloaded => Self::Busy {
                retry_after: Duration::from_secs(1),
            },
        }
    }
}

/// Statements that are wrong, or break a constraint that the code should have seen to, are faults; the rest is unavailability.
fn is_fault_of_ours(error: &sqlx::Error) -> bool {
    use sqlx::error::ErrorKind;
    match error {
        sqlx::Error::Database(database) => {
            !matches!(database.kind(), ErrorKind::Other)
                || database.code().is_some_and(|code| code.starts_with("42"))
        }
        sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::Encode(_)
        | sqlx::Error::RowNotFound => true,
        _ => false,
    }
}
