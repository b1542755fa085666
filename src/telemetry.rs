//! Logging to standard error.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Log, LogFormat};

/// Crates that see credentials on the wire and would write them to the log in detail. No configured
/// filter shows their lines below `info`.
const WIRE: [&str; 4] = ["h2=info", "hyper=info", "hyper_util=info", "reqwest=info"];

/// Starts logging as configured; if a logger is installed already, it stays.
pub fn install(log: &Log) {
    let builder = fmt()
        .with_env_filter(filter(&log.filter))
        .with_writer(std::io::stderr);
    // The only possible failure is a subscriber that a test or an embedding program has set.
    let _already_installed = match log.format {
        LogFormat::Text => builder.finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    };
    std::panic::set_hook(Box::new(log_panic));
}

/// Logs where a panic happened but not its text, which may quote a user's data.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let location = panic
        .location()
        .map(ToString::to_string)
        .unwrap_or_default();
    tracing::error!(location, "a task panicked");
}

fn filter(text: &str) -> EnvFilter {
    let wire = WIRE.iter().filter_map(|directive| directive.parse().ok());
    wire.fold(EnvFilter::new(text), EnvFilter::add_directive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_filter_lets_the_wire_be_logged_in_detail() {
        for text in ["trace", "h2=trace", "info,hyper=debug"] {
            let shown = filter(text).to_string();
            assert!(
                WIRE.iter().all(|directive| shown.contains(directive)),
                "{shown}"
            );
        }
    }

    #[test]
    fn a_second_install_is_harmless() {
        for format in [LogFormat::Text, LogFormat::Json] {
            install(&Log {
                filter: "off".to_owned(),
                format,
            });
        }
    }
}
