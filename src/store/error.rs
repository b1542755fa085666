//! The errors of the store.

use std::fmt;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::sqlite::SqliteError;

use crate::error::Error;

/// The answer to a call that lost too often to other calls' work.
const BUSY: Error = Error::Busy {
    retry_after: Duration::from_secs(1),
};
/// The lower byte of SQLite's result codes for a database that another connection has locked.
const SQLITE_BUSY: u32 = 5;

/// The store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    // The text contains the cause, which therefore is not a source: a log that follows sources
    // would print it twice.
    #[error("the database failed or does not answer: {0}")]
    Database(sqlx::Error),
    #[error("the database could not be migrated: {0}")]
    Migration(sqlx::migrate::MigrateError),
    #[error("other writers held the database for too long")]
    Overloaded,
    #[error("the database did not answer in time")]
    Silent,
    #[error("the database does not answer, and another call is trying already")]
    Down,
    #[error("row {key} of {table} has an invalid {column}")]
    Corrupt {
        table: &'static str,
        column: &'static str,
        key: String,
    },
}

impl StoreError {
    /// The error for a row with an invalid value in a column.
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

    /// What kind of error it is, for telemetry.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Database(_) => "database",
            Self::Migration(_) => "migration",
            Self::Overloaded => "overloaded",
            Self::Silent => "silent",
            Self::Down => "down",
            Self::Corrupt { .. } => "corrupt",
        }
    }

    /// Whether the database itself told it, so that the database answers.
    pub(super) const fn is_answer(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(_)))
    }

    /// Whether the engine aborted the transaction because of a conflict with another one, so that
    /// it may be retried: `serialization_failure` or `deadlock_detected`.
    pub(super) fn is_conflict(&self) -> bool {
        let Self::Database(sqlx::Error::Database(error)) = self else {
            return false;
        };
        matches!(error.code().as_deref(), Some("40001" | "40P01"))
    }
}

impl From<sqlx::Error> for StoreError {
    /// Code that reads a row can return only sqlx's errors, so [`StoreError::Corrupt`] comes inside
    /// one.
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
            StoreError::Database(ref cause) if is_our_fault(cause) => Self::internal(error),
            StoreError::Overloaded => BUSY,
            StoreError::Database(_) if error.is_conflict() => BUSY,
            StoreError::Database(_) | StoreError::Silent | StoreError::Down => {
                Self::StoreUnavailable(error.into())
            }
        }
    }
}

/// Whether SQLite gave up because another connection has the database locked.
pub(super) fn is_locked(error: &dyn DatabaseError) -> bool {
    let code = error
        .try_downcast_ref::<SqliteError>()
        .and_then(|error| error.code()?.parse().ok());
    code.is_some_and(|code: u32| code & 0xff == SQLITE_BUSY)
}

/// Whether the error is a fault of this program: a wrong statement, or a violated constraint that
/// the code should have checked. Any other error means that the database is unavailable.
fn is_our_fault(error: &sqlx::Error) -> bool {
    use sqlx::error::ErrorKind;
    match error {
        sqlx::Error::Database(database) => {
            // PostgreSQL's class 42 is "syntax error or access rule violation".
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
