//! One connection to one of the engines, and how it is made.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, SqliteConnection, raw_sql};
use tokio::time::timeout;

use super::error::{StoreError, is_locked};

/// A call takes 10 seconds at most, so no statement, wait for a lock or idle transaction lasts
/// longer: it would hold locks that other calls wait for.
///
/// The server ends a connection whose other end was lost, so that its locks are released.
///
/// A statement is planned once a connection, whatever its parameters are: PostgreSQL would plan some
/// anew at each call, because an absent parameter makes them look cheaper, and planning the look-up
/// of a ban takes longer than running it.
const POSTGRES_SETTINGS: &str = "SET statement_timeout = '8s'; SET lock_timeout = '5s'; SET idle_in_transaction_session_timeout = '10s'; SET plan_cache_mode = force_generic_plan; SET default_transaction_isolation = 'read committed'; \
    SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 4; SET tcp_user_timeout = 20000";
/// How long a connection to PostgreSQL may take until it is ready.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often opening a database file is tried while another process has it locked, and the pause
/// between tries.
const SQLITE_OPENINGS: usize = 50;
const SQLITE_PAUSE: Duration = Duration::from_millis(100);
/// SQLite's result codes after which a connection is not used again: input or output failed, the
/// file is damaged, the disk is full, or it is no database.
const SQLITE_BROKEN: [i32; 4] = [10, 11, 13, 26];

/// An open connection.
#[derive(Debug)]
pub(super) enum Connection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// How connections are made.
#[derive(Clone, Debug)]
pub(super) enum Connector {
    Sqlite(SqliteConnectOptions),
    Postgres(PgConnectOptions),
}

impl Connector {
    pub(super) async fn connect(&self) -> Result<Connection, StoreError> {
        Ok(match self {
            Self::Sqlite(options) => Connection::Sqlite(open_file(options).await?),
            Self::Postgres(options) => {
                let connection = timeout(CONNECT_TIMEOUT, open_remote(options)).await;
                Connection::Postgres(connection.map_err(|_| StoreError::Silent)??)
            }
        })
    }

    /// Whether the database is a local file.
    pub(super) const fn is_file(&self) -> bool {
        matches!(self, Self::Sqlite(_))
    }
}

/// A connection to PostgreSQL without limits on its statements.
pub(super) async fn connect_in_time(
    options: &PgConnectOptions,
) -> Result<PgConnection, StoreError> {
    let connection = timeout(CONNECT_TIMEOUT, options.connect()).await;
    Ok(connection.map_err(|_| StoreError::Silent)??)
}

async fn open_remote(options: &PgConnectOptions) -> sqlx::Result<PgConnection> {
    let mut connection = options.connect().await?;
    // Set by a statement, because poolers in front of PostgreSQL refuse these as startup
    // parameters.
    raw_sql(POSTGRES_SETTINGS).execute(&mut connection).await?;
    Ok(connection)
}

/// Opens a database file, and tries again while it is locked: while one process switches a new file
/// to write-ahead logging, others get SQLITE_BUSY at once, whatever the busy timeout.
async fn open_file(options: &SqliteConnectOptions) -> Result<SqliteConnection, StoreError> {
    for _ in 0..SQLITE_OPENINGS {
        match options.connect().await {
            Err(sqlx::Error::Database(error)) if is_locked(error.as_ref()) => {
                tokio::time::sleep(SQLITE_PAUSE).await;
            }
            opened => return Ok(opened?),
        }
    }
    Err(StoreError::Overloaded)
}

impl Connection {
    /// Runs a statement without parameters that returns nothing.
    pub(super) async fn run(&mut self, sql: &'static str) -> sqlx::Result<()> {
        match self {
            Self::Sqlite(db) => raw_sql(sql).execute(db).await.map(drop),
            Self::Postgres(db) => raw_sql(sql).execute(db).await.map(drop),
        }
    }

    /// Takes what the last statement still has to say, and proves that the connection works.
    pub(super) async fn ping(&mut self) -> sqlx::Result<()> {
        match self {
            Self::Sqlite(db) => db.ping().await,
            Self::Postgres(db) => db.ping().await,
        }
    }

    pub(super) async fn close(self) -> sqlx::Result<()> {
        match self {
            Self::Sqlite(db) => db.close().await,
            Self::Postgres(db) => db.close().await,
        }
    }

    /// Whether the connection cannot be used after this error.
    pub(super) fn is_broken_by(&self, error: &sqlx::Error) -> bool {
        let sqlx::Error::Database(database) = error else {
            return matches!(
                error,
                sqlx::Error::Io(_)
                    | sqlx::Error::Tls(_)
                    | sqlx::Error::Protocol(_)
                    | sqlx::Error::WorkerCrashed
            );
        };
        let code = database.code().unwrap_or_default();
        match self {
            // The extended code has the primary one in its lowest byte.
            Self::Sqlite(_) => code
                .parse::<i32>()
                .is_ok_and(|code| SQLITE_BROKEN.contains(&(code & 0xff))),
            // "operator intervention": the server ends the connection.
            Self::Postgres(_) => code.starts_with("57P"),
        }
    }

    /// The error of a statement. The database of SQLite is a local file, so a wait for its lock
    /// that was too long was a wait for others' work.
    pub(super) fn failure(&self, error: sqlx::Error) -> StoreError {
        match (self, error) {
            (Self::Sqlite(_), sqlx::Error::Database(error)) if is_locked(error.as_ref()) => {
                StoreError::Overloaded
            }
            (_, error) => error.into(),
        }
    }
}
