//! Subcommands that work on the store, whether a service runs beside them or not.

use std::process::ExitCode;

use crate::config::env::Env;
use crate::config::{Config, LogFormat};
use crate::telemetry;

/// Why the work was not done.
pub(super) type Failure = Box<dyn std::error::Error>;

/// Does work on the store that the settings name, and prints what was done, or that `what` cannot be
/// done and why.
#[expect(clippy::print_stdout, reason = "the answer of a subcommand")]
pub(super) fn on_store<E: Into<Failure>>(
    what: &str,
    work: impl AsyncFnOnce(Config) -> Result<String, E>,
) -> ExitCode {
    let env = Env::capture();
    match with_settings(&env, work) {
        Ok(done) => {
            println!("{done}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let failure = format!("countersign cannot {what}");
            telemetry::print_failure(LogFormat::of(&env), &failure, &error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn with_settings<E: Into<Failure>>(
    env: &Env,
    work: impl AsyncFnOnce(Config) -> Result<String, E>,
) -> Result<String, Failure> {
    // The callers' file and certificates are not opened: before an upgrade they may not be there yet.
    let (config, report) = Config::read(env);
    report.finish()?;
    let _logging = telemetry::install(&config.log)?;
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(work(config));
    runtime.shutdown_background();
    done.map_err(Into::into)
}
