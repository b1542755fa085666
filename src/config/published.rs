//! Secrets that everybody can read in LibreChat's sample file and documentation. Many installations
//! still use them.

use crate::secret::{ExposeSecret, SecretString};

/// The first digits of the keys in the sample file.
const KEYS: [&str; 4] = ["16f8c0ef", "eaa5191f", "f34be427", "e2341419"];
/// What stands in the place of other secrets.
const WORDS: [&str; 4] = [
    "secret",
    "refresh_secret",
    "your client secret",
    "any random string",
];

/// Whether a secret is one of them.
pub(super) fn contains(secret: &SecretString) -> bool {
    let text = secret.expose_secret().trim().to_ascii_lowercase();
    WORDS.contains(&text.as_str()) || KEYS.iter().any(|key| text.starts_with(key))
}
