//! What is counted of the store.

use countersign::grpc::proto::*;
use futures_util::future::join_all;
use tokio::task::yield_now;

use crate::support::{Engine, World, on_each_engine};

/// The pools that reading and writing statements use.
fn pools(engine: &Engine) -> (&'static str, &'static str) {
    match engine {
        Engine::Sqlite { .. } => ("readers", "writer"),
        Engine::Postgres { .. } => ("all", "all"),
    }
}

fn connections(world: &World<'_>, pool: &str, state: &str) -> u64 {
    let labels = format!("pool=\"{pool}\",state=\"{state}\"");
    world.count("countersign_store_connections", &labels)
}

fn of(world: &World<'_>, name: &str, pool: &str) -> u64 {
    let name = format!("countersign_store_connection{name}");
    world.count(&name, &format!("pool=\"{pool}\""))
}

#[tokio::test]
async fn waits_for_connections_are_counted_and_measured() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        let (readers, writer) = pools(engine);
        let mut most = [readers, writer].map(|pool| of(&world, "s_max", pool));
        most.sort_unstable();
        assert!(most == [1, 4] || most == [20, 20], "{most:?}");

        let found = || {
            let name = "countersign_store_statement_duration_seconds_count";
            world.count(name, "statement=\"users::FIND\"")
        };
        world.mint(&user.id).await;
        let found_before = found();
        let before = of(&world, "_wait_seconds_count", readers);
        let request = GetUserRequest {
            user: Some(get_user_request::User::Subject(Subject {
                subject: Some(subject::Subject::UserId(user.id.clone())),
            })),
        };
        world.auth().get_user(request).await.expect("found");
        // The change feed is read meanwhile, too.
        assert!(of(&world, "_wait_seconds_count", readers) > before);
        assert_eq!(found(), found_before + 1);
        for pool in [readers, writer] {
            // The change feed is read now and then.
            while connections(&world, pool, "in_use") > 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(of(&world, "s_waiting", pool), 0);
            assert!(connections(&world, pool, "idle") > 0);
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn work_that_waits_for_a_connection_is_shown_while_it_waits() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        let sessions = [world.mint(&user.id).await, world.mint(&user.id).await];
        let held = engine.hold().await;
        let refreshes = sessions
            .iter()
            .map(|session| world.refresh(&session.refresh_token));
        let watch = async {
            // SQLite has one writer, for which the other call waits.
            let (_, writer) = pools(engine);
            let expected = if writer == "writer" { (1, 1) } else { (2, 0) };
            let seen = || {
                (
                    connections(&world, writer, "in_use"),
                    of(&world, "s_waiting", writer),
                )
            };
            while seen() != expected {
                yield_now().await;
            }
            held.release().await;
        };
        let (answers, ()) = tokio::join!(join_all(refreshes), watch);
        assert!(answers.iter().all(Result::is_ok));
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn statements_that_fail_are_counted() {
    on_each_engine(async |engine| {
        let Engine::Sqlite { .. } = engine else {
            // Its connections are cut, so no statement gets there.
            return;
        };
        let world = World::start(engine, &[]).await;
        let (_, session) = world.signed_in("ann@example.com").await;
        let failures = || {
            let name = "countersign_store_statement_failures_total";
            world.count(name, "reason=\"database\"")
        };
        // The start looks for a key's proof before there are tables.
        assert_eq!(failures(), 1);
        engine.take_away().await;
        let answer = world.refresh(&session.refresh_token).await;
        answer.expect_err("no table");
        // The change feed fails too.
        assert!(failures() > 1);
        let failed = "outcome=\"failed\"";
        assert_eq!(
            world.count("countersign_session_refreshes_total", failed),
            1
        );
        engine.give_back().await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_database_that_refuses_connections_is_counted() {
    on_each_engine(async |engine| {
        if let Engine::Sqlite { .. } = engine {
            // It is a file, and connections to it stay open.
            return;
        }
        let world = World::start(engine, &[]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        engine.take_away().await;
        for _ in 0..3 {
            let request = MintSessionRequest {
                user_id: user.id.clone(),
                ..Default::default()
            };
            let answer = world.tokens().mint_session(request).await;
            answer.expect_err("no database");
        }
        let refused = "pool=\"all\",reason=\"refused\"";
        let refused = world.count("countersign_store_connection_failures_total", refused);
        assert!(refused > 0);
        engine.give_back().await;
        world.end().await;
    })
    .await;
}
