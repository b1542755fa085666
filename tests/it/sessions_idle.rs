//! Sessions that nobody uses, and when sessions were used last.

use std::time::Duration;

use countersign::clock::{Clock, Timestamp};
use countersign::grpc::proto::auth_service_client::AuthServiceClient;
use countersign::grpc::proto::*;
use serde_json::json;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::refresh::{refused, unauthenticated};
use crate::support::calls::{by_session, by_user};
use crate::support::provider::Provider;
use crate::support::{World, client, on_each_engine};
use crate::verify::ACTIVE;

const IDLE: &str = "COUNTERSIGN_SESSION_IDLE";
const HALF_AN_HOUR: (&str, &str) = (IDLE, "1000 * 60 * 30");
const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

/// Names the user by a session, which counts as its use.
async fn act(channel: &Channel, session: &str) -> Result<(), Status> {
    let user = Some(get_user_request::User::Subject(
        by_session(session).expect("a subject"),
    ));
    let mut auth = AuthServiceClient::new(channel.clone());
    auth.get_user(GetUserRequest { user }).await.map(drop)
}

async fn listed(world: &World<'_>, user: &str) -> Vec<Session> {
    let request = ListSessionsRequest {
        subject: by_user(user),
        ..Default::default()
    };
    let listed = world.tokens().list_sessions(request).await.expect("listed");
    listed.into_inner().sessions
}

/// When the user's only session was seen last.
async fn last_seen(world: &World<'_>, user: &str) -> Timestamp {
    let sessions = listed(world, user).await;
    assert_eq!(sessions.len(), 1);
    let seen = sessions[0].last_seen_time.expect("a time");
    Timestamp::from_millis(seen.seconds * 1000 + i64::from(seen.nanos) / 1_000_000)
}

async fn written(world: &World<'_>, session: &str) -> Timestamp {
    let sql = format!("SELECT last_seen_time FROM sessions WHERE id = '{session}'");
    Timestamp::from_millis(world.engine.number(&sql).await)
}

/// Waits until this use of the session is written.
async fn until_written(world: &World<'_>, session: &str, time: Timestamp) {
    let wait = async {
        while written(world, session).await < time {
            tokio::task::yield_now().await;
        }
    };
    let wait = tokio::time::timeout(Duration::from_secs(30), wait);
    wait.await.expect("written");
    assert_eq!(written(world, session).await, time);
}

fn not_found() -> (Code, String) {
    (Code::NotFound, "SESSION_NOT_FOUND".to_owned())
}

#[tokio::test]
async fn a_session_ends_when_it_is_idle_for_too_long_and_refreshing_never_prolongs_it() {
    on_each_engine(async |engine| {
        let settings = [
            (IDLE, "1000 * 60 * 60 * 24 * 7"),
            ("REFRESH_TOKEN_EXPIRY", "1000 * 60 * 60 * 24 * 30"),
        ];
        let world = World::start(engine, &settings).await;
        let (user, mut tokens) = world.signed_in("ann@example.com").await;
        for _ in 0..5 {
            world.clock.advance(Duration::from_hours(160));
            let refreshed = world.refresh(&tokens.refresh_token).await;
            if world.clock.now().secs() >= end(&tokens) {
                break;
            }
            let next = refreshed.expect("in use");
            assert_eq!(next.refresh_expire_time, tokens.refresh_expire_time);
            tokens = next;
        }
        world.clock.set(Timestamp::from_secs(end(&tokens)));
        let expired = unauthenticated("REFRESH_TOKEN_EXPIRED");
        assert_eq!(
            refused(world.refresh(&tokens.refresh_token).await),
            expired,
            "after 30 days"
        );

        let [at_the_end, too_late] = [world.mint(&user.id).await, world.mint(&user.id).await];
        world.clock.advance(7 * DAY);
        world
            .refresh(&at_the_end.refresh_token)
            .await
            .expect("not idle for longer than a week");
        world.clock.advance(Duration::from_millis(1));
        assert_eq!(
            refused(world.refresh(&too_late.refresh_token).await),
            expired,
            "after a week"
        );
        world.end().await;
    })
    .await;
}

/// When a session expires at the latest, in seconds.
fn end(tokens: &TokenPair) -> i64 {
    tokens.refresh_expire_time.expect("a time").seconds
}

