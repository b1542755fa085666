//! The server around the services: what callers may occupy, and that it answers others meanwhile.

use std::pin::Pin;
use std::time::Duration;

use countersign::caller::Callers;
use futures_util::future::{join_all, select_all};
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Method, Request, StatusCode};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::codegen::Bytes;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

use crate::support::calls::retry_after;
use crate::support::probe::{LARGE, Running, ask, assert_failed, start};

const LIST: &str = "/countersign.v1.AuthService/ListProviders";
const BATCH: &str = "/countersign.v1.TokenService/BatchVerifyTokens";
/// The bytes of all large messages that the service holds.
const MEMORY: usize = 32 * 1024 * 1024;
const AT_WORK: usize = 512;

/// A connection whose windows stay at 64 KiB, because nothing is read.
async fn connect(server: &Running) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(server.address).await.expect("connects");
    let (send, connection) = h2::client::handshake(stream).await.expect("a connection");
    tokio::spawn(async move {
        let _ends_with_the_server = connection.await;
    });
    send
}

fn request(path: &str, what: &str) -> Request<()> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("do", what);
    request.body(()).expect("a request")
}

/// The code of an answer that was refused. It is not ready if the answer waits to be read.
async fn refusal(answer: ResponseFuture) -> String {
    let (head, mut body) = answer.await.expect("an answer").into_parts();
    let code = |headers: &HeaderMap| {
        let code = headers.get("grpc-status")?;
        Some(code.to_str().expect("a number").to_owned())
    };
    if let Some(code) = code(&head.headers) {
        return code;
    }
    if std::future::poll_fn(|cx| body.poll_data(cx))
        .await
        .is_some()
    {
        std::future::pending::<()>().await;
    }
    let trailers = body.trailers().await.expect("read").expect("trailers");
    code(&trailers).expect("a code")
}

/// Waits until so many of the answers are refused, and returns the others.
async fn refused(
    count: usize,
    answers: Vec<ResponseFuture>,
) -> Vec<Pin<Box<impl Future<Output = String>>>> {
    let mut waiting: Vec<_> = answers
        .into_iter()
        .map(|answer| Box::pin(refusal(answer)))
        .collect();
    for _ in 0..count {
        let (code, _, others) = select_all(waiting).await;
        assert_eq!(code, (Code::ResourceExhausted as i32).to_string());
        waiting = others;
    }
    waiting
}

async fn assert_serves_small_calls(server: &Running) {
    ask(&server.another().await, &[]).await.expect("an answer");
}

#[tokio::test]
async fn answers_that_nobody_reads_take_little_memory_and_other_calls_go_on() {
    let server = start(Callers::Open).await;
    ask(&server.channel, &[("do", "large")])
        .await
        .expect("there is room");
    let (mut answers, mut connections) = (Vec::new(), Vec::new());
    for _ in 0..8 {
        let mut send = connect(&server).await.ready().await.expect("ready");
        for _ in 0..8 {
            let (answer, mut body) = send
                .send_request(request(LIST, "large"), false)
                .expect("sent");
            body.send_data(Bytes::from_static(&[0; 5]), true)
                .expect("an empty message");
            answers.push(answer);
        }
        connections.push(send);
    }
    let _unread = refused(answers.len() - MEMORY / LARGE, answers).await;
    assert_serves_small_calls(&server).await;
    let status = ask(&server.channel, &[("do", "large")])
        .await
        .expect_err("no room");
    assert_failed(&status, Code::ResourceExhausted, "BUSY");
    assert_eq!(retry_after(&status), Some(Duration::from_secs(1)));
}

#[tokio::test]
async fn requests_that_do_not_end_take_little_memory_and_other_calls_go_on() {
    let server = start(Callers::Open).await;
    let (mut answers, mut bodies) = (Vec::new(), Vec::new());
    let mut body = vec![0, 0, 0x1f, 0, 0];
    body.resize(0x1e_0000, 0x0a);
    let body = Bytes::from(body);
    for _ in 0..8 {
        let send = connect(&server).await;
        for _ in 0..4 {
            let mut send = send.clone().ready().await.expect("ready");
            let (answer, upload) = send.send_request(request(BATCH, ""), false).expect("sent");
            bodies.push(tokio::spawn(send_all(upload, body.clone())));
            answers.push(answer);
        }
    }
    let _open = refused(answers.len() - MEMORY / body.len(), answers).await;
    assert_serves_small_calls(&server).await;
}

#[tokio::test]
async fn little_of_a_request_is_received_before_it_is_read() {
    let server = start(Callers::Open).await;
    let send = connect(&server).await;
    let mut first = send.clone().ready().await.expect("ready");
    let (answer, mut body) = first.send_request(request(LIST, ""), false).expect("sent");
    body.send_data(Bytes::from_static(&[0; 5]), true)
        .expect("an empty message");
    // The server has said what its windows are.
    answer.await.expect("an answer");
    let mut second = send.ready().await.expect("ready");
    let (_answer, mut upload) = second
        .send_request(request(BATCH, ""), false)
        .expect("sent");
    upload.reserve_capacity(MEMORY);
    let room = std::future::poll_fn(|cx| upload.poll_capacity(cx)).await;
    let room = room.expect("open").expect("open");
    assert!((1..=256 * 1024).contains(&room), "{room} bytes");
}

/// Sends what the windows allow, and leaves the request open.
async fn send_all(mut stream: h2::SendStream<Bytes>, mut data: Bytes) -> h2::SendStream<Bytes> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let Some(Ok(room)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else {
            return stream;
        };
        if stream.send_data(data.split_to(room), false).is_err() {
            return stream;
        }
    }
    stream
}

