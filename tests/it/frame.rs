//! The server around the services, over a real connection: request ids, errors, limits and panics.

use std::time::Duration;

use countersign::caller::Callers;
use countersign::grpc::proto::federation_service_client::FederationServiceClient;
use countersign::grpc::proto::token_service_client::TokenServiceClient;
use countersign::grpc::proto::*;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_types::StatusExt;

use crate::support::probe::{ask, assert_failed, start};

#[tokio::test]
async fn a_request_id_comes_back_with_the_answer() {
    let server = start(Callers::Open).await;
    let answer = ask(&server.channel, &[("x-request-id", "mine")])
        .await
        .expect("an answer");
    assert_eq!(
        answer.metadata().get("x-request-id").expect("an id"),
        "mine"
    );
    assert_eq!(answer.get_ref().providers[0].id, "open");
}

#[tokio::test]
async fn a_request_without_a_usable_id_is_given_one() {
    let server = start(Callers::Open).await;
    let long = "x".repeat(129);
    let mut made = Vec::new();
    for metadata in [
        vec![],
        vec![("x-request-id", long.as_str())],
        vec![("x-request-id", "two words")],
    ] {
        let answer = ask(&server.channel, &metadata).await.expect("an answer");
        made.push(
            answer
                .metadata()
                .get("x-request-id")
                .expect("an id")
                .to_str()
                .expect("ASCII")
                .to_owned(),
        );
    }
    made.dedup();
    assert!(
        made.len() == 3 && made.iter().all(|id| id.len() == 32),
        "{made:?}"
    );
}

#[tokio::test]
async fn an_error_carries_reason_retry_delay_and_request_id_but_no_cause() {
    let server = start(Callers::Open).await;
    let status = ask(&server.channel, &[("do", "fail"), ("x-request-id", "mine")])
        .await
        .expect_err("fails");
    assert_failed(&status, Code::Unavailable, "STORE_UNAVAILABLE");
    assert_eq!(
        status.metadata().get("x-request-id").expect("an id"),
        "mine"
    );
    assert_eq!(
        status
            .get_details_retry_info()
            .expect("RetryInfo")
            .retry_delay,
        Some(Duration::from_secs(1))
    );
    assert!(!format!("{status:?}").contains("canary"));
}

#[tokio::test]
async fn a_panic_ends_only_its_own_call() {
    let server = start(Callers::Open).await;
    let channel = server.channel.clone();
    let other = tokio::spawn(async move { ask(&channel, &[("do", "wait")]).await });
    server.probe.entered.notified().await;
    let status = ask(&server.channel, &[("do", "panic")])
        .await
        .expect_err("panics");
    assert_failed(&status, Code::Internal, "INTERNAL");
    server.probe.release.notify_one();
    assert!(other.await.expect("the task ends").is_ok());
}

fn assert_too_large<T>(answer: Result<T, Status>) {
    assert_failed(
        &answer.map(drop).expect_err("too large"),
        Code::OutOfRange,
        "MESSAGE_TOO_LARGE",
    );
}

#[tokio::test]
async fn a_message_larger_than_its_methods_limit_is_out_of_range() {
    let server = start(Callers::Open).await;
    let mut token = TokenServiceClient::new(server.channel.clone());
    let kib = |count: usize| "x".repeat(count * 1024);
    let verify = |size| VerifyTokenRequest {
        access_token: kib(size),
        ..VerifyTokenRequest::default()
    };
    assert_too_large(token.verify_token(verify(256)).await);
    token
        .verify_token(verify(255))
        .await
        .expect("the connection still serves");

    let batch = |size| BatchVerifyTokensRequest {
        access_tokens: vec![kib(size)],
        ..BatchVerifyTokensRequest::default()
    };
    token.batch_verify_tokens(batch(2047)).await.expect("fits");
    assert_too_large(token.batch_verify_tokens(batch(2048)).await);

    let mut federation = FederationServiceClient::new(server.channel.clone());
    let resolve = ResolvePlaceholdersRequest {
        entries: [("a".to_owned(), kib(1024))].into(),
        ..ResolvePlaceholdersRequest::default()
    };
    federation
        .resolve_placeholders(resolve)
        .await
        .expect("fits");
    let delete = DeleteTokensRequest {
        provider: kib(256),
        ..DeleteTokensRequest::default()
    };
    assert_too_large(federation.delete_tokens(delete).await);

    let check = HealthCheckRequest { service: kib(256) };
    let mut health = HealthClient::new(server.channel.clone());
    assert_too_large(health.check(check).await);
}

#[tokio::test]
async fn an_error_after_the_answer_began_has_all_its_details() {
    let server = start(Callers::Open).await;
    let status = ask(&server.channel, &[("do", "grow")])
        .await
        .expect_err("an answer too large");
    assert_failed(&status, Code::OutOfRange, "MESSAGE_TOO_LARGE");
}

/// A call by its path, with any message.
async fn call<R: prost::Message + 'static>(
    channel: &Channel,
    path: &'static str,
    message: R,
) -> Status {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.expect("ready");
    let codec = tonic_prost::ProstCodec::<R, HealthCheckResponse>::default();
    grpc.unary(
        Request::new(message),
        http::uri::PathAndQuery::from_static(path),
        codec,
    )
    .await
    .expect_err("fails")
}

#[tokio::test]
async fn unknown_methods_and_malformed_messages_have_reasons_of_their_own() {
    let server = start(Callers::Listed(vec![])).await;
    for path in [
        "/countersign.v1.AuthService/Nope",
        "/none.Such/Thing",
        "/grpc.health.v1.Health/Nope",
    ] {
        assert_failed(
            &call(&server.channel, path, HealthCheckRequest::default()).await,
            Code::Unimplemented,
            "METHOD_UNKNOWN",
        );
    }
    // Its first field is a number, but the method expects text.
    let broken = prost_types::Duration {
        seconds: 1,
        nanos: 0,
    };
    let status = call(&server.channel, "/grpc.health.v1.Health/Check", broken).await;
    assert_failed(&status, Code::InvalidArgument, "MESSAGE_MALFORMED");
}
