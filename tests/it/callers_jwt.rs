//! Callers that are known by a JWT of a configured issuer.

use std::fs;
use std::time::Duration;

use countersign::grpc::proto::*;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tonic::{Code, Status};

use crate::callers::CALLERS;
use crate::support::callers::{Backend, sent_with};
use crate::support::calls::{client, retry_after};
use crate::support::issuer::{
    AUDIENCE, Answer, ISSUER, Issuer, Key, SUBJECT, claims, jwks, token, token_with,
};
use crate::support::world::time_passes;
use crate::support::{Engine, World, on_each_engine, reason};

const MINUTE: Duration = Duration::from_mins(1);

/// A callers' file with these entries.
struct File(NamedTempFile);

impl File {
    fn new(entries: &[String]) -> Self {
        let file = Self(NamedTempFile::new().expect("a temporary file"));
        file.write(entries);
        file
    }

    fn write(&self, entries: &[String]) {
        fs::write(self.0.path(), format!("callers:\n{}", entries.concat())).expect("written");
    }

    fn path(&self) -> &str {
        self.0.path().to_str().expect("UTF-8")
    }
}

/// The entry of a caller with a JWT whose keys are there.
fn entry(name: &str, audience: &str, keys: &str) -> String {
    format!(
        "  - {{ name: {name}, jwt: {{ issuer: '{ISSUER}', audience: {audience}, subject: '{SUBJECT}', {keys} }}, permissions: [auth.sign_in, token.*, token.mint] }}\n"
    )
}

/// The entry of the usual caller of an issuer.
fn backend(issuer: &Issuer) -> String {
    let (url, ca) = (&issuer.url, issuer.ca_file());
    entry(
        "backend",
        AUDIENCE,
        &format!("jwks_url: '{url}', ca_file: '{ca}'"),
    )
}

async fn ask(world: &World<'_>, token: &str) -> Result<(), Status> {
    let request = sent_with(token, ListProvidersRequest {});
    world.auth().list_providers(request).await.map(drop)
}

fn assert_unknown(answer: Result<(), Status>, what: &str) {
    let status = answer.expect_err(what);
    let unknown = (Code::Unauthenticated, "CALLER_UNKNOWN".to_owned());
    assert_eq!(reason(&status), unknown, "{what}");
}

fn assert_no_keys(answer: Result<(), Status>) {
    let status = answer.expect_err("no keys");
    let unavailable = (Code::Unavailable, "CALLER_KEYS_UNAVAILABLE".to_owned());
    assert_eq!(reason(&status), unavailable);
    assert!(retry_after(&status).is_some());
}

fn refused(world: &World<'_>, reason: &str) -> u64 {
    let labels = format!("reason=\"{reason}\"");
    world.count("countersign_caller_jwts_refused_total", &labels)
}

