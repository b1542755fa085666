//! The binary: parses the command line and leaves the rest to the library.

use std::process::ExitCode;

use clap::Parser as _;
use countersign::cli::{self, Cli, Command};

fn main() -> ExitCode {
    match Cli::parse().into_command() {
        Command::Serve => cli::serve::run(),
        Command::Migrate => cli::migrate(),
        Command::Health(command) => command.run(),
        Command::Config(command) => command.run(),
        Command::Caller(command) => command.run(),
        Command::Epoch(command) => command.run(),
        Command::Key(command) => command.run(),
    }
}
