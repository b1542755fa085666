//! Collectors of traces that fail: they hold nothing up, and the log says what is lost.

use std::net::TcpListener;
use std::time::Duration;

use countersign::grpc::proto::auth_service_client::AuthServiceClient;
use countersign::grpc::proto::*;
use tokio::time::timeout;

use crate::support::authority::Authority;
use crate::support::binary::Binary;
use crate::support::collector::Collector;
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
