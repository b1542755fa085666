//! The command line, one file for each subcommand.

mod caller;
mod config_check;
mod epoch;
mod health;
mod help;
mod key;
mod migrate;
mod offline;
pub mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use key::KeyCommand;

/// A gRPC identity service for chat and agent platforms; without a subcommand it serves.
#[derive(Debug, Parser)]
#[command(name = "countersign", version, about, after_help = help::MORE)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

/// What to do.
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Serve until told to stop.
    Serve,
    /// Bring the tables of the database up to date, and end.
    Migrate,
    /// Ask a running server for its health: the exit code is 0 if it is SERVING, and 1 if it is not or
    /// could not be asked.
    Health(health::HealthCommand),
    /// The configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// The backends that may call.
    #[command(subcommand)]
    Caller(CallerCommand),
    /// The epoch of the store.
    #[command(subcommand)]
    Epoch(EpochCommand),
    /// The keys: those that sign access tokens, and those that seal what is in the store. The tables are
    /// brought up to date first.
    #[command(subcommand)]
    Key(KeyCommand),
}

/// What to do with the configuration.
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub enum ConfigCommand {
    /// Read it, and name every mistake in it.
    Check,
}

/// What to do about callers.
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub enum CallerCommand {
    /// Make a token and its SHA-256 for the callers' file; the token is shown this once.
    NewToken,
}

/// What to do with the epoch of the store.
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub enum EpochCommand {
    /// Begin a new one, so that every process drops what it remembers: after a restore, or a change of
    /// rows by hand. The tables are brought up to date first.
    Bump,
}

impl Cli {
    /// The chosen command.
    #[must_use]
    pub fn into_command(self) -> Command {
        self.command.unwrap_or(Command::Serve)
    }
}

/// Brings the tables of the database up to date.
#[must_use]
pub fn migrate() -> ExitCode {
    migrate::run()
}

impl ConfigCommand {
    /// Runs it.
    #[must_use]
    pub fn run(&self) -> ExitCode {
        match self {
            Self::Check => config_check::run(),
        }
    }
}

impl CallerCommand {
    /// Runs it.
    #[must_use]
    pub fn run(&self) -> ExitCode {
        match self {
            Self::NewToken => caller::new_token(),
        }
    }
}

impl EpochCommand {
    /// Runs it.
    #[must_use]
    pub fn run(&self) -> ExitCode {
        match self {
            Self::Bump => epoch::bump(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_readme_lists_every_subcommand_and_no_other() {
        let readme = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));
        let listed: BTreeSet<_> = readme
            .lines()
            .skip_while(|line| !line.starts_with("| Subcommand |"))
            .take_while(|line| !line.is_empty())
            .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
            .map(|(name, _)| name.to_owned())
            .collect();
        assert_eq!(listed, lines_of(&Cli::command()));
    }

    /// What can be typed: the names of a command and of those below it, down to the last.
    fn lines_of(command: &clap::Command) -> BTreeSet<String> {
        let name = command.get_name();
        let below: BTreeSet<_> = command.get_subcommands().flat_map(lines_of).collect();
        if below.is_empty() {
            return BTreeSet::from([name.to_owned()]);
        }
        below.iter().map(|line| format!("{name} {line}")).collect()
    }

    #[test]
    fn no_subcommand_serves() {
        for (arguments, expected) in [
            (&["countersign"][..], Command::Serve),
            (&["countersign", "serve"], Command::Serve),
            (
                &["countersign", "config", "check"],
                Command::Config(ConfigCommand::Check),
            ),
            (
                &["countersign", "caller", "new-token"],
                Command::Caller(CallerCommand::NewToken),
            ),
        ] {
            assert_eq!(
                Cli::try_parse_from(arguments).map(Cli::into_command).ok(),
                Some(expected)
            );
        }
        assert!(Cli::try_parse_from(["countersign", "caller"]).is_err());
    }
}
