//! Collectors of traces: how they are reached, and what is said of those that fail.

use std::net::TcpListener;
use std::time::Duration;

use countersign::grpc::proto::auth_service_client::AuthServiceClient;
use countersign::grpc::proto::*;
use tokio::time::timeout;

use crate::support::authority::{Authority, VERSION_1};
use crate::support::binary::Binary;
use crate::support::collector::{Collector, attribute};
use crate::support::process::Process;

/// A loss that was not told by then is not told at all.
const TOLD_WITHIN: Duration = Duration::from_mins(1);
const LOST: &str = "spans could not be sent";

async fn list_providers(process: &Process, count: usize) {
    for _ in 0..count {
        let mut auth = AuthServiceClient::new(process.channel.clone());
        let listed = auth.list_providers(ListProvidersRequest {}).await;
        listed.expect("an answer");
    }
}

/// How often a text is in the log.
fn count(log: &str, text: &str) -> usize {
    log.matches(text).count()
}

#[tokio::test]
async fn a_collector_that_says_nothing_holds_up_neither_calls_nor_the_stop() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", silent.local_addr().expect("an address"));
    let process = Process::start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_BSP_SCHEDULE_DELAY", "10"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "16"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "30000"),
    ])
    .await;
    list_providers(&process, 200).await;
    let log = process.stop().await;
    // The queue is full at once, but no call tells it.
    assert_eq!(count(&log, LOST), 1, "{log}");
    assert!(
        log.contains("lost=200 reason=\"the service stops\""),
        "{log}"
    );
    assert_eq!(count(&log, "OTEL"), 0, "{log}");
}

#[tokio::test]
async fn a_collector_that_is_down_is_told_once_a_minute() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", free.local_addr().expect("an address"));
    drop(free);
    let process = Process::start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_BSP_SCHEDULE_DELAY", "1"),
    ])
    .await;
    let told = async {
        while count(&process.logged(), LOST) == 0 {
            list_providers(&process, 1).await;
        }
    };
    timeout(TOLD_WITHIN, told).await.expect("told");
    list_providers(&process, 100).await;
    let log = process.stop().await;
    assert_eq!(count(&log, LOST), 2, "{log}");
    assert!(log.contains("Connection refused"), "{log}");
}

#[tokio::test]
async fn a_collector_that_speaks_tls_is_verified_with_the_authorities_of_a_file() {
    let (trusted, other) = (Authority::new(), Authority::new());
    let collector = Collector::with_certificate(&trusted.server()).await;
    for (authority, arrive) in [(&trusted, true), (&other, false)] {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), authority.pem()).expect("written");
        let before = collector.spans().len();
        let process = Process::start(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint),
            (
                "OTEL_EXPORTER_OTLP_CERTIFICATE",
                file.path().to_str().expect("text"),
            ),
        ])
        .await;
        list_providers(&process, 1).await;
        let log = process.stop().await;
        assert_eq!(collector.spans().len(), before + usize::from(arrive));
        assert_eq!(
            count(&log, "invalid peer certificate") > 0,
            !arrive,
            "{log}"
        );
    }
}

#[tokio::test]
async fn a_collector_that_asks_for_a_certificate_gets_the_one_of_the_files() {
    let (authority, other) = (Authority::new(), Authority::new());
    let collector = Collector::for_clients_of(&authority, &authority.server()).await;
    let (known, unknown) = (authority.caller(&["traced"]), other.caller(&["traced"]));
    for (own, arrive) in [(Some(&known), true), (Some(&unknown), false), (None, false)] {
        let directory = tempfile::tempdir().expect("a directory");
        let file = |name: &str, text: String| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("written");
            path.to_str().expect("text").to_owned()
        };
        let ca = file("ca", authority.pem());
        let own = own.map(|own| [file("cert", own.certificate()), file("key", own.key())]);
        let mut variables = vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str()),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", &ca),
        ];
        if let Some([certificate, key]) = &own {
            variables.extend([
                (
                    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
                    certificate.as_str(),
                ),
                ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", key),
            ]);
        }
        let before = collector.spans().len();
        let process = Process::start(&variables).await;
        list_providers(&process, 1).await;
        let log = process.stop().await;
        let spans = collector.spans().len();
        assert_eq!(spans, before + usize::from(arrive), "{log}");
        assert_eq!(count(&log, LOST), usize::from(!arrive), "{log}");
    }
}

