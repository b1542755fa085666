//! `countersign migrate`.

use std::process::ExitCode;

use crate::app::App;
use crate::config::env::Env;
use crate::config::{Config, LogFormat};
use crate::store::Migrated;
use crate::telemetry;

type Failure = Box<dyn std::error::Error>;

/// Brings the tables up to date and ends.
#[expect(clippy::print_stdout, reason = "the answer of a subcommand")]
pub(super) fn run() -> ExitCode {
    let env = Env::capture();
    match migrate(&env) {
        Ok(migrated) => {
            println!("{}", summary(migrated));
            ExitCode::SUCCESS
        }
        Err(error) => {
            let format = LogFormat::of(&env);
            telemetry::print_failure(format, "countersign cannot migrate", &error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn migrate(env: &Env) -> Result<Migrated, Failure> {
    // The callers' file and certificates are not opened: before an upgrade they may not be there yet.
    let (config, report) = Config::read(env);
    report.finish()?;
    let _logging = telemetry::install(&config.log)?;
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let migrated = runtime.block_on(App::migrate(config));
    runtime.shutdown_background();
    Ok(migrated?)
}

fn summary(migrated: Migrated) -> String {
    let Migrated { from, to } = migrated;
    match from {
        Some(from) if from == to => format!("the tables are up to date: version {to}"),
        Some(from) => format!("the tables were brought from version {from} to {to}"),
        None => format!("the tables were made: version {to}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_from_which_version_to_which() {
        let summary = |from, to| summary(Migrated { from, to });
        assert_eq!(
            summary(Some(2), 4),
            "the tables were brought from version 2 to 4"
        );
        assert_eq!(summary(Some(4), 4), "the tables are up to date: version 4");
        assert_eq!(summary(None, 4), "the tables were made: version 4");
    }
}
