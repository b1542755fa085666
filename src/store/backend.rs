//! The two engines, and the few macros that let one SQL text run on both.

use std::path::Path;
use std::time::Duration;

use sqlx::migrate::{Migrate, Migration, MigrationType, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqlSafeStr as _, raw_sql};

use super::announcements::Announcements;
use super::connection::{Connector, connect_in_time};
use super::error::StoreError;
use super::pool::{Lease, Pool};
use crate::clock::{Clock, Timestamp};
use crate::metrics;
use crate::model::change::Change;

const POSTGRES_CONNECTIONS: u32 = 20;
const SQLITE_READERS: u32 = 4;
/// How often a transaction is tried if the engine aborts it because of a conflict with another one.
pub(super) const ROUNDS: usize = 5;

/// Connections to one of the engines.
#[derive(Clone, Debug)]
pub(super) struct Pools {
    pub read: Pool,
    /// SQLite has one writer; readers do not wait for it (WAL). On PostgreSQL it is the same pool.
    pub write: Pool,
}

/// What a migration of the tables did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The number of the last migration that had been done before; `None` for a new store.
    pub from: Option<i64>,
    /// The number of the last migration of this version.
    pub to: i64,
}

/// A transaction; it never leaves the store. It is rolled back unless it is committed.
pub(super) struct Tx {
    pub lease: Lease,
    /// What it changes that other processes have to know, and when.
    pub changes: Vec<(Change, Timestamp)>,
    pub announcements: Announcements,
    pub clock: Clock,
}

/// A connection for several statements that are not a transaction.
pub(super) struct Conn {
    pools: Pools,
    lease: Option<Lease>,
}

/// All migrations, in the order of their numbers.
fn migrations() -> Vec<Migration> {
    let sources = [
        (
            1,
            "accounts, sessions, bans, provider tokens",
            include_str!("migrations/0001_accounts_sessions_bans_provider_tokens.sql"),
        ),
        (
            2,
            "bans by prefix, rows by expiry",
            include_str!("migrations/0002_bans_by_prefix_and_rows_by_expiry.sql"),
        ),
        (
            3,
            "seals of provider tokens",
            include_str!("migrations/0003_seals_of_provider_tokens.sql"),
        ),
        (
            4,
            "class of the authentication",
            include_str!("migrations/0004_class_of_the_authentication.sql"),
        ),
        (
            5,
            "change feed",
            include_str!("migrations/0005_change_feed.sql"),
        ),
        (
            6,
            "life of signing keys",
            include_str!("migrations/0006_life_of_signing_keys.sql"),
        ),
        (
            7,
            "live sessions, and when they were seen",
            include_str!("migrations/0007_live_sessions.sql"),
        ),
    ];
    let migration = |(number, holds, sql): (i64, &'static str, &'static str)| {
        let kind = MigrationType::Simple;
        Migration::new(number, holds.into(), kind, sql.into_sql_str(), false)
    };
    sources.into_iter().map(migration).collect()
}

/// Brings the tables up to date. The caller holds the lock.
async fn migrate(connection: &mut impl Migrate) -> Result<Migrated, StoreError> {
    let mut migrator = Migrator::with_migrations(migrations());
    migrator.set_locking(false);
    let table = &migrator.table_name;
    connection.ensure_migrations_table(table).await?;
    let applied = connection.list_applied_migrations(table).await?;
    let to = migrator.iter().map(|migration| migration.version).max();
    migrator.run_direct(None, connection, false).await?;
    Ok(Migrated {
        from: applied.iter().map(|applied| applied.version).max(),
        to: to.unwrap_or_default(),
    })
}

impl Pools {
    pub(super) fn conn(&self) -> Conn {
        let pools = self.clone();
        Conn { pools, lease: None }
    }

