//! `countersign key …`, one file for each subcommand.

mod reencrypt;
mod signing;

use std::process::ExitCode;

use clap::Subcommand;

/// What to do with keys.
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub enum KeyCommand {
    /// Seal everything in the store anew with the first of COUNTERSIGN_ENCRYPTION_KEYS, and say until
    /// when the others are needed. Services may go on; it can be interrupted and begun again.
    Reencrypt,
    /// Show all signing keys: the next one, the active one, then those that signed before.
    List,
    /// Let the next key sign from now on, and publish another next one. Tokens of the former key stay
    /// active until they expire.
    Rotate,
    /// Refuse all tokens of a signing key from now on. If it is the active one, another key signs.
    Revoke {
        /// The key's id, as `countersign key list` shows it.
        // Every 64th begins with a hyphen.
        #[arg(allow_hyphen_values = true)]
        kid: String,
    },
}

impl KeyCommand {
    /// Runs it.
    #[must_use]
    pub fn run(&self) -> ExitCode {
        match self {
            Self::Reencrypt => reencrypt::run(),
            Self::List => signing::list(),
            Self::Rotate => signing::rotate(),
            Self::Revoke { kid } => signing::revoke(kid),
        }
    }
}
