//! OTEL_PROPAGATORS.

use super::super::reader::Reader;

const NAME: &str = "OTEL_PROPAGATORS";
const OURS: &str = "tracecontext";
const NONE: &str = "none";
/// The other names that OpenTelemetry's specification lists.
const OTHERS: [&str; 6] = ["baggage", "b3", "b3multi", "jaeger", "xray", "ottrace"];

/// Whether callers say which trace a call is part of, and providers are told. It counts whether the
/// service sends spans or not, because log lines carry the caller's trace too.
pub(in crate::config) fn read(r: &mut Reader<'_>) -> bool {
    let Some(text) = r.library_text(NAME) else {
        return true;
    };
    let text = text.to_ascii_lowercase();
    let names: Vec<_> = text.split(',').map(str::trim).collect();
    for name in OTHERS.iter().filter(|name| names.contains(*name)) {
        r.warn(format!(
            "{NAME} names {name}, which has no effect: only {OURS} is supported"
        ));
    }
    let is_known = |name: &&str| [OURS, NONE, ""].contains(name) || OTHERS.contains(name);
    if !names.iter().all(is_known) {
        r.warn(format!(
            "{NAME} names a propagator that is not known, which has no effect: only {OURS} is supported"
        ));
    }
    names.contains(&OURS) && !names.contains(&NONE)
}
