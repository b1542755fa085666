//! Callers that are known by their certificates.

use std::time::Duration;

use countersign::grpc::proto::auth_service_client::AuthServiceClient;
use countersign::grpc::proto::*;
use tempfile::NamedTempFile;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::support::authority::{Authority, DAY, Mounted, connect, newest};
use crate::support::callers::{Backend, sent_with};
use crate::support::{Engine, World, reason};

/// A service that knows callers by certificates of `authority`.
struct Setup {
    authority: Authority,
    files: Mounted,
    callers: NamedTempFile,
}

const CHAT: &str = "spiffe://example.org/chat";

impl Setup {
    fn new(callers: &str) -> Self {
        let authority = Authority::new();
        let setup = Self {
            files: Mounted::new(&authority.server(), &authority),
            authority,
            callers: NamedTempFile::new().expect("a file"),
        };
        setup.list(callers);
        setup
    }

    /// The callers from now on.
    fn list(&self, callers: &str) {
        std::fs::write(self.callers.path(), format!("callers:\n{callers}")).expect("written");
    }

    async fn start<'a>(&self, engine: &'a Engine) -> World<'a> {
        let ([cert, key], ca) = (self.files.settings(), self.files.client_ca());
        let callers = self.callers.path().display().to_string();
        let settings = [cert, key, ca, ("COUNTERSIGN_CALLERS", callers)];
        let settings: Vec<_> = settings
            .iter()
            .map(|(name, path)| (*name, &**path))
            .collect();
        World::start(engine, &settings).await
    }
}

fn by_names() -> String {
    format!(
        "  - {{ name: chat, spiffe_id: \"{CHAT}\", permissions: [auth.sign_in] }}\n  \
         - {{ name: agents, dns_san: Agents.example.org, permissions: [auth.sign_in] }}\n"
    )
}

async fn ask(channel: &Channel) -> Result<(), Status> {
    send(channel, Request::new(ListProvidersRequest {})).await
}

async fn send(channel: &Channel, request: Request<ListProvidersRequest>) -> Result<(), Status> {
    let mut auth = AuthServiceClient::new(channel.clone());
    auth.list_providers(request).await.map(drop)
}

fn is_unknown(answer: &Result<(), Status>) -> bool {
    let refusal = answer.as_ref().err().map(reason);
    refusal == Some((Code::Unauthenticated, "CALLER_UNKNOWN".to_owned()))
}

#[tokio::test]
async fn a_caller_is_known_by_its_spiffe_id_or_its_dns_name() {
    let (engine, setup) = (Engine::sqlite(), Setup::new(&by_names()));
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
    let (engine, setup) = (Engine::sqlite(), Setup::new(&by_names()));
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
    let setup = Setup::new(&(by_names() + &other.entry()));
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
async fn a_certificate_that_expires_on_an_open_connection_is_refused() {
    let (engine, setup) = (Engine::sqlite(), Setup::new(&by_names()));
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
async fn a_caller_that_is_listed_or_no_longer_is_known_at_its_next_call() {
    let (engine, setup) = (Engine::sqlite(), Setup::new(&by_names()));
    let world = setup.start(&engine).await;
    let own = setup.authority.caller(&["new.example.org"]);
    let client = newest(&setup.authority, Some(&own));
    let channel = connect(world.address(), client).await.expect("connects");
    assert!(is_unknown(&ask(&channel).await));
    setup.list("  - { name: new, dns_san: new.example.org, permissions: [auth.sign_in] }\n");
    world.reload();
    ask(&channel).await.expect("an answer");
    setup.list(&by_names());
    world.reload();
    assert!(is_unknown(&ask(&channel).await));
    world.end().await;
}

#[tokio::test]
async fn open_connections_are_judged_by_the_authorities_that_are_in_force() {
    let (engine, setup) = (Engine::sqlite(), Setup::new(&by_names()));
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
        world.reload();
        assert_eq!(ask(&old).await.is_ok(), old_is_known);
        assert_eq!(is_unknown(&ask(&old).await), !old_is_known);
        let new = connected(&next).await;
        ask(&new).await.expect("an answer");
    }
    setup
        .files
        .swap_texts(&server.certificate(), &server.key(), "wrong");
    world.reload();
    ask(&connected(&next).await)
        .await
        .expect("the old ones stay");
    world.end().await;
}
