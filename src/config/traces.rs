//! OpenTelemetry's variables for traces, as far as they must be right for the service to start. Its
//! SDK reads others itself, from the environment of the process.

use std::path::Path;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use url::Url;

use super::file;
use super::reader::Reader;
use super::urls;

/// The SDK's own defaults.
const QUEUE: u32 = 2048;
const BATCH: u32 = 512;
const DELAY_MILLIS: u32 = 5000;
const TIMEOUT_MILLIS: u32 = 10_000;
/// The most spans that may wait.
const LARGEST_QUEUE: u32 = 65_536;
const LONGEST_DELAY_MILLIS: u32 = 3_600_000;
const LONGEST_TIMEOUT_MILLIS: u32 = 30_000;

/// Traces over OTLP.
#[derive(Debug)]
pub struct Traces {
    /// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, or else OTEL_EXPORTER_OTLP_ENDPOINT: the collector.
    pub endpoint: Url,
    /// The content of OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE, or else of
    /// OTEL_EXPORTER_OTLP_CERTIFICATE: whom to trust instead of the system's authorities.
    pub ca: Option<String>,
    /// OTEL_EXPORTER_OTLP_TRACES_TIMEOUT, or else OTEL_EXPORTER_OTLP_TIMEOUT: how long the collector
    /// may take to answer.
    pub timeout: Duration,
    /// OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG: which calls are traced.
    pub sampler: Sampler,
    /// OTEL_BSP_MAX_QUEUE_SIZE: how many spans may wait.
    pub queue: usize,
    /// OTEL_BSP_MAX_EXPORT_BATCH_SIZE: how many spans are sent at once.
    pub batch: usize,
    /// OTEL_BSP_SCHEDULE_DELAY: how often they are sent.
    pub delay: Duration,
}

/// Which calls are traced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// Whether the decision of a caller that made one is followed.
    pub is_parent_based: bool,
    /// The share of the other calls, from 0 to 1.
    pub ratio: f64,
}

