use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::transport::server::Connected as _;

use super::limited::MAX_UNKNOWN;
use super::*;
use crate::clock::Clock;
use crate::transport::tls::testing::{Testing, end};

const SHORT: Duration = Duration::from_millis(30);

async fn accepted(testing: &Testing, period: Duration, idle: u32) -> (TcpStream, Secured) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let peer = TcpStream::connect(listener.local_addr().expect("an address"));
    let peer = peer.await.expect("connects");
    let limits = Limits {
        period,
        idle,
        ..LIMITS
    };
    let counts = PendingConnections::new(Metrics::new(&Clock::system()).connections);
    let connection = Box::pin(limited(listener, counts, limits, Arc::default()))
        .next()
        .await;
    let connection = connection.expect("one");
    (peer, Secured::new(connection, Some(&testing.tls)))
}

/// A connection on which the handshake is done, and its client.
async fn shaken(
    testing: &Testing,
    period: Duration,
    idle: u32,
) -> (tokio_rustls::client::TlsStream<TcpStream>, Secured) {
    let (peer, mut connection) = accepted(testing, period, idle).await;
    let connector = TlsConnector::from(Arc::new(testing.client.clone()));
    let name = ServerName::try_from("localhost").expect("a name");
    let client = async {
        let mut client = connector.connect(name, peer).await.expect("shaken");
        client.write_all(b"x").await.expect("sent");
        client
    };
    let (client, read) = tokio::join!(client, connection.read_u8());
    assert_eq!(read.expect("read"), b'x');
    (client, connection)
}

async fn end_of(connection: &mut Secured) -> io::ErrorKind {
    loop {
        if let Err(error) = connection.read_u8().await {
            break error.kind();
        }
    }
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_closed_as_a_connection_without_a_call_is() {
    let testing = Testing::new();
    for begun in [&[][..], &[22, 3, 1, 2, 0, 1]] {
        let (mut peer, mut connection) = accepted(&testing, SHORT, u32::MAX).await;
        peer.write_all(begun).await.expect("sent");
        assert_eq!(end_of(&mut connection).await, io::ErrorKind::TimedOut);
    }
}

#[tokio::test]
async fn a_writer_is_held_up_by_the_handshake_too() {
    let testing = Testing::new();
    let (_peer, mut connection) = accepted(&testing, SHORT, u32::MAX).await;
    let written = connection.write_all(b"settings").await;
    let error = written.expect_err("no handshake");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(connection.write_all(b"settings").await.is_err());
}

#[tokio::test]
async fn what_is_not_tls_ends_the_connection_at_once() {
    let testing = Testing::new();
    let (mut peer, mut connection) = accepted(&testing, LIMITS.period, LIMITS.idle).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    peer.write_all(preface).await.expect("sent");
    assert_eq!(end_of(&mut connection).await, io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn little_is_read_through_tls_before_a_call_is_admitted_and_then_everything() {
    let testing = Testing::new();
    let (mut client, mut connection) = shaken(&testing, LIMITS.period, LIMITS.idle).await;
    let sending = tokio::spawn(async move {
        let sent = vec![1; 3 * MAX_UNKNOWN];
        client.write_all(&sent).await.expect("sent");
        client.flush().await.expect("sent");
        client
    });
    let mut read = vec![0; 3 * MAX_UNKNOWN];
    let mut before = 0;
    while let Ok(length) = timeout(SHORT, connection.read(&mut read[..1000])).await {
        before += length.expect("read");
    }
    // The last read may give a whole record.
    assert!((1..=MAX_UNKNOWN + 16 * 1024).contains(&before), "{before}");
    drop(connection.connect_info().begin());
    let rest = read.len() - before;
    let all = connection.read_exact(&mut read[..rest]).await;
    all.expect("everything");
    sending.await.expect("no panic");
}

#[tokio::test]
async fn a_connection_is_closed_between_two_calls_before_its_peers_certificate_ends() {
    let testing = Testing::new();
    let (_client, mut connection) = shaken(&testing, SHORT, u32::MAX).await;
    let usage = connection.connect_info();
    let call = usage.begin();
    assert!(timeout(SHORT * 4, connection.read_u8()).await.is_err());
    assert!(!usage.ends_after_calls().is_cancelled());
    let names = |usage: &Usage| usage.certificate().map(|names| names.dns_names.clone());
    assert_eq!(names(&usage), Some(vec!["localhost".to_owned()]));
    let last = end().plus(Duration::from_millis(999));
    testing.clock.advance(testing.clock.now().until(last));
    assert!(names(&usage).is_some(), "its last second");
    assert!(
        timeout(SHORT * 4, connection.read_u8()).await.is_err(),
        "a call is under way"
    );
    assert!(
        usage.ends_after_calls().is_cancelled(),
        "no other call is taken"
    );
    drop(call);
    assert_eq!(end_of(&mut connection).await, io::ErrorKind::TimedOut);
    testing.clock.advance(Duration::from_millis(1));
    assert_eq!(names(&usage), None);
}
