use std::net::IpAddr;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tonic::transport::server::Connected as _;

use super::limited::MAX_UNKNOWN;
use super::*;
use crate::clock::Clock;
use crate::metrics::Closed;
use crate::model::ip_address::IpAddress;

const SHORT: Duration = Duration::from_millis(30);
const LONG: Duration = Duration::from_mins(10);
/// So many periods that the test ends before.
const FEW: u32 = 100_000;
const FEW_PLACES: Limits = Limits {
    pending: 3,
    pending_in_all: 5,
    ..LIMITS
};

fn counts() -> PendingConnections {
    PendingConnections::new(Metrics::new(&Clock::system()).connections)
}

async fn accepted(limits: Limits) -> (TcpStream, Connection) {
    accepted_by(counts(), limits).await
}

async fn accepted_by(counts: PendingConnections, limits: Limits) -> (TcpStream, Connection) {
    accepted_until(Arc::default(), counts, limits).await
}

async fn accepted_until(
    stopping: Arc<AtomicBool>,
    counts: PendingConnections,
    limits: Limits,
) -> (TcpStream, Connection) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let peer = TcpStream::connect(listener.local_addr().expect("an address"))
        .await
        .expect("connects");
    let connection = Box::pin(limited(listener, counts, limits, stopping))
        .next()
        .await
        .expect("a connection");
    (peer, connection)
}

/// A connection of a service that was told to stop.
async fn accepted_while_stopping() -> (TcpStream, Connection) {
    let limits = Limits {
        period: LONG,
        ending: SHORT,
        ..LIMITS
    };
    accepted_until(Arc::new(AtomicBool::new(true)), counts(), limits).await
}

