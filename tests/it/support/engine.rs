//! A fresh database on each engine.

use sqlx::{
    AssertSqlSafe, Connection as _, Decode, PgConnection, Postgres, Row as _, Sqlite,
    SqliteConnection, Type,
};
use tempfile::TempDir;

/// The encryption keys of databases that have no key file.
pub const KEYS: &str = "test:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";

/// The tables of sessions, of the change feed and of signing keys.
const TABLES_TAKEN_AWAY: [&str; 3] = ["change_counter", "sessions", "signing_keys"];

/// A fresh database; it is deleted with this value.
pub enum Engine {
    Sqlite { directory: TempDir },
    Postgres { server: String, name: String },
}

/// A lock on a table; see [`Engine::hold`].
pub enum Held {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Held {
    pub async fn release(self) {
        match self {
            Self::Sqlite(mut db) => sqlx::raw_sql("COMMIT").execute(&mut db).await.map(drop),
            Self::Postgres(mut db) => sqlx::raw_sql("COMMIT").execute(&mut db).await.map(drop),
        }
        .expect("released");
    }
}

/// Runs a test on SQLite and on PostgreSQL, each with a fresh database.
///
/// PostgreSQL is the server that COUNTERSIGN_TEST_POSTGRES names; `scripts/test` starts one, and in
/// CI it has to be there.
pub async fn on_each_engine(test: impl AsyncFn(&Engine)) {
    let sqlite = Engine::sqlite();
    test(&sqlite).await;
    match std::env::var("COUNTERSIGN_TEST_POSTGRES") {
        Ok(server) => {
            let postgres = Engine::postgres(server).await;
            test(&postgres).await;
            postgres.drop_database().await;
        }
        Err(_) => assert!(
            std::env::var_os("CI").is_none(),
            "in CI COUNTERSIGN_TEST_POSTGRES must name a server"
        ),
    }
}

impl Engine {
    pub fn sqlite() -> Self {
        Self::Sqlite {
            directory: tempfile::tempdir().expect("a directory"),
        }
    }

    pub async fn postgres(server: String) -> Self {
        let name = format!(
            "countersign_{}",
            hex::encode(countersign::secret::random::<8>())
        );
        let mut admin = PgConnection::connect(&server)
            .await
            .expect("the server answers");
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .execute(&mut admin)
            .await
            .expect("created");
        Self::Postgres { server, name }
    }

    /// The settings that point the service at it.
    pub fn settings(&self) -> Vec<(String, String)> {
        let mut settings = vec![("DATABASE_URL".to_owned(), self.url())];
        if let Self::Postgres { .. } = self {
            settings.push(("COUNTERSIGN_ENCRYPTION_KEYS".to_owned(), KEYS.to_owned()));
        }
        settings
    }

    pub fn url(&self) -> String {
        match self {
            Self::Sqlite { directory } => {
                format!("sqlite:{}", directory.path().join("test.db").display())
            }
            Self::Postgres { server, name } => {
                let mut url: url::Url = server.parse().expect("a URL");
                url.set_path(name);
                url.into()
            }
        }
    }

    /// Runs a statement directly on the database.
    pub async fn execute(&self, sql: &str) -> u64 {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite { .. } => {
                let mut db = SqliteConnection::connect(&self.url()).await.expect("opens");
                sqlx::query(sql)
                    .execute(&mut db)
                    .await
                    .expect("runs")
                    .rows_affected()
            }
            Self::Postgres { .. } => {
                let mut db = PgConnection::connect(&self.url()).await.expect("opens");
                sqlx::query(sql)
                    .execute(&mut db)
                    .await
                    .expect("runs")
                    .rows_affected()
            }
        }
    }

    /// Changes rows as a newer version would: the feed says that something changed which this version
    /// does not know.
    pub async fn change(&self, sql: &str) {
        self.execute(sql).await;
        self.execute("UPDATE change_counter SET number = number + 1")
            .await;
        let row = "INSERT INTO changes (number, kind, create_time) SELECT number, 'unknown', 0 FROM change_counter";
        self.execute(row).await;
    }

    /// Reads one number, such as a count, directly from the database.
    pub async fn number(&self, sql: &str) -> i64 {
        self.value(sql).await
    }

    /// Reads one column of bytes directly from the database.
    pub async fn bytes(&self, sql: &str) -> Vec<u8> {
        self.value(sql).await
    }

    /// Reads one text directly from the database.
    pub async fn text(&self, sql: &str) -> String {
        self.value(sql).await
    }

