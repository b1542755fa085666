//! Opening the store: first the key is read, then a canary proves that it fits, then the tables are
//! migrated.

mod error;
mod faults;
mod key_file;

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{query, query_as};
use tokio::time::sleep;

use super::announcements::Announcements;
use super::backend::{Migrated, Pools, reading, statements, writing};
use super::error::StoreError;
use super::lanes::Lanes;
use super::record::record;
use super::{Committed, Store};
use crate::clock::Clock;
use crate::config::Database;
use crate::health::{Health, Part};
use crate::metrics::Metrics;
use crate::secret::{ExposeSecret as _, Keyring, Purpose};

pub use error::OpenStoreError;

const CANARY: &[u8] = b"countersign";
/// How often it is looked whether another process, which started at the same time, has made the
/// file of a new database and filled it, and the pause between two looks.
const LOOKS_FOR_FILE: usize = 30;
const LOOKS_FOR_DATA: usize = 100;
const PAUSE: Duration = Duration::from_millis(100);
/// The pause between two questions whether the database still answers while it is migrated, and
/// after how many without an answer it counts as silent.
const BETWEEN_QUESTIONS: Duration = Duration::from_secs(5);
const SILENT_AFTER: usize = 4;

statements! {
    LIST_CANARIES = "SELECT key_id, sealed FROM canaries";
    INSERT_CANARY = "INSERT INTO canaries (key_id, sealed) VALUES ($1, $2) ON CONFLICT (key_id) DO NOTHING";
}

/// An open store.
#[derive(Debug)]
pub struct Opened {
    pub store: Store,
    pub keyring: Keyring,
    /// What was done to its tables.
    pub migrated: Migrated,
}

/// A known text, sealed with a root key.
struct Canary {
    key_id: String,
    sealed: Vec<u8>,
}

record!(Canary, "canaries", key key_id, { key_id, sealed });

impl Store {
    /// Opens the store and checks that the keys fit it. A new store gets its tables, and on SQLite
    /// a key file if no keys are configured.
    ///
    /// # Errors
    /// [`OpenStoreError`]. If the key is missing or wrong, the data is unchanged.
    pub async fn open(
        database: &Database,
        configured: Option<Keyring>,
        clock: &Clock,
        metrics: &Metrics,
        health: &Health,
    ) -> Result<Opened, OpenStoreError> {
        match Self::open_and_prove(database, configured, clock, metrics, health).await {
            Err(OpenStoreError::Store(error)) => Err(faults::explain(database, error)),
            opened => opened,
        }
    }

    async fn open_and_prove(
        database: &Database,
        configured: Option<Keyring>,
        clock: &Clock,
        metrics: &Metrics,
        health: &Health,
    ) -> Result<Opened, OpenStoreError> {
        let lost = match database {
            Database::Sqlite(path) => expect_data(path).await?,
            Database::Postgres(_) => None,
        };
        let keyring = match (database, configured) {
            (_, Some(keyring)) => keyring,
            (Database::Sqlite(path), None) => key_file::ring(path)?,
            (Database::Postgres(_), None) => return Err(OpenStoreError::KeyNotConfigured),
        };
        let pools = match database {
            Database::Sqlite(path) => {
                create_private(path)?;
                Pools::sqlite(path, &metrics.store).await?
            }
            Database::Postgres(url) => Pools::postgres(url.expose_secret(), &metrics.store).await?,
        };
        health.note_store(true, true);
        let store = Self {
            lanes: Lanes::new(&pools, &metrics.store),
            pools,
            announcements: Announcements::default(),
            clock: clock.clone(),
            metrics: Committed {
                sessions: Arc::clone(&metrics.sessions),
                moderation: Arc::clone(&metrics.moderation),
            },
        };
        if let Some(lost) = lost
            && !store.gets_data().await?
        {
            return Err(lost);
        }
        store.prove_keys(&keyring).await?;
        health.complete(Part::Keys);
        let migrated = store.migrate().await?;
        store.index_old_bans().await?;
        store.write_canaries(&keyring).await?;
        // Checked again, because another process may meanwhile have written the canaries of other
        // keys to a new store.
        store.prove_keys(&keyring).await?;
        store.ensure_epoch().await?;
        health.complete(Part::Migrations);
        Ok(Opened {
            store,
            keyring,
            migrated,
        })
    }