/// The name and the text of a variable.
type Variable = (&'static str, String);

impl Traces {
    /// The variable that switches traces on.
    pub const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    /// The longest that the collector may take to answer.
    pub const LONGEST_TIMEOUT: Duration = Duration::from_millis(LONGEST_TIMEOUT_MILLIS as u64);
}

/// Reads the variables, and checks those that count; `None` if there is no endpoint or traces are
/// switched off.
pub(super) fn read(r: &mut Reader<'_>) -> Option<Traces> {
    // Each name is looked up, whatever the others say, so that the list in the README is complete.
    let mut first = |names: &[&'static str]| {
        let set = |name: &&'static str| Some((*name, r.library_text(name)?));
        let set: Vec<Variable> = names.iter().filter_map(set).collect();
        set.into_iter().next()
    };
    let disabled = first(&["OTEL_SDK_DISABLED"]);
    let exporter = first(&["OTEL_TRACES_EXPORTER"]);
    let endpoint = first(&["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", Traces::ENDPOINT]);
    let protocol = first(&[
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
    ]);
    let certificate = first(&[
        "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
    ]);
    let timeout = first(&[
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
        "OTEL_EXPORTER_OTLP_TIMEOUT",
    ]);
    let sampler_name = first(&["OTEL_TRACES_SAMPLER"]);
    let ratio = first(&["OTEL_TRACES_SAMPLER_ARG"]);
    let queue = first(&["OTEL_BSP_MAX_QUEUE_SIZE"]);
    let batch = first(&["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"]);
    let delay = first(&["OTEL_BSP_SCHEDULE_DELAY"]);

    let is_disabled = disabled.is_some_and(|(_, text)| text.eq_ignore_ascii_case("true"));
    let is_none = matches!(&exporter, Some((_, text)) if text == "none");
    let endpoint = endpoint.filter(|_| !is_disabled && !is_none)?;
    parse(r, exporter, |text| is(text, "otlp", "must be otlp or none"));
    parse(r, protocol, |text| is(text, "grpc", "must be grpc"));
    let endpoint = parse(r, Some(endpoint), url);
    let ca = parse(r, certificate, authorities);
    let sampler = sampler(r, sampler_name, ratio);
    let timeout = number(r, timeout, TIMEOUT_MILLIS, LONGEST_TIMEOUT_MILLIS);
    let delay = number(r, delay, DELAY_MILLIS, LONGEST_DELAY_MILLIS);
    let queue = number(r, queue, QUEUE, LARGEST_QUEUE);
    let batch = number(r, batch, BATCH, LARGEST_QUEUE);
    Some(Traces {
        endpoint: endpoint?,
        ca,
        timeout: Duration::from_millis(timeout.into()),
        sampler,
        queue: queue as usize,
        batch: batch as usize,
        delay: Duration::from_millis(delay.into()),
    })
}

fn is(text: &str, expected: &str, description: &'static str) -> Result<(), &'static str> {
    (text == expected).then_some(()).ok_or(description)
}

/// The ratio counts only if the sampler asks for one.
fn sampler(r: &mut Reader<'_>, name: Option<Variable>, ratio: Option<Variable>) -> Sampler {
    let shares = |root: &str| match root {
        "always_on" => Ok(Some(1.0)),
        "always_off" => Ok(Some(0.0)),
        "traceidratio" => Ok(None),
        _ => {
            Err("must be always_on, always_off or traceidratio, or one of them after parentbased_")
        }
    };
    let parsed = parse(r, name, |text| {
        let root = text.strip_prefix("parentbased_");
        shares(root.unwrap_or(text)).map(|share| (root.is_some(), share))
    });
    let (is_parent_based, share) = parsed.unwrap_or((true, Some(1.0)));
    let share = share.or_else(|| parse(r, ratio, ratio_of));
    Sampler {
        is_parent_based,
        ratio: share.unwrap_or(1.0),
    }
}

fn ratio_of(text: &str) -> Result<f64, &'static str> {
    let ratio = text.parse().ok();
    ratio
        .filter(|ratio| (0.0..=1.0).contains(ratio))
        .ok_or("must be a number from 0 to 1")
}

fn number(r: &mut Reader<'_>, variable: Option<Variable>, default: u32, most: u32) -> u32 {
    let parsed = parse(r, variable, |text| {
        let number = text.parse().ok();
        number
            .filter(|number| (1..=most).contains(number))
            .ok_or_else(|| format!("must be a whole number from 1 to {most}"))
    });
    parsed.unwrap_or(default)
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

fn url(text: &str) -> Result<Url, &'static str> {
    let url = urls::base_url(text)?;
    if url.path() == "/" {
        Ok(url)
    } else {
        Err("must not contain a path: the spans are sent over gRPC")
    }
}

fn parse<T, E: Into<String>>(
    r: &mut Reader<'_>,
    variable: Option<Variable>,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Option<T> {
    let (name, text) = variable?;
    parse(&text)
        .map_err(|description| r.mistake(name, description))
        .ok()
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
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "30001"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0"),
            ("OTEL_TRACES_EXPORTER", "canary"),
            ("OTEL_TRACES_SAMPLER", "canary"),
            ("OTEL_TRACES_SAMPLER", "parentbased_canary"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0"),
            ("OTEL_BSP_SCHEDULE_DELAY", "0"),
            ("OTEL_BSP_SCHEDULE_DELAY", "5s"),
        ] {
            let mistakes = read(&[ON, (name, value)]).expect_err("a mistake");
            assert!(mistakes.contains(name), "{mistakes}");
            assert!(!mistakes.contains("canary"), "{mistakes}");
        }
        for ratio in ["canary", "1.5", "-0.1", "NaN"] {
            let sampler = ("OTEL_TRACES_SAMPLER", "traceidratio");
            let ratio = ("OTEL_TRACES_SAMPLER_ARG", ratio);
            let mistakes = read(&[ON, sampler, ratio]).expect_err("a mistake");
            assert!(mistakes.contains(ratio.0), "{mistakes}");
            assert!(!mistakes.contains("canary"), "{mistakes}");
        }
    }

    #[test]
    fn a_variable_that_does_not_count_may_hold_anything() {
        let protocol = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
        let all = [
            protocol,
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/missing"),
            ("OTEL_TRACES_EXPORTER", "none"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
            ("OTEL_BSP_SCHEDULE_DELAY", "5s"),
        ];
        let off = [&all[..], &[ON]].concat();
        assert!(read(&off).expect("good").is_none());
        let all = [&all[..2], &all[3..]].concat();
        assert!(read(&all).expect("good").is_none());
        let disabled = [&all[..], &[ON, ("OTEL_SDK_DISABLED", "true")]].concat();
        assert!(read(&disabled).expect("good").is_none());
        for (of_traces, of_all) in [
            (("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"), protocol),
            (
                ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:1"),
                (ON.0, "http://collector:4318/v1"),
            ),
            (
                ("OTEL_TRACES_SAMPLER", "always_on"),
                ("OTEL_TRACES_SAMPLER_ARG", "canary"),
            ),
        ] {
            let traces = read(&[ON, of_all, of_traces]).expect("good");
            assert!(traces.is_some(), "{of_all:?}");
        }
    }

    #[test]
    fn a_sampler_has_a_ratio_and_may_follow_the_caller() {
        for (name, ratio, is_parent_based, expected) in [
            ("", "0.5", true, 1.0),
            ("always_on", "0.5", false, 1.0),
            ("always_off", "0.5", false, 0.0),
            ("traceidratio", "0.5", false, 0.5),
            ("traceidratio", "", false, 1.0),
            ("parentbased_always_on", "", true, 1.0),
            ("parentbased_always_off", "", true, 0.0),
            ("parentbased_traceidratio\n", " 0.01\n", true, 0.01),
        ] {
            let sampler = ("OTEL_TRACES_SAMPLER", name);
            let ratio = ("OTEL_TRACES_SAMPLER_ARG", ratio);
            let traces = read(&[ON, sampler, ratio]).expect("good").expect("on");
            let expected = Sampler {
                is_parent_based,
                ratio: expected,
            };
            assert_eq!(traces.sampler, expected, "{name}");
        }
    }

    #[test]
    fn numbers_have_the_defaults_of_the_sdk() {
        let traces = read(&[ON]).expect("good").expect("on");
        let millis = Duration::from_millis;
        assert_eq!((traces.queue, traces.batch), (2048, 512));
        assert_eq!(
            (traces.timeout, traces.delay),
            (millis(10_000), millis(5000))
        );
        let set = [
            ON,
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1000"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2000\n"),
            ("OTEL_BSP_SCHEDULE_DELAY", " 7"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "9"),
        ];
        let traces = read(&set).expect("good").expect("on");
        assert_eq!((traces.timeout, traces.delay), (millis(2000), millis(7)));
        assert_eq!(traces.batch, 9);
    }
}
