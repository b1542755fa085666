//! Refresh tokens: rotation, the grace time and the end of the session.

use std::collections::BTreeSet;
use std::time::Duration;

use countersign::clock::Timestamp;
use countersign::grpc::proto::token_service_client::TokenServiceClient;
use countersign::grpc::proto::*;
use futures_util::future::{join, join_all};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::support::{Engine, World, client, on_each_engine, reason};

const GRACE: Duration = Duration::from_secs(20);
/// How slow a store may be.
const SLOW: Duration = Duration::from_secs(9);
pub(crate) const HOUR: Duration = Duration::from_hours(1);

pub(crate) fn refused<T>(answer: Result<T, Status>) -> (Code, String) {
    reason(&answer.err().expect("must be refused"))
}

pub(crate) fn unauthenticated(reason: &str) -> (Code, String) {
    (Code::Unauthenticated, reason.to_owned())
}

pub(crate) async fn generation(world: &World<'_>, session: &str) -> i64 {
    world
        .engine
        .number(&format!(
            "SELECT generation FROM sessions WHERE id = '{session}'"
        ))
        .await
}

#[tokio::test]
async fn for_twenty_seconds_the_previous_refresh_token_gets_the_same_successor() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, first) = world.signed_in("ann@example.com").await;
        let second = world
            .refresh(&first.refresh_token)
            .await
            .expect("the next pair");
        let mut access_tokens = BTreeSet::from([second.access_token.clone()]);
        for wait in [Duration::ZERO, GRACE] {
            world.clock.advance(wait);
            let again = world
                .refresh(&first.refresh_token)
                .await
                .expect("the same pair");
            assert_eq!(again.refresh_token, second.refresh_token);
            assert!(world.verdict(&again.access_token).await.0);
            access_tokens.insert(again.access_token);
        }
        assert_eq!(access_tokens.len(), 3);
        assert_eq!(generation(&world, &first.session_id).await, 2);
        world
            .refresh(&second.refresh_token)
            .await
            .expect("the successor is good for its own use");
        world.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_retry_of_a_refresh_that_the_store_was_slow_to_answer_gets_the_same_successor() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, first) = world.signed_in("ann@example.com").await;
        let held = engine.hold().await;
        let mut request = tonic::Request::new(RefreshSessionRequest {
            refresh_token: first.refresh_token.clone(),
            client: client(),
        });
        request.set_timeout(Duration::from_millis(500));
        let gave_up = world.tokens().refresh_session(request).await;
        gave_up.expect_err("the client's deadline is over");
        // The work goes on: the store is slow.
        world.clock.advance(SLOW);
        held.release().await;
        while generation(&world, &first.session_id).await == 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Since the call began, more than the grace time has passed. PostgreSQL held up the reading
        // of the session, so the rotation was written later. On SQLite the statement that writes it
        // waited, and has the time of before.
        let grace = match engine {
            Engine::Postgres { .. } => GRACE,
            Engine::Sqlite { .. } => GRACE.saturating_sub(SLOW),
        };
        world.clock.advance(grace);
        let retried = world.refresh(&first.refresh_token).await.expect("no reuse");
        let again = world.refresh(&first.refresh_token).await.expect("no reuse");
        assert_eq!(retried.refresh_token, again.refresh_token);
        assert_eq!(generation(&world, &first.session_id).await, 2);
        world
            .refresh(&retried.refresh_token)
            .await
            .expect("the successor is the current one");
        world.end().await;
    })
    .await;
}

/// Refreshes one token with all clients at once.
pub(crate) async fn refresh_all(
    clients: impl Iterator<Item = TokenServiceClient<Channel>>,
    token: &str,
) -> Vec<TokenPair> {
    let calls = clients.map(async |mut tokens| {
        let request = RefreshSessionRequest {
            refresh_token: token.to_owned(),
            client: client(),
        };
        tokens
            .refresh_session(request)
            .await
            .expect("the next pair")
            .into_inner()
            .tokens
            .expect("tokens")
    });
    join_all(calls).await
}

