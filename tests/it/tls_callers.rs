//! Callers that are known by their certificates.

use tonic::Code;

use countersign::grpc::proto::*;

use crate::support::authority::{Authority, DAY, connect, newest};
use crate::support::callers::{Backend, sent_with};
use crate::support::mutual::{CHAT, Mutual, ask, by_names, is_unknown, send};
use crate::support::{Engine, reason};

#[tokio::test]
async fn a_caller_is_known_by_its_spiffe_id_or_its_dns_name() {
    let (engine, setup) = (Engine::sqlite(), Mutual::new(&by_names()));
    let world = setup.start(&engine).await;
    for (names, is_known) in [
        (&[CHAT][..], true),
        (&["agents.example.org"], true),
        (&["other.example.org", "agents.example.org"], true),
        (&["spiffe://example.org/other"], false),
        (&[CHAT, "spiffe://example.org/other"], false),
        (&[CHAT, "agents.example.org"], false),
        (&["sub.agents.example.org"], false),
        (&[], false),
    ] {
        let own = setup.authority.caller(names);
        let client = newest(&setup.authority, Some(&own));
        let channel = connect(world.address(), client).await.expect("connects");
        let answer = ask(&channel).await;
        assert!(answer.is_ok() == is_known, "{names:?}: {answer:?}");
        assert!(is_known || is_unknown(&answer), "{names:?}: {answer:?}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_certificate_of_another_authority_ends_the_handshake() {
    let (engine, setup) = (Engine::sqlite(), Mutual::new(&by_names()));
    let world = setup.start(&engine).await;
    let own = Authority::new().caller(&[CHAT]);
    let channel = connect(world.address(), newest(&setup.authority, Some(&own))).await;
    // The client's half of the handshake may end first; then the call fails.
    let refusal = match channel {
        Ok(channel) => ask(&channel).await.expect_err("refused").code(),
        Err(_) => Code::Unavailable,
    };
    assert!(refusal != Code::Unauthenticated, "{refusal:?}");
    let now = world.clock.now();
    let expired = setup
        .authority
        .issue(&[CHAT], now.minus(2 * DAY), now.minus(DAY));
    let channel = connect(world.address(), newest(&setup.authority, Some(&expired))).await;
    let answered = match channel {
        Ok(channel) => ask(&channel).await.is_ok(),
        Err(_) => false,
    };
    assert!(!answered, "it has expired");
    world.end().await;
}

#[tokio::test]
async fn a_token_counts_more_than_a_certificate_and_is_never_replaced_by_it() {
    let engine = Engine::sqlite();
    let (other, stranger) = (
        Backend::new("other", &["auth.read"]),
        Backend::new("stranger", &[]),
    );
    let setup = Mutual::new(&(by_names() + &other.entry()));
    let world = setup.start(&engine).await;
    let own = setup.authority.caller(&[CHAT]);
    for own in [Some(&own), None] {
        let client = newest(&setup.authority, own);
        let channel = connect(world.address(), client).await.expect("connects");
        let by_token = send(&channel, other.sends(ListProvidersRequest {})).await;
        assert_eq!(
            reason(&by_token.expect_err("lacks the permission")).1,
            "CALLER_NOT_ALLOWED"
        );
        assert!(is_unknown(
            &send(&channel, stranger.sends(ListProvidersRequest {})).await
        ));
        let blank = sent_with("", ListProvidersRequest {});
        assert!(is_unknown(&send(&channel, blank).await));
        assert_eq!(ask(&channel).await.is_ok(), own.is_some());
    }
    world.end().await;
}

#[tokio::test]
async fn a_caller_that_is_listed_or_no_longer_is_known_at_its_next_call() {
    let (engine, setup) = (Engine::sqlite(), Mutual::new(&by_names()));
    let world = setup.start(&engine).await;
    let own = setup.authority.caller(&["new.example.org"]);
    let client = newest(&setup.authority, Some(&own));
    let channel = connect(world.address(), client).await.expect("connects");
    assert!(is_unknown(&ask(&channel).await));
    setup.list("  - { name: new, dns_san: new.example.org, permissions: [auth.sign_in] }\n");
    world.reload().await;
    ask(&channel).await.expect("an answer");
    setup.list(&by_names());
    world.reload().await;
    assert!(is_unknown(&ask(&channel).await));
    world.end().await;
}
