//! COUNTERSIGN_TLS_CERT, COUNTERSIGN_TLS_KEY and COUNTERSIGN_TLS_CLIENT_CA.

use std::path::{Path, PathBuf};

use super::file;
use super::reader::Reader;
use crate::secret::SecretString;

/// The setting of the service's certificate, and of those that signed it.
pub const CERT: &str = "COUNTERSIGN_TLS_CERT";
/// The setting of the certificate's private key.
pub const KEY: &str = "COUNTERSIGN_TLS_KEY";
/// The setting of the authorities that sign callers' certificates.
pub const CLIENT_CA: &str = "COUNTERSIGN_TLS_CLIENT_CA";

/// The paths of the PEM files for TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    /// COUNTERSIGN_TLS_CERT.
    pub cert: PathBuf,
    /// COUNTERSIGN_TLS_KEY.
    pub key: PathBuf,
    /// COUNTERSIGN_TLS_CLIENT_CA; without it no caller is known by a certificate.
    pub client_ca: Option<PathBuf>,
}

/// Reads the three settings. Any of them without what it needs is a mistake.
pub(super) fn read(r: &mut Reader<'_>) -> Option<Tls> {
    let cert = r.text(CERT).map(PathBuf::from);
    let key = r.text(KEY).map(PathBuf::from);
    let client_ca = r.text(CLIENT_CA).map(PathBuf::from);
    match (cert, key) {
        (Some(cert), Some(key)) => {
            return Some(Tls {
                cert,
                key,
                client_ca,
            });
        }
        (Some(_), None) => r.mistake(KEY, format!("is not set, but {CERT} is: set both")),
        (None, Some(_)) => r.mistake(CERT, format!("is not set, but {KEY} is: set both")),
        (None, None) if client_ca.is_some() => {
            r.mistake(CLIENT_CA, format!("needs {CERT} and {KEY}"));
        }
        (None, None) => {}
    }
    None
}

/// The text of a PEM file.
///
/// # Errors
/// What is wrong with the file, as the rest of a sentence that begins with the setting's name.
pub fn read_pem(path: &Path) -> Result<SecretString, String> {
    file::read_text(path)
        .map(SecretString::from)
        .map_err(|error| format!("names a file that cannot be read: {error}"))
}
