use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::*;

const SHORT: Duration = Duration::from_millis(30);
const LONG: Duration = Duration::from_mins(10);

async fn accepted(limits: Limits) -> (TcpStream, Connection) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let peer = TcpStream::connect(listener.local_addr().expect("an address"))
        .await
        .expect("connects");
    let connection = Box::pin(limited(listener, limits))
        .next()
        .await
        .expect("a connection")
        .expect("accepted");
    (peer, connection)
}

async fn ends(connection: &mut Connection) {
    let error = loop {
        match connection.read_u8().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_connection_without_a_call_ends_whatever_it_says() {
    let (mut peer, mut connection) = accepted(Limits {
        first_call: SHORT,
        idle: LONG,
        pending: 1,
    })
    .await;
    peer.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .expect("sent");
    ends(&mut connection).await;
}

#[tokio::test]
async fn a_call_under_way_keeps_its_connection_and_idleness_ends_it() {
    let (_peer, mut connection) = accepted(Limits {
        first_call: SHORT,
        idle: SHORT,
        pending: 1,
    })
    .await;
    let call = connection.connect_info().begin();
    assert!(timeout(SHORT * 5, connection.read_u8()).await.is_err());
    drop(call);
    ends(&mut connection).await;
}

#[tokio::test]
async fn one_address_has_few_connections_without_a_call() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut connections = Box::pin(limited(
        listener,
        Limits {
            first_call: LONG,
            idle: LONG,
            pending: 2,
        },
    ));
    let mut peers = Vec::new();
    let mut taken = Vec::new();
    for _ in 0..2 {
        peers.push(TcpStream::connect(address).await.expect("connects"));
        taken.push(
            connections
                .next()
                .await
                .expect("a connection")
                .expect("accepted"),
        );
    }
    let mut third = TcpStream::connect(address).await.expect("connects");
    assert!(timeout(SHORT, connections.next()).await.is_err());
    assert_eq!(third.read(&mut [0]).await.expect("closed"), 0);
    drop(taken[0].connect_info().begin());
    peers.push(TcpStream::connect(address).await.expect("connects"));
    connections
        .next()
        .await
        .expect("a connection")
        .expect("accepted");
}

#[test]
fn one_host_is_one_address() {
    let group = |text: &str| {
        let ip: IpAddr = text.parse().expect("an address");
        IpAddress::from(ip).network().to_string()
    };
    assert_eq!(group("::ffff:192.0.2.1"), "192.0.2.1");
    assert_eq!(group("2001:db8::1:2:3:4"), group("2001:db8::5"));
    assert_ne!(group("2001:db8::1"), group("2001:db8:0:1::1"));
}
