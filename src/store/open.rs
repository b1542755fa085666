//! Opening the store: first the key is read, then a canary proves that it fits, then the tables are
//! migrated.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use sqlx::{query, query_as};

use super::Store;
use super::backend::{Pools, reading, statements, writing};
use super::changes::Changes;
use super::error::StoreError;
use super::record::record;
use crate::config::Database;
use crate::secret::{self, ExposeSecret as _, Keyring, Purpose, RootKey};

const CANARY: &[u8] = b"countersign";
const KEY_FILE_MODE: u32 = 0o600;

statements! {
    LIST_CANARIES = "SELECT key_id, sealed FROM canaries";
    INSERT_CANARY = "INSERT INTO canaries (key_id, sealed) VALUES ($1, $2) ON CONFLICT (key_id) DO NOTHING";
}

/// A known text, sealed with a root key.
struct Canary {
    key_id: String,
    sealed: Vec<u8>,
}

record!(Canary, "canaries", key key_id, { key_id, sealed });

/// The store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenStoreError {
    #[error(
        "the database {database} holds data, but its key file {key_file} is missing; put the key file back, or set COUNTERSIGN_ENCRYPTION_KEYS to the keys that the data was written with"
    )]
    KeyFileMissing {
        database: PathBuf,
        key_file: PathBuf,
    },
    #[error("the key file {0} does not hold a key of 64 hexadecimal digits")]
    KeyFileMalformed(PathBuf),
    #[error("the key file {0} can be read by others; set its mode to 0600")]
    KeyFileExposed(PathBuf),
    #[error("the file {path} cannot be used: {cause}")]
    File { path: PathBuf, cause: io::Error },
    #[error("the encryption keys are not those that the data was written with")]
    KeyWrong,
    #[error("PostgreSQL needs COUNTERSIGN_ENCRYPTION_KEYS or CREDS_KEY")]
    KeyNotConfigured,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Opens the store and checks that the keys fit it. A new store gets its tables, and on SQLite
    /// a key file if no keys are configured.
    ///
    /// # Errors
    /// [`OpenStoreError`]. If the key is missing or wrong, the data is unchanged.
    pub async fn open(
        database: &Database,
        configured: Option<Keyring>,
    ) -> Result<(Self, Keyring), OpenStoreError> {
        let keyring = match (database, configured) {
            (_, Some(keyring)) => keyring,
            (Database::Sqlite(path), None) => key_file_ring(path)?,
            (Database::Postgres(_), None) => return Err(OpenStoreError::KeyNotConfigured),
        };
        let pools = match database {
            Database::Sqlite(path) => {
                create_private(path)?;
                Pools::sqlite(path).await?
            }
            Database::Postgres(url) => Pools::postgres(url.expose_secret()).await?,
        };
        let store = Self {
            pools,
            changes: Changes::default(),
        };
        store.prove_keys(&keyring).await?;
        store.pools.migrate().await?;
        store.index_old_bans().await?;
        store.write_canaries(&keyring).await?;
        // Checked again, because another process may meanwhile have written the canaries of other
        // keys to a new store.
        store.prove_keys(&keyring).await?;
        store.ensure_epoch().await?;
        Ok((store, keyring))
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
        let rows = reading!(self, |db| query_as::<_, Canary>(LIST_CANARIES)
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
            writing!(self, |db| query(INSERT_CANARY)
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

/// Reads the key file beside the database. The file is created only together with a new database.
fn key_file_ring(database: &Path) -> Result<Keyring, OpenStoreError> {
    let mut name = database.as_os_str().to_owned();
    name.push(".key");
    let key_file = PathBuf::from(name);
    match fs::metadata(&key_file) {
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => {
            return Err(OpenStoreError::KeyFileExposed(key_file));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_key_file(database, &key_file)?;
        }
        Err(cause) => {
            return Err(OpenStoreError::File {
                path: key_file,
                cause,
            });
        }
    }
    let text = fs::read_to_string(&key_file).map_err(|cause| OpenStoreError::File {
        path: key_file.clone(),
        cause,
    })?;
    parse_key(text.trim()).ok_or(OpenStoreError::KeyFileMalformed(key_file))
}

fn parse_key(text: &str) -> Option<Keyring> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    RootKey::new("file", bytes).map(|key| Keyring::new(key, Vec::new()))
}

/// Creates the key file. If several processes start at once, one of them creates it and all read
/// it.
fn create_key_file(database: &Path, key_file: &Path) -> Result<(), OpenStoreError> {
    if fs::metadata(database).is_ok_and(|metadata| metadata.len() > 0) {
        return Err(OpenStoreError::KeyFileMissing {
            database: database.to_owned(),
            key_file: key_file.to_owned(),
        });
    }
    let mut draft = key_file.as_os_str().to_owned();
    draft.push(format!(".{}", hex::encode(secret::random::<4>())));
    let draft = PathBuf::from(draft);
    let written = write_private(&draft, hex::encode(secret::random::<32>()).as_bytes());
    // A hard link appears with its whole content or not at all, and never replaces a file.
    let linked = written.and_then(|()| match fs::hard_link(&draft, key_file) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    let _ = fs::remove_file(&draft);
    linked.map_err(|cause| OpenStoreError::File {
        path: key_file.to_owned(),
        cause,
    })
}

fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(KEY_FILE_MODE)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Creates a new database file that only its owner can read; SQLite gives its side files the same
/// mode.
fn create_private(path: &Path) -> Result<(), OpenStoreError> {
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(KEY_FILE_MODE)
        .open(path)
    {
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => Err(OpenStoreError::File {
            path: path.to_owned(),
            cause,
        }),
        _ => Ok(()),
    }
}
