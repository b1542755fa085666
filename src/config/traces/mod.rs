//! OpenTelemetry's variables for traces. Its SDK reads some of them itself too, from the environment
//! of the process; it ignores wrong ones, which are refused here.

mod collector;
mod limits;
mod pairs;
pub(super) mod propagators;
mod sampler;
#[cfg(test)]
mod tests;
mod variables;

use super::reader::Reader;
use variables::{Variables, word};

pub use collector::Collector;
pub use limits::Limits;
pub use sampler::Sampler;

/// Traces over OTLP.
#[derive(Debug)]
pub struct Traces {
    /// Where the spans are sent.
    pub collector: Collector,
    /// Which calls are traced.
    pub sampler: Sampler,
    /// How much of them is kept, and for how long.
    pub limits: Limits,
    /// OTEL_RESOURCE_ATTRIBUTES: what all spans say of this process.
    pub resource: Vec<(String, String)>,
    /// OTEL_SERVICE_NAME.
    pub service_name: Option<String>,
}

impl Traces {
    /// The variable that switches traces on.
    pub const ENDPOINT: &str = collector::ENDPOINT;
}

/// Reads the variables, and checks those that count; `None` if there is no endpoint or traces are
/// switched off.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<Traces> {
    let mut v = Variables {
        reader,
        are_on: true,
    };
    let endpoint = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", Traces::ENDPOINT];
    let endpoint = v.first(&endpoint);
    // Such a file would switch traces on.
    v.read(
        &["OTEL_CONFIG_FILE", "OTEL_EXPERIMENTAL_CONFIG_FILE"],
        |_| {
            Err::<(), _>("is not supported: set the variables that it would replace, and remove it")
        },
    );
    v.are_on = endpoint.is_some();
    v.are_on &= !is_switched_off(&mut v);
    let endpoint = endpoint.filter(|_| v.are_on);
    let collector = collector::read(&mut v, endpoint);
    let sampler = sampler::read(&mut v);
    let limits = limits::read(&mut v);
    let resource = v.read(&["OTEL_RESOURCE_ATTRIBUTES"], pairs::pairs);
    let service_name = v.first(&["OTEL_SERVICE_NAME"]);
    Some(Traces {
        collector: collector?,
        sampler,
        limits,
        resource: resource.unwrap_or_default(),
        service_name: service_name.map(|(_, name)| name),
    })
}

fn is_switched_off(v: &mut Variables<'_, '_>) -> bool {
    let disabled = v.read(&["OTEL_SDK_DISABLED"], |text| {
        let is_disabled = text.to_ascii_lowercase().parse::<bool>();
        is_disabled.map_err(|_| "must be true or false")
    });
    let exporter = v.first(&["OTEL_TRACES_EXPORTER"]);
    if disabled == Some(true) {
        return true;
    }
    let is_none = |text: &str| text.eq_ignore_ascii_case("none");
    if exporter.as_ref().is_some_and(|(_, text)| is_none(text)) {
        return true;
    }
    v.parse(exporter, |text| word(text, "otlp", "must be otlp or none"));
    false
}