pub(crate) async fn assert_one_step(world: &World<'_>, pairs: &[TokenPair]) {
    let successors: BTreeSet<_> = pairs.iter().map(|pair| &pair.refresh_token).collect();
    let access_tokens: BTreeSet<_> = pairs.iter().map(|pair| &pair.access_token).collect();
    assert_eq!((successors.len(), access_tokens.len()), (1, pairs.len()));
    assert_eq!(generation(world, &pairs[0].session_id).await, 2);
    for pair in pairs {
        world.keep_secret(pair);
        assert!(world.verdict(&pair.access_token).await.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twenty_refreshes_at_once_all_get_the_same_successor() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, first) = world.signed_in("ann@example.com").await;
        let pairs = refresh_all((0..20).map(|_| world.tokens()), &first.refresh_token).await;
        assert_one_step(&world, &pairs).await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn refreshing_never_moves_the_end_of_the_session() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[("REFRESH_TOKEN_EXPIRY", "60 * 60 * 1000")]).await;
        let start = world.clock.now();
        let (_, mut pair) = world.signed_in("ann@example.com").await;
        let end = pair.refresh_expire_time;
        assert_eq!(end.map(|end| end.seconds), Some(start.plus(HOUR).secs()));
        for _ in 0..3 {
            world.clock.advance(Duration::from_mins(15));
            pair = world
                .refresh(&pair.refresh_token)
                .await
                .expect("the next pair");
            assert_eq!(pair.refresh_expire_time, end);
        }
        let end = Timestamp::from_secs(start.plus(HOUR).secs());
        world.clock.set(end.minus(Duration::from_millis(1)));
        let last = world
            .refresh(&pair.refresh_token)
            .await
            .expect("the last pair");
        assert_eq!(last.access_expire_time, last.refresh_expire_time);
        assert!(world.verdict(&last.access_token).await.0);
        world.clock.set(end);
        for refresh_token in [&pair.refresh_token, &last.refresh_token] {
            assert_eq!(
                refused(world.refresh(refresh_token).await),
                unauthenticated("REFRESH_TOKEN_EXPIRED")
            );
        }
        assert_eq!(
            world.verdict(&last.access_token).await,
            (false, InactiveReason::Expired)
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn any_genuine_refresh_token_logs_its_session_out_even_twice() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, first) = world.signed_in("ann@example.com").await;
        let other = world.mint(&user.id).await;
        let second = world
            .refresh(&first.refresh_token)
            .await
            .expect("the next pair");
        world.clock.advance(HOUR);
        for _ in 0..2 {
            world
                .logout(&first.refresh_token)
                .await
                .expect("logged out");
        }
        world
            .logout(&second.refresh_token)
            .await
            .expect("logged out before");
        assert_eq!(
            refused(world.refresh(&second.refresh_token).await),
            unauthenticated("SESSION_REVOKED")
        );
        world
            .refresh(&other.refresh_token)
            .await
            .expect("another session can still be refreshed");
        world.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_refresh_during_a_revocation_gives_no_token_that_is_still_valid_afterwards() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        for _ in 0..40 {
            let first = world.mint(&user.id).await;
            let both = (
                world.refresh(&first.refresh_token),
                world.refresh(&first.refresh_token),
            );
            let ((one, two), ()) =
                join(join(both.0, both.1), world.revoke(&first.session_id)).await;
            for answer in [one, two] {
                match answer {
                    Err(status) => assert_eq!(reason(&status), unauthenticated("SESSION_REVOKED")),
                    Ok(pair) => {
                        assert_eq!(
                            world.verdict(&pair.access_token).await,
                            (false, InactiveReason::SessionRevoked)
                        );
                        assert_eq!(
                            refused(world.refresh(&pair.refresh_token).await),
                            unauthenticated("SESSION_REVOKED")
                        );
                    }
                }
            }
        }
        world.end().await;
    })
    .await;
}