#[tokio::test]
async fn an_idle_session_is_over_whoever_asks() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        // An access token's life ends in the second in which its session has become idle.
        let settings = [HALF_AN_HOUR, ("SESSION_EXPIRY", "1000 * 60 * 30")];
        let world = World::trusting(engine, &provider.issuer, &settings).await;
        let (user, tokens) = world.arrive("ann").await;
        world.bearer(&tokens.access_token).await.expect("resolved");
        world.clock.advance(30 * MINUTE);
        assert_eq!(listed(&world, &user.id).await.len(), 1);
        world.clock.advance(Duration::from_millis(1));
        assert_eq!(
            world.verdict(&tokens.access_token).await,
            (false, InactiveReason::Expired)
        );
        assert_eq!(
            world.no_bearer(&tokens.access_token).await,
            "ACCESS_TOKEN_INVALID"
        );
        assert_eq!(
            refused(act(&world.channel(), &tokens.session_id).await),
            not_found()
        );
        let status = GetTokenStatusRequest {
            subject: by_user(&user.id),
            provider: String::new(),
        };
        let status = world.federation().get_token_status(status).await;
        assert_eq!(refused(status), not_found());
        assert_eq!(listed(&world, &user.id).await, []);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn every_use_of_a_session_counts_and_shows() {
    on_each_engine(async |engine| {
        let mut world = World::start(engine, &[HALF_AN_HOUR]).await;
        let (user, tokens) = world.signed_in("ann@example.com").await;
        let device = listed(&world, &user.id).await[0].client.clone();
        assert_eq!(device, client());
        let opened = world.clock.now();
        assert_eq!(last_seen(&world, &user.id).await, opened);
        world.clock.advance(14 * MINUTE);
        assert_eq!(world.verdict(&tokens.access_token).await, ACTIVE);
        assert_eq!(last_seen(&world, &user.id).await, world.clock.now());
        for _ in 0..3 {
            world.clock.advance(29 * MINUTE);
            act(&world.channel(), &tokens.session_id)
                .await
                .expect("live");
            assert_eq!(last_seen(&world, &user.id).await, world.clock.now());
        }
        let last = world.clock.now();
        world.clock.advance(29 * MINUTE);
        let refreshed = world.refresh(&tokens.refresh_token).await.expect("live");
        assert_eq!(last_seen(&world, &user.id).await, world.clock.now());
        assert!(written(&world, &tokens.session_id).await <= last);

        // A stop writes what was noted.
        world.clock.advance(5 * MINUTE);
        assert_eq!(world.verdict(&refreshed.access_token).await, ACTIVE);
        let last = world.clock.now();
        world.restart().await;
        assert_eq!(written(&world, &tokens.session_id).await, last);
        world.clock.advance(MINUTE);
        assert_eq!(last_seen(&world, &user.id).await, last);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_use_in_one_replica_keeps_the_session_alive_in_the_others() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[HALF_AN_HOUR]).await;
        let other = world.another().await.expect("starts");
        let (user, tokens) = world.signed_in("ann@example.com").await;
        // Both remember the session from now on.
        act(&world.channel(), &tokens.session_id)
            .await
            .expect("live");
        act(&other.channel, &tokens.session_id).await.expect("live");
        // Soon it is idle, so the use is written at once.
        world.clock.advance(29 * MINUTE);
        act(&other.channel, &tokens.session_id).await.expect("live");
        let last = world.clock.now();
        until_written(&world, &tokens.session_id, last).await;
        assert_eq!(last_seen(&world, &user.id).await, last);

        world.clock.advance(29 * MINUTE);
        act(&world.channel(), &tokens.session_id)
            .await
            .expect("seen by the other one");
        let last = world.clock.now();
        until_written(&world, &tokens.session_id, last).await;
        world.clock.advance(29 * MINUTE);
        let request = RefreshSessionRequest {
            refresh_token: tokens.refresh_token.clone(),
            client: client(),
        };
        let refreshed = other.tokens().refresh_session(request).await;
        world.keep_secret(
            &refreshed
                .expect("live")
                .into_inner()
                .tokens
                .expect("tokens"),
        );
        other.stop().await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_replica_whose_clock_is_behind_moves_no_use_back_and_ends_nothing() {
    on_each_engine(async |engine| {
        let mut world = World::start(engine, &[HALF_AN_HOUR]).await;
        let (user, tokens) = world.signed_in("ann@example.com").await;
        world.clock.advance(10 * MINUTE);
        assert_eq!(world.verdict(&tokens.access_token).await, ACTIVE);
        let last = world.clock.now();
        world.restart().await;
        let behind = Clock::manual(last.minus(Duration::from_hours(1)));
        let other = world.another_at(behind).await.expect("starts");
        act(&other.channel, &tokens.session_id).await.expect("live");
        other.stop().await;
        assert_eq!(written(&world, &tokens.session_id).await, last);
        assert_eq!(last_seen(&world, &user.id).await, last);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn while_the_store_does_not_answer_uses_are_kept_and_nobody_waits() {
    on_each_engine(async |engine| {
        // Uses are written every second.
        let settings = [(IDLE, "1000 * 10"), ("SESSION_EXPIRY", "1000 * 10")];
        let world = World::start(engine, &settings).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        engine.take_away().await;
        world.clock.advance(Duration::from_secs(3));
        assert_eq!(world.verdict(&tokens.access_token).await, ACTIVE);
        let last = world.clock.now();
        let failed = async {
            while world.count(
                "countersign_session_last_seen_writes_total",
                "outcome=\"failed\"",
            ) == 0
            {
                tokio::task::yield_now().await;
            }
        };
        let failed = tokio::time::timeout(Duration::from_secs(30), failed);
        failed.await.expect("tried");
        assert_eq!(world.verdict(&tokens.access_token).await, ACTIVE);
        engine.give_back().await;
        until_written(&world, &tokens.session_id, last).await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn the_cleaner_ends_idle_sessions_as_if_they_had_expired() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let mut world = World::trusting(engine, &provider.issuer, &[HALF_AN_HOUR]).await;
        let (user, tokens) = world.arrive("ann").await;
        let opened = world.clock.now();
        world.clock.advance(25 * MINUTE);
        let active = world.mint(&user.id).await;
        // The cleaner runs at each start. It waits for what other processes may still write.
        world.clock.advance(11 * MINUTE);
        world.restart().await;
        let expiry = async |session: &str| {
            let sql = format!("SELECT expire_time FROM sessions WHERE id = '{session}'");
            Timestamp::from_millis(engine.number(&sql).await)
        };
        let cleaned = async {
            while expiry(&tokens.session_id).await > world.clock.now() {
                tokio::task::yield_now().await;
            }
        };
        let cleaned = tokio::time::timeout(Duration::from_secs(30), cleaned);
        cleaned.await.expect("ended");
        assert_eq!(
            expiry(&tokens.session_id).await,
            opened.plus(30 * MINUTE),
            "it expired when it became idle"
        );
        let held = "SELECT COUNT(*) FROM federated_tokens";
        assert_eq!(engine.number(held).await, 0);
        assert_eq!(
            refused(world.refresh(&tokens.refresh_token).await),
            unauthenticated("REFRESH_TOKEN_EXPIRED")
        );
        let told = "SELECT COUNT(*) FROM changes WHERE kind = 'session_revoked'";
        assert_eq!(engine.number(told).await, 0);
        let ended = world.count("countersign_sessions_ended_total", "reason=\"idle\"");
        assert_eq!(ended, 1);
        world.refresh(&active.refresh_token).await.expect("in use");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn an_idle_session_takes_no_place_of_those_that_a_user_may_have() {
    on_each_engine(async |engine| {
        let settings = [HALF_AN_HOUR, ("COUNTERSIGN_SESSIONS_PER_USER", "2")];
        let world = World::start(engine, &settings).await;
        let (user, first) = world.signed_in("ann@example.com").await;
        world.mint(&user.id).await;
        world.clock.advance(20 * MINUTE);
        let first = world.refresh(&first.refresh_token).await.expect("live");
        world.clock.advance(20 * MINUTE);
        world.mint(&user.id).await;
        world
            .refresh(&first.refresh_token)
            .await
            .expect("not ended");
        assert_eq!(listed(&world, &user.id).await.len(), 2);
        world.end().await;
    })
    .await;
}
