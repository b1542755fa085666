//! The key file beside an SQLite database.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::error::OpenStoreError;
use crate::config::read_text;
use crate::secret::{self, Keyring, RootKey};

/// Only the owner may read a file of the store.
pub(super) const MODE: u32 = 0o600;

/// Where the key file of a database is.
pub(super) fn beside(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".key");
    PathBuf::from(name)
}

/// Reads the key file of a database. It is created only together with a new database.
pub(super) fn ring(database: &Path) -> Result<Keyring, OpenStoreError> {
    let key_file = beside(database);
    let unusable = |cause| OpenStoreError::File {
        path: key_file.clone(),
        cause,
    };
    match fs::metadata(&key_file) {
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => {
            return Err(OpenStoreError::KeyFileExposed(key_file));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(database, &key_file)?,
        Err(cause) => return Err(unusable(cause)),
    }
    let text = read_text(&key_file).map_err(unusable)?;
    parse(text.trim()).ok_or(OpenStoreError::KeyFileMalformed(key_file))
}

fn parse(text: &str) -> Option<Keyring> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    RootKey::new("file", bytes).map(|key| Keyring::new(key, Vec::new()))
}

/// Creates the key file. If several processes start at once, one of them creates it and all read
/// it.
fn create(database: &Path, key_file: &Path) -> Result<(), OpenStoreError> {
    if !is_empty(database) {
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

/// Whether a database file is missing or has no bytes.
pub(super) fn is_empty(database: &Path) -> bool {
    fs::metadata(database).map_or(true, |metadata| metadata.len() == 0)
}

fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}
