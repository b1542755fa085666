//! The server around the services: how it stops.

use std::net::SocketAddr;

use countersign::caller::Callers;
use h2::client::{Connection, SendRequest};
use http::Request;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tonic::Code;
use tonic::codegen::Bytes;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::logs;
use crate::support::probe::{ask, assert_failed, start};

/// A connection on which a call was answered, and whose client says nothing since.
async fn fallen_silent(address: SocketAddr) -> (SendRequest<Bytes>, Connection<TcpStream>) {
    let stream = TcpStream::connect(address).await.expect("connects");
    let (mut send, mut connection) = h2::client::handshake(stream).await.expect("a connection");
    let request = Request::post("http://probe/countersign.v1.AuthService/ListProviders")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let request = request.body(()).expect("a request");
    let (answer, mut body) = send.send_request(request, false).expect("sent");
    body.send_data(Bytes::from_static(&[0; 5]), true)
        .expect("sent");
    let whole = async {
        let mut body = answer.await.expect("an answer").into_body();
        while body.data().await.is_some() {}
        assert!(body.trailers().await.expect("good").is_some());
    };
    tokio::select! {
        () = whole => {}
        ended = &mut connection => panic!("{ended:?}"),
    }
    (send, connection)
}

#[tokio::test]
async fn clients_that_say_nothing_do_not_hold_up_the_stop() {
    logs::keep();
    let server = start(Callers::Open).await;
    let silent = TcpStream::connect(server.address).await.expect("connects");
    let mut stranger = TcpStream::connect(server.address).await.expect("connects");
    // With empty settings. It takes the PING of the stop, and does not answer.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    stranger.write_all(preface).await.expect("sent");
    let caller = fallen_silent(server.address).await;
    server.stop.send(()).expect("still serving");
    let ended = server.served.await.expect("the server ends");
    ended.expect("in order");
    let overdue = ["clients_that_say_nothing", "calls were still in flight"];
    assert_eq!(logs::count(&overdue), 0);
    drop((silent, stranger, caller));
}

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
