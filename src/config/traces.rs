//! OpenTelemetry's variables for traces, as far as a mistake in them must stop the start. Its SDK
//! reads the others itself, from the environment of the process.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use url::Url;

use super::file;
use super::reader::Reader;
use super::urls;

const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];
/// The SDK's own default for the spans that wait, and the most that it may be set to.
const QUEUE: u32 = 2048;
const LARGEST_QUEUE: u32 = 65_536;

/// Traces over OTLP.
#[derive(Debug)]
pub struct Traces {
    /// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, or else OTEL_EXPORTER_OTLP_ENDPOINT: the collector.
    pub endpoint: Url,
    /// The content of OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE, or else of
    /// OTEL_EXPORTER_OTLP_CERTIFICATE: whom to trust instead of the system's authorities.
    pub ca: Option<String>,
    /// OTEL_BSP_MAX_QUEUE_SIZE: how many spans may wait.
    pub queue: usize,
}

impl Traces {
    /// The variable that switches traces on.
    pub const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
}

/// Reads and checks the variables; `None` if there is no endpoint or traces are switched off.
pub(super) fn read(r: &mut Reader<'_>) -> Option<Traces> {
    let is_disabled = r
        .library_text("OTEL_SDK_DISABLED")
        .is_some_and(|text| text.eq_ignore_ascii_case("true"));
    let exporter = parse(r, "OTEL_TRACES_EXPORTER", |text| match text {
        "otlp" | "none" => Ok(text.to_owned()),
        _ => Err("must be otlp or none"),
    });
    let endpoint = either(
        r,
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        Traces::ENDPOINT,
        endpoint,
    );
    either(
        r,
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        |text| match text {
            "grpc" => Ok(()),
            _ => Err("must be grpc"),
        },
    );
    check_sampler(r);
    let ca = either(
        r,
        "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
        authorities,
    );
    let queue = parse(r, "OTEL_BSP_MAX_QUEUE_SIZE", |text| {
        let size = text.parse().ok();
        size.filter(|size| (1..=LARGEST_QUEUE).contains(size))
            .ok_or("must be a whole number from 1 to 65536")
    });
    let is_off = is_disabled || exporter.as_deref() == Some("none");
    let endpoint = endpoint.filter(|_| !is_off)?;
    Some(Traces {
        endpoint,
        ca,
        queue: queue.unwrap_or(QUEUE) as usize,
    })
}

fn check_sampler(r: &mut Reader<'_>) {
    parse(r, "OTEL_TRACES_SAMPLER", |text| {
        let is_known = SAMPLERS.contains(&text);
        is_known
            .then_some(())
            .ok_or_else(|| format!("must be one of {}", SAMPLERS.join(", ")))
    });
    parse(r, "OTEL_TRACES_SAMPLER_ARG", |text| {
        let ratio = text.parse::<f64>().ok();
        let is_ratio = ratio.is_some_and(|ratio| (0.0..=1.0).contains(&ratio));
        is_ratio.then_some(()).ok_or("must be a number from 0 to 1")
    });
}

/// Checked here, because the exporter would take a wrong file for one without authorities.
fn authorities(path: &str) -> Result<String, &'static str> {
    let pem = file::read_text(Path::new(path)).map_err(|_| "names a file that cannot be read")?;
    let mut roots = RootCertStore::empty();
    let mut add = |found: Result<CertificateDer<'_>, _>| roots.add(found.ok()?).ok();
    let mut found = CertificateDer::pem_slice_iter(pem.as_bytes());
    if found.all(|found| add(found).is_some()) && !roots.is_empty() {
        Ok(pem)
    } else {
        Err("names a file that does not hold certificates of authorities as PEM")
    }
}

fn endpoint(text: &str) -> Result<Url, &'static str> {
    let url = urls::base_url(text)?;
    if url.path() == "/" {
        Ok(url)
    } else {
        Err("must not contain a path: the spans are sent over gRPC")
    }
}

fn parse<T, E: Into<String>>(
    r: &mut Reader<'_>,
    name: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Option<T> {
    let parsed = parse(&r.library_text(name)?);
    parsed
        .map_err(|description| r.mistake(name, description))
        .ok()
}

/// The variable for traces alone, or else the one for all signals.
fn either<T, E: Into<String>>(
    r: &mut Reader<'_>,
    for_traces: &str,
    for_all: &str,
    read: impl Fn(&str) -> Result<T, E>,
) -> Option<T> {
    let of_traces = parse(r, for_traces, &read);
    let of_all = parse(r, for_all, &read);
    of_traces.or(of_all)
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::super::env::Env;
    use super::*;

    const ON: (&str, &str) = (Traces::ENDPOINT, "http://collector:4317");

    fn read(pairs: &[(&str, &str)]) -> Result<Option<Traces>, String> {
        let env = Env::from_pairs(pairs.iter().copied());
        let (config, report) = Config::read(&env);
        let warnings = report.finish();
        warnings
            .map(|_| config.traces)
            .map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn traces_are_on_only_with_an_endpoint() {
        assert!(read(&[]).expect("good").is_none());
        assert!(read(&[(ON.0, "")]).expect("good").is_none());
        for off in [
            ("OTEL_SDK_DISABLED", "TRUE"),
            ("OTEL_TRACES_EXPORTER", "none"),
        ] {
            assert!(read(&[ON, off]).expect("good").is_none());
        }
        let traces = read(&[ON]).expect("good").expect("on");
        assert_eq!(traces.endpoint.as_str(), "http://collector:4317/");
        assert_eq!(traces.queue, 2048);
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces:1");
        let traces = read(&[ON, own]).expect("good").expect("on");
        assert_eq!(traces.endpoint.as_str(), "https://traces:1/");
    }

    #[test]
    fn a_file_without_authorities_is_a_mistake() {
        for text in [
            "",
            "not PEM",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            let file = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(file.path(), text).expect("written");
            let path = file.path().to_str().expect("text");
            let name = "OTEL_EXPORTER_OTLP_CERTIFICATE";
            let mistakes = read(&[ON, (name, path)]).expect_err("a mistake");
            assert!(mistakes.contains(name), "{mistakes}");
        }
    }

    #[test]
    fn a_mistake_is_told_by_name_and_not_by_value() {
        for (name, value) in [
            (ON.0, "canary:4317"),
            (ON.0, "http://u:canary@collector:4317"),
            (ON.0, "http://collector:4318/canary"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "canary"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/canary"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/canary"),
            ("OTEL_TRACES_EXPORTER", "canary"),
            ("OTEL_TRACES_SAMPLER", "canary"),
            ("OTEL_TRACES_SAMPLER_ARG", "canary"),
            ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
            ("OTEL_TRACES_SAMPLER_ARG", "NaN"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ] {
            let mistakes = read(&[(name, value)]).expect_err("a mistake");
            assert!(mistakes.contains(name), "{mistakes}");
            assert!(!mistakes.contains("canary"), "{mistakes}");
        }
        for sampler in SAMPLERS {
            assert!(read(&[ON, ("OTEL_TRACES_SAMPLER", sampler)]).is_ok());
        }
    }
}
