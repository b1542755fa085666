use std::time::Duration;

use super::super::Config;
use super::super::env::Env;
use super::*;

const ON: (&str, &str) = (Traces::ENDPOINT, "http://collector:4317");

fn read(pairs: &[(&str, &str)]) -> Result<Option<Traces>, String> {
    let env = Env::from_pairs(pairs.iter().copied());
    let (config, report) = Config::read(&env);
    let warnings = report.finish();
    warnings
        .map(|_| config.traces.map(|traces| *traces))
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
    assert_eq!(traces.collector.endpoint.as_str(), "http://collector:4317/");
    let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces:1");
    let traces = read(&[ON, own]).expect("good").expect("on");
    assert_eq!(traces.collector.endpoint.as_str(), "https://traces:1/");
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
        ("OTEL_BSP_EXPORT_TIMEOUT", "30001"),
        ("OTEL_SDK_DISABLED", "canary"),
        ("OTEL_CONFIG_FILE", "canary"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "canary"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "canary"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "key=%canary"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "ca nary=1"),
        ("OTEL_RESOURCE_ATTRIBUTES", "canary"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "canary"),
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "-1"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "canary"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "canary"),
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
    assert_eq!((traces.limits.queue, traces.limits.batch), (2048, 512));
    assert_eq!(
        (traces.collector.timeout, traces.limits.delay),
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
    assert_eq!(
        (traces.collector.timeout, traces.limits.delay),
        (millis(2000), millis(7))
    );
    assert_eq!(traces.limits.batch, 9);
}

#[test]
fn words_count_in_upper_and_lower_case() {
    let traces = read(&[
        ON,
        ("OTEL_TRACES_EXPORTER", "OTLP"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "GRPC"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "GZIP"),
        ("OTEL_TRACES_SAMPLER", "ALWAYS_OFF"),
    ]);
    let traces = traces.expect("good").expect("on");
    assert!(traces.collector.has_gzip);
    assert_eq!(traces.sampler.ratio.to_bits(), 0.0_f64.to_bits());
    let none = ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "None");
    let all = ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip");
    let traces = read(&[ON, none, all]).expect("good").expect("on");
    assert!(!traces.collector.has_gzip);
    assert!(
        read(&[ON, ("OTEL_TRACES_EXPORTER", "None")])
            .expect("good")
            .is_none()
    );
}

#[test]
fn the_limits_of_spans_take_precedence_over_those_of_all_attributes() {
    let traces = read(&[ON]).expect("good").expect("on");
    let limits = |traces: &Traces| (traces.limits.attributes, traces.limits.value_length);
    assert_eq!(limits(&traces), (128, None));
    let all = [
        ON,
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "3"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "0"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "0"),
    ];
    assert_eq!(
        limits(&read(&all).expect("good").expect("on")),
        (3, Some(0))
    );
    let of_spans = [
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "4"),
        ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "5"),
    ];
    let all = [&all[..], &of_spans].concat();
    assert_eq!(
        limits(&read(&all).expect("good").expect("on")),
        (4, Some(5))
    );
}

/// The warnings of these variables.
fn warnings(pairs: &[(&str, &str)]) -> (bool, Vec<String>) {
    let env = Env::from_pairs(pairs.iter().copied());
    let (config, report) = Config::read(&env);
    let warnings = report.finish().expect("good").into_iter();
    let warnings = warnings.filter(|warning| warning.contains("OTEL_"));
    (config.trace_context, warnings.collect())
}

#[test]
fn only_the_propagator_of_w3c_is_followed_and_others_are_warned_of() {
    for (text, is_on, warned) in [
        ("", true, 0),
        ("tracecontext", true, 0),
        ("TraceContext, tracecontext", true, 0),
        ("none", false, 0),
        ("tracecontext,none", false, 0),
        ("tracecontext,baggage", true, 1),
        ("b3,jaeger", false, 2),
        ("canary", false, 1),
    ] {
        let (trace_context, warnings) = warnings(&[("OTEL_PROPAGATORS", text)]);
        assert_eq!((trace_context, warnings.len()), (is_on, warned), "{text}");
        for warning in warnings {
            assert!(warning.starts_with("OTEL_PROPAGATORS names "), "{warning}");
            assert!(!warning.contains("canary"), "{warning}");
        }
    }
}

#[test]
fn a_variable_without_effect_is_warned_of_by_name() {
    for (name, text, expected) in [
        ("OTEL_METRICS_EXPORTER", "otlp", "metrics are not sent"),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "canary", "log lines go"),
        (
            "OTEL_EXPORTER_OTLP_INSECURE",
            "true",
            "begins with https://",
        ),
        ("OTEL_TRACES_SAMPLERS", "canary", "does not know it"),
    ] {
        let (_, warnings) = warnings(&[(name, text)]);
        let [warning] = &warnings[..] else {
            panic!("{warnings:?}")
        };
        let begin = format!("{name} has no effect: ");
        assert!(warning.starts_with(&begin), "{warning}");
        assert!(warning.contains(expected), "{warning}");
        assert!(!warning.contains("canary"), "{warning}");
    }
    let quiet = [
        ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
        ("COUNTERSIGN_INSECURE_OPEN", "true"),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_LOGS_EXPORTER", "None"),
        ("OTEL_LOG_LEVEL", " "),
        ("OTEL_COLLECTOR_SERVICE_HOST", "10.0.0.2"),
        ("OTEL_COLLECTOR_PORT_4317_TCP_ADDR", "10.0.0.2"),
        ("OTEL_RESOURCE_ATTRIBUTES_POD_NAME", "chat-0"),
    ];
    assert_eq!(warnings(&quiet).1, Vec::<String>::new());
}