#[tokio::test]
async fn calls_beyond_those_at_work_are_refused_even_if_the_others_were_given_up() {
    let server = start(Callers::Open).await;
    let mut left = AT_WORK;
    while left > 0 {
        let count = left.min(100);
        let channel = server.another().await;
        let calls = join_all((0..count).map(|_| ask(&channel, &[("do", "detach")])));
        let begun = server
            .probe
            .begun
            .acquire_many(u32::try_from(count).expect("few"));
        // The calls are given up once they have begun; their work goes on.
        tokio::select! {
            answers = calls => panic!("{answers:?}"),
            begun = begun => begun.expect("open").forget(),
        }
        left -= count;
    }
    let status = ask(&server.channel, &[]).await.expect_err("no place");
    assert_failed(&status, Code::ResourceExhausted, "BUSY");
    assert_eq!(retry_after(&status), Some(Duration::from_secs(1)));
    let mut health = HealthClient::new(server.channel.clone());
    let check = HealthCheckRequest::default();
    health.check(check).await.expect("health is exempt");
    server.probe.release.notify_waiters();
    while ask(&server.channel, &[]).await.is_err() {}
}

#[tokio::test]
async fn a_connection_has_few_calls_that_need_no_caller() {
    let server = start(Callers::Open).await;
    let mut health = HealthClient::new(server.channel.clone());
    let mut watches = Vec::new();
    for _ in 0..8 {
        let watch = health.watch(HealthCheckRequest::default()).await;
        watches.push(watch.expect("a stream"));
    }
    let check = HealthCheckRequest::default();
    let status = health.check(check.clone()).await.expect_err("too many");
    assert_failed(&status, Code::ResourceExhausted, "BUSY");
    ask(&server.channel, &[]).await.expect("other calls go on");
    let mut other = HealthClient::new(server.another().await);
    other
        .check(check.clone())
        .await
        .expect("another connection");
    drop(watches);
    while health.check(check.clone()).await.is_err() {}
}

#[tokio::test]
async fn few_streams_of_reflection_are_open_at_once_and_other_calls_go_on() {
    let server = start(Callers::Open).await;
    let begin = async |channel: &Channel| {
        let mut reflection = ServerReflectionClient::new(channel.clone());
        let asked = tokio_stream::pending::<ServerReflectionRequest>();
        reflection.server_reflection_info(asked).await
    };
    let mut streams = Vec::new();
    for _ in 0..4 {
        let channel = server.another().await;
        for _ in 0..8 {
            streams.push(begin(&channel).await.expect("a stream"));
        }
    }
    let fifth = server.another().await;
    let status = begin(&fifth).await.expect_err("too many");
    assert_failed(&status, Code::ResourceExhausted, "BUSY");
    assert_eq!(retry_after(&status), Some(Duration::from_secs(1)));
    ask(&fifth, &[]).await.expect("other calls go on");
    let mut health = HealthClient::new(fifth.clone());
    let check = HealthCheckRequest::default();
    health.check(check).await.expect("health goes on");
    drop(streams.pop());
    while begin(&fifth).await.is_err() {}
}

#[tokio::test]
async fn large_requests_to_what_needs_no_caller_are_not_answered() {
    let server = start(Callers::Open).await;
    let is_reflected = async |size: usize| {
        let symbol = MessageRequest::FileContainingSymbol("google.rpc.ErrorInfo".to_owned());
        let asked = ServerReflectionRequest {
            host: "x".repeat(size),
            message_request: Some(symbol),
        };
        let mut reflection = ServerReflectionClient::new(server.channel.clone());
        let answers = reflection.server_reflection_info(tokio_stream::iter([asked]));
        let mut answers = answers.await.expect("a stream").into_inner();
        answers.message().await.is_ok_and(|answer| answer.is_some())
    };
    assert!(is_reflected(3 * 1024).await);
    assert!(!is_reflected(5 * 1024).await);
    let refusal = async |size: usize| {
        let service = "x".repeat(size);
        let mut health = HealthClient::new(server.channel.clone());
        let answer = health.check(HealthCheckRequest { service }).await;
        answer.expect_err("no such service").code()
    };
    assert_eq!(refusal(3 * 1024).await, Code::NotFound);
    assert_ne!(refusal(5 * 1024).await, Code::NotFound);
}

#[tokio::test]
async fn what_is_not_grpc_is_refused_in_http_and_runs_nothing() {
    let server = start(Callers::Open).await;
    let send = connect(&server).await;
    let answered = async |method: Method, content_type: &str| {
        let mut request = request(LIST, "panic");
        *request.method_mut() = method;
        let content_type = content_type.parse().expect("a header");
        request.headers_mut().insert("content-type", content_type);
        let mut send = send.clone().ready().await.expect("ready");
        let (answer, _) = send.send_request(request, true).expect("sent");
        let answer = answer.await.expect("an answer");
        (
            answer.status(),
            answer.headers().contains_key("grpc-status"),
        )
    };
    let grpc = "application/grpc";
    let refused = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    assert_eq!(
        answered(Method::GET, grpc).await,
        (StatusCode::METHOD_NOT_ALLOWED, false)
    );
    assert_eq!(answered(Method::POST, "text/plain").await, (refused, false));
    assert_eq!(
        answered(Method::POST, "application/grpc+json").await,
        (refused, false)
    );
    assert_eq!(
        answered(Method::POST, "application/grpc+proto").await,
        (StatusCode::OK, true)
    );
}
