//! Says of a database that cannot be opened what is wrong, where, and what to do. The driver's own
//! texts name no host and no file.

use std::path::Path;

use sqlx::error::DatabaseError;
use sqlx::migrate::MigrateError;
use sqlx::postgres::PgConnectOptions;

use super::error::{Fault, OpenStoreError};
use crate::config::Database;
use crate::secret::ExposeSecret as _;
use crate::store::error::StoreError;

/// The lower byte of SQLite's result codes.
const READ_ONLY: u32 = 8;
const CANNOT_OPEN: u32 = 14;
const NOT_A_DATABASE: u32 = 26;

/// The error of a database that failed while it was opened, in words for whoever starts the
/// service.
pub(super) fn explain(database: &Database, error: StoreError) -> OpenStoreError {
    let cause = match error {
        StoreError::Database(cause)
        | StoreError::Migration(
            MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _),
        ) => Some(cause),
        StoreError::Silent | StoreError::Down => None,
        error => return error.into(),
    };
    OpenStoreError::Database(match database {
        Database::Sqlite(path) => sqlite(path, cause.as_ref()),
        Database::Postgres(url) => match url.expose_secret().parse::<PgConnectOptions>() {
            Ok(options) => postgres(&options, cause.as_ref()),
            Err(error) => return StoreError::from(error).into(),
        },
    })
}

/// Without a cause, the database did not answer in time.
fn sqlite(path: &Path, cause: Option<&sqlx::Error>) -> Fault {
    let code = cause
        .and_then(sqlx::Error::as_database_error)
        .and_then(|error| error.code()?.parse::<u32>().ok());
    let (problem, remedy) = match code.map(|code| code & 0xff) {
        Some(READ_ONLY | CANNOT_OPEN) => (
            "cannot be opened for reading and writing".to_owned(),
            "check the owner and the mode of the file, of the files whose names begin with its name, and of its directory",
        ),
        Some(NOT_A_DATABASE) => (
            "is no SQLite database".to_owned(),
            "let DATABASE_URL name another file",
        ),
        _ => (
            cause.map_or_else(
                || "did not answer in time".to_owned(),
                |cause| format!("failed: {}", text(cause)),
            ),
            "check the disk that it is on",
        ),
    };
    Fault {
        place: format!("the database {}", path.display()),
        problem,
        remedy: remedy.to_owned(),
    }
}

/// Without a cause, the server did not answer in time.
fn postgres(options: &PgConnectOptions, cause: Option<&sqlx::Error>) -> Fault {
    let user = options.get_username();
    let database = options.get_database().unwrap_or(user);
    let (problem, remedy) = match cause {
        Some(sqlx::Error::Database(error)) => refusal(error.as_ref(), user, database),
        Some(sqlx::Error::Io(error)) => (
            format!("cannot be reached: {error}"),
            "check that it runs there, and the host and port in DATABASE_URL".to_owned(),
        ),
        Some(sqlx::Error::Tls(error)) => (
            format!("and the service cannot agree on TLS: {error}"),
            "check the server's certificate, or sslmode in DATABASE_URL".to_owned(),
        ),
        None => (
            "does not answer".to_owned(),
            "check that it runs there, and the host and port in DATABASE_URL".to_owned(),
        ),
        Some(other) => (format!("failed: {other}"), "check DATABASE_URL".to_owned()),
    };
    Fault {
        place: place(options),
        problem,
        remedy,
    }
}

fn place(options: &PgConnectOptions) -> String {
    let port = options.get_port();
    match options.get_socket() {
        Some(socket) => format!("PostgreSQL at {} (port {port})", socket.display()),
        None => format!("PostgreSQL at {}:{port}", options.get_host()),
    }
}

/// What PostgreSQL refuses, by its error code.
fn refusal(error: &dyn DatabaseError, user: &str, database: &str) -> (String, String) {
    let message = error.message();
    let remedy = match error.code().as_deref() {
        Some("28P01" | "28000") => {
            "check user and password in DATABASE_URL, where special characters are percent-encoded (@ is %40, / is %2F)".to_owned()
        }
        Some("3D000") => format!(
            "create it (CREATE DATABASE \"{database}\" OWNER \"{user}\"), or correct the name in DATABASE_URL"
        ),
        Some("42501" | "3F000") => format!(
            "let the user \"{user}\" own the schema and its tables in \"{database}\" (ALTER SCHEMA public OWNER TO \"{user}\")"
        ),
        Some("53300") => "allow it more connections, or end others".to_owned(),
        Some("57P03") => "wait until it has started".to_owned(),
        _ => "check it and DATABASE_URL".to_owned(),
    };
    (format!("says: {message}"), remedy)
}

/// The text of an error, without the driver's position in the server's source.
fn text(error: &sqlx::Error) -> String {
    error
        .as_database_error()
        .map_or_else(|| error.to_string(), |error| error.message().to_owned())
}
