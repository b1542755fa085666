//! Certificates and authorities that begin and end while the service runs.

use std::future::poll_fn;
use std::time::Duration;

use countersign::clock::Clock;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::Request;
use tokio::task::JoinHandle;
use tonic::codegen::Bytes;

use crate::support::authority::{Authority, DAY, Pair, connect, newest, shake_hands};
use crate::support::mutual::{CHAT, Mutual, ask, by_names, is_unknown};
use crate::support::world::time_passes;
use crate::support::{Engine, World, logs};

const HOUR: Duration = Duration::from_hours(1);
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_certificate_that_expires_on_an_open_connection_is_refused() {
    let (engine, setup) = (Engine::sqlite(), Mutual::new(&by_names()));
    let world = setup.start(&engine).await;
    let own = setup.authority.caller(&[CHAT]);
    let client = newest(&setup.authority, Some(&own));
    let channel = connect(world.address(), client).await.expect("connects");
    world.clock.advance(Duration::from_mins(24 * 60 - 1));
    ask(&channel).await.expect("an answer");
    world.clock.advance(Duration::from_mins(2));
    assert!(is_unknown(&ask(&channel).await));
    world.end().await;
}

#[tokio::test]
async fn open_connections_are_judged_by_the_authorities_that_are_in_force() {
    let (engine, setup) = (Engine::sqlite(), Mutual::new(&by_names()));
    let world = setup.start(&engine).await;
    let next = Authority::new();
    let connected = async |authority: &Authority| {
        let own = authority.caller(&[CHAT]);
        let client = newest(&setup.authority, Some(&own));
        connect(world.address(), client).await.expect("connects")
    };
    let server = setup.authority.server();
    let old = connected(&setup.authority).await;
    let both = setup.authority.pem() + &next.pem();
    for (authorities, old_is_known) in [(both, true), (next.pem(), false)] {
        let files = (server.certificate(), server.key());
        setup.files.swap_texts(&files.0, &files.1, &authorities);
        world.reload().await;
        assert_eq!(ask(&old).await.is_ok(), old_is_known);
        assert_eq!(is_unknown(&ask(&old).await), !old_is_known);
        let new = connected(&next).await;
        ask(&new).await.expect("an answer");
    }
    setup
        .files
        .swap_texts(&server.certificate(), &server.key(), "wrong");
    world.reload().await;
    ask(&connected(&next).await)
        .await
        .expect("the old ones stay");
    world.end().await;
}

/// A connection that speaks HTTP/2 by hand, and how it ends.
async fn speak(
    world: &World<'_>,
    setup: &Mutual,
    own: &Pair,
) -> (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let stream = shake_hands(world.address(), newest(&setup.authority, Some(own))).await;
    let handshake = h2::client::handshake(stream.expect("shaken"));
    let (send, connection) = handshake.await.expect("a connection");
    (send, tokio::spawn(connection))
}

type Call = (ResponseFuture, SendStream<Bytes>);

/// A call whose request does not end yet.
fn begin(send: &mut SendRequest<Bytes>) -> Call {
    let request = Request::post("http://localhost/countersign.v1.AuthService/ListProviders")
        .header("content-type", "application/grpc")
        .body(());
    let begun = send.send_request(request.expect("a request"), false);
    begun.expect("sent")
}

/// Ends the request; the status of the answer.
async fn complete((answer, mut request): Call) -> String {
    let empty = Bytes::from_static(&[0; 5]);
    request.send_data(empty, true).expect("sent");
    let mut body = answer.await.expect("an answer").into_body();
    while let Some(data) = body.data().await {
        data.expect("data");
    }
    let trailers = body.trailers().await.expect("good").expect("trailers");
    let status = trailers["grpc-status"].to_str();
    status.expect("a number").to_owned()
}

/// Waits until no more calls can be made on the connection, and returns why.
async fn goes_away(send: &mut SendRequest<Bytes>) -> Option<Reason> {
    loop {
        if let Err(error) = poll_fn(|cx| send.poll_ready(cx)).await {
            break error.reason();
        }
        tokio::task::yield_now().await;
    }
}