    /// Brings the tables up to date, however long that takes, as long as the database answers.
    async fn migrate(&self) -> Result<Migrated, StoreError> {
        tokio::select! {
            migrated = self.pools.migrate() => migrated,
            () = self.silence() => Err(StoreError::Silent),
        }
    }

    /// Returns once the database has not answered for [`SILENT_AFTER`] questions in a row.
    async fn silence(&self) {
        let mut unanswered = 0;
        while unanswered < SILENT_AFTER {
            sleep(BETWEEN_QUESTIONS).await;
            unanswered = match self.ask().await {
                Err(StoreError::Silent | StoreError::Down) => unanswered + 1,
                // Also if the table that is asked is not there yet, or is locked.
                _ => 0,
            };
        }
    }

    /// Whether the store is not new, or is filled by another process right now.
    async fn gets_data(&self) -> Result<bool, StoreError> {
        for _ in 0..LOOKS_FOR_DATA {
            if !self.list_canaries().await?.is_empty() {
                return Ok(true);
            }
            sleep(PAUSE).await;
        }
        Ok(false)
    }

    /// At least one key has to open its canary, and no key may fail to open its own. A new store
    /// has no canaries.
    async fn prove_keys(&self, keyring: &Keyring) -> Result<(), OpenStoreError> {
        let canaries = self.list_canaries().await?;
        let mut opened = canaries.is_empty();
        for canary in canaries
            .iter()
            .filter(|canary| keyring.keys().any(|key| key.id() == canary.key_id))
        {
            keyring
                .open(Purpose::Canary, &[&canary.key_id], &canary.sealed)
                .map_err(|_| OpenStoreError::KeyWrong)?;
            opened = true;
        }
        if opened {
            Ok(())
        } else {
            Err(OpenStoreError::KeyWrong)
        }
    }

    /// The stored canaries; none if the table does not exist yet.
    async fn list_canaries(&self) -> Result<Vec<Canary>, StoreError> {
        let rows = reading!(self, LIST_CANARIES, |db, sql| query_as::<_, Canary>(sql)
            .fetch_all(db)
            .await);
        match rows {
            Err(StoreError::Database(sqlx::Error::Database(error)))
                if is_missing_table(error.as_ref()) =>
            {
                Ok(Vec::new())
            }
            rows => rows,
        }
    }

    async fn write_canaries(&self, keyring: &Keyring) -> Result<(), StoreError> {
        for key in keyring.keys() {
            let ring = Keyring::new(key.clone(), Vec::new());
            let sealed = ring.seal(Purpose::Canary, &[key.id()], CANARY);
            writing!(self, INSERT_CANARY, |db, sql| query(sql)
                .bind(key.id())
                .bind(&sealed)
                .execute(db)
                .await
                .map(drop))?;
        }
        Ok(())
    }
}

fn is_missing_table(error: &dyn sqlx::error::DatabaseError) -> bool {
    error.code().as_deref() == Some("42P01") || error.message().starts_with("no such table")
}

/// A key file is made together with its database. If it is there and the database is not, the
/// database was lost, and a new one would make the next stranger its administrator. The answer is
/// the error if the database turns out to hold nothing.
async fn expect_data(database: &Path) -> Result<Option<OpenStoreError>, OpenStoreError> {
    if fs::metadata(database).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(OpenStoreError::NotAFile(database.to_owned()));
    }
    let key_file = key_file::beside(database);
    if !key_file.exists() {
        return Ok(None);
    }
    let lost = OpenStoreError::DatabaseMissing {
        database: database.to_owned(),
        key_file,
    };
    for _ in 0..LOOKS_FOR_FILE {
        if !key_file::is_empty(database) {
            return Ok(Some(lost));
        }
        sleep(PAUSE).await;
    }
    Err(lost)
}

/// Creates a new database file that only its owner can read; SQLite gives its side files the same
/// mode.
fn create_private(path: &Path) -> Result<(), OpenStoreError> {
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(key_file::MODE)
        .open(path)
    {
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => Err(OpenStoreError::File {
            path: path.to_owned(),
            cause,
        }),
        _ => Ok(()),
    }
}
