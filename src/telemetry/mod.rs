//! Logging to standard error, through a queue and a thread of its own, and traces to a collector.

mod exporter;
mod ids;
mod losses;
mod queue;
mod traces;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Log, LogFormat};
use ids::WithIds;
use queue::Queue;

pub use traces::{Tracing, trace};

/// Crates that see credentials on the wire and would write them to the log in detail. No configured
/// filter shows their lines below `info`.
const WIRE: [&str; 4] = ["h2", "hyper", "hyper_util", "reqwest"];

/// How long the process waits for a text that it writes for people.
const PRINTED_WITHIN: Duration = Duration::from_secs(1);

/// Writes what is left in the queue when it is dropped, unless that takes too long.
#[derive(Debug)]
#[must_use]
pub struct Logging(Queue);

impl Logging {
    /// How many lines were lost, which goes on to grow.
    pub fn lost_lines(&self) -> Arc<AtomicU64> {
        self.0.lost()
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        let _too_late_to_tell = self.0.flush();
    }
}

/// Starts logging as configured; if a logger is installed already, it stays.
///
/// # Errors
/// If no thread can be started.
pub fn install(log: &Log) -> io::Result<Logging> {
    let queue = Queue::start(io::stderr())?;
    // The only possible failure is a subscriber that a test or an embedding program has set.
    let _already_installed = subscriber(log, queue.clone()).try_init();
    std::panic::set_hook(Box::new(log_panic));
    Ok(Logging(queue))
}

/// Writes a text for people, and does not wait long for whoever reads it, or fail if nobody does.
pub fn print(mut out: impl io::Write + Send + 'static, text: String) {
    let (written, is_written) = sync_channel(1);
    let write = move || {
        let _nobody_reads = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        let _gave_up = written.send(());
    };
    if thread::Builder::new().spawn(write).is_ok() {
        let _in_time = is_written.recv_timeout(PRINTED_WITHIN);
    }
}

fn subscriber(
    log: &Log,
    writer: impl for<'w> MakeWriter<'w> + Send + Sync + 'static,
) -> Box<dyn Subscriber + Send + Sync> {
    let builder = fmt()
        .with_env_filter(EnvFilter::new(&log.filter))
        .with_writer(writer);
    // A filter of its own, because the more exact directive of an `EnvFilter` wins, so that
    // `h2::codec=trace` would take precedence over `h2=info`.
    let shown = filter_fn(|metadata| !is_wire_detail(metadata));
    match log.format {
        LogFormat::Text => Box::new(
            builder
                .map_event_format(|lines| WithIds::new(lines, log.format))
                .finish()
                .with(shown),
        ),
        LogFormat::Json => Box::new(
            builder
                .json()
                .flatten_event(true)
                .map_event_format(|lines| WithIds::new(lines, log.format))
                .finish()
                .with(shown),
        ),
    }
}

fn is_wire_detail(metadata: &Metadata<'_>) -> bool {
    let is_within = |name: &str| {
        let rest = metadata.target().strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    *metadata.level() > Level::INFO && WIRE.into_iter().any(is_within)
}

/// Logs where a panic happened but not its text, which may quote a user's data.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let location = panic
        .location()
        .map(ToString::to_string)
        .unwrap_or_default();
    tracing::error!(location, "a task panicked");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_filter_lets_the_wire_be_logged_in_detail() {
        for text in [
            "trace",
            "h2=trace",
            "info,h2::codec=trace",
            "[{canary}]=trace",
        ] {
            let file = tempfile::NamedTempFile::new().expect("a file");
            let log = Log {
                filter: format!("{text},countersign=trace"),
                format: LogFormat::Text,
            };
            let writer = file.reopen().expect("opened");
            let subscriber = subscriber(&log, std::sync::Arc::new(writer));
            tracing::subscriber::with_default(subscriber, || {
                tracing::trace!(target: "h2", "canary");
                tracing::debug!(target: "h2::codec::framed_read", canary = 1);
                tracing::trace!(target: "hyper_util::client", "canary");
                tracing::trace!(target: "countersign", "ours");
            });
            let shown = std::fs::read_to_string(file.path()).expect("read");
            assert!(
                shown.contains("ours") && !shown.contains("canary"),
                "{text}: {shown}"
            );
        }
    }

    #[test]
    fn a_second_install_is_harmless() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let log = Log {
                filter: "off".to_owned(),
                format,
            };
            drop(install(&log).expect("a thread"));
        }
    }
}
