//! Why the store cannot be opened.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::store::error::StoreError;

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
    #[error(
        "the database {database} is missing or empty, but its key file {key_file} is there; put the database back, or delete the key file to start afresh without the accounts"
    )]
    DatabaseMissing {
        database: PathBuf,
        key_file: PathBuf,
    },
    #[error(
        "the database {0} is not a regular file; let DATABASE_URL name one, such as sqlite:countersign.db"
    )]
    NotAFile(PathBuf),
    #[error("the key file {0} does not hold a key of 64 hexadecimal digits")]
    KeyFileMalformed(PathBuf),
    #[error("the key file {0} can be read by others; set its mode to 0600")]
    KeyFileExposed(PathBuf),
    #[error(
        "the file {path} cannot be used: {cause}; check that its directory exists, and that the service may read and write there"
    )]
    File { path: PathBuf, cause: io::Error },
    #[error("the encryption keys are not those that the data was written with")]
    KeyWrong,
    #[error("PostgreSQL needs COUNTERSIGN_ENCRYPTION_KEYS or CREDS_KEY")]
    KeyNotConfigured,
    #[error("{0}")]
    Database(Fault),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a database says when it is opened, and what to do about it.
#[derive(Debug)]
pub struct Fault {
    /// Which database, such as `PostgreSQL at 127.0.0.1:5432`.
    pub(super) place: String,
    /// What is wrong with it, as the rest of a sentence.
    pub(super) problem: String,
    /// What to do.
    pub(super) remedy: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}; {}", self.place, self.problem, self.remedy)
    }
}
