//! What the binary sends to a collector of traces, what it tells providers, and the ids in its log.

use std::net::TcpListener;
use std::time::Duration;

use countersign::grpc::proto::auth_service_client::AuthServiceClient;
use countersign::grpc::proto::token_service_client::TokenServiceClient;
use countersign::grpc::proto::*;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::Value;
use tokio::time::timeout;
use tonic::Request;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::callers::{Backend, CallersFile};
use crate::support::calls::{PASSWORD, login_request, register_request};
use crate::support::collector::{Collector, attribute, with_provider};
use crate::support::hostile::Hostile;
use crate::support::process::Process;
use crate::support::{Engine, client, on_each_engine};

/// A line that was not logged by then is not logged at all.
const ABANDONED_WITHIN: Duration = Duration::from_secs(15);
const ATTEMPTS: usize = 4;
const EMAIL: &str = "canary-ann@example.com";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const REGISTER: &str = "countersign.v1.AuthService/Register";

/// A request that is a part of the test's trace.
fn traced<T>(message: T, flags: &str) -> Request<T> {
    let mut request = Request::new(message);
    let traceparent = format!("00-{TRACE}-{PARENT}-{flags}");
    let metadata = request.metadata_mut();
    metadata.insert("traceparent", traceparent.parse().expect("a value"));
    metadata.insert("tracestate", "vendor=1".parse().expect("a value"));
    metadata.insert("baggage", "user=canary-baggage".parse().expect("a value"));
    metadata.insert("x-request-id", "request-1".parse().expect("a value"));
    request
}

fn auth(process: &Process) -> AuthServiceClient<Channel> {
    AuthServiceClient::new(process.channel.clone())
}

async fn register(process: &Process, flags: &str) {
    let request = traced(register_request(EMAIL), flags);
    let registered = auth(process).register(request).await;
    registered.expect("registered");
}

/// The only span of this name.
fn span<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut found = spans.iter().filter(|span| span.name == name);
    let (first, second) = (found.next(), found.next());
    assert!(second.is_none(), "two spans {name}");
    first.unwrap_or_else(|| panic!("no {name}: {:?}", names(spans)))
}

fn names(spans: &[Span]) -> Vec<&str> {
    spans.iter().map(|span| span.name.as_str()).collect()
}

