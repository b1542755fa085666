//! `countersign key …`, one file for each subcommand.

mod reencrypt;

use std::process::ExitCode;

use clap::Subcommand;

/// What to do with keys.
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub enum KeyCommand {
    /// Seal everything in the store anew with the first of COUNTERSIGN_ENCRYPTION_KEYS, and say until
    /// when the others are needed. Services may go on; it can be interrupted and begun again.
    Reencrypt,
}

impl KeyCommand {
    /// Runs it.
    #[must_use]
    pub fn run(&self) -> ExitCode {
        match self {
            Self::Reencrypt => reencrypt::run(),
        }
    }
}
