//! The two engines, and the few macros that let one SQL text run on both.

use std::path::Path;
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{
    Connection as _, PgConnection, PgPool, Postgres, SqlSafeStr as _, Sqlite, SqlitePool,
    Transaction, raw_sql,
};

use super::error::{StoreError, is_locked};

/// How long a call waits for a connection before the store counts as unavailable.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// A PostgreSQL connection that was idle for longer is pinged before it is used, because the server
/// may have closed it.
const PING_AFTER_IDLE: Duration = Duration::from_secs(1);
/// A call takes 10 seconds at most, so no statement, wait for a lock or idle transaction lasts
/// longer: it would hold locks that other calls wait for.
const POSTGRES_LIMITS: &str = "SET statement_timeout = '8s'; SET lock_timeout = '5s'; SET idle_in_transaction_session_timeout = '10s'";
const POSTGRES_CONNECTIONS: u32 = 20;
const SQLITE_READERS: u32 = 4;
/// How often opening a database file is tried while another process has it locked, and the pause
/// between tries.
const SQLITE_OPENINGS: usize = 50;
const SQLITE_PAUSE: Duration = Duration::from_millis(100);
/// How often a transaction is tried if the engine aborts it because of a conflict with another one.
pub(super) const ROUNDS: usize = 5;

/// Connections to one of the engines.
#[derive(Clone, Debug)]
pub(super) enum Pools {
    /// SQLite has one writer; readers do not wait for it (WAL).
    Sqlite {
        read: SqlitePool,
        write: SqlitePool,
    },
    Postgres(PgPool),
}

/// A transaction on one of the engines; it never leaves the store.
pub(super) enum Tx {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

/// One connection for several statements that are not a transaction. It saves a round trip per
/// statement, because the pool pings a PostgreSQL connection whenever it is returned.
pub(super) enum Conn {
    Sqlite { read: SqlitePool, write: SqlitePool },
    Postgres(PoolConnection<Postgres>),
}

/// All migrations, in the order of their numbers.
fn migrations() -> Vec<Migration> {
    let sources = [
        (
            "accounts, sessions, bans, provider tokens",
            include_str!("migrations/0001_accounts_sessions_bans_provider_tokens.sql"),
        ),
        (
            "bans by prefix, rows by expiry",
            include_str!("migrations/0002_bans_by_prefix_and_rows_by_expiry.sql"),
        ),
        (
            "seals of provider tokens",
            include_str!("migrations/0003_seals_of_provider_tokens.sql"),
        ),
        (
            "class of the authentication",
            include_str!("migrations/0004_class_of_the_authentication.sql"),
        ),
    ];
    let migration = |(number, (holds, sql)): (i64, (&'static str, &'static str))| {
        let kind = MigrationType::Simple;
        Migration::new(number, holds.into(), kind, sql.into_sql_str(), false)
    };
    (1..).zip(sources).map(migration).collect()
}

impl Pools {
    pub(super) async fn conn(&self) -> Result<Conn, StoreError> {
        Ok(match self {
            Self::Sqlite { read, write } => Conn::Sqlite {
                read: read.clone(),
                write: write.clone(),
            },
            Self::Postgres(pool) => Conn::Postgres(pool.acquire().await?),
        })
    }

    /// Opens a database file, and creates it if it is missing.
    pub(super) async fn sqlite(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // An acknowledged write survives power loss.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            // How long a statement waits for another process's lock.
            .busy_timeout(Duration::from_secs(5));
        let write = sqlite_pool(1, &options).await?;
        let read = sqlite_pool(SQLITE_READERS, &options).await?;
        Ok(Self::Sqlite { read, write })
    }

    /// Connects to a PostgreSQL server.
    pub(super) async fn postgres(url: &str) -> Result<Self, StoreError> {
        let options: PgConnectOptions = url.parse()?;
        let pool = PgPoolOptions::new()
            .max_connections(POSTGRES_CONNECTIONS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            // Set by a statement, because poolers in front of PostgreSQL refuse these as startup
            // parameters.
            .after_connect(|connection, _| {
                Box::pin(
                    async move { raw_sql(POSTGRES_LIMITS).execute(connection).await.map(drop) },
                )
            })
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for > PING_AFTER_IDLE {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            });
        Ok(Self::Postgres(pool.connect_with(options).await?))
    }

    /// Migrates the tables under a lock, so that several processes may start at once. On PostgreSQL
    /// sqlx takes a lock itself; on SQLite the write transaction is the lock.
    pub(super) async fn migrate(&self) -> Result<(), StoreError> {
        let migrator = Migrator::with_migrations(migrations());
        match self {
            Self::Sqlite { write, .. } => {
                let mut tx = write.begin_with("BEGIN IMMEDIATE").await?;
                migrator.run(&mut *tx).await?;
                tx.commit().await?;
            }
            Self::Postgres(pool) => {
                // A connection without the pool's time limits, because a migration may take longer
                // than a call.
                let mut connection = PgConnection::connect_with(&pool.connect_options()).await?;
                // Without the notice that the table of migrations exists already.
                raw_sql("SET client_min_messages = 'warning'")
                    .execute(&mut connection)
                    .await?;
                migrator.run(&mut connection).await?;
                connection.close().await?;
            }
        }
        Ok(())
    }

