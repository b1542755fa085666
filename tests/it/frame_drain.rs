//! The server around the services: how it stops.

use countersign::caller::Callers;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::probe::{ask, assert_failed, start};

#[tokio::test]
async fn a_drain_informs_watchers_and_finishes_accepted_calls() {
    let server = start(Callers::Open).await;
    let mut health = HealthClient::new(server.channel.clone());
    let mut watch = health
        .watch(HealthCheckRequest::default())
        .await
        .expect("a stream")
        .into_inner();
    assert_eq!(
        watch
            .message()
            .await
            .expect("good")
            .expect("a message")
            .status(),
        ServingStatus::Serving
    );
    let channel = server.channel.clone();
    let slow = tokio::spawn(async move { ask(&channel, &[("do", "wait")]).await });
    server.probe.entered.notified().await;

    server.stop.send(()).expect("still serving");
    assert_eq!(
        watch
            .message()
            .await
            .expect("good")
            .expect("a message")
            .status(),
        ServingStatus::NotServing
    );
    assert_failed(
        &watch.message().await.expect_err("the stream ends"),
        Code::Unavailable,
        "SHUTTING_DOWN",
    );
    assert!(!server.served.is_finished());
    server.probe.release.notify_one();
    assert!(slow.await.expect("the task ends").is_ok());
    server
        .served
        .await
        .expect("the server ends")
        .expect("in order");
}

#[tokio::test]
async fn a_stopped_server_accepts_no_call() {
    let server = start(Callers::Open).await;
    server.stop.send(()).expect("still serving");
    server
        .served
        .await
        .expect("the server ends")
        .expect("in order");
    let status = ask(&server.channel, &[])
        .await
        .expect_err("nobody is there");
    assert_eq!(status.code(), Code::Unavailable);
}
