//! OpenTelemetry's variables that have no effect here. Those that have one are read in `traces`.

use super::env::Env;

/// Variables, by their names or what these begin with, and why they have no effect.
pub(super) const ROWS: &[(&[&str], &str)] = &[
    (
        &[
            "OTEL_METRICS_*",
            "OTEL_METRIC_*",
            "OTEL_EXPORTER_OTLP_METRICS_*",
            "OTEL_EXPORTER_PROMETHEUS_*",
        ],
        "metrics are not sent; the ops listener serves them",
    ),
    (
        &[
            "OTEL_LOGS_*",
            "OTEL_LOGRECORD_*",
            "OTEL_BLRP_*",
            "OTEL_EXPORTER_OTLP_LOGS_*",
        ],
        "log lines go to standard error alone",
    ),
    (
        &["OTEL_EXPORTER_JAEGER_*", "OTEL_EXPORTER_ZIPKIN_*"],
        "spans are sent over OTLP alone",
    ),
    (
        &[
            "OTEL_EXPORTER_OTLP_INSECURE",
            "OTEL_EXPORTER_OTLP_TRACES_INSECURE",
        ],
        "the collector's address begins with https:// or http://, which decides",
    ),
    (
        &["OTEL_LOG_LEVEL"],
        "OpenTelemetry's library logs nothing here; COUNTERSIGN_LOG is the log's filter",
    ),
    (
        &["OTEL_ENTITIES"],
        "only OTEL_RESOURCE_ATTRIBUTES describe the process",
    ),
];

/// What says that nothing is sent, as is the case.
const SWITCHES: [&str; 2] = ["OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER"];
/// What OpenTelemetry's operator for Kubernetes adds for its own use.
const OPERATORS: [&str; 3] = ["OTEL_NODE_IP", "OTEL_POD_IP", "OTEL_RESOURCE_ATTRIBUTES_*"];

/// Why a variable that is not read has no effect; `None` if no warning is due.
pub(super) fn why_idle(env: &Env, name: &str) -> Option<&'static str> {
    let text = env.get(name)?.to_string_lossy();
    let text = text.trim();
    let asks_nothing = SWITCHES.contains(&name) && text.eq_ignore_ascii_case("none");
    if text.is_empty() || asks_nothing || is_among(&OPERATORS, name) {
        return None;
    }
    let row = ROWS.iter().find(|(names, _)| is_among(names, name));
    Some(row.map_or("this version does not know it", |(_, why)| why))
}

fn is_among(names: &[&str], name: &str) -> bool {
    names.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => *pattern == name,
    })
}
