//! TLS: what is spoken, what is refused, and how a certificate is replaced.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use countersign::grpc::proto::auth_service_client::AuthServiceClient;
use countersign::grpc::proto::*;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Status;
use tonic::transport::Channel;

use crate::support::authority::{
    Authority, DAY, Mounted, config, connect, newest, shake_hands, shows,
};
use crate::support::{Engine, World, logs};

async fn start<'a>(engine: &'a Engine, files: &Mounted) -> World<'a> {
    let settings = files.settings();
    let settings: Vec<_> = settings
        .iter()
        .map(|(name, path)| (*name, &**path))
        .collect();
    World::start(engine, &settings).await
}

async fn ask(channel: &Channel) -> Result<(), Status> {
    let list = ListProvidersRequest {};
    let mut auth = AuthServiceClient::new(channel.clone());
    auth.list_providers(list).await.map(drop)
}

#[tokio::test]
async fn both_versions_of_tls_are_spoken() {
    let (engine, authority) = (Engine::sqlite(), Authority::new());
    let files = Mounted::new(&authority.server(), &authority);
    let world = start(&engine, &files).await;
    for version in [&TLS12, &TLS13] {
        let client = config(&authority, None, &[version]);
        let channel = connect(world.address(), client).await.expect("connects");
        ask(&channel).await.expect("an answer");
    }
    let stranger = newest(&Authority::new(), None);
    assert!(connect(world.address(), stranger).await.is_err());
    world.end().await;
}

#[tokio::test]
async fn what_is_not_http_2_over_tls_is_closed() {
    let (engine, authority) = (Engine::sqlite(), Authority::new());
    let files = Mounted::new(&authority.server(), &authority);
    let world = start(&engine, &files).await;
    for text in ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = TcpStream::connect(world.address()).await.expect("connects");
        stream.write_all(text.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        let _closed_or_reset = stream.read_to_end(&mut answer).await;
        assert!(answer.len() < 10, "an alert at most: {answer:?}");
    }
    let mut http_1 = newest(&authority, None);
    http_1.alpn_protocols = vec![b"http/1.1".to_vec()];
    assert!(shake_hands(world.address(), http_1).await.is_err());
    let mut silent = newest(&authority, None);
    silent.alpn_protocols.clear();
    // The client's half of the handshake ends before the service sees that the protocol is missing.
    let mut stream = shake_hands(world.address(), silent).await.expect("shaken");
    let mut answer = Vec::new();
    let _closed_or_reset = stream.read_to_end(&mut answer).await;
    assert_eq!(answer, b"", "nothing is said");
    let closed = |reason: &str| {
        let labels = format!("reason=\"{reason}\"");
        world.count("countersign_connections_closed_total", &labels)
    };
    assert_eq!(closed("handshake"), 4);
    // One that leaves is not closed by the service.
    drop(TcpStream::connect(world.address()).await.expect("connects"));
    while world.count("countersign_connections_accepted_total", "") < 5
        || world.count("countersign_connections_open", "") > 0
    {
        tokio::task::yield_now().await;
    }
    assert_eq!(closed("handshake"), 4);
    world.end().await;
}

#[tokio::test]
async fn strangers_that_say_nothing_hold_nobody_up() {
    let (engine, authority) = (Engine::sqlite(), Authority::new());
    let files = Mounted::new(&authority.server(), &authority);
    let world = start(&engine, &files).await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(world.address()).await.expect("connects");
        // The begin of a handshake record that does not go on.
        stream.write_all(&[22, 3, 1, 2, 0, 1]).await.expect("sent");
        silent.push(stream);
    }
    let channel = connect(world.address(), newest(&authority, None)).await;
    ask(&channel.expect("connects")).await.expect("an answer");
    world.end().await;
}

