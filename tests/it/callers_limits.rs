//! Callers with limits on how many calls they may make.

use std::time::Duration;

use countersign::grpc::proto::*;
use http::Request;
use tokio::net::TcpStream;
use tonic::{Code, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use crate::callers::CALLERS;
use crate::support::callers::{Backend, CallersFile};
use crate::support::calls::retry_after;
use crate::support::{World, logs, on_each_engine, reason};

async fn ask(world: &World<'_>, backend: &Backend) -> Result<(), Status> {
    let request = backend.sends(ListProvidersRequest {});
    world.auth().list_providers(request).await.map(drop)
}

async fn watch(
    world: &World<'_>,
    backend: &Backend,
) -> Result<Streaming<WatchRevocationsResponse>, Status> {
    let request = backend.sends(WatchRevocationsRequest::default());
    let watching = world.tokens().watch_revocations(request).await?;
    Ok(watching.into_inner())
}

/// The limit, and the wait, that a call was refused with.
fn limited(answer: Result<(), Status>, expected: &str) -> (String, Duration) {
    let status = answer.expect_err("refused");
    assert_eq!(
        reason(&status),
        (Code::ResourceExhausted, expected.to_owned())
    );
    let info = status.get_details_error_info().expect("ErrorInfo");
    let wait = retry_after(&status).expect("RetryInfo");
    (info.metadata["limit"].clone(), wait)
}

fn refusals(world: &World<'_>, limit: &str) -> u64 {
    let labels = format!("limit=\"{limit}\"");
    world.count("countersign_caller_limit_refusals_total", &labels)
}

#[tokio::test]
async fn a_caller_begins_no_more_calls_than_its_rate_and_burst_allow() {
    let limited_one =
        Backend::new("limited", &["auth.sign_in"]).limits("{ per_second: 2, burst: 3 }");
    let poor = Backend::new("poor", &[]).limits("{ per_second: 1 }");
    let free = Backend::new("free", &["auth.sign_in"]);
    on_each_engine(async |engine| {
        let file = CallersFile::new(&[&limited_one, &poor, &free]);
        let world = World::start(engine, &[(CALLERS, file.path())]).await;
        let half = Duration::from_millis(500);
        let refused = ("per_second".to_owned(), half);
        for _ in 0..3 {
            ask(&world, &limited_one).await.expect("let in");
        }
        for _ in 0..2 {
            assert_eq!(
                limited(ask(&world, &limited_one).await, "LIMIT_EXCEEDED"),
                refused
            );
            ask(&world, &free).await.expect("has no limits");
            // What a caller may not do does not count, and is told as it was.
            let denied = ask(&world, &poor).await.expect_err("denied");
            assert_eq!(denied.code(), Code::PermissionDenied);
        }
        let mut health = HealthClient::new(world.channel());
        health
            .check(limited_one.sends(HealthCheckRequest::default()))
            .await
            .expect("is public");

        // A change of the file gives nothing back.
        file.write(&[&limited_one, &free]);
        world.reload().await;
        assert_eq!(
            limited(ask(&world, &limited_one).await, "LIMIT_EXCEEDED"),
            refused
        );
        world.clock.advance(half);
        ask(&world, &limited_one).await.expect("let in");
        assert_eq!(
            limited(ask(&world, &limited_one).await, "LIMIT_EXCEEDED"),
            refused
        );
        assert_eq!(
            (
                refusals(&world, "per_second"),
                refusals(&world, "concurrent")
            ),
            (4, 0)
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn the_refusals_of_a_limited_caller_are_one_line_in_the_log_across_a_reload() {
    logs::keep();
    let engine = crate::support::Engine::sqlite();
    let noisy = Backend::new("noisy-caller", &["auth.sign_in"]).limits("{ per_second: 1 }");
    let other = Backend::new("other", &["auth.sign_in"]);
    let file = CallersFile::new(&[&noisy]);
    let world = World::start(&engine, &[(CALLERS, file.path())]).await;
    ask(&world, &noisy).await.expect("let in");
    for _ in 0..3 {
        ask(&world, &noisy).await.expect_err("refused");
    }
    file.write(&[&noisy, &other]);
    world.reload().await;
    ask(&world, &noisy).await.expect_err("refused");
    assert_eq!(
        logs::count(&["has reached a limit", "noisy-caller", "per_second"]),
        1
    );
    world.end().await;
}

#[tokio::test]
async fn an_open_stream_counts_among_the_open_calls_of_its_caller() {
    let watcher =
        Backend::new("watcher", &["token.verify", "auth.sign_in"]).limits("{ concurrent: 2 }");
    let free = Backend::new("free", &["auth.sign_in"]);
    on_each_engine(async |engine| {
        let file = CallersFile::new(&[&watcher]);
        let world = World::start(engine, &[(CALLERS, file.path())]).await;
        let refused = ("concurrent".to_owned(), Duration::from_secs(1));
        let mut streams = Vec::new();
        for _ in 0..2 {
            streams.push(watch(&world, &watcher).await.expect("let in"));
        }
        assert_eq!(limited(ask(&world, &watcher).await, "BUSY"), refused);
        assert_eq!(
            limited(watch(&world, &watcher).await.map(drop), "BUSY"),
            refused
        );
        file.write(&[&watcher, &free]);
        world.reload().await;
        assert_eq!(limited(ask(&world, &watcher).await, "BUSY"), refused);
        ask(&world, &free).await.expect("has no limits");
        streams.pop();
        // The service learns of the end of a stream a moment later.
        while ask(&world, &watcher).await.is_err() {
            tokio::task::yield_now().await;
        }
        assert!(refusals(&world, "concurrent") >= 3);
        drop(streams);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_call_beyond_a_limit_is_refused_before_its_request_has_come() {
    let engine = crate::support::Engine::sqlite();
    let limited = Backend::new("limited", &["auth.sign_in"]).limits("{ per_second: 1 }");
    let file = CallersFile::new(&[&limited]);
    let world = World::start(&engine, &[(CALLERS, file.path())]).await;
    ask(&world, &limited).await.expect("let in");
    let sent = limited.sends(());
    let token = sent.metadata().get("authorization").expect("a token");
    let stream = TcpStream::connect(world.address()).await.expect("connects");
    let (mut requests, connection) = h2::client::handshake(stream).await.expect("a connection");
    let connection = tokio::spawn(connection);
    let request = Request::post("http://probe/countersign.v1.AuthService/ListProviders")
        .header("content-type", "application/grpc")
        .header("authorization", token.to_str().expect("ASCII"))
        .header("te", "trailers");
    let request = request.body(()).expect("a request");
    let (answer, _body_that_never_comes) = requests.send_request(request, false).expect("sent");
    let answer = answer.await.expect("an answer");
    let status = Status::from_header_map(answer.headers()).expect("a status");
    assert_eq!(
        reason(&status),
        (Code::ResourceExhausted, "LIMIT_EXCEEDED".to_owned())
    );
    connection.abort();
    world.end().await;
}