fn closed(world: &World<'_>, reason: &str) -> u64 {
    let labels = format!("reason=\"{reason}\"");
    world.count("countersign_connections_closed_total", &labels)
}

#[tokio::test]
async fn a_backend_that_always_calls_connects_again_before_its_certificate_ends() {
    let (engine, setup) = (Engine::sqlite(), Mutual::new(&by_names()));
    let world = setup.start(&engine).await;
    let (mut send, ended) = speak(&world, &setup, &setup.authority.caller(&[CHAT])).await;
    let end = world.clock.now().plus(DAY);
    world.clock.set(end.minus(25 * SECOND));
    // A connection is checked every ten seconds, and so long a call may take.
    time_passes(6 * SECOND).await;
    let call = begin(&mut send);
    assert_eq!(complete(begin(&mut send)).await, "0");
    assert_eq!(closed(&world, "certificate_ends"), 0);
    time_passes(6 * SECOND).await;
    assert_eq!(goes_away(&mut send).await, Some(Reason::NO_ERROR));
    assert_eq!(complete(call).await, "0", "it was under way");
    drop(send);
    ended.await.expect("no panic").expect("in order");
    assert_eq!(closed(&world, "certificate_ends"), 1);

    let now = world.clock.now();
    let next = setup
        .authority
        .issue(&[CHAT], now.minus(DAY), now.plus(DAY));
    let (mut send, _ended) = speak(&world, &setup, &next).await;
    world.clock.advance(30 * SECOND);
    assert_eq!(complete(begin(&mut send)).await, "0");
    world.end().await;
}

#[tokio::test]
async fn a_backend_whose_authority_is_removed_has_to_connect_again() {
    let (engine, setup) = (Engine::sqlite(), Mutual::new(&by_names()));
    let world = setup.start(&engine).await;
    let (mut send, _ended) = speak(&world, &setup, &setup.authority.caller(&[CHAT])).await;
    assert_eq!(complete(begin(&mut send)).await, "0");
    setup
        .files
        .swap(&setup.authority.server(), &Authority::new());
    world.reload().await;
    time_passes(11 * SECOND).await;
    assert_eq!(goes_away(&mut send).await, Some(Reason::NO_ERROR));
    assert_eq!(closed(&world, "certificate_untrusted"), 1);
    assert_eq!(closed(&world, "certificate_ends"), 0);
    world.end().await;
}

#[tokio::test]
async fn an_authority_counts_from_its_first_second_to_its_last() {
    let (engine, setup) = (Engine::sqlite(), Mutual::new(&by_names()));
    let now = Clock::system().now();
    let early = Authority::valid(now.minus(DAY), now.plus(HOUR));
    let late = Authority::valid(now.plus(2 * HOUR), now.plus(DAY));
    let server = setup.authority.server();
    let both = early.pem() + &late.pem();
    let (certificate, key) = (server.certificate(), server.key());
    setup.files.swap_texts(&certificate, &key, &both);
    let world = setup.start(&engine).await;
    let connected = async |authority: &Authority| {
        let own = authority.caller(&[CHAT]);
        let client = newest(&setup.authority, Some(&own));
        connect(world.address(), client).await.expect("connects")
    };
    let failed = || {
        let labels = "file=\"client_ca\",outcome=\"failed\"";
        world.count("countersign_reload_reads_total", labels)
    };
    let old = connected(&early).await;
    ask(&old).await.expect("an answer");
    world.clock.advance(HOUR + SECOND);
    assert!(is_unknown(&ask(&old).await), "its authority has expired");
    assert!(is_unknown(&ask(&connected(&early).await).await));
    assert_eq!(failed(), 0);
    for _ in 0..3 {
        world.reload().await;
    }
    assert!(failed() >= 3);
    let thread = std::thread::current();
    let fault =
        "COUNTERSIGN_TLS_CLIENT_CA holds only certificates that have expired or are not valid yet";
    let logged = logs::count(&[thread.name().expect("a test"), fault]);
    assert_eq!(logged, 1);
    world.clock.advance(HOUR);
    ask(&connected(&late).await).await.expect("it is valid now");
    assert!(is_unknown(&ask(&old).await));
    world.end().await;
}