    async fn value<T>(&self, sql: &str) -> T
    where
        T: for<'r> Decode<'r, Sqlite>
            + Type<Sqlite>
            + for<'r> Decode<'r, Postgres>
            + Type<Postgres>,
    {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite { .. } => {
                let mut db = SqliteConnection::connect(&self.url()).await.expect("opens");
                sqlx::query(sql)
                    .fetch_one(&mut db)
                    .await
                    .expect("a row")
                    .get(0)
            }
            Self::Postgres { .. } => {
                let mut db = PgConnection::connect(&self.url()).await.expect("opens");
                sqlx::query(sql)
                    .fetch_one(&mut db)
                    .await
                    .expect("a row")
                    .get(0)
            }
        }
    }

    /// Takes the database away from the service, until [`Engine::give_back`]. On PostgreSQL its
    /// connections are cut and new ones are refused. On SQLite the file stays open, so tables are
    /// renamed instead.
    pub async fn take_away(&self) {
        match self {
            Self::Sqlite { .. } => {
                for table in TABLES_TAKEN_AWAY {
                    self.execute(&format!("ALTER TABLE {table} RENAME TO {table}_away"))
                        .await;
                }
            }
            Self::Postgres { server, name } => {
                let mut admin = PgConnection::connect(server)
                    .await
                    .expect("the server answers");
                for sql in [
                    format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"),
                    format!(
                        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'"
                    ),
                ] {
                    sqlx::query(AssertSqlSafe(sql))
                        .execute(&mut admin)
                        .await
                        .expect("cut off");
                }
            }
        }
    }

    pub async fn give_back(&self) {
        match self {
            Self::Sqlite { .. } => {
                for table in TABLES_TAKEN_AWAY {
                    self.execute(&format!("ALTER TABLE {table}_away RENAME TO {table}"))
                        .await;
                }
            }
            Self::Postgres { server, name } => {
                let mut admin = PgConnection::connect(server)
                    .await
                    .expect("the server answers");
                let sql = AssertSqlSafe(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"));
                sqlx::query(sql).execute(&mut admin).await.expect("let in");
            }
        }
    }

    /// Holds up whoever refreshes a session, until [`Held::release`]. On PostgreSQL reading waits
    /// too.
    pub async fn hold(&self) -> Held {
        self.lock("sessions IN ACCESS EXCLUSIVE MODE").await
    }

    /// Holds up whoever writes a session, until [`Held::release`].
    pub async fn hold_rotations(&self) -> Held {
        self.lock("sessions IN EXCLUSIVE MODE").await
    }

    /// Holds up whoever writes provider tokens, until [`Held::release`].
    pub async fn hold_provider_tokens(&self) -> Held {
        self.lock("federated_tokens IN EXCLUSIVE MODE").await
    }

    /// Holds up whoever records a violation, until [`Held::release`].
    pub async fn hold_violations(&self) -> Held {
        self.lock("violations IN EXCLUSIVE MODE").await
    }

    /// Holds up whoever brings the tables of PostgreSQL up to date, until [`Held::release`].
    pub async fn hold_migrations(&self) -> Held {
        self.lock("_sqlx_migrations IN ACCESS EXCLUSIVE MODE").await
    }

    /// Takes a lock of PostgreSQL, or SQLite's only one for writing.
    async fn lock(&self, what: &str) -> Held {
        match self {
            Self::Sqlite { .. } => {
                let mut db = SqliteConnection::connect(&self.url()).await.expect("opens");
                let begun = sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut db).await;
                begun.expect("locked");
                Held::Sqlite(db)
            }
            Self::Postgres { .. } => {
                let mut db = PgConnection::connect(&self.url()).await.expect("opens");
                let lock = AssertSqlSafe(format!("BEGIN; LOCK TABLE {what}"));
                sqlx::raw_sql(lock).execute(&mut db).await.expect("locked");
                Held::Postgres(db)
            }
        }
    }

    /// The whole content of the database as bytes, to look for secrets in it.
    pub async fn content(&self) -> Vec<u8> {
        match self {
            Self::Sqlite { directory } => {
                let files = ["test.db", "test.db-wal"].map(|name| directory.path().join(name));
                files
                    .iter()
                    .filter_map(|file| std::fs::read(file).ok())
                    .flatten()
                    .collect()
            }
            Self::Postgres { .. } => {
                let mut db = PgConnection::connect(&self.url()).await.expect("opens");
                let tables: Vec<String> = sqlx::query_scalar(
                    "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'",
                )
                .fetch_all(&mut db)
                .await
                .expect("tables");
                let mut content = Vec::new();
                for table in tables {
                    let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!(
                        "SELECT t::text FROM \"{table}\" t"
                    )))
                    .fetch_all(&mut db)
                    .await
                    .expect("rows");
                    content.extend(rows.join("\n").into_bytes());
                }
                content
            }
        }
    }

    pub async fn drop_database(self) {
        if let Self::Postgres { server, name } = self {
            let mut admin = PgConnection::connect(&server)
                .await
                .expect("the server answers");
            sqlx::query(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)")))
                .execute(&mut admin)
                .await
                .expect("dropped");
        }
    }
}