#[tokio::test]
async fn spans_are_compressed_if_asked_for_and_texts_are_cut_at_the_limit() {
    for (compression, encoding) in [("gzip", "gzip"), ("none", "")] {
        let collector = Collector::start().await;
        let process = Process::start(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", compression),
            ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3"),
            ("OTEL_ATTRIBUTE_COUNT_LIMIT", "2"),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "deployment.environment.name=a%20test",
            ),
        ])
        .await;
        list_providers(&process, 1).await;
        process.stop().await;
        assert_eq!(collector.encoding(), encoding);
        let spans = collector.spans();
        assert_eq!(attribute(&spans[0], "rpc.method"), "cou");
        assert_eq!(spans[0].attributes.len(), 2);
        assert_eq!(spans[0].dropped_attributes_count, 1);
        let environment = collector.resource("deployment.environment.name");
        assert_eq!(environment, "a test");
    }
}

#[test]
fn files_for_the_collector_that_are_wrong_are_told_by_the_variable() {
    let (binary, authority) = (Binary::new(), Authority::new());
    let (one, other) = (authority.caller(&["traced"]), authority.caller(&["traced"]));
    binary.write("cert", &one.certificate());
    binary.write("key", &other.key());
    binary.write("old", VERSION_1);
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://localhost:4317");
    let certificate = |path| ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", path);
    let key = |path| ("OTEL_EXPORTER_OTLP_CLIENT_KEY", path);
    let both =
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE needs OTEL_EXPORTER_OTLP_CLIENT_KEY: set both";
    assert_eq!(
        binary.refused(&[endpoint, certificate("cert")]),
        format!("{both}\n")
    );
    let both =
        "OTEL_EXPORTER_OTLP_CLIENT_KEY needs OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: set both";
    assert_eq!(binary.refused(&[endpoint, key("key")]), format!("{both}\n"));
    for (files, expected) in [
        (
            ["none", "key"],
            "CERTIFICATE names a file that cannot be read",
        ),
        (["cert", "none"], "KEY names a file that cannot be read"),
        (["key", "key"], "CERTIFICATE holds no certificate in PEM"),
        (["cert", "cert"], "KEY holds no private key in PEM"),
        (["cert", "key"], "KEY does not match the first certificate"),
        (
            ["old", "key"],
            "CERTIFICATE begins with a certificate that TLS cannot use",
        ),
    ] {
        let variables = [endpoint, certificate(files[0]), key(files[1])];
        let refused = binary.refused(&variables);
        let expected = format!("OTEL_EXPORTER_OTLP_CLIENT_{expected}");
        assert!(refused.starts_with(&expected), "{refused}");
        assert_eq!(refused.lines().count(), 1, "{refused}");
    }
}

#[test]
fn files_for_tls_have_no_effect_on_a_connection_in_clear_text() {
    let (binary, authority) = (Binary::new(), Authority::new());
    let own = authority.caller(&["traced"]);
    binary.write("ca", &authority.pem());
    binary.write("cert", &own.certificate());
    binary.write("key", &own.key());
    let files = [
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "ca"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "cert"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "key"),
    ];
    for (endpoint, is_clear) in [
        ("http://collector:4317", true),
        ("https://collector:4317", false),
    ] {
        let endpoint = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)];
        let checked = binary.checked(&[&endpoint[..], &files].concat());
        for (name, _) in files {
            let warning = format!("{name} has no effect: the collector's address begins with http");
            assert_eq!(checked.contains(&warning), is_clear, "{checked}");
        }
    }
}

#[test]
fn an_address_that_is_no_url_gets_an_example_of_a_collectors() {
    let binary = Binary::new();
    let refused = binary.refused(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "canary")]);
    let expected = "OTEL_EXPORTER_OTLP_ENDPOINT must be a URL such as http://collector:4317\n";
    assert_eq!(refused, expected);
}

#[test]
fn a_wrong_variable_of_opentelemetry_stops_the_start_and_the_check_by_name() {
    let binary = Binary::new();
    let wrong = [("OTEL_EXPORTER_OTLP_ENDPOINT", "canary:4317")];
    for command in [&["serve"][..], &["config", "check"]] {
        let printed = binary.run(command, &wrong);
        assert!(!printed.succeeded, "{}", printed.out);
        assert!(printed.error.contains(wrong[0].0), "{}", printed.error);
        assert!(!printed.error.contains("canary"), "{}", printed.error);
    }
    let file = [("COUNTERSIGN_LOG", "info")];
    binary.write(".env", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1\n");
    let checked = binary.checked(&file);
    let warning = "OTEL_EXPORTER_OTLP_ENDPOINT has no effect in .env";
    assert!(checked.contains(warning), "{checked}");
}