#[tokio::test]
async fn a_certificate_is_swapped_under_load_without_one_failed_call() {
    let (engine, authority) = (Engine::sqlite(), Authority::new());
    let files = Mounted::new(&authority.server(), &authority);
    let world = start(&engine, &files).await;
    let (is_over, answered) = (
        Arc::new(AtomicBool::new(false)),
        Arc::<AtomicUsize>::default(),
    );
    let client = || newest(&authority, None);
    let mut callers = Vec::new();
    for reconnects in [false, true, false, true] {
        let (address, client) = (world.address(), client());
        let (is_over, answered) = (Arc::clone(&is_over), Arc::clone(&answered));
        callers.push(tokio::spawn(async move {
            let mut channel = connect(address, client.clone()).await.expect("connects");
            while !is_over.load(Ordering::SeqCst) {
                ask(&channel).await.expect("an answer");
                answered.fetch_add(1, Ordering::SeqCst);
                if reconnects {
                    channel = connect(address, client.clone()).await.expect("connects");
                }
            }
        }));
    }
    for _ in 0..10 {
        let next = authority.server();
        files.swap(&next, &authority);
        world.reload().await;
        assert!(shows(world.address(), &authority, &next).await);
        let before = answered.load(Ordering::SeqCst);
        while answered.load(Ordering::SeqCst) < before + 20 {
            tokio::task::yield_now().await;
        }
    }
    is_over.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await.expect("no call failed");
    }
    world.end().await;
}

#[tokio::test]
async fn what_is_wrong_at_a_reload_leaves_the_old_certificate_and_is_tried_again() {
    let (engine, authority) = (Engine::sqlite(), Authority::new());
    let (old, new) = (authority.server(), authority.server());
    let files = Mounted::new(&old, &authority);
    let world = start(&engine, &files).await;
    let now = world.clock.now();
    let day = crate::support::authority::DAY;
    let expired = authority.issue(&["localhost"], now.minus(2 * day), now.minus(day));
    let ca = authority.pem();
    let fault = "COUNTERSIGN_TLS_KEY does not match the first certificate";
    let logged = logs::count(&["is wrong or cannot be read", fault]);
    for (certificate, key) in [
        (new.certificate(), old.key()),
        (new.certificate(), old.key()),
        (new.certificate(), String::new()),
        (String::new(), new.key()),
        (new.certificate()[..200].to_owned(), new.key()),
        (expired.certificate(), expired.key()),
    ] {
        files.swap_texts(&certificate, &key, &ca);
        world.reload().await;
        assert!(shows(world.address(), &authority, &old).await);
    }
    assert_eq!(
        logs::count(&["is wrong or cannot be read", fault]),
        logged + 1
    );
    let expiry = "countersign_tls_certificate_expiry_timestamp_seconds";
    let before = world.count(expiry, "");
    let longer = authority.issue(&["localhost"], now.minus(day), now.plus(2 * day));
    for next in [&new, &longer] {
        files.swap(next, &authority);
        world.reload().await;
        assert!(shows(world.address(), &authority, next).await);
    }
    let after = world.count(expiry, "");
    assert!(after > before + day.as_secs() - 60, "{before} {after}");
    let failed = "file=\"certificate\",outcome=\"failed\"";
    assert!(world.count("countersign_reload_reads_total", failed) >= 6);
    world.end().await;
}

#[tokio::test]
async fn a_certificate_that_expires_while_it_is_in_force_is_told() {
    let (engine, authority) = (Engine::sqlite(), Authority::new());
    let old = authority.server();
    let files = Mounted::new(&old, &authority);
    let world = start(&engine, &files).await;
    let thread = std::thread::current();
    let logged = || {
        let fault = "COUNTERSIGN_TLS_CERT holds a certificate that has expired";
        logs::count(&[thread.name().expect("a test"), fault])
    };
    let failed = || {
        let labels = "file=\"certificate\",outcome=\"failed\"";
        world.count("countersign_reload_reads_total", labels)
    };
    let expiry = || {
        let name = "countersign_tls_certificate_expiry_timestamp_seconds";
        world.count(name, "")
    };
    world.reload().await;
    assert_eq!((failed(), logged()), (0, 0));
    let end = expiry();
    world.clock.advance(2 * DAY);
    for _ in 0..3 {
        world.reload().await;
    }
    assert!(failed() >= 3);
    assert_eq!((logged(), expiry()), (1, end));
    assert!(
        shows(world.address(), &authority, &old).await,
        "there is no other"
    );
    let now = world.clock.now();
    let new = authority.issue(&["localhost"], now.minus(3 * DAY), now.plus(DAY));
    files.swap(&new, &authority);
    world.reload().await;
    assert!(shows(world.address(), &authority, &new).await);
    assert!(expiry() > end);
    world.end().await;
}
