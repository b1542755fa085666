use std::pin::pin;
use std::time::Duration;

use futures_util::poll;

use super::*;
use crate::clock::Clock;
use crate::metrics::{Format, Metrics};
use crate::secret::{Keyring, RootKey};
use crate::store::Store;
use crate::store::testing::{on_each_engine, signed_in};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const AUDIENCE: &str = "https://chat.example.com";
const TTL: Duration = Duration::from_mins(15);
const COUNT: usize = 20;
const MEMORY: u64 = 1024 * 1024;

/// A replica, whose memory is empty.
async fn replica(store: &Store) -> Tokens {
    measured(store, MEMORY).await.0
}

/// A replica whose cache may occupy so many bytes, and its metrics.
async fn measured(store: &Store, memory: u64) -> (Tokens, Metrics) {
    let key = RootKey::new("test", [1; 32]).expect("a good id");
    let settings = Settings {
        issuer: AUDIENCE.to_owned(),
        audience: AUDIENCE.to_owned(),
        access_ttl: TTL,
        session_ttl: 10 * TTL,
        session_idle: None,
        sessions_per_user: 100,
        key_rotation: 3000 * TTL,
        signing: Signing::Keys(crate::jose::Algorithm::EdDsa),
    };
    let keyring = Keyring::new(key, Vec::new());
    let clock = Clock::manual(NOW);
    let metrics = Metrics::new(&clock);
    let feed = Feed::start(store.clone(), clock.clone(), Arc::clone(&metrics.feed)).await;
    let feed = feed.expect("starts");
    let started = Tokens::start(
        store.clone(),
        feed,
        &keyring,
        clock,
        settings,
        memory,
        &metrics,
    );
    let tokens = started.await.expect("starts");
    tokens.show(&metrics.caches);
    (tokens, metrics)
}

/// Access tokens of as many sessions, which another replica issued.
async fn issued(store: &Store) -> Vec<String> {
    let (tokens, mut issued) = (replica(store).await, Vec::new());
    for _ in 0..COUNT {
        let (_, id) = signed_in(store, NOW).await;
        let began = tokens.moment();
        let state = store.find_session(&id, NOW).await.expect("answers");
        let pair = tokens.issue(state.expect("there"), began, NOW);
        issued.push(pair.access_token);
    }
    issued
}

#[tokio::test]
async fn a_batch_lets_other_calls_go_on_after_each_signature() {
    on_each_engine(async |store| {
        let (tokens, ours) = (issued(&store).await, replica(&store).await);
        // Nothing but the signatures is looked at if the tokens have expired.
        let mut verifying = pin!(ours.verify_all(&tokens, AUDIENCE, NOW.plus(TTL)));
        let mut pauses = 0;
        let verdicts = loop {
            match poll!(verifying.as_mut()) {
                std::task::Poll::Ready(verdicts) => break verdicts,
                std::task::Poll::Pending => pauses += 1,
            }
        };
        assert_eq!((verdicts.len(), pauses), (COUNT, COUNT));
        for verdict in verdicts {
            let verdict = verdict.expect("a verdict");
            assert!(matches!(verdict, Verdict::Inactive(Inactive::Expired)));
        }
    })
    .await;
}

#[tokio::test]
async fn verified_tokens_occupy_no_more_memory_than_they_may() {
    on_each_engine(async |store| {
        let (tokens, memory) = (issued(&store).await, 10 * 4096);
        let (ours, metrics) = measured(&store, memory).await;
        for token in &tokens {
            let verdict = ours.verify(token, AUDIENCE, Outage::Fail, NOW).await;
            assert!(matches!(verdict, Ok(Verdict::Active(_))));
        }
        let text = metrics.text(Format::Prometheus);
        let shown = |what| {
            let sample = format!("countersign_cache_{what}{{cache=\"tokens\"}} ");
            let mut values = text.lines().filter_map(|line| line.strip_prefix(&sample));
            let value: u64 = values.next().expect("shown").parse().expect("a number");
            value
        };
        assert_eq!(shown("bytes_max"), memory);
        assert!(shown("bytes") <= memory && shown("bytes") > memory / 2);
        assert!((5..COUNT as u64).contains(&shown("entries")));
    })
    .await;
}

#[tokio::test]
async fn the_sessions_of_a_batch_are_read_with_one_statement() {
    on_each_engine(async |store| {
        let (tokens, ours) = (issued(&store).await, replica(&store).await);
        let before = store.answers();
        let verdicts = ours.verify_all(&tokens, AUDIENCE, NOW).await;
        assert_eq!((verdicts.len(), store.answers() - before), (COUNT, 1));
        for verdict in verdicts {
            assert!(matches!(verdict, Ok(Verdict::Active(_))));
        }
    })
    .await;
}

#[tokio::test]
async fn there_is_a_limit_to_watches() {
    on_each_engine(async |store| {
        let tokens = replica(&store).await;
        let head = store.feed_head().await.expect("read");
        let watch = async || {
            let cursor = Some(head.clone());
            tokens.watch(cursor, std::future::pending(), NOW).await
        };
        let mut watches = Vec::new();
        for _ in 0..256 {
            watches.push(watch().await.expect("a place"));
        }
        assert!(matches!(
            watch().await,
            Err(crate::error::Error::Busy { .. })
        ));
        watches.pop();
        watch().await.expect("a place");
    })
    .await;
}

/// A token that was signed with a key of somebody else's.
fn forged() -> String {
    use crate::jose::{AccessClaims, Algorithm, SigningKey};
    let pkcs8 = SigningKey::generate_pkcs8(Algorithm::EdDsa);
    let key = SigningKey::from_pkcs8(Algorithm::EdDsa, &pkcs8).expect("a key");
    let text = || "x".to_owned();
    key.sign(&AccessClaims {
        iss: AUDIENCE.to_owned(),
        aud: AUDIENCE.to_owned(),
        sub: text(),
        sid: text(),
        jti: text(),
        iat: NOW,
        exp: NOW.plus(TTL),
        auth_time: NOW,
        amr: Vec::new(),
        client_id: text(),
        id: None,
        username: None,
        provider: None,
        email: None,
        scope: None,
        act: None,
    })
}

#[tokio::test]
async fn tokens_of_unknown_keys_in_a_batch_are_refused_after_one_reading_of_the_keys() {
    on_each_engine(async |store| {
        let ours = replica(&store).await;
        let tokens: Vec<_> = (0..COUNT).map(|_| forged()).collect();
        let is_invalid = |verdict| matches!(verdict, Ok(Verdict::Inactive(Inactive::Invalid)));
        let before = store.answers();
        let verdicts = ours.verify_all(&tokens, AUDIENCE, NOW).await;
        assert!(verdicts.into_iter().all(is_invalid));
        assert_eq!(store.answers() - before, 1);
    })
    .await;
}
