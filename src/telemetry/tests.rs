use std::fs;
use std::path::Path;

use tokio::runtime::Builder;

use super::*;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::reload::Reload;

fn log(filter: &str, format: LogFormat) -> Log {
    Log {
        filter: filter.to_owned(),
        filter_file: None,
        format,
    }
}

fn shown(path: &Path) -> String {
    fs::read_to_string(path).expect("read")
}

#[test]
fn no_filter_lets_the_wire_be_logged_in_detail() {
    for text in [
        "trace",
        "h2=trace",
        "info,h2::codec=trace",
        "[{canary}]=trace",
    ] {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let log = log(&format!("{text},countersign=trace"), LogFormat::Text);
        let writer = file.reopen().expect("opened");
        let (subscriber, set_filter) = subscriber(&log, Arc::new(writer));
        tracing::subscriber::with_default(subscriber, || {
            for _reloaded in [false, true] {
                tracing::warn!(target: "h2::proto::streams::recv", "canary");
                tracing::trace!(target: "h2", "canary");
                tracing::debug!(target: "h2::codec::framed_read", canary = 1);
                tracing::trace!(target: "hyper_util::client", "canary");
                tracing::trace!(target: "countersign", "ours");
                set_filter(&log.filter).expect("a filter");
            }
        });
        let shown = shown(file.path());
        assert!(
            shown.matches("ours").count() == 2 && !shown.contains("canary"),
            "{text}: {shown}"
        );
    }
}

#[test]
fn the_filters_file_changes_what_is_logged() {
    for format in [LogFormat::Text, LogFormat::Json] {
        let directory = tempfile::tempdir().expect("a directory");
        let (filter, out) = (
            directory.path().join("filter"),
            directory.path().join("out"),
        );
        fs::write(&filter, "info\n").expect("written");
        let writer = fs::File::create(&out).expect("a file");
        let queue = Queue::start(io::sink()).expect("a thread");
        let (subscriber, set_filter) = subscriber(&log("info", format), Arc::new(writer));
        let logging = Logging { queue, set_filter };
        let clock = Clock::system();
        let watched = vec![logging.watched(filter.clone(), "info")];
        let reload = Reload::new(watched, clock.clone(), Metrics::new(&clock).reload);
        let runtime = Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("a runtime");
        tracing::subscriber::with_default(subscriber, || {
            for (text, line) in [
                ("info", "hidden at first"),
                ("info,countersign=debug", "shown at once"),
                ("info,countersign=debug=wrong", "shown with the old filter"),
                ("", "shown while the file is empty"),
                ("in", "shown while half of the file is there"),
                ("warn", "hidden in the end"),
            ] {
                fs::write(&filter, text).expect("written");
                runtime.block_on(reload.check());
                tracing::debug!(target: "countersign", "{line}");
            }
        });
        let shown = shown(&out);
        for line in [
            "shown at once",
            "shown with the old",
            "shown while the file",
            "shown while half",
        ] {
            assert!(shown.contains(line), "{line}: {shown}");
        }
        assert!(!shown.contains("hidden"), "{shown}");
    }
}

#[test]
fn a_second_install_is_harmless() {
    for format in [LogFormat::Text, LogFormat::Json] {
        drop(install(&log("off", format)).expect("a thread"));
    }
}