#[tokio::test]
async fn a_call_is_a_span_of_its_callers_trace_and_its_statements_are_spans_below() {
    on_each_engine(async |engine| {
        let collector = Collector::start().await;
        let settings = engine.settings();
        let mut variables: Vec<_> = settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        variables.extend([
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str()),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-collector-key=a%20key"),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "deployment.environment.name=test",
            ),
        ]);
        let process = Process::start(&variables).await;
        register(&process, "01").await;
        process.stop().await;

        let spans = collector.spans();
        let call = span(&spans, REGISTER);
        assert_eq!(hex::encode(&call.trace_id), TRACE);
        assert_eq!(hex::encode(&call.parent_span_id), PARENT);
        assert_eq!(call.trace_state, "vendor=1");
        assert_eq!(call.kind(), SpanKind::Server);
        assert_eq!(attribute(call, "rpc.system.name"), "grpc");
        assert_eq!(attribute(call, "rpc.method"), REGISTER);
        assert_eq!(attribute(call, "rpc.response.status_code"), "OK");

        let insert = span(&spans, "users::INSERT");
        assert_eq!(insert.parent_span_id, call.span_id);
        assert_eq!(insert.trace_id, call.trace_id);
        assert_eq!(insert.kind(), SpanKind::Client);
        assert_eq!(attribute(insert, "db.operation.name"), "INSERT");
        let system = attribute(insert, "db.system.name");
        assert!(["sqlite", "postgresql"].contains(&system.as_str()));
        assert!(names(&spans).contains(&"COMMIT"));
        // Work of the start and of background tasks is no part of a call.
        assert!(spans.iter().all(|span| span.trace_id == call.trace_id));

        assert_eq!(collector.resource("service.name"), "countersign");
        assert_eq!(collector.resource("deployment.environment.name"), "test");
        assert_eq!(collector.key(), "a key");
        assert!(spans.iter().all(|span| span.events.is_empty()));
        for canary in ["canary", PASSWORD, "203.0.113.7", "request-1"] {
            assert!(!collector.content().contains(canary), "{canary}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_call_without_a_trace_begins_one_and_a_failed_one_says_how() {
    let collector = Collector::start().await;
    let process = Process::start(&[
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &collector.endpoint),
        ("OTEL_SERVICE_NAME", "identity"),
    ])
    .await;
    let mut request = Request::new(RegisterRequest::default());
    let malformed = format!("00-{TRACE}-{PARENT}");
    request
        .metadata_mut()
        .insert("traceparent", malformed.parse().expect("a value"));
    auth(&process).register(request).await.expect_err("invalid");
    process.stop().await;
    let spans = collector.spans();
    let call = span(&spans, REGISTER);
    assert_ne!(hex::encode(&call.trace_id), TRACE);
    assert!(call.parent_span_id.is_empty());
    let code = attribute(call, "rpc.response.status_code");
    assert_eq!(code, "INVALID_ARGUMENT");
    // The caller's mistake is no failure of the service.
    assert_eq!(attribute(call, "error.type"), "");
    assert_eq!(collector.resource("service.name"), "identity");
}

fn begin_login() -> BeginFederatedLoginRequest {
    BeginFederatedLoginRequest {
        provider: "openid".to_owned(),
        client: client(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_provider_is_told_the_trace_of_the_call_that_asks_it() {
    let (collector, provider) = (Collector::start().await, Hostile::start().await);
    let process = with_provider(&provider.issuer, &collector, &[]).await;
    let mut auth = auth(&process);
    let begun = auth
        .begin_federated_login(traced(begin_login(), "01"))
        .await;
    let begun = begun.expect("begun").into_inner();
    provider.answer(400, r#"{"error":"invalid_grant"}"#);
    let complete = CompleteFederatedLoginRequest {
        provider: "openid".to_owned(),
        state: begun.state.clone(),
        binding_token: begun.binding_token,
        code: "canary-code".to_owned(),
        client: client(),
        ..Default::default()
    };
    let complete = traced(complete, "00");
    let completed = auth.complete_federated_login(complete).await;
    completed.expect_err("refused");
    process.stop().await;

    let spans = collector.spans();
    let call = span(&spans, "countersign.v1.AuthService/BeginFederatedLogin");
    let asked = span(&spans, "GET");
    assert_eq!(asked.parent_span_id, call.span_id);
    assert_eq!(asked.kind(), SpanKind::Client);
    assert_eq!(
        attribute(asked, "url.full"),
        format!("{}/.well-known/openid-configuration", provider.issuer)
    );
    assert_eq!(attribute(asked, "server.address"), "127.0.0.1");
    assert_eq!(attribute(asked, "http.response.status_code"), "200");

    let heads = provider.heads();
    let told = format!("traceparent: 00-{TRACE}-{}-01", hex::encode(&asked.span_id));
    assert!(heads[0].contains(&told), "{heads:?}");
    assert!(heads[0].contains("tracestate: vendor=1"), "{heads:?}");
    // The other call is not sampled: the provider is told so, and nothing of it is sent.
    let exchange = heads.last().expect("a request");
    assert!(exchange.starts_with("POST /token "), "{exchange}");
    let unsampled = exchange
        .lines()
        .find(|line| line.starts_with("traceparent"));
    let unsampled = unsampled.expect("a traceparent");
    assert!(unsampled.starts_with(&format!("traceparent: 00-{TRACE}-")));
    assert!(unsampled.ends_with("-00"), "{unsampled}");
    assert!(!names(&spans).contains(&"POST"));
    assert!(heads.iter().all(|head| !head.contains("baggage")));
    for canary in ["canary", &begun.state] {
        assert!(!collector.content().contains(canary), "{canary}");
    }
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_is_a_failure_in_both_spans() {
    let collector = Collector::start().await;
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let process = with_provider(&format!("http://{address}"), &collector, &[]).await;
    let begun = auth(&process).begin_federated_login(begin_login()).await;
    begun.expect_err("unavailable");
    process.stop().await;
    let spans = collector.spans();
    for (name, kind) in [
        (
            "countersign.v1.AuthService/BeginFederatedLogin",
            "UNAVAILABLE",
        ),
        ("GET", "unreachable"),
    ] {
        let span = span(&spans, name);
        assert_eq!(attribute(span, "error.type"), kind);
        let status = span.status.clone().expect("a status");
        assert_eq!(status.code(), StatusCode::Error);
        assert_eq!(status.message, "");
    }
}

#[tokio::test]
async fn the_sampler_decides_what_is_sent() {
    for (variables, flags) in [
        ([("OTEL_TRACES_SAMPLER", "always_off"), ("A", "")], "01"),
        (
            [
                ("OTEL_TRACES_SAMPLER", "traceidratio"),
                // The line break of a mounted file does not change the number.
                ("OTEL_TRACES_SAMPLER_ARG", "0\n"),
            ],
            "01",
        ),
        ([("OTEL_SDK_DISABLED", "true"), ("A", "")], "01"),
    ] {
        let collector = Collector::start().await;
        let mut variables = variables.to_vec();
        variables.push(("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint));
        let process = Process::start(&variables).await;
        register(&process, flags).await;
        process.stop().await;
        assert!(collector.spans().is_empty(), "{variables:?}");
    }
}

#[tokio::test]
async fn health_and_strangers_begin_no_trace() {
    let collector = Collector::start().await;
    let callers = tempfile::NamedTempFile::new().expect("a file");
    let digest = "0".repeat(64);
    let listed = format!(
        "callers:\n  - name: a\n    token_sha256: [{digest}]\n    permissions: [token.verify]\n"
    );
    std::fs::write(callers.path(), listed).expect("written");
    let path = callers.path().to_str().expect("text");
    let process = Process::start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint),
        ("COUNTERSIGN_CALLERS", path),
    ])
    .await;
    let mut health = HealthClient::new(process.channel.clone());
    let check = traced(HealthCheckRequest::default(), "01");
    health.check(check).await.expect("healthy");
    let mut tokens = TokenServiceClient::new(process.channel.clone());
    let verify = traced(VerifyTokenRequest::default(), "01");
    tokens.verify_token(verify).await.expect_err("unknown");
    process.stop().await;
    assert!(collector.spans().is_empty());
}

#[tokio::test]
async fn lines_of_every_layer_carry_the_ids_of_their_call() {
    for format in ["json", "text"] {
        let process = Process::start(&[
            ("COUNTERSIGN_LOG_FORMAT", format),
            ("COUNTERSIGN_LOG", "debug"),
        ])
        .await;
        register(&process, "00").await;
        let log = process.stop().await;
        let line = |text: &str| {
            let mut lines = log.lines().filter(|line| line.contains(text));
            lines.next().unwrap_or_else(|| panic!("no {text}: {log}"))
        };
        for within in ["an account was made", "answered"] {
            let line = line(within);
            if format == "json" {
                let line: Value = serde_json::from_str(line).expect("JSON");
                assert_eq!(line["request_id"], "request-1");
                assert_eq!(line["trace_id"], TRACE);
            } else {
                let ids = format!(r#"request_id="request-1" trace_id="{TRACE}""#);
                assert!(line.ends_with(&ids), "{line}");
            }
        }
        assert!(!line("serving").contains("request_id"));
    }
}

#[tokio::test]
async fn the_end_of_an_abandoned_sign_in_carries_the_ids_of_its_call() {
    on_each_engine(async |engine| {
        let settings = engine.settings();
        let settings: Vec<_> = settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let process = Process::start(&settings).await;
        register(&process, "00").await;
        // On a busy machine a caller's time may be over before the service has begun.
        for attempt in 0..ATTEMPTS {
            let id = format!("abandoned-{attempt}");
            if is_abandoned_with_its_id(engine, &process, &id).await {
                process.stop().await;
                return;
            }
        }
        panic!("no line with the id: {}", process.logged());
    })
    .await;
}

/// Gives up a sign-in before its session can be written; whether a line of the log then tells so with
/// the call's id.
async fn is_abandoned_with_its_id(engine: &Engine, process: &Process, id: &str) -> bool {
    let held = engine.hold().await;
    let mut login = Request::new(login_request(EMAIL, PASSWORD));
    let value = id.parse().expect("a value");
    login.metadata_mut().insert("x-request-id", value);
    login.set_timeout(Duration::from_secs(1));
    let answer = auth(process).login(login).await;
    answer.expect_err("too late");
    held.release().await;
    let id = format!("request_id=\"{id}\"");
    let told = async {
        let is_told = |line: &str| line.contains("caller gave up") && line.contains(&id);
        while !process.logged().lines().any(is_told) {
            tokio::task::yield_now().await;
        }
    };
    timeout(ABANDONED_WITHIN, told).await.is_ok()
}

#[tokio::test]
async fn calls_of_a_caller_without_the_permission_are_spans_and_one_line_with_ids() {
    let backend = Backend::new("chat", &["token.verify"]);
    let file = CallersFile::new(&[&backend]);
    let collector = Collector::start().await;
    let process = Process::start(&[
        ("COUNTERSIGN_CALLERS", file.path()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint),
    ])
    .await;
    for id in ["refused-1", "refused-2"] {
        let mut request = backend.sends(register_request(EMAIL));
        let id = id.parse().expect("a value");
        request.metadata_mut().insert("x-request-id", id);
        auth(&process).register(request).await.expect_err("refused");
    }
    let log = process.stop().await;
    let spans = collector.spans();
    assert_eq!(names(&spans), [REGISTER, REGISTER]);
    let code = attribute(&spans[0], "rpc.response.status_code");
    assert_eq!(code, "PERMISSION_DENIED");
    let lines = log.lines();
    let mut lines = lines.filter(|line| line.contains("a caller was refused"));
    let line = lines.next().expect("a line");
    let trace_id = hex::encode(&spans[0].trace_id);
    let ids = format!(r#"request_id="refused-1" trace_id="{trace_id}""#);
    assert!(line.ends_with(&ids), "{line}");
    assert_eq!(lines.next(), None);
}
