//! The server around the services: which calls need a caller, and which do not.

use std::time::Duration;

use countersign::caller::{Caller, Callers, Permission};
use countersign::secret::sha256;
use http::Request;
use tokio::net::TcpStream;
use tonic::Code;
use tonic::codegen::Bytes;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_types::StatusExt;

use crate::support::logs;
use crate::support::probe::{ask, assert_failed, start};

const SENT_WITHIN: Duration = Duration::from_millis(200);
const LOGGED_WITHIN: Duration = Duration::from_secs(20);

fn listed() -> Callers {
    let caller = |name: &str, token: &str, permission| Caller {
        name: name.into(),
        token_sha256: vec![sha256(token.as_bytes())],
        permissions: [permission].into_iter().collect(),
        ..Caller::default()
    };
    Callers::Listed(vec![
        caller("chat", "csc_chat", Permission::AuthSignIn),
        caller("gateway", "csc_gateway", Permission::TokenVerify),
    ])
}

#[tokio::test]
async fn only_a_known_caller_with_the_permission_gets_in() {
    let server = start(listed()).await;
    let chat = ("authorization", "Bearer csc_chat");
    let answer = ask(&server.channel, &[chat]).await.expect("an answer");
    assert_eq!(answer.get_ref().providers[0].id, "chat");
    for metadata in [
        vec![],
        vec![("authorization", "Bearer csc_none")],
        vec![chat, chat],
        vec![("x-caller", "chat")],
    ] {
        let status = ask(&server.channel, &metadata).await.expect_err("refused");
        assert_failed(&status, Code::Unauthenticated, "CALLER_UNKNOWN");
        let message = status.message();
        assert!(
            message.contains("`authorization: Bearer <token>`"),
            "{message}"
        );
    }
    let status = ask(&server.channel, &[("authorization", "Bearer csc_gateway")])
        .await
        .expect_err("refused");
    assert_failed(&status, Code::PermissionDenied, "CALLER_NOT_ALLOWED");
    assert_eq!(
        status.get_details_error_info().expect("ErrorInfo").metadata["permission"],
        "auth.sign_in"
    );
}

#[tokio::test]
async fn refused_strangers_of_one_address_are_one_line_in_the_log() {
    logs::keep();
    let server = start(listed()).await;
    for _ in 0..5 {
        let token = ("authorization", "Bearer csc_none");
        let status = ask(&server.channel, &[token]).await.expect_err("refused");
        assert_failed(&status, Code::Unauthenticated, "CALLER_UNKNOWN");
    }
    // A known caller without the permission is no stranger.
    let known = ("authorization", "Bearer csc_gateway");
    let status = ask(&server.channel, &[known]).await.expect_err("refused");
    assert_failed(&status, Code::PermissionDenied, "CALLER_NOT_ALLOWED");
    let thread = std::thread::current();
    let test = thread.name().expect("a name");
    let refused = "a call without a known credential was refused";
    assert_eq!(logs::count(&["INFO", test, refused]), 1);
    let line = [
        test,
        refused,
        "127.0.0.1",
        "/countersign.v1.AuthService/ListProviders",
    ];
    assert_eq!(logs::count(&line), 1);
}

#[tokio::test]
async fn a_peer_that_leaves_in_the_middle_of_its_request_is_no_failure_of_the_service() {
    logs::keep();
    let server = start(listed()).await;
    for (path, token) in [
        ("grpc.health.v1.Health/Check", "Bearer csc_none"),
        (
            "countersign.v1.AuthService/ListProviders",
            "Bearer csc_chat",
        ),
    ] {
        let stream = TcpStream::connect(server.address).await.expect("connects");
        let (mut requests, connection) = h2::client::handshake(stream).await.expect("a connection");
        let request = Request::post(format!("http://probe/{path}"))
            .header("content-type", "application/grpc")
            .header("authorization", token)
            .header("te", "trailers");
        let request = request.body(()).expect("a request");
        let (_answer, mut body) = requests.send_request(request, false).expect("sent");
        body.send_data(Bytes::from_static(&[0, 0, 0, 0, 9, 1]), false)
            .expect("sent");
        // It has to be on its way before the connection is dropped.
        let sent = tokio::time::timeout(SENT_WITHIN, connection).await;
        assert!(sent.is_err(), "{sent:?}");
    }
    ask(&server.channel, &[("authorization", "Bearer csc_chat")])
        .await
        .expect("an answer");
    let test = "a_peer_that_leaves_in_the_middle";
    until_logged(&[test, "the request ended before it was complete"], 2).await;
    assert_eq!(logs::count(&[test, "ERROR"]), 0);
}

/// Waits until so many lines hold these parts.
async fn until_logged(parts: &[&str], count: usize) {
    let logged = async {
        while logs::count(parts) < count {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(LOGGED_WITHIN, logged).await;
    let log = String::from_utf8(logs::kept()).expect("text");
    assert!(waited.is_ok(), "{log}");
}

#[tokio::test]
async fn health_checks_need_no_caller_and_know_only_the_services() {
    let server = start(listed()).await;
    let mut health = HealthClient::new(server.channel.clone());
    for service in [
        "",
        "countersign.v1.AuthService",
        "countersign.v1.TokenService",
    ] {
        let answer = health
            .check(HealthCheckRequest {
                service: service.into(),
            })
            .await
            .expect("an answer");
        assert_eq!(answer.get_ref().status(), ServingStatus::Serving);
    }
    let status = health
        .check(HealthCheckRequest {
            service: "none".into(),
        })
        .await
        .expect_err("no such service");
    assert_failed(&status, Code::NotFound, "SERVICE_UNKNOWN");
}

#[tokio::test]
async fn reflection_lists_the_services_and_finds_the_details_of_errors() {
    let server = start(listed()).await;
    let mut reflection = ServerReflectionClient::new(server.channel.clone());
    let ask = |message_request| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message_request),
    };
    let asked = [
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol(
            "google.rpc.ErrorInfo".into(),
        )),
    ];
    let mut answers = reflection
        .server_reflection_info(tokio_stream::iter(asked))
        .await
        .expect("a stream")
        .into_inner();
    let mut next = async || {
        answers
            .message()
            .await
            .expect("good")
            .expect("a message")
            .message_response
            .expect("a response")
    };
    let MessageResponse::ListServicesResponse(list) = next().await else {
        panic!("not a list")
    };
    let names: Vec<_> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    let ours = ["Auth", "Token", "Moderation", "Federation"];
    let ours = ours.map(|name| format!("countersign.v1.{name}Service"));
    for name in ours
        .iter()
        .map(String::as_str)
        .chain(["grpc.health.v1.Health"])
    {
        assert!(names.iter().any(|listed| listed == name), "{names:?}");
    }
    assert!(matches!(
        next().await,
        MessageResponse::FileDescriptorResponse(_)
    ));
}
