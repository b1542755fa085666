//! Restarts, and databases that were changed, replaced or lost meanwhile.

use std::fs;
use std::path::{Path, PathBuf};

use countersign::grpc::proto::*;
use futures_util::future::join_all;
use tonic::Code;

use crate::support::calls::by_user;
use crate::support::{Engine, World, on_each_engine, reason};

pub(crate) fn directory(engine: &Engine) -> Option<&Path> {
    match engine {
        Engine::Sqlite { directory } => Some(directory.path()),
        Engine::Postgres { .. } => None,
    }
}

/// All files of a directory with their bytes.
pub(crate) fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = entries
        .map(|path| (path.clone(), fs::read(path).expect("read")))
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn a_restart_keeps_sessions_bans_and_keys() {
    on_each_engine(async |engine| {
        let mut world = World::start(engine, &[]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        let (banned, of_banned) = world.signed_in("bob@example.com").await;
        let spent = world
            .refresh(&tokens.refresh_token)
            .await
            .expect("the next pair");
        let target = Some(ban_target_request::Target::UserId(banned.id));
        let request = BanTargetRequest {
            target,
            reason: "spam".to_owned(),
            ..Default::default()
        };
        world
            .moderation()
            .ban_target(request)
            .await
            .expect("banned");

        world.restart().await;
        assert!(world.verdict(&tokens.access_token).await.0);
        assert_eq!(
            world.verdict(&of_banned.access_token).await,
            (false, InactiveReason::Banned)
        );
        let again = world
            .refresh(&tokens.refresh_token)
            .await
            .expect("the grace time goes on");
        assert_eq!(again.refresh_token, spent.refresh_token);
        let next = world
            .refresh(&spent.refresh_token)
            .await
            .expect("the next pair");
        assert!(world.verdict(&next.access_token).await.0);
        world.login("ann@example.com").await;
        assert_eq!(engine.number("SELECT COUNT(*) FROM signing_keys").await, 2);
        world.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replicas_that_start_at_once_on_an_empty_database_share_their_signing_keys() {
    for _ in 0..5 {
        on_each_engine(async |engine| {
            let mut world = World::absent(engine);
            let starts = (0..3).map(|_| Box::pin(world.another()));
            let replicas: Vec<_> = join_all(starts)
                .await
                .into_iter()
                .map(|started| started.expect("starts"))
                .collect();
            assert_eq!(engine.number("SELECT COUNT(*) FROM signing_keys").await, 2);
            assert_eq!(
                engine
                    .number("SELECT COUNT(*) FROM markers WHERE name = 'epoch'")
                    .await,
                1
            );
            for replica in replicas {
                replica.stop().await;
            }
            world.resume().await;
            world.signed_in("ann@example.com").await;
            world.end().await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_and_not_changed() {
    on_each_engine(async |engine| {
        let mut world = World::start(engine, &[]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        world.stop().await;
        engine
            .execute(
                "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 SELECT 999, 'of the future', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1",
            )
            .await;
        let error = world.refused_start().await;
        assert!(error.contains("999"), "{error}");
        assert_eq!(engine.number("SELECT COUNT(*) FROM users").await, 1);
        engine.execute("DELETE FROM _sqlx_migrations WHERE version = 999").await;
        world.resume().await;
        assert!(world.verdict(&tokens.access_token).await.0);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn an_impossible_row_causes_an_error_and_no_panic() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, tokens) = world.signed_in("ann@example.com").await;
        let session = &tokens.session_id;
        let update = async |set: &str| {
            assert_eq!(
                engine
                    .execute(&format!("UPDATE sessions SET revoke_time = NULL, {set}"))
                    .await,
                1
            );
        };
        for generation in [i64::MIN + 1, i64::MAX] {
            update(&format!("generation = {generation}")).await;
            reason(
                &world
                    .refresh(&tokens.refresh_token)
                    .await
                    .expect_err("an impossible generation"),
            );
        }
        update("generation = 1, id = 'x'").await;
        let request = ListSessionsRequest {
            subject: by_user(&user.id),
            ..Default::default()
        };
        let status = world
            .tokens()
            .list_sessions(request)
            .await
            .expect_err("an impossible id");
        assert_eq!(reason(&status), (Code::Internal, "INTERNAL".to_owned()));
        update(&format!("id = '{session}'")).await;
        world
            .refresh(&tokens.refresh_token)
            .await
            .expect("all is well again");
        update("salt = substr(salt, 1, 3)").await;
        assert_eq!(
            reason(
                &world
                    .refresh(&tokens.refresh_token)
                    .await
                    .expect_err("no such MAC")
            )
            .1,
            "REFRESH_TOKEN_INVALID"
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn the_service_does_not_start_without_its_database_and_names_it() {
    on_each_engine(async |engine| {
        let mut world = World::absent(engine);
        match engine {
            Engine::Sqlite { .. } => world.set("DATABASE_URL", "sqlite:/nonexistent/test.db"),
            Engine::Postgres { name, .. } => world.set(
                "DATABASE_URL",
                &engine.url().replace(name.as_str(), "countersign_absent"),
            ),
        }
        let error = world.refused_start().await;
        assert!(
            error.contains("/nonexistent/test.db") || error.contains("does not exist"),
            "{error}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_database_restored_from_a_copy_is_reported_and_goes_on() {
    let engine = Engine::sqlite();
    let mut world = World::start(&engine, &[]).await;
    let (_, first) = world.signed_in("ann@example.com").await;
    world.stop().await;
    let copy = files(directory(&engine).expect("SQLite"));
    world.resume().await;
    let second = world
        .refresh(&first.refresh_token)
        .await
        .expect("the next pair");
    let (_, later) = world.signed_in("bob@example.com").await;
    world.stop().await;
    for (path, content) in copy {
        fs::write(path, content).expect("copied back");
    }
    world.resume().await;
    let status = world
        .refresh(&second.refresh_token)
        .await
        .expect_err("the store was set back");
    assert_eq!(
        reason(&status),
        (Code::FailedPrecondition, "STORE_ROLLED_BACK".to_owned())
    );
    assert_eq!(
        world.verdict(&later.access_token).await,
        (false, InactiveReason::SessionRevoked)
    );
    assert_eq!(
        reason(
            &world
                .refresh(&later.refresh_token)
                .await
                .expect_err("unknown")
        )
        .1,
        "REFRESH_TOKEN_INVALID"
    );
    assert!(world.verdict(&second.access_token).await.0);
    world
        .refresh(&first.refresh_token)
        .await
        .expect("current again");
    world.end().await;
}
