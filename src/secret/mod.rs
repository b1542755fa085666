//! Randomness, secrets that cannot be printed, sealing, and private keys with their certificates.

mod keyring;
mod mac;
mod pair;
mod random;
mod root_key;
#[cfg(test)]
mod tests;

pub use keyring::{Keyring, OpenError};
pub use mac::MacKey;
pub use pair::{PairFault, certificates, certified};
pub use random::{equal, random, random_token, sha256};
pub use root_key::{Purpose, RootKey};
pub use secrecy::{ExposeSecret, SecretString};
