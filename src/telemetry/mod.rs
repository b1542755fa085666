//! Logging to standard error, through a queue and a thread of its own, and traces to a collector.

mod exporter;
mod ids;
mod losses;
mod queue;
mod traces;

use std::io;
use std::path::PathBuf;
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
use tracing_subscriber::reload::Handle;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Log, LogFormat, read_filter};
use crate::metrics::File;
use crate::reload::Watched;
use crate::secret::sha256;
use ids::WithIds;
use queue::Queue;

pub use traces::{Tracing, trace};

/// Crates that see credentials on the wire and would write them to the log in detail. No configured
/// filter shows their lines below `info`.
const WIRE: [&str; 4] = ["h2", "hyper", "hyper_util", "reqwest"];

/// How long the process waits for a text that it writes for people.
const PRINTED_WITHIN: Duration = Duration::from_secs(1);

/// Writes what is left in the queue when it is dropped, unless that takes too long.
#[must_use]
pub struct Logging {
    queue: Queue,
    set_filter: SetFilter,
}

/// Replaces the filter of a subscriber.
type SetFilter = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

impl Logging {
    /// The file that held the filter: a change of it changes what is logged.
    pub fn watched(&self, path: PathBuf, filter: &str) -> Watched {
        let set_filter = Arc::clone(&self.set_filter);
        let read = move || {
            let filter = read_filter(&path)?;
            Ok((sha256(filter.as_bytes()), filter))
        };
        let apply = move |filter: String| set_filter(&filter);
        Watched::new(File::LogFilter, sha256(filter.as_bytes()), read, apply)
    }

    /// How many lines were lost, which goes on to grow.
    pub fn lost_lines(&self) -> Arc<AtomicU64> {
        self.queue.lost()
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        let _too_late_to_tell = self.queue.flush();
    }
}

/// Starts logging as configured; if a logger is installed already, it stays.
///
/// # Errors
/// If no thread can be started.
pub fn install(log: &Log) -> io::Result<Logging> {
    let queue = Queue::start(io::stderr())?;
    let (subscriber, set_filter) = subscriber(log, queue.clone());
    // The only possible failure is a subscriber that a test or an embedding program has set.
    let _already_installed = subscriber.try_init();
    std::panic::set_hook(Box::new(log_panic));
    Ok(Logging { queue, set_filter })
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

/// Writes why a command failed, as the log is written: lines for people, or one line of JSON. No
/// filter hides it.
pub fn print_failure(format: LogFormat, what: &str, reason: &str) {
    match (format, Queue::start(io::stderr())) {
        (LogFormat::Json, Ok(queue)) => {
            let log = Log {
                filter: "error".to_owned(),
                filter_file: None,
                format,
            };
            let (subscriber, _) = subscriber(&log, queue.clone());
            tracing::subscriber::with_default(subscriber, || tracing::error!(reason, "{what}"));
            let _too_late_to_tell = queue.flush();
        }
        _ => print(io::stderr(), format!("{what}:\n{reason}\n")),
    }
}

fn subscriber(
    log: &Log,
    writer: impl for<'w> MakeWriter<'w> + Send + Sync + 'static,
) -> (Box<dyn Subscriber + Send + Sync>, SetFilter) {
    let builder = fmt()
        .with_env_filter(EnvFilter::new(&log.filter))
        .with_writer(writer);
    // A filter of its own, because the more exact directive of an `EnvFilter` wins, so that
    // `h2::codec=trace` would take precedence over `h2=info`.
    let shown = filter_fn(|metadata| !is_wire_detail(metadata));
    match log.format {
        LogFormat::Text => {
            let builder = builder
                .map_event_format(|lines| WithIds::new(lines, log.format))
                .with_filter_reloading();
            let set_filter = set_filter(builder.reload_handle());
            (Box::new(builder.finish().with(shown)), set_filter)
        }
        LogFormat::Json => {
            let builder = builder
                .json()
                .flatten_event(true)
                .map_event_format(|lines| WithIds::new(lines, log.format))
                .with_filter_reloading();
            let set_filter = set_filter(builder.reload_handle());
            (Box::new(builder.finish().with(shown)), set_filter)
        }
    }
}

fn set_filter<S: 'static>(handle: Handle<EnvFilter, S>) -> SetFilter {
    Arc::new(move |filter| {
        let filter = EnvFilter::try_new(filter).map_err(|_| "is not a filter".to_owned())?;
        handle
            .reload(filter)
            .map_err(|error| format!("could not be applied: {error}"))
    })
}

fn is_wire_detail(metadata: &Metadata<'_>) -> bool {
    let is_within = |name: &str| {
        let rest = metadata.target().strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    // Of h2's warnings, each stranger's connection can cause one.
    let most = if is_within("h2") {
        Level::ERROR
    } else {
        Level::INFO
    };
    *metadata.level() > most && WIRE.into_iter().any(is_within)
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
mod tests;
