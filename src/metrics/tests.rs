//! README's table of metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::clock::Timestamp;
use crate::error::Reason;

const README: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));

/// The type and the labels of a metric.
type Shape = (String, BTreeSet<String>);

fn metrics() -> Metrics {
    Metrics::new(&Clock::manual(Timestamp::from_secs(1_800_000_000)))
}

/// Metrics under whose labels something was counted.
fn used() -> Metrics {
    let metrics = metrics();
    metrics
        .rpc
        .begin("/")
        .fail(StatusCode::Unimplemented, Reason::MethodUnknown);
    let _task = metrics.tasks.of("cleaner");
    let connections = metrics.store.pool(Pool::All, 20);
    connections.waits.observe(Duration::ZERO);
    connections.statement("users::FIND", Duration::ZERO, Some("silent"));
    let provider = metrics.providers.of("openid");
    provider.request(Asked::Keys, Answered::Ok, Duration::ZERO);
    let now = Timestamp::from_secs(1_800_000_000);
    let reload = &metrics.reload;
    reload.note(File::Callers, ReadOutcome::Changed, now);
    reload.expires(now);
    metrics
}

/// The names of the labels of a sample.
fn labels(sample: &str) -> BTreeSet<String> {
    let within = sample.split_once('{').map_or("", |(_, rest)| rest);
    let pairs = within
        .split("\",")
        .filter_map(|pair| pair.split_once("=\""));
    let names = pairs.map(|(name, _)| name.to_owned());
    names.filter(|name| name != "le").collect()
}

/// The metrics in a text, by name.
fn shown(text: &str) -> BTreeMap<String, Shape> {
    let mut found = BTreeMap::<String, Shape>::new();
    let mut name = String::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (named, help) = help.split_once(' ').expect("a text");
            assert!(help.len() > 10 && help.ends_with('.'), "{line}");
            named.clone_into(&mut name);
        } else if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (named, kind) = typed.split_once(' ').expect("a type");
            assert_eq!(named, name);
            let shape = (kind.to_owned(), BTreeSet::new());
            let before = found.insert(name.clone(), shape);
            assert!(before.is_none(), "{name} is registered twice");
        } else {
            assert!(line.starts_with(&name), "{line}");
            found.get_mut(&name).expect("a type").1.extend(labels(line));
        }
    }
    found
}

/// The rows of README's table, by name.
fn listed() -> BTreeMap<String, Shape> {
    let rows = README
        .lines()
        .skip_while(|line| !line.starts_with("| Metric |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let row = |row: &str| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let name = cells[1].trim_matches('`').to_owned();
        let labels = cells[3].split('`').skip(1).step_by(2);
        (
            name,
            (cells[2].to_owned(), labels.map(str::to_owned).collect()),
        )
    };
    rows.map(row).collect()
}

#[test]
fn the_readme_lists_every_metric_with_its_type_and_labels_and_no_other() {
    assert_eq!(listed(), shown(&used().text(Format::Prometheus)));
}

#[test]
fn what_was_never_counted_is_shown_as_zero_unless_it_has_many_labels() {
    let text = metrics().text(Format::Prometheus);
    assert!(text.contains("\ncountersign_rpc_errors_total{reason=\"BUSY\"} 0\n"));
    assert!(!text.contains("rpc_method"));
}

#[test]
fn both_formats_are_as_their_standards_say() {
    let metrics = used();
    let (classic, open) = (
        metrics.text(Format::Prometheus),
        metrics.text(Format::OpenMetrics),
    );
    for line in [
        "# TYPE countersign_build_info gauge",
        "# TYPE countersign_rpc_errors_total counter",
        "countersign_rpc_errors_total{reason=\"METHOD_UNKNOWN\"} 1",
    ] {
        assert!(classic.lines().any(|found| found == line), "{classic}");
    }
    assert!(!classic.contains("# EOF") && !classic.contains("# UNIT"));
    for line in [
        "# TYPE countersign_build info",
        "# TYPE countersign_rpc_errors counter",
        "countersign_rpc_errors_total{reason=\"METHOD_UNKNOWN\"} 1",
    ] {
        assert!(open.lines().any(|found| found == line), "{open}");
    }
    assert!(open.ends_with("\n# EOF\n"));
}

#[test]
fn counts_that_are_kept_elsewhere_are_shown() {
    let metrics = metrics();
    let lost = |what: &str| {
        let text = metrics.text(Format::Prometheus);
        let name = format!("countersign_{what}_lost_total ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.map(str::to_owned)
    };
    assert_eq!(lost("log_lines").as_deref(), Some("0"));
    assert_eq!(lost("trace_spans").as_deref(), Some("0"));
    metrics.telemetry.follow(Arc::new(7.into()));
    metrics.telemetry.follow_spans(Arc::new(8.into()));
    assert_eq!(lost("log_lines").as_deref(), Some("7"));
    assert_eq!(lost("trace_spans").as_deref(), Some("8"));
}

#[test]
fn a_call_that_is_dropped_was_cancelled_and_counts_once() {
    let metrics = metrics();
    let path = "/countersign.v1.TokenService/VerifyToken";
    drop(metrics.rpc.begin(path));
    let mut answered = metrics.rpc.begin(path);
    answered.succeed();
    drop(answered);
    let open = metrics.rpc.begin(path);
    let text = metrics.text(Format::Prometheus);
    drop(open);
    let labels = "rpc_method=\"countersign.v1.TokenService/VerifyToken\",rpc_response_status_code";
    for line in [
        format!("rpc_server_call_duration_seconds_count{{{labels}=\"CANCELLED\"}} 1"),
        format!("rpc_server_call_duration_seconds_count{{{labels}=\"OK\"}} 1"),
        "countersign_rpc_calls_in_flight 1".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
}

#[test]
fn no_rule_selects_a_bucket_whose_bound_the_formats_write_differently() {
    let rules = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/helm/rules/countersign.yaml"
    ));
    let dashboard = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/helm/dashboards/countersign.json"
    ));
    for text in [rules, dashboard] {
        let selected = text
            .split("le=")
            .filter(|before| before.ends_with(['{', ',', ' ']));
        assert!(text.contains("_bucket") && selected.count() == 0);
    }
}
