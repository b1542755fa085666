//! Certificates and authorities that begin and end while the service runs.

use std::time::Duration;

use countersign::clock::Clock;

use crate::support::authority::{Authority, DAY, connect, newest};
use crate::support::mutual::{CHAT, Mutual, ask, by_names, is_unknown};
use crate::support::{Engine, logs};

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