async fn ends(connection: &mut Connection) {
    let error = loop {
        if let Err(error) = connection.read_u8().await {
            break error;
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_connection_without_a_call_ends_whatever_it_says() {
    let (mut peer, mut connection) = accepted(Limits {
        period: SHORT,
        idle: FEW,
        pending: 1,
        pending_in_all: 1,
        ..LIMITS
    })
    .await;
    peer.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .expect("sent");
    ends(&mut connection).await;
}

#[tokio::test]
async fn a_connection_is_counted_while_it_is_open_and_when_it_is_closed_unused() {
    let metrics = Metrics::new(&Clock::system()).connections;
    let counts = PendingConnections::new(Arc::clone(&metrics));
    let limits = Limits {
        period: SHORT,
        idle: 1,
        ..LIMITS
    };
    let (_peer, mut connection) = accepted_by(counts, limits).await;
    assert_eq!((metrics.open.get(), metrics.pending.get()), (1, 1));
    drop(connection.connect_info().begin());
    assert_eq!((metrics.open.get(), metrics.pending.get()), (1, 0));
    ends(&mut connection).await;
    // It may be polled again before it is dropped.
    ends(&mut connection).await;
    assert_eq!(metrics.closed.of(Closed::Unused).get(), 1);
    drop(connection);
    assert_eq!(metrics.open.get(), 0);
}

#[tokio::test]
async fn a_call_under_way_keeps_its_connection_and_idleness_ends_it() {
    let (_peer, mut connection) = accepted(Limits {
        period: SHORT,
        idle: 1,
        pending: 1,
        pending_in_all: 1,
        ..LIMITS
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
        counts(),
        Limits {
            period: LONG,
            idle: 1,
            pending: 2,
            pending_in_all: 9,
            ..LIMITS
        },
        Arc::default(),
    ));
    let mut peers = Vec::new();
    let mut taken = Vec::new();
    for _ in 0..2 {
        peers.push(TcpStream::connect(address).await.expect("connects"));
        taken.push(connections.next().await.expect("a connection"));
    }
    let mut third = TcpStream::connect(address).await.expect("connects");
    assert!(timeout(SHORT, connections.next()).await.is_err());
    assert_eq!(third.read(&mut [0]).await.expect("closed"), 0);
    drop(taken[0].connect_info().begin());
    peers.push(TcpStream::connect(address).await.expect("connects"));
    connections.next().await.expect("a connection");
}

#[tokio::test]
async fn an_answer_that_is_not_taken_ends_the_connection() {
    let (_peer, mut connection) = accepted(Limits {
        period: SHORT,
        idle: FEW,
        pending: 1,
        pending_in_all: 1,
        ..LIMITS
    })
    .await;
    let usage = connection.connect_info();
    let _call = usage.begin();
    for _ in 0..3 {
        let taken = usage.answer();
        assert!(timeout(SHORT, connection.read_u8()).await.is_err());
        drop(taken);
    }
    let _untaken = usage.answer();
    ends(&mut connection).await;
}

#[tokio::test]
async fn little_is_read_before_a_call_is_admitted_and_then_everything() {
    let (mut peer, mut connection) = accepted(LIMITS).await;
    let sent = vec![1; 3 * MAX_UNKNOWN];
    let sending = tokio::spawn(async move {
        peer.write_all(&sent).await.expect("sent");
        peer
    });
    let mut read = vec![0; 3 * MAX_UNKNOWN];
    let mut before = 0;
    while let Ok(length) = timeout(SHORT, connection.read(&mut read[..1000])).await {
        before += length.expect("read");
    }
    assert!(
        (MAX_UNKNOWN..MAX_UNKNOWN + 1000).contains(&before),
        "{before}"
    );
    let usage = connection.connect_info();
    let rest = tokio::spawn(async move {
        let left = read.len() - before;
        connection.read_exact(&mut read[..left]).await.map(drop)
    });
    tokio::task::yield_now().await;
    drop(usage.begin());
    rest.await.expect("no panic").expect("everything");
    sending.await.expect("no panic");
}

#[tokio::test]
async fn a_connection_of_the_address_with_the_most_makes_room_for_others() {
    let pending = counts();
    let enter = |host: u8| pending.enter(IpAddr::from([192, 0, 2, host]), FEW_PLACES);
    let of = |host: u8| enter(host).expect("let in");
    let (many, few) = ([of(1), of(1), of(1)], [of(2), of(2)]);
    assert!(enter(1).is_none(), "too many from its address");
    let third = of(3);
    let evicted = |all: &[Pending]| {
        all.iter()
            .map(|one| one.nudge.is_evicted())
            .collect::<Vec<_>>()
    };
    assert_eq!(evicted(&many), [true, false, false]);
    assert_eq!(evicted(&few), [false, false]);
    let metrics = Arc::clone(third.metrics());
    assert_eq!((metrics.accepted.get(), metrics.pending.get()), (7, 6));
    assert_eq!(metrics.closed.of(Closed::AddressLimit).get(), 1);
    drop(many);
    let _more = (of(4), of(4), of(4));
    assert!(!third.nudge.is_evicted());
}

#[tokio::test]
async fn on_a_listener_for_health_the_oldest_silent_connection_of_an_address_makes_room() {
    let pending = counts();
    let limits = Limits {
        pending: 3,
        ..HEALTH_LIMITS
    };
    let enter = || pending.enter(IpAddr::from([192, 0, 2, 1]), limits);
    let enter = || enter().expect("let in");
    let mut all = vec![enter(), enter(), enter()];
    all[0].nudge.note_asked();
    let evicted = |all: &[Pending]| {
        let evicted = all.iter().map(|one| one.nudge.is_evicted());
        evicted.collect::<Vec<_>>()
    };
    all.push(enter());
    assert_eq!(evicted(&all), [false, true, false, false]);
    for one in &all {
        one.nudge.note_asked();
    }
    all.push(enter());
    assert_eq!(evicted(&all), [true, true, false, false, false]);
    let closed = &all[0].metrics().closed;
    assert_eq!(closed.of(Closed::AddressLimit).get(), 0);
}

#[tokio::test]
async fn when_the_service_stops_a_connection_ends_once_nobody_calls() {
    let stopping = Arc::new(AtomicBool::new(false));
    let limits = Limits {
        period: LONG,
        ending: SHORT,
        ..LIMITS
    };
    let accepted = accepted_until(Arc::clone(&stopping), counts(), limits);
    let (_peer, mut connection) = accepted.await;
    let call = connection.connect_info().begin();
    assert!(timeout(SHORT * 3, connection.read_u8()).await.is_err());
    stopping.store(true, Ordering::Relaxed);
    assert!(timeout(SHORT * 3, connection.read_u8()).await.is_err());
    drop(call);
    ends(&mut connection).await;
}

#[tokio::test]
async fn when_the_service_stops_a_peer_that_goes_on_calling_is_refused_and_its_connection_ends() {
    let (_peer, mut connection) = accepted_while_stopping().await;
    let usage = connection.connect_info();
    let call = usage.begin();
    assert!(!usage.refuses_calls(), "it may not know yet");
    let calling = async {
        let _call = call;
        while !usage.refuses_calls() {
            drop(usage.begin());
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = calling => {}
        read = connection.read_u8() => panic!("{read:?}"),
    }
    ends(&mut connection).await;
}

#[tokio::test]
async fn when_the_service_stops_an_answer_that_is_not_taken_ends_the_connection() {
    let (_peer, mut connection) = accepted_while_stopping().await;
    let usage = connection.connect_info();
    let (_call, _untaken) = (usage.begin(), usage.answer());
    let paused = timeout(SHORT * 3, connection.read_u8());
    paused.await.expect_err("its client may only have paused");
    ends(&mut connection).await;
}

#[tokio::test]
async fn a_call_without_a_caller_keeps_a_connection_of_the_health_listener() {
    for (limits, stays) in [(LIMITS, false), (HEALTH_LIMITS, true)] {
        let limits = Limits {
            period: SHORT,
            idle: 1,
            ..limits
        };
        let (_peer, mut connection) = accepted(limits).await;
        let watch = connection.connect_info().begin_public();
        let read = timeout(SHORT * 5, connection.read_u8());
        assert_eq!(read.await.is_err(), stays);
        drop(watch);
        ends(&mut connection).await;
    }
}

#[tokio::test]
async fn a_newcomer_never_makes_room_for_itself() {
    let (slots, pending) = (Arc::new(Semaphore::new(1)), counts());
    let enter = |host: u8| {
        let pending = pending.enter(IpAddr::from([192, 0, 2, host]), FEW_PLACES);
        pending.expect("let in")
    };
    let used = Arc::clone(&slots).try_acquire_owned().expect("a slot");
    let newcomer = enter(1);
    let waiting = slot(&slots, &pending, &newcomer);
    let mut waiting = std::pin::pin!(waiting);
    assert!(futures_util::poll!(&mut waiting).is_pending());
    drop(used);
    let used = waiting.await.expect("a slot");
    assert!(!newcomer.nudge.is_evicted());

    let youngest = enter(1);
    let waiting = slot(&slots, &pending, &youngest);
    let mut waiting = std::pin::pin!(waiting);
    assert!(futures_util::poll!(&mut waiting).is_pending());
    assert!(newcomer.nudge.is_evicted() && !youngest.nudge.is_evicted());
    drop(used);
}

#[tokio::test(start_paused = true)]
async fn while_there_is_no_slot_one_connection_after_another_makes_room() {
    let (slots, pending) = (Arc::new(Semaphore::new(1)), counts());
    let enter = |host: u8| {
        let pending = pending.enter(IpAddr::from([192, 0, 2, host]), FEW_PLACES);
        pending.expect("let in")
    };
    let used = Arc::clone(&slots).try_acquire_owned().expect("a slot");
    let (unused, newcomer) = ([enter(1), enter(2), enter(3)], enter(4));
    let mut waiting = std::pin::pin!(slot(&slots, &pending, &newcomer));
    for (time, evicted) in [(ROOM_WITHIN / 2, 1), (ROOM_WITHIN, 2), (ROOM_WITHIN, 3)] {
        let waited = timeout(time, &mut waiting).await;
        assert!(waited.is_err(), "none of them ends");
        let all = unused.iter().filter(|one| one.nudge.is_evicted());
        assert_eq!(all.count(), evicted);
    }
    assert!(!newcomer.nudge.is_evicted());
    drop(used);
    assert!(waiting.await.is_some());
}

#[tokio::test]
async fn a_connection_that_has_to_make_room_ends_unless_a_call_was_admitted() {
    for admitted in [false, true] {
        let limits = Limits {
            pending_in_all: 1,
            ..LIMITS
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let metrics = Metrics::new(&Clock::system()).connections;
        let counts = PendingConnections::new(Arc::clone(&metrics));
        let mut connections = Box::pin(limited(listener, counts, limits, Arc::default()));
        let _first = TcpStream::connect(address).await.expect("connects");
        let mut first = connections.next().await.expect("one");
        if admitted {
            drop(first.connect_info().begin());
        }
        let _second = TcpStream::connect(address).await.expect("connects");
        connections.next().await.expect("one");
        let read = timeout(SHORT, first.read_u8()).await;
        let kind = read.map(|read| read.expect_err("nothing was sent").kind());
        let expected = (!admitted).then_some(io::ErrorKind::ConnectionAborted);
        assert_eq!(kind.ok(), expected);
        let counted = metrics.closed.of(Closed::MadeRoom).get();
        assert_eq!(counted, u64::from(!admitted));
    }
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
