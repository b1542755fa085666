//! Signing keys: their life by the clock, and what becomes of their tokens.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::clock::{Clock, Timestamp};
use countersign::grpc::proto::*;
use countersign::metrics::Format;
use tokio::time::timeout;

use crate::support::world::Replica;
use crate::support::{World, on_each_engine};
use crate::verify::{ACTIVE, EXPIRED};

const MOMENT: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

/// The keys as a replica tells them: the next one, the active one, and then the others.
pub(crate) async fn keys_at(replica: &Replica) -> Vec<SigningKey> {
    let mut tokens = replica.tokens();
    let listed = tokens.list_signing_keys(ListSigningKeysRequest {});
    listed.await.expect("listed").into_inner().keys
}

pub(crate) fn states(keys: &[SigningKey]) -> Vec<SigningKeyState> {
    keys.iter().map(SigningKey::state).collect()
}

/// The `kid` of a token.
pub(crate) fn kid(token: &str) -> String {
    let header = token.split('.').next().expect("a header");
    let header = URL_SAFE_NO_PAD.decode(header).expect("base64url");
    let header: serde_json::Value = serde_json::from_slice(&header).expect("JSON");
    header["kid"].as_str().expect("a kid").to_owned()
}

/// Verifies a token at a replica.
pub(crate) async fn verdict_at(replica: &Replica, token: &str) -> (bool, InactiveReason) {
    let request = VerifyTokenRequest {
        access_token: token.to_owned(),
        audience: String::new(),
    };
    let verified = replica.tokens().verify_token(request).await;
    let answer = verified.expect("a verdict").into_inner();
    (answer.active, answer.inactive_reason())
}

/// Lets another replica do what is due by its clock, as each does when it starts, and returns the keys.
async fn kept_by_another_at(world: &World<'_>, clock: Clock) -> Vec<SigningKey> {
    let now = clock.now().secs();
    let other = world.another_at(clock).await.expect("starts");
    let done = format!(
        "countersign_background_task_last_success_timestamp_seconds{{task=\"signing_keys\"}} {now}\n"
    );
    let kept = async {
        while !other.metrics.text(Format::Prometheus).contains(&done) {
            tokio::task::yield_now().await;
        }
    };
    let kept = timeout(Duration::from_secs(30), kept).await;
    kept.expect("the task has done its work");
    let keys = keys_at(&other).await;
    other.stop().await;
    keys
}

async fn kept(world: &World<'_>) -> Vec<SigningKey> {
    kept_by_another_at(world, world.clock.clone()).await
}

fn time(of: Timestamp) -> prost_types::Timestamp {
    let nanos = i32::try_from(of.millis().rem_euclid(1000)).expect("small") * 1_000_000;
    let seconds = of.secs();
    prost_types::Timestamp { seconds, nanos }
}

#[tokio::test]
async fn a_key_is_published_signs_for_a_month_and_is_kept_until_its_tokens_have_expired() {
    use SigningKeyState::{Active, Next, Retired};
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, first) = world.signed_in("ann@example.com").await;
        let made = Some(time(world.clock.now()));
        let published = keys_at(world.replica()).await;
        assert_eq!(states(&published), [Next, Active]);
        assert_eq!(published[1].kid, kid(&first.access_token));
        assert_eq!(
            (published[1].create_time, published[1].activate_time),
            (made, made)
        );
        assert_eq!(
            (published[0].create_time, published[0].activate_time),
            (made, None)
        );

        world.clock.advance((30 * DAY).saturating_sub(MOMENT));
        assert_eq!(kept(&world).await, published);
        let old = world.mint(&user.id).await;
        assert_eq!(kid(&old.access_token), published[1].kid);
        world.clock.advance(MOMENT);
        let rotated = kept(&world).await;
        assert_eq!(states(&rotated), [Next, Active, Retired]);
        assert_eq!(rotated[1].kid, published[0].kid);
        let retired = world.clock.now();
        let now = Some(time(retired));
        assert_eq!(
            [
                rotated[0].create_time,
                rotated[1].activate_time,
                rotated[2].retire_time
            ],
            [now; 3]
        );
        outlives_its_key(&world, &user.id, &old, &rotated[1].kid).await;

        let deleted = retired.plus(DAY + 60 * MINUTE);
        let left = world.clock.now().until(deleted);
        world.clock.advance(left.saturating_sub(MOMENT));
        assert_eq!(kept(&world).await, rotated);
        world.clock.advance(MOMENT);
        assert_eq!(kept(&world).await, rotated[..2]);
        world.end().await;
    })
    .await;
}

