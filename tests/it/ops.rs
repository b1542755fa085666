//! The HTTP side listener: metrics and probes. `discovery.rs` tests its public keys.

use std::net::SocketAddr;

use countersign::grpc::proto::ListProvidersRequest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Engine, World, on_each_engine};

/// Any port of this machine.
const ANY: (&str, &str) = ("COUNTERSIGN_OPS_LISTEN", "127.0.0.1:0");

/// Sends a request and returns the whole answer; the server closes the connection after it.
pub(crate) async fn send(address: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let request = format!("{head}host: ops\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("text");
    answer
}

/// The status and the body of the answer to a GET.
pub(crate) async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let answer = send(address, &format!("GET {path} HTTP/1.1\r\n")).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (status(head), body.to_owned())
}

fn status(answer: &str) -> u16 {
    let status = answer.split(' ').nth(1).expect("a status");
    status.parse().expect("a number")
}

async fn start(engine: &Engine) -> (World<'_>, SocketAddr) {
    let world = World::start(engine, &[ANY]).await;
    let address = world.replica().ops.expect("listens");
    (world, address)
}

#[tokio::test]
async fn the_side_listener_answers_probes_and_shows_what_was_counted() {
    on_each_engine(async |engine| {
        let (world, ops) = start(engine).await;
        for (path, expected) in [
            ("/livez", "alive\n"),
            ("/startupz", "started\n"),
            ("/readyz", "ready\n"),
            ("/readyz?verbose", "ready\n"),
        ] {
            assert_eq!(get(ops, path).await, (200, expected.to_owned()), "{path}");
        }
        let call = world.auth().list_providers(ListProvidersRequest {}).await;
        call.expect("answered");
        let counted = "rpc_server_call_duration_seconds_count{rpc_method=\"countersign.v1.AuthService/ListProviders\",rpc_response_status_code=\"OK\"} 1\n";
        let (status, text) = get(ops, "/metrics").await;
        assert!(status == 200 && text.contains(counted), "{text}");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn metrics_come_in_the_format_that_is_accepted() {
    let engine = Engine::sqlite();
    let (world, ops) = start(&engine).await;
    for (accepted, is_openmetrics) in [
        (
            "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.4",
            true,
        ),
        ("text/html, Application/OpenMetrics-Text", true),
        ("application/openmetrics-text, text/plain, */*", true),
        ("application/openmetrics-text; q=0", false),
        ("application/openmetrics-text;q=0.0,text/plain", false),
        ("application/openmetrics-text;q=0.5, text/plain", false),
        ("application/openmetrics-text;q=0.5, */*;q=0.8", false),
        (
            "application/openmetrics-text;q=0.5, text/plain;q=0.1, */*",
            true,
        ),
        ("*/*", false),
    ] {
        let answer = send(
            ops,
            &format!("GET /metrics HTTP/1.1\r\naccept: {accepted}\r\n"),
        )
        .await;
        let expected = if is_openmetrics {
            "content-type: application/openmetrics-text; version=1.0.0"
        } else {
            "content-type: text/plain; version=0.0.4"
        };
        assert!(answer.contains(expected), "{accepted}");
        assert_eq!(answer.ends_with("# EOF\n"), is_openmetrics, "{accepted}");
    }
    world.end().await;
}

#[tokio::test]
async fn anything_but_reading_its_paths_is_refused() {
    let engine = Engine::sqlite();
    let (world, ops) = start(&engine).await;
    for (line, expected) in [
        ("POST /metrics", 405),
        ("DELETE /livez", 405),
        ("POST /.well-known/jwks.json", 405),
        ("PUT /.well-known/openid-configuration", 405),
        ("GET /.well-known/", 404),
        ("GET /", 404),
        ("GET /metrics/", 404),
        ("POST /nothing", 404),
        ("HEAD /readyz", 200),
        ("HEAD /.well-known/jwks.json", 200),
    ] {
        let answer = send(ops, &format!("{line} HTTP/1.1\r\n")).await;
        assert_eq!(status(&answer), expected, "{line}");
        assert_eq!(answer.contains("\r\nallow: GET, HEAD\r\n"), expected == 405);
        assert_eq!(answer.ends_with("\r\n\r\n"), line.starts_with("HEAD"));
    }
    let mut stream = TcpStream::connect(ops).await.expect("connects");
    let mut long = b"GET /livez HTTP/1.1\r\nx: ".to_vec();
    long.resize(16 * 1024, b'x');
    stream.write_all(&long).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("text");
    assert_eq!(status(&answer), 431);
    world.end().await;
}

#[tokio::test]
async fn connections_that_ask_nothing_keep_no_probe_out() {
    let engine = Engine::sqlite();
    let (world, ops) = start(&engine).await;
    let mut idle = Vec::new();
    for _ in 0..65 {
        idle.push(TcpStream::connect(ops).await.expect("connects"));
    }
    assert_eq!(get(ops, "/livez").await.0, 200);
    // The oldest ones made room.
    assert_eq!(idle[0].read(&mut [0]).await.unwrap_or_default(), 0);
    world.end().await;
}

#[tokio::test]
async fn a_service_that_starts_is_alive_and_says_what_it_waits_for() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let ops = free.local_addr().expect("an address");
    drop(free);
    let engine = Engine::sqlite();
    let mut world = World::absent(&engine);
    let address = silent.local_addr().expect("an address");
    world.set("DATABASE_URL", &format!("postgres://u@{address}/c"));
    world.set("COUNTERSIGN_ENCRYPTION_KEYS", crate::support::engine::KEYS);
    world.set("COUNTERSIGN_OPS_LISTEN", &ops.to_string());
    let probed = async {
        // By now the listener serves.
        let _connection = silent.accept().await.expect("a connection");
        assert_eq!(get(ops, "/livez").await.0, 200);
        let missing = "store: does not answer\nkeys: not checked yet\nmigrations: not done yet\nservice: not started yet\n";
        for path in ["/startupz", "/readyz"] {
            assert_eq!(get(ops, path).await, (503, missing.to_owned()));
        }
        let unread = "the signing keys are not read yet\n".to_owned();
        for name in ["jwks.json", "openid-configuration"] {
            let answer = get(ops, &format!("/.well-known/{name}")).await;
            assert_eq!(answer, (503, unread.clone()));
        }
    };
    let (started, ()) = tokio::join!(world.another(), probed);
    assert!(started.is_err());
    let ended = TcpStream::connect(ops).await;
    assert!(ended.is_err(), "it ends with the service");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_its_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let engine = Engine::sqlite();
    for setting in ["COUNTERSIGN_OPS_LISTEN", "COUNTERSIGN_HEALTH_LISTEN"] {
        let mut world = World::absent(&engine);
        world.set(setting, &address);
        assert_eq!(
            world.refused_start().await,
            format!(
                "{setting}: {address} cannot be listened on: Address already in use (os error 98)"
            )
        );
    }
}
