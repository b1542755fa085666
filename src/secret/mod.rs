//! Randomness, secrets that cannot be printed, and sealing.

mod keyring;
mod mac;
mod random;
mod root_key;
#[cfg(test)]
mod tests;

pub use keyring::{Keyring, OpenError};
pub use mac::MacKey;
pub use random::{equal, random, random_token, sha256};
pub use root_key::{Purpose, RootKey};
pub use secrecy::{ExposeSecret, SecretString};