    /// Begins a transaction. On SQLite it takes the write lock at once: a transaction that reads
    /// first cannot write any more if another process has written since.
    pub(super) async fn begin(&self) -> Result<Tx, StoreError> {
        Ok(match self {
            Self::Sqlite { write, .. } => {
                Tx::Sqlite(on_sqlite(write.begin_with("BEGIN IMMEDIATE").await)?)
            }
            Self::Postgres(pool) => Tx::Postgres(pool.begin().await?),
        })
    }

    /// Closes all connections once they are free.
    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite { read, write } => {
                read.close().await;
                write.close().await;
            }
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// Opens a pool, and tries again while the file is locked: while one process switches a new file to
/// write-ahead logging, others get SQLITE_BUSY at once, whatever the busy timeout.
async fn sqlite_pool(size: u32, options: &SqliteConnectOptions) -> Result<SqlitePool, StoreError> {
    for _ in 0..SQLITE_OPENINGS {
        let pool = SqlitePoolOptions::new()
            .max_connections(size)
            .acquire_timeout(ACQUIRE_TIMEOUT);
        match pool.connect_with(options.clone()).await {
            Err(sqlx::Error::Database(error)) if is_locked(error.as_ref()) => {
                tokio::time::sleep(SQLITE_PAUSE).await;
            }
            opened => return Ok(opened?),
        }
    }
    Err(StoreError::Overloaded)
}

impl Tx {
    pub(super) async fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(tx) => tx.commit().await?,
            Self::Postgres(tx) => tx.commit().await?,
        }
        Ok(())
    }
}

/// What a statement on SQLite gave. The database is a local file, so a wait for a connection or for
/// the lock that was too long was a wait for other calls' work.
pub(super) fn on_sqlite<T>(done: sqlx::Result<T>) -> Result<T, StoreError> {
    done.map_err(|error| match error {
        sqlx::Error::PoolTimedOut => StoreError::Overloaded,
        sqlx::Error::Database(error) if is_locked(error.as_ref()) => StoreError::Overloaded,
        error => error.into(),
    })
}

/// Runs work that is one transaction, and again if the engine aborted it because of a conflict with
/// another one.
macro_rules! retrying {
    ($work:expr) => {{
        let mut round = 1;
        loop {
            let done: Result<_, $crate::store::error::StoreError> = $work;
            match &done {
                Err(error) if round < $crate::store::backend::ROUNDS && error.is_conflict() => {
                    round += 1
                }
                _ => break done,
            }
        }
    }};
}

/// Runs one statement in its own transaction: `on_pool!(store, read, |db| …)`.
macro_rules! on_pool {
    ($store:expr, $side:ident, |$db:ident| $body:expr) => {
        match &$store.pools {
            $crate::store::backend::Pools::Sqlite { $side: $db, .. } => {
                $crate::store::backend::retrying!($crate::store::backend::on_sqlite($body))
            }
            $crate::store::backend::Pools::Postgres($db) => {
                $crate::store::backend::retrying!($body.map_err(Into::into))
            }
        }
    };
}

/// Runs a reading statement on either engine: `reading!(store, |db|
/// query(SQL).fetch_one(db).await)`.
macro_rules! reading {
    ($store:expr, |$db:ident| $body:expr) => {
        $crate::store::backend::on_pool!($store, read, |$db| $body)
    };
}

/// Runs one writing statement in its own transaction, on either engine.
macro_rules! writing {
    ($store:expr, |$db:ident| $body:expr) => {
        $crate::store::backend::on_pool!($store, write, |$db| $body)
    };
}

/// Runs a reading or a writing statement on a [`Conn`]: `on_conn!(conn.read, |db|
/// query(SQL).fetch_one(db).await)`.
macro_rules! on_conn {
    ($conn:ident.$side:ident, |$db:ident| $body:expr) => {
        $crate::store::backend::retrying!(match &mut $conn {
            $crate::store::backend::Conn::Sqlite { $side: pool, .. } => {
                let $db = &*pool;
                $crate::store::backend::on_sqlite($body)
            }
            $crate::store::backend::Conn::Postgres(connection) => {
                let $db = &mut **connection;
                $body.map_err(Into::into)
            }
        })
    };
}

/// Runs a transaction from its beginning: `transaction!(store, |tx| { …; tx.commit().await?; Ok(…) })`.
/// It may run several times, so it announces nothing; without a commit it is rolled back.
macro_rules! transaction {
    ($store:expr, |$tx:ident| $body:block) => {
        $crate::store::backend::retrying!(
            async {
                let mut $tx = $store.pools.begin().await?;
                $body
            }
            .await
        )
    };
}

/// Runs a statement within a transaction.
macro_rules! in_tx {
    ($tx:expr, |$db:ident| $body:expr) => {
        match &mut $tx {
            $crate::store::backend::Tx::Sqlite(tx) => {
                let $db = &mut **tx;
                $body
            }
            $crate::store::backend::Tx::Postgres(tx) => {
                let $db = &mut **tx;
                $body
            }
        }
    };
}

/// Declares a file's statements as constants, and lists them so that a test can prepare each on
/// both engines.
macro_rules! statements {
    ($($(#[$meta:meta])* $name:ident = $sql:expr;)*) => {
        $($(#[$meta])* const $name: &str = $sql;)*
        #[cfg(test)]
        pub(in crate::store) const STATEMENTS: &[&str] = &[$($name,)*];
    };
}

pub(super) use {in_tx, on_conn, on_pool, reading, retrying, statements, transaction, writing};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_migration_is_registered() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/migrations");
        let files = std::fs::read_dir(folder).expect("the migrations");
        assert_eq!(files.count(), migrations().len());
    }
}