/// A token of the retired key is active until it expires, and new ones are of the new key. 15 minutes
/// go by at most.
async fn outlives_its_key(world: &World<'_>, user: &str, old: &TokenPair, active: &str) {
    // This replica learns of it by the change feed.
    world.clock.advance(Duration::from_secs(1));
    let new = async {
        loop {
            let new = world.mint(user).await.access_token;
            if kid(&new) == active {
                break new;
            }
        }
    };
    let new = timeout(Duration::from_secs(30), new).await;
    let new = new.expect("it signs with the new key");
    let fresh = world.another().await.expect("starts");
    for replica in [world.replica(), &fresh] {
        for token in [&old.access_token, &new] {
            assert_eq!(verdict_at(replica, token).await, ACTIVE);
        }
    }
    fresh.stop().await;
    let end = old.access_expire_time.expect("a time").seconds;
    world
        .clock
        .advance(world.clock.now().until(Timestamp::from_secs(end - 1)));
    assert_eq!(world.verdict(&old.access_token).await, ACTIVE);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.verdict(&old.access_token).await, EXPIRED);
}

#[tokio::test]
async fn a_clock_that_is_set_back_rotates_no_key_and_brings_none_back() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        world.clock.advance(30 * DAY);
        let rotated = kept(&world).await;
        assert_eq!(
            states(&rotated),
            [
                SigningKeyState::Next,
                SigningKeyState::Active,
                SigningKeyState::Retired
            ]
        );
        let now = world.clock.now();
        for back in [DAY, 31 * DAY, 300 * DAY] {
            let clock = Clock::manual(now.minus(back));
            assert_eq!(kept_by_another_at(&world, clock).await, rotated);
        }
        assert_eq!(kept(&world).await, rotated);
        world.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replicas_that_do_what_is_due_at_the_same_time_do_it_once() {
    use SigningKeyState::{Active, Next, Retired};
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        world.clock.advance(30 * DAY);
        let all = (0..4).map(|_| Box::pin(kept(&world)));
        for keys in futures_util::future::join_all(all).await {
            assert_eq!(states(&keys), [Next, Active, Retired]);
        }
        world.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rotation_at_another_replica_makes_no_token_inactive() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let other = world.another().await.expect("starts");
        let (user, first) = world.signed_in("ann@example.com").await;
        let all = futures_util::future::join_all((0..4).map(async |_| {
            let mut kids = std::collections::BTreeSet::new();
            for _ in 0..20 {
                let minted = world.mint(&user.id).await.access_token;
                kids.insert(kid(&minted));
                for token in [&minted, &first.access_token] {
                    for replica in [&other, world.replica()] {
                        assert_eq!(verdict_at(replica, token).await, ACTIVE);
                    }
                }
            }
            kids.len()
        }));
        let rotate = async {
            for round in 0..10 {
                let replica = if round % 2 == 0 {
                    &other
                } else {
                    world.replica()
                };
                let mut tokens = replica.tokens();
                let rotated = tokens.rotate_signing_key(RotateSigningKeyRequest {});
                let active = rotated.await.expect("rotated").into_inner().active_key;
                let active = active.expect("a key").kid;
                let keys = keys_at(world.replica()).await;
                let mut signing = keys
                    .iter()
                    .filter(|key| key.state() == SigningKeyState::Active);
                assert_eq!(signing.next().expect("a key").kid, active);
                world.clock.advance(Duration::from_millis(700));
            }
        };
        let (kids, ()) = futures_util::future::join(all, rotate).await;
        assert!(kids.into_iter().max() > Some(1), "tokens of several keys");
        assert_eq!(keys_at(&other).await.len(), 12);
        other.stop().await;
        world.end().await;
    })
    .await;
}