    /// Opens a database file, and creates it if it is missing.
    pub(super) async fn sqlite(path: &Path, metrics: &metrics::Store) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // An acknowledged write survives power loss.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            // How long a statement waits for another process's lock.
            .busy_timeout(Duration::from_secs(5));
        let counted = metrics.pool(metrics::Pool::Writer, 1);
        let write = Pool::open(Connector::Sqlite(options.clone()), 1, counted).await?;
        let counted = metrics.pool(metrics::Pool::Readers, SQLITE_READERS);
        let read = Pool::open(Connector::Sqlite(options), SQLITE_READERS, counted).await?;
        Ok(Self { read, write })
    }

    /// Connects to a PostgreSQL server.
    pub(super) async fn postgres(url: &str, metrics: &metrics::Store) -> Result<Self, StoreError> {
        let options: PgConnectOptions = url.parse()?;
        let (connector, size) = (Connector::Postgres(options), POSTGRES_CONNECTIONS);
        let counted = metrics.pool(metrics::Pool::All, size);
        let pool = Pool::open(connector, size, counted).await?;
        let (read, write) = (pool.clone(), pool);
        Ok(Self { read, write })
    }

    /// Migrates the tables under a lock, so that several processes may start at once. On SQLite the
    /// write transaction is the lock. Once the connection is made it has no time limits, because a
    /// migration may take longer than a call; the caller sees to it that the database answers.
    pub(super) async fn migrate(&self) -> Result<Migrated, StoreError> {
        match self.write.connector() {
            Connector::Sqlite(options) => {
                let mut connection = options.connect().await?;
                let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
                let migrated = migrate(&mut *tx).await?;
                tx.commit().await?;
                connection.close().await?;
                Ok(migrated)
            }
            Connector::Postgres(options) => {
                let mut connection = connect_in_time(options).await?;
                // Without the notice that the table of migrations exists already.
                raw_sql("SET client_min_messages = 'warning'")
                    .execute(&mut connection)
                    .await?;
                // Given back with the connection if the migration fails.
                connection.lock().await?;
                let migrated = migrate(&mut connection).await?;
                connection.unlock().await?;
                connection.close().await?;
                Ok(migrated)
            }
        }
    }

    /// How often the database has answered.
    pub(super) fn answers(&self) -> u64 {
        if self.write.is(&self.read) {
            self.read.answers()
        } else {
            self.read.answers() + self.write.answers()
        }
    }

    /// Begins a transaction.
    pub(super) async fn begin(
        &self,
        announcements: Announcements,
        clock: Clock,
    ) -> Result<Tx, StoreError> {
        let mut lease = self.write.acquire().await?;
        lease.begin().await?;
        Ok(Tx {
            lease,
            changes: Vec::new(),
            announcements,
            clock,
        })
    }

    /// Closes all connections once they are free.
    pub(super) async fn close(&self) {
        self.read.close().await;
        if !self.write.is(&self.read) {
            self.write.close().await;
        }
    }
}

impl Conn {
    /// The connection for a reading statement.
    pub(super) async fn read(&mut self) -> Result<&mut Lease, StoreError> {
        if self.lease.is_none() {
            self.lease = Some(self.pools.read.acquire().await?);
        }
        self.lease.as_mut().ok_or(StoreError::Silent)
    }

