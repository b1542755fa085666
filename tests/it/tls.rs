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

use crate::support::authority::{Authority, Mounted, Pair, config, connect, newest, shake_hands};
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

/// Whether the service shows this certificate to a new connection.
async fn shows(world: &World<'_>, authority: &Authority, pair: &Pair) -> bool {
    let stream = shake_hands(world.address(), newest(authority, None)).await;
    let stream = stream.expect("shaken");
    let (_, session) = stream.get_ref();
    pair.is(&session.peer_certificates().expect("a certificate")[0])
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
        world.reload();
        assert!(shows(&world, &authority, &next).await);
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
    let logged = logs::count(&["cannot be read again", fault]);
    for (certificate, key) in [
        (new.certificate(), old.key()),
        (new.certificate(), old.key()),
        (new.certificate(), String::new()),
        (String::new(), new.key()),
        (new.certificate()[..200].to_owned(), new.key()),
        (expired.certificate(), expired.key()),
    ] {
        files.swap_texts(&certificate, &key, &ca);
        world.reload();
        assert!(shows(&world, &authority, &old).await);
    }
    assert_eq!(logs::count(&["cannot be read again", fault]), logged + 1);
    let expiry = "countersign_tls_certificate_expiry_timestamp_seconds";
    let before = world.count(expiry, "holder=\"server\"");
    let longer = authority.issue(&["localhost"], now.minus(day), now.plus(2 * day));
    for next in [&new, &longer] {
        files.swap(next, &authority);
        world.reload();
        assert!(shows(&world, &authority, next).await);
    }
    let after = world.count(expiry, "holder=\"server\"");
    assert!(after > before + day.as_secs() - 60, "{before} {after}");
    let failed = "file=\"certificate\",outcome=\"failed\"";
    assert!(world.count("countersign_reload_reads_total", failed) >= 6);
    world.end().await;
}