#[tokio::test]
async fn a_caller_is_known_by_a_jwt_that_the_keys_of_its_issuer_verify() {
    on_each_engine(async |engine| {
        let issuer = Issuer::start(Answer::Keys(vec![Key::Rsa, Key::Ec])).await;
        let keys = format!(
            "jwks_url: '{}', ca_file: '{}', token_file: '{}'",
            issuer.url,
            issuer.ca_file(),
            issuer.token_file()
        );
        let file = File::new(&[entry("backend", AUDIENCE, &keys)]);
        let world = World::start(engine, &[(CALLERS, file.path())]).await;
        for key in [Key::Rsa, Key::Ec] {
            let token = token(key, &world.clock);
            world.secret(&token);
            for _ in 0..3 {
                ask(&world, &token).await.expect("known");
            }
        }
        let heads = issuer.heads();
        assert_eq!(heads.len(), 1, "{heads:?}");
        assert!(heads[0].starts_with("GET /openid/v1/jwks HTTP/1.1\r\n"));
        assert!(heads[0].contains("authorization: Bearer a-reviewers-token\r\n"));
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_jwt_that_is_wrong_in_anything_proves_no_caller() {
    let engine = Engine::sqlite();
    let issuer = Issuer::start(Answer::Keys(vec![Key::Rsa, Key::Ec])).await;
    let file = File::new(&[
        backend(&issuer),
        backend(&issuer)
            .replace("name: backend", "name: other")
            .replace(
                &format!("audience: {AUDIENCE}"),
                "audience: another-audience",
            ),
    ]);
    let world = World::start(&engine, &[(CALLERS, file.path())]).await;
    let good = claims(&world.clock);
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        token_with(Key::Ec, &claims, &json!({}))
    };
    let now = world.clock.now().secs();
    for (name, value, why) in [
        ("iss", json!(format!("{ISSUER}/")), "no_caller"),
        (
            "sub",
            json!("system:serviceaccount:chat:backend2"),
            "no_caller",
        ),
        (
            "aud",
            json!(["https://kubernetes.default.svc"]),
            "no_caller",
        ),
        ("aud", json!([AUDIENCE, "another-audience"]), "no_caller"),
        ("exp", json!(now - 31), "expired"),
        ("exp", json!(null), "malformed"),
        ("nbf", json!(now + 90), "not_yet_valid"),
        ("exp", json!(now + 25 * 3600), "too_long_lived"),
    ] {
        let before = refused(&world, why);
        assert_unknown(ask(&world, &with(name, value)).await, name);
        assert_eq!(refused(&world, why), before + 1, "{name}");
    }
    for header in [
        json!({"typ": "at+jwt"}),
        json!({"alg": "HS256"}),
        json!({"crit": ["exp"]}),
    ] {
        let token = token_with(Key::Ec, &good, &header);
        assert_unknown(ask(&world, &token).await, "header");
    }
    let twice = with("aud", json!(AUDIENCE));
    ask(&world, &twice).await.expect("one audience as text");
    world.clock.advance(61 * MINUTE);
    assert_unknown(ask(&world, &twice).await, "remembered and over");
    world.end().await;
}

#[tokio::test]
async fn a_caller_keeps_its_sessions_however_it_proves_itself() {
    let engine = Engine::sqlite();
    let issuer = Issuer::start(Answer::Keys(vec![Key::Ec])).await;
    let both = Backend::new("backend", &["auth.sign_in", "token.*", "token.mint"]);
    let (url, ca) = (&issuer.url, issuer.ca_file());
    let jwt = format!(
        "jwt: {{ issuer: '{ISSUER}', audience: {AUDIENCE}, subject: '{SUBJECT}', jwks_url: '{url}', ca_file: '{ca}' }}"
    );
    let file = File::new(&[both
        .entry()
        .replace("token_sha256", &format!("{jwt}, token_sha256"))]);
    let world = World::start(&engine, &[(CALLERS, file.path())]).await;
    let (_, tokens) = crate::callers::signed_in(&world, &both, "ann@example.com").await;
    let refresh = RefreshSessionRequest {
        refresh_token: tokens.refresh_token.clone(),
        client: client(),
    };
    let callers_token = token(Key::Ec, &world.clock);
    let refreshed = world
        .tokens()
        .refresh_session(sent_with(&callers_token, refresh))
        .await
        .expect("the same caller");
    world.keep_secret(&refreshed.into_inner().tokens.expect("tokens"));

    // A user's token proves no caller, and a caller's token is no user's.
    assert_unknown(ask(&world, &tokens.access_token).await, "a user's token");
    let verify = VerifyTokenRequest {
        access_token: callers_token.clone(),
        audience: String::new(),
    };
    let verified = world
        .tokens()
        .verify_token(sent_with(&callers_token, verify))
        .await;
    assert!(!verified.expect("a verdict").into_inner().active);
    world.end().await;
}

#[tokio::test]
async fn the_keys_of_a_file_are_read_again_and_a_wrong_file_leaves_them() {
    on_each_engine(async |engine| {
        let keys = NamedTempFile::new().expect("a temporary file");
        let write = |text: &str| fs::write(keys.path(), text).expect("written");
        write(&jwks(&[Key::Rsa]));
        let named = format!("jwks_file: '{}'", keys.path().display());
        let file = File::new(&[entry("backend", AUDIENCE, &named)]);
        let world = World::start(engine, &[(CALLERS, file.path())]).await;
        let (old, new) = (token(Key::Rsa, &world.clock), token(Key::Ec, &world.clock));
        ask(&world, &old).await.expect("known");
        assert_unknown(ask(&world, &new).await, "a new key");
        for wrong in ["{}", "{\"keys\":[]}", "a canary"] {
            write(wrong);
            world.reload().await;
            ask(&world, &old).await.expect("the keys before");
        }
        let failed = "file=\"callers\",outcome=\"failed\"";
        assert_eq!(world.count("countersign_reload_reads_total", failed), 3);
        write(&jwks(&[Key::Ec]));
        world.reload().await;
        assert_unknown(ask(&world, &old).await, "remembered, and its key is gone");
        ask(&world, &new).await.expect("known");
        file.write(&[Backend::new("another", &[]).entry()]);
        world.reload().await;
        assert_unknown(
            ask(&world, &new).await,
            "remembered, and its caller is gone",
        );
        world.end().await;
    })
    .await;
}

/// Asks after a time in which the issuer was not asked: it is waited for.
async fn ask_of_a_silent_issuer(
    world: &World<'_>,
    issuer: &Issuer,
    token: &str,
) -> Result<(), Status> {
    let asked = issuer.heads().len();
    let mut asking = Box::pin(ask(world, token));
    while issuer.heads().len() == asked {
        tokio::select! {
            biased;
            _ = &mut asking => panic!("the issuer was not asked"),
            () = tokio::task::yield_now() => {}
        }
    }
    // The call gives up after two seconds, the request after five.
    time_passes(Duration::from_secs(6)).await;
    asking.await
}

#[tokio::test]
async fn keys_that_were_fetched_once_serve_for_a_day_while_the_issuer_is_down() {
    let engine = Engine::sqlite();
    let issuer = Issuer::start(Answer::Status(503)).await;
    let file = File::new(&[backend(&issuer)]);
    let world = World::start(&engine, &[(CALLERS, file.path())]).await;
    let fresh = || token(Key::Ec, &world.clock);
    assert_no_keys(ask(&world, &fresh()).await);
    issuer.answer(Answer::Keys(vec![Key::Ec]));
    assert_no_keys(ask(&world, &fresh()).await);
    assert_eq!(issuer.heads().len(), 1, "not asked again at once");
    world.clock.advance(Duration::from_secs(3));
    ask(&world, &fresh()).await.expect("known");

    issuer.answer(Answer::Silence);
    for _ in 0..23 {
        world.clock.advance(60 * MINUTE);
        let answer = ask_of_a_silent_issuer(&world, &issuer, &fresh()).await;
        answer.expect("known by the last keys");
    }
    world.clock.advance(61 * MINUTE);
    issuer.answer(Answer::Status(500));
    let asked = issuer.heads().len();
    assert!(asked > 2, "asked again in the background");
    // The request that the silent issuer has is given up after five seconds.
    time_passes(Duration::from_secs(6)).await;
    while ask(&world, &fresh()).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_no_keys(ask(&world, &fresh()).await);
    let fetches = |outcome: &str| {
        let labels = format!("outcome=\"{outcome}\"");
        world.count("countersign_caller_key_fetches_total", &labels)
    };
    assert!(fetches("ok") == 1 && fetches("failed") >= 2);
    assert!(refused(&world, "no_keys") >= 3);
    world.end().await;
}

#[tokio::test]
async fn a_new_key_is_fetched_when_a_token_needs_it_once_in_thirty_seconds() {
    let engine = Engine::sqlite();
    let issuer = Issuer::start(Answer::Keys(vec![Key::Rsa])).await;
    let file = File::new(&[backend(&issuer)]);
    let world = World::start(&engine, &[(CALLERS, file.path())]).await;
    let (old, new) = (token(Key::Rsa, &world.clock), token(Key::Ec, &world.clock));
    ask(&world, &old).await.expect("known");
    for _ in 0..5 {
        assert_unknown(ask(&world, &new).await, "fetched a moment ago");
    }
    assert_eq!(issuer.heads().len(), 1);
    world.clock.advance(Duration::from_secs(30));
    issuer.answer(Answer::Status(500));
    for _ in 0..2 {
        assert_no_keys(ask(&world, &new).await);
        ask(&world, &old).await.expect("its key is known");
    }
    issuer.answer(Answer::Keys(vec![Key::Rsa, Key::Ec]));
    world.clock.advance(Duration::from_secs(30));
    ask(&world, &new).await.expect("its key is fetched");
    assert_eq!(issuer.heads().len(), 3);

    // A key that is withdrawn counts for ten minutes at most, also for tokens that are remembered.
    issuer.answer(Answer::Keys(vec![Key::Ec]));
    ask(&world, &old).await.expect("remembered");
    world.clock.advance(10 * MINUTE);
    while ask(&world, &old).await.is_ok() {
        tokio::task::yield_now().await;
    }
    ask(&world, &new).await.expect("its key is still there");

    // If nobody has called for long, the issuer is asked before anybody is let in.
    issuer.answer(Answer::Keys(vec![Key::Rsa]));
    world.clock.advance(21 * MINUTE);
    assert_unknown(ask(&world, &new).await, "its key is withdrawn");
    world.end().await;
}

#[tokio::test]
async fn a_call_does_not_wait_long_for_an_issuer_that_says_nothing() {
    let engine = Engine::sqlite();
    let issuer = Issuer::start(Answer::Silence).await;
    let file = File::new(&[backend(&issuer)]);
    let world = World::start(&engine, &[(CALLERS, file.path())]).await;
    let token = token(Key::Ec, &world.clock);
    let calls = [(); 5].map(|()| ask(&world, &token));
    let waiting = futures_util::future::join_all(calls);
    let mut waiting = Box::pin(waiting);
    while issuer.heads().is_empty() {
        tokio::select! {
            biased;
            _ = &mut waiting => panic!("nobody has answered"),
            () = tokio::task::yield_now() => {}
        }
    }
    time_passes(Duration::from_secs(2)).await;
    for answer in waiting.as_mut().await {
        assert_no_keys(answer);
    }
    drop(waiting);
    assert_eq!(issuer.heads().len(), 1, "one request for all of them");
    world.end().await;
}

#[tokio::test]
async fn a_reload_keeps_the_keys_of_the_same_url() {
    let engine = Engine::sqlite();
    let issuer = Issuer::start(Answer::Keys(vec![Key::Ec])).await;
    let file = File::new(&[backend(&issuer)]);
    let world = World::start(&engine, &[(CALLERS, file.path())]).await;
    let token = token(Key::Ec, &world.clock);
    ask(&world, &token).await.expect("known");
    issuer.answer(Answer::Status(500));
    file.write(&[backend(&issuer), Backend::new("another", &[]).entry()]);
    world.reload().await;
    ask(&world, &token).await.expect("known");
    assert_eq!(issuer.heads().len(), 1);
    world.end().await;
}

#[tokio::test]
async fn an_issuer_is_trusted_only_by_the_authority_that_was_named() {
    let engine = Engine::sqlite();
    let issuer = Issuer::start(Answer::Keys(vec![Key::Ec])).await;
    let stranger = crate::support::authority::Authority::new();
    fs::write(issuer.ca_file(), stranger.pem()).expect("written");
    let file = File::new(&[backend(&issuer)]);
    let world = World::start(&engine, &[(CALLERS, file.path())]).await;
    assert_no_keys(ask(&world, &token(Key::Ec, &world.clock)).await);
    assert!(issuer.heads().is_empty());
    world.end().await;
}
