//! The layer around a call.

use futures_util::StreamExt as _;
use http::HeaderValue;
use http_body::Frame;
use http_body_util::BodyExt as _;
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;
use tonic::transport::server::Connected;
use tonic_types::StatusExt as _;
use tower::{ServiceExt as _, service_fn};

use super::super::call::REQUEST_ID;
use super::super::connection::{Listener, connections};
use super::*;
use crate::caller::Callers;

type FrameResult = Result<Frame<tonic::codegen::Bytes>, Status>;

fn post() -> http::request::Builder {
    let request = Request::builder().method(http::Method::POST);
    request.header("content-type", "application/grpc")
}

fn clock() -> Clock {
    Clock::manual(crate::clock::Timestamp::from_secs(1_800_000_000))
}

fn request(timeout: &'static str) -> Request<Body> {
    let request = post()
        .uri("/grpc.health.v1.Health/Check")
        .header("grpc-timeout", timeout);
    request.body(Body::empty()).expect("a request")
}

fn verify_token(usage: &Usage) -> Request<Body> {
    let request = post()
        .uri("/countersign.v1.TokenService/VerifyToken")
        .extension(usage.clone());
    request.body(Body::empty()).expect("a request")
}

fn calls<S>(callers: &Callers, handler: S) -> CallService<S> {
    let metrics = Metrics::new(&clock());
    let gate = Gate::new(callers, clock(), Arc::clone(&metrics.callers));
    CallService::new(gate, clock(), &metrics, handler)
}

async fn answer(
    timeout: &'static str,
    answer: fn() -> BoxFuture<Response<Body>, Infallible>,
) -> Response<CallBody> {
    let calls = calls(&Callers::Open, service_fn(move |_| answer()));
    calls.oneshot(request(timeout)).await.expect("infallible")
}

#[tokio::test]
async fn a_call_ends_at_the_callers_limit() {
    let response = answer("20m", || Box::pin(std::future::pending())).await;
    let status = Status::from_header_map(response.headers()).expect("a status");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(
        status.get_details_error_info().expect("ErrorInfo").reason,
        "DEADLINE_EXCEEDED"
    );
}

#[tokio::test]
async fn a_stream_that_began_outlives_the_limit() {
    fn begun() -> BoxFuture<Response<Body>, Infallible> {
        let frames = futures_util::stream::once(Box::pin(late()));
        Box::pin(ready(Ok(Response::new(Body::new(
            http_body_util::StreamBody::new(frames),
        )))))
    }
    async fn late() -> Result<Frame<tonic::codegen::Bytes>, Status> {
        tokio::time::sleep(Duration::from_millis(60)).await;
        Ok(Frame::trailers(HeaderMap::from_iter([(
            Status::GRPC_STATUS,
            0.into(),
        )])))
    }
    let response = answer("20m", begun).await;
    let trailers = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .trailers()
        .cloned()
        .expect("trailers");
    assert_eq!(trailers[Status::GRPC_STATUS], "0");
    assert_eq!(trailers[&REQUEST_ID].len(), 32);
}

async fn accepted() -> (TcpStream, impl Connected<ConnectInfo = Usage>) {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = socket.local_addr().expect("an address");
    let peer = TcpStream::connect(address).await.expect("connects");
    let listener = Listener { socket, tls: None };
    let connection = Box::pin(connections(
        listener,
        &Metrics::new(&clock()),
        Arc::default(),
    ))
    .next()
    .await;
    let connection = connection.expect("a connection");
    (peer, connection)
}

#[tokio::test]
async fn a_part_of_an_answer_counts_as_not_taken_until_it_is_dropped() {
    let (_peer, connection) = accepted().await;
    let usage = connection.connect_info();
    let answer = |_| -> BoxFuture<_, _> {
        let body = http_body_util::Full::new(tonic::codegen::Bytes::from_static(b"x"));
        Box::pin(ready(Ok(Response::new(Body::new(body)))))
    };
    let calls = calls(&Callers::Open, service_fn(answer));
    let response = calls.oneshot(verify_token(&usage)).await;
    let response = response.expect("infallible");
    let part = response.into_body().frame().await;
    assert!(part.is_some_and(|part| {
        let _kept = part.expect("a part");
        usage.next_period() && !usage.next_period()
    }));
    assert!(usage.next_period() && usage.next_period());
}

#[tokio::test]
async fn only_calls_that_were_let_in_keep_their_connection() {
    let (_peer, connection) = accepted().await;
    let usage = connection.connect_info();
    for (path, callers, kept) in [
        ("/grpc.health.v1.Health/Watch", Callers::Open, false),
        (
            "/countersign.v1.TokenService/VerifyToken",
            Callers::Listed(Vec::new()),
            false,
        ),
        (
            "/countersign.v1.TokenService/VerifyToken",
            Callers::Open,
            true,
        ),
    ] {
        let body = || {
            Ok(Response::new(Body::new(http_body_util::StreamBody::new(
                futures_util::stream::pending::<FrameResult>(),
            ))))
        };
        let handler = service_fn(move |_| -> BoxFuture<_, _> { Box::pin(ready(body())) });
        let calls = calls(&callers, handler);
        let request = post()
            .uri(path)
            .extension(usage.clone())
            .body(Body::empty())
            .expect("a request");
        let response = calls.oneshot(request).await.expect("infallible");
        assert_eq!(usage.is_open(), kept, "{path}");
        drop(response);
        assert!(!usage.is_open());
    }
}

#[tokio::test]
async fn calls_after_the_end_of_a_connection_are_refused() {
    let (_peer, connection) = accepted().await;
    let usage = connection.connect_info();
    usage.refuse_calls();
    let handler = service_fn(|_| -> BoxFuture<_, _> { unreachable!("refused before") });
    let response = calls(&Callers::Open, handler).oneshot(verify_token(&usage));
    let response = response.await.expect("infallible");
    let status = Status::from_header_map(response.headers()).expect("a status");
    let reason = status.get_details_error_info().expect("ErrorInfo").reason;
    assert_eq!(
        (status.code(), &*reason),
        (Code::Unavailable, "SHUTTING_DOWN")
    );
}

#[test]
fn the_shorter_limit_counts() {
    let limit = |value| {
        time_limit(&HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-timeout"),
            HeaderValue::from_static(value),
        )]))
    };
    assert_eq!(limit("1S"), Duration::from_secs(1));
    assert_eq!(limit("0n"), Duration::ZERO);
    for longer_or_malformed in [
        "99999999H",
        "100000000u",
        "",
        "S",
        "-1S",
        "1 S",
        "1s",
        "+1S",
        "1.5S",
    ] {
        assert_eq!(
            limit(longer_or_malformed),
            MAX_TIME,
            "{longer_or_malformed}"
        );
    }
    assert_eq!(time_limit(&HeaderMap::new()), MAX_TIME);
}