    /// The connection for a writing statement: the same one if the engine has no others for writing.
    pub(super) async fn write(&mut self) -> Result<&mut Lease, StoreError> {
        if !self.pools.write.is(&self.pools.read) {
            self.lease = None;
        }
        if self.lease.is_none() {
            self.lease = Some(self.pools.write.acquire().await?);
        }
        self.lease.as_mut().ok_or(StoreError::Silent)
    }
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

/// Runs one statement on a [`Lease`], within its time limit.
macro_rules! on_lease {
    ($lease:expr, $statement:expr, |$db:ident, $sql:ident| $body:expr) => {{
        let lease: &mut $crate::store::pool::Lease = $lease;
        let $sql = $crate::store::statement::Statement::from($statement);
        let connection = lease.begin_work($sql)?;
        let work = async {
            match connection {
                $crate::store::connection::Connection::Sqlite($db) => $body,
                $crate::store::connection::Connection::Postgres($db) => $body,
            }
        };
        let done = tokio::time::timeout($crate::store::pool::WORK_TIMEOUT, work).await;
        lease.end_work(done)
    }};
}

/// Runs one statement in its own transaction: `on_pool!(store, read, FIND, |db, sql| …)`.
macro_rules! on_pool {
    ($store:expr, $side:ident, $statement:expr, |$db:ident, $sql:ident| $body:expr) => {
        $crate::store::backend::retrying!(
            async {
                let mut lease = $store.pools.$side.acquire().await?;
                $crate::store::backend::on_lease!(&mut lease, $statement, |$db, $sql| $body)
            }
            .await
        )
    };
}

/// Runs a reading statement on either engine: `reading!(store, FIND, |db, sql|
/// query(sql).fetch_one(db).await)`.
macro_rules! reading {
    ($store:expr, $statement:expr, |$db:ident, $sql:ident| $body:expr) => {
        $crate::store::backend::on_pool!($store, read, $statement, |$db, $sql| $body)
    };
}

/// Runs one writing statement in its own transaction, on either engine.
macro_rules! writing {
    ($store:expr, $statement:expr, |$db:ident, $sql:ident| $body:expr) => {
        $crate::store::backend::on_pool!($store, write, $statement, |$db, $sql| $body)
    };
}

/// Runs a reading or a writing statement on a [`Conn`]: `on_conn!(conn.read, FIND, |db, sql|
/// query(sql).fetch_one(db).await)`.
macro_rules! on_conn {
    ($conn:ident.$side:ident, $statement:expr, |$db:ident, $sql:ident| $body:expr) => {
        $crate::store::backend::retrying!(
            async {
                let lease = $conn.$side().await?;
                $crate::store::backend::on_lease!(lease, $statement, |$db, $sql| $body)
            }
            .await
        )
    };
}

/// Runs a transaction from its beginning: `transaction!(store, |tx| { …; tx.commit().await?; Ok(…) })`.
/// It may run several times; without a commit it is rolled back.
macro_rules! transaction {
    ($store:expr, |$tx:ident| $body:block) => {
        $crate::store::backend::retrying!(
            async {
                let mut $tx = $store.begin().await?;
                $body
            }
            .await
        )
    };
}

/// Runs a statement within a transaction.
macro_rules! in_tx {
    ($tx:expr, $statement:expr, |$db:ident, $sql:ident| $body:expr) => {
        async { $crate::store::backend::on_lease!(&mut ($tx).lease, $statement, |$db, $sql| $body) }
            .await
    };
}

/// Declares a file's statements as constants, and lists them so that a test can prepare each on
/// both engines.
macro_rules! statements {
    ($($(#[$meta:meta])* $name:ident = $sql:expr;)*) => {
        $($(#[$meta])* const $name: $crate::store::statement::Statement =
            $crate::store::statement::Statement::new(
                concat!(module_path!(), "::", stringify!($name)),
                $sql,
            );)*
        #[cfg(test)]
        pub(in crate::store) const STATEMENTS: &[&str] = &[$($name.sql,)*];
    };
}

pub(super) use {
    in_tx, on_conn, on_lease, on_pool, reading, retrying, statements, transaction, writing,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_migration_is_registered() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/migrations");
        let files = std::fs::read_dir(folder).expect("the migrations");
        let number = |file: std::io::Result<std::fs::DirEntry>| {
            let name = file.expect("a file").file_name();
            let number = name.to_str().and_then(|name| name.split('_').next());
            number.and_then(|number| number.parse::<i64>().ok())
        };
        let mut numbers: Vec<_> = files.map(number).collect();
        numbers.sort_unstable();
        let registered = migrations();
        let registered = registered.iter().map(|migration| Some(migration.version));
        assert_eq!(registered.collect::<Vec<_>>(), numbers);
    }
}
